"""What a data set is here: its splits' items, and how one item becomes an example.

One description serves the sequential and the parallel build, Beam and the checker. It imports no
TensorFlow, and `gff_keras` only once labels are needed, so that the command line answers at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from gff_keras.data.labels import LabelSet

Item = Any  # small and picklable: a pair of paths, names in an archive, a number
Example = tuple[str, bytes, bytes]  # id, encoded image, mask of training indices as PNG


class Items(Protocol):
    """A number of items to iterate over, such as a list or a range."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Item]: ...


@dataclass(frozen=True)
class Dataset(ABC):
    """Base of the data sets: frozen dataclasses whose fields are the command line's options.

    Attributes:
        name: Of the data set, its command and its label table.
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for field in fields(self):  # Python callers may give text for a path
            value = getattr(self, field.name)
            if "Path" in str(field.type) and value is not None:
                object.__setattr__(self, field.name, Path(value).expanduser())

    @property
    def label_set(self) -> LabelSet:
        """Classes, colours and the way from raw values to training indices."""
        from gff_keras.data.label_tables import TABLES

        return TABLES[self.name]

    @property
    def published_sizes(self) -> Mapping[str, int]:
        """Number of examples in each split as the owners publish it, where they do."""
        return {}

    @abstractmethod
    def split_items(self) -> Mapping[str, Items]:
        """List the items of each split that is there; cheap, for no image is opened.

        Raises:
            ValueError, FileNotFoundError: Options or files are not usable; one sentence.
        """

    @abstractmethod
    def read_item(self, item: Item) -> Example:
        """Read, check and map one item; depends on the item alone and may run in any process.

        Raises:
            ValueError, FileNotFoundError: One sentence that names the file and the remedy.
        """

    def size_warnings(self, counts: Mapping[str, int]) -> list[str]:
        """One sentence for each split whose number of examples is not the published one."""
        return [
            f"{self.name}: split {split} has {count} examples, its owners publish "
            f"{self.published_sizes[split]}; complete the files unless you mean a part"
            for split, count in counts.items()
            if self.published_sizes.get(split, count) != count
        ]


def as_features(example: Example) -> tuple[str, dict[str, Any]]:
    """Key and features of an example, as tfds takes them."""
    key, image, label = example
    return key, {"image": image, "label": label, "id": key}
