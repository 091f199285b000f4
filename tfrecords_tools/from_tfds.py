"""Any data set of tensorflow-datasets that has an image and a mask feature."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dataset import Dataset, Example
from .files import InMemory
from .images import IMAGE_SUFFIXES
from .pairs import Pair, read_pair, read_png_mask

if TYPE_CHECKING:
    from gff_keras.data.labels import LabelSet

# name in tfds: (our label table, image feature, mask feature)
KNOWN = {
    "oxford_iiit_pet": ("oxford_iiit_pet", "image", "segmentation_mask"),
    "scene_parse150": ("ade20k", "image", "annotation"),
    "cityscapes": ("cityscapes", "image_left", "segmentation_label"),
}
FILE_NAME = "file_name"  # the feature that becomes the id, where there is one


@dataclass(frozen=True)
class FromTfds(Dataset):
    """Write any data set of tensorflow-datasets with an image and a mask feature as records."""

    name = "tfds"

    dataset: str
    """Its name, e.g. oxford_iiit_pet, with configuration and version if need be."""
    data_dir: Path | None = None
    """Where tensorflow-datasets keeps its data; default: ~/tensorflow_datasets."""
    image: str = ""
    """Feature of the images; needed where there are several."""
    mask: str = ""
    """Feature of the masks; needed where there are several."""
    labels: Path | None = None
    """JSON table of the classes, as for `folder`; needed where nothing else tells them."""
    num_classes: int = 0
    """Or just their number: classes without names."""
    first_value: int = 0
    """Mask value of the first class: 1 for masks counted from 1, whose 0 is then ignored."""

    @cached_property
    def label_set(self) -> LabelSet:
        """The given table, ours for known data sets, the mask feature's names, or numbers."""
        from gff_keras.data.label_tables import TABLES
        from gff_keras.data.labels import IGNORE_LABEL, LabelSet

        title = self._title
        if self.labels is not None:
            return LabelSet.load(self.labels)
        if title in KNOWN and not self.num_classes:
            return TABLES[KNOWN[title][0]]
        builder, (_, mask) = open_builder(self.dataset, self.data_dir), self._features
        count = self.num_classes or getattr(builder.info.features[mask], "num_classes", None)
        if not count:
            raise ValueError(
                f"{self.dataset} does not tell the classes of {mask!r}; give their --num_classes "
                "or a table of --labels"
            )
        names = getattr(builder.info.features[mask], "names", None)
        if not names or len(names) != count:
            names = [f"class {index}" for index in range(count)]
        others = dict.fromkeys(range(self.first_value), IGNORE_LABEL)
        return LabelSet(
            title,
            tuple(names),
            tuple(map(_colour, range(1, count + 1))),
            others | {index + self.first_value: index for index in range(count)},
        )

    def split_items(self) -> Mapping[str, _Encoded]:
        """Download and prepare the data set if it is not there; its splits keep their names."""
        builder, (image, mask) = open_builder(self.dataset, self.data_dir), self._features
        _ = self.label_set  # unknown classes are told before any work
        return {
            split: _Encoded(builder, split, image, mask)
            for split, info in builder.info.splits.items()
            if info.num_examples
        }

    def read_item(self, item: tuple[str, str, bytes, bytes]) -> Example:
        """Map an example that tfds has read, but not decoded."""
        key, where, image, mask = item
        pair = Pair(key, InMemory(f"{where}, image", image), InMemory(f"{where}, mask", mask))
        return read_pair(pair, partial(read_png_mask, labels=self.label_set))

    @property
    def _title(self) -> str:
        return self.dataset.split("/")[0].split(":")[0]

    @property
    def _features(self) -> tuple[str, str]:
        """Names of the image and the mask feature."""
        features = open_builder(self.dataset, self.data_dir).info.features
        _, image, mask = KNOWN.get(self._title, ("", "", ""))
        for name in filter(None, (self.image, self.mask)):
            if name not in features:
                known = ", ".join(sorted(features))
                raise ValueError(f"{self.dataset} has no feature {name!r}; choose from {known}")
        return (
            self.image or image or _only(features, 3, self.dataset, "image"),
            self.mask or mask or _only(features, 1, self.dataset, "mask"),
        )


@dataclass(frozen=True)
class _Encoded:
    """The examples of a split: id, a name for messages, encoded image and mask."""

    builder: Any
    split: str
    image: str
    mask: str

    def __len__(self) -> int:
        return self.builder.info.splits[self.split].num_examples

    def __iter__(self) -> Iterator[tuple[str, str, bytes, bytes]]:
        import tensorflow_datasets as tfds

        info, seen = self.builder.info, set[str]()
        decoders = {name: tfds.decode.SkipDecoding() for name in (self.image, self.mask)}
        wanted = {name: True for name in (*decoders, FILE_NAME) if name in info.features}
        data = self.builder.as_dataset(
            split=self.split, decoders=tfds.decode.PartialDecoding(wanted, decoders=decoders)
        )
        for index, example in enumerate(tfds.as_numpy(data)):
            where = f"{info.full_name}, split {self.split}, example {index}"
            key = f"{self.split}_{index:06d}"
            if FILE_NAME in example:
                key = example[FILE_NAME].decode()
                suffix = Path(key).suffix
                key = key.removesuffix(suffix) if suffix.lower() in IMAGE_SUFFIXES else key
            if key in seen:
                raise ValueError(
                    f"{where} has the {FILE_NAME} of another: {key!r}; they must differ"
                )
            seen.add(key)
            yield key, where, example[self.image], example[self.mask]


@lru_cache(maxsize=2)
def open_builder(name: str, data_dir: Path | None) -> Any:
    """Open a data set of tensorflow-datasets, downloaded and prepared.

    Raises:
        ValueError: tfds does not know it.
        OSError: It could not be downloaded or prepared.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise ValueError(
            f"tensorflow-datasets cannot open {name!r} ({_first_line(error)}); "
            "tensorflow.org/datasets/catalog lists its data sets"
        ) from None
    try:
        with redirect_stdout(sys.stderr):
            builder.download_and_prepare()
    except Exception as error:  # downloads fail in many ways
        raise OSError(
            f"{name} could not be downloaded and prepared ({_first_line(error)}); check the "
            f"network, or give --data_dir a folder that holds it prepared"
        ) from None
    return builder


def _only(features: Any, channels: int, dataset: str, role: str) -> str:
    """Name of the one image feature with so many channels."""
    import tensorflow_datasets as tfds

    found = [
        name
        for name, feature in features.items()
        if isinstance(feature, tfds.features.Image) and feature.shape[-1] == channels
    ]
    if len(found) != 1:
        listed = ", ".join(features)
        raise ValueError(
            f"{dataset} has {len(found)} features that may be its {role}; name one of "
            f"{listed} by --{role}"
        )
    return found[0]


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")


def _colour(index: int) -> tuple[int, int, int]:
    """Colours far apart: the bits of the index, spread over red, green and blue."""
    parts = [sum((index >> 3 * bit + part & 1) << 7 - bit for bit in range(8)) for part in range(3)]
    return parts[0], parts[1], parts[2]
