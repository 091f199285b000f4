"""Label sets: class names, colours and the way from a mask's raw values to training indices.

A mask in the records holds training indices 0..C-1 and `IGNORE_LABEL` where a pixel has no class.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

IGNORE_LABEL = 255
METADATA_FILE = "metadata.json"  # where tensorflow-datasets keeps a data set's own metadata
MAX_RAW_VALUE = 65535  # masks have at most 16 bits


@dataclass(frozen=True)
class LabelSet:
    """The classes of one data set, in training order.

    Attributes:
        name: Name of the data set.
        classes: C class names; the position is the training index.
        palette: C colours (red, green, blue), each 0..255.
        raw_to_train: Raw mask value -> training index or 255. None: raw values are the indices.
        thin: Those classes that are thin or small, reported on their own.

    Raises:
        ValueError: The parts contradict each other; the message says which.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    raw_to_train: dict[int, int] | None = None
    thin: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count, who = len(self.classes), f"label set {self.name!r}"
        if not 1 <= count <= IGNORE_LABEL:
            raise ValueError(f"{who} has {count} classes; masks of 8 bits hold 1..{IGNORE_LABEL}")
        if len(set(self.classes)) != count:
            twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
            raise ValueError(f"{who} names a class twice: {twice}; give each its own name")
        if len(self.palette) != count:
            raise ValueError(f"{who} has {count} classes but {len(self.palette)} palette colours")
        for colour in self.palette:
            if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
                raise ValueError(f"{who}: {colour} is not a colour of three values in 0..255")
        for raw, train in (self.raw_to_train or {}).items():
            if not 0 <= raw <= MAX_RAW_VALUE:
                raise ValueError(f"{who}: raw value {raw} is outside 0..{MAX_RAW_VALUE}")
            if not (0 <= train < count or train == IGNORE_LABEL):
                raise ValueError(
                    f"{who} maps raw value {raw} to {train}; "
                    f"use 0..{count - 1}, or {IGNORE_LABEL} to ignore it"
                )
        unknown = sorted(set(self.thin) - set(self.classes))
        if unknown:
            raise ValueError(f"{who}: {unknown} under 'thin' are not among its classes")

    @property
    def num_classes(self) -> int:
        """C, the number of classes without the ignore label."""
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, `classes`, under the name that other libraries use."""
        return self.classes

    def to_train(self, raw: np.ndarray) -> np.ndarray:
        """Map a mask of raw values to training indices.

        Args:
            raw: Integer array of any shape.

        Returns:
            uint8 array of the same shape, values 0..C-1 and 255.

        Raises:
            ValueError: A value is neither in the table nor 255; the message lists them.
        """
        raw = np.asarray(raw)
        if raw.dtype.kind not in "iub":
            raise ValueError(f"a mask holds whole numbers, not {raw.dtype}; save it as uint8")
        table = np.full(MAX_RAW_VALUE + 1, -1, np.int16)
        table[IGNORE_LABEL] = IGNORE_LABEL
        pairs = self.raw_to_train
        if pairs is None:
            pairs = {index: index for index in range(self.num_classes)}
        if pairs:
            table[list(pairs)] = list(pairs.values())
        if raw.dtype in (np.uint8, np.uint16):
            train = table[raw]
        else:
            inside = (raw >= 0) & (raw <= MAX_RAW_VALUE)
            train = np.where(inside, table[np.where(inside, raw, 0).astype(np.intp)], -1)
        if (train < 0).any():
            values = np.unique(raw[train < 0]).tolist()
            listed = ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")
            raise ValueError(
                f"values {listed} are outside the label table {self.name!r}; "
                f"add them to its raw_to_train ({IGNORE_LABEL} ignores a value) or correct the mask"
            )
        return train.astype(np.uint8)

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads; JSON turns the raw values into text, and that is fine."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: dict[str, Any], name: str = "unnamed") -> LabelSet:
        """Read a table with keys classes, palette and optionally name, raw_to_train, thin.

        Other keys are ignored; `name` is used where the table has none.

        Raises:
            ValueError: A key is missing or holds the wrong kind of value.
        """
        if not isinstance(table, dict):
            raise ValueError("a label table is a dictionary with 'classes' and 'palette'")
        try:
            pairs = table.get("raw_to_train")
            if isinstance(table["classes"], str) or isinstance(table.get("thin"), str):
                raise ValueError("'classes' and 'thin' are lists of names")
            return cls(
                name=str(table.get("name") or name),
                classes=tuple(str(entry) for entry in table["classes"]),
                palette=tuple(_colour(entry) for entry in table["palette"]),
                raw_to_train=None
                if pairs is None
                else {int(raw): int(train) for raw, train in pairs.items()},
                thin=tuple(str(entry) for entry in table.get("thin") or ()),
            )
        except KeyError as error:
            raise ValueError(f"label table lacks the key {error}; add it") from None
        except (TypeError, AttributeError) as error:
            raise ValueError(f"label table holds a wrong kind of value: {error}") from None

    @classmethod
    def load(cls, path: str | PathLike[str]) -> LabelSet:
        """Read a label table from a JSON file; the file's stem is the name where it gives none.

        Raises:
            ValueError: The file cannot be read or holds no label table; names file and remedy.
        """
        path = Path(path)
        return cls.from_dict_in_file(_read_json(path), path)

    @classmethod
    def from_records(cls, data_dir: str | PathLike[str]) -> LabelSet:
        """Read the label set that travels with records (key `label_set` of metadata.json).

        Raises:
            ValueError: The folder holds no readable label set; names it and the remedy.
        """
        path = Path(data_dir) / METADATA_FILE
        if not path.parent.is_dir():
            raise ValueError(
                f"{data_dir} is no folder; give one that `python -m tfrecords_tools build` wrote"
            )
        if not path.is_file():
            raise ValueError(
                f"{path} is missing, so the classes of these records are unknown; "
                "write the records with `python -m tfrecords_tools build`"
            )
        metadata = _read_json(path)
        if not isinstance(metadata, dict) or "label_set" not in metadata:
            raise ValueError(f"{path} has no 'label_set'; write the records again")
        return cls.from_dict_in_file(metadata["label_set"], path)

    @classmethod
    def from_dict_in_file(cls, table: Any, path: Path) -> LabelSet:
        """`from_dict` whose errors name the file."""
        try:
            if not isinstance(table, dict):
                raise ValueError("a label table is a JSON object with 'classes' and 'palette'")
            return cls.from_dict(table, name=path.stem)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def save(self, path: str | PathLike[str]) -> None:
        """Write the table as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")


def _colour(entry: Any) -> tuple[int, int, int]:
    red, green, blue = (int(part) for part in entry)
    return red, green, blue


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); give the path of a JSON label table"
        ) from None
    except ValueError as error:  # also what broken UTF-8 raises
        raise ValueError(f"{path} is not valid JSON ({error}); correct it there") from None
