"""PASCAL Context on the images of VOC 2010: 59 classes, from the official .mat files or PNG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .dataset import Dataset, Example
from .pairs import MaskReader, Pair, match_lists, read_mat_mask, read_pair, read_png_mask

if TYPE_CHECKING:
    from gff_keras.data.labels import LabelSet

PNG_FOLDER, MAT_FOLDER = "SegmentationClassContext", "trainval"


@dataclass(frozen=True)
class PascalContext(Dataset):
    """Write PASCAL Context (59 classes, or 60 with the background) as records."""

    name = "pascal_context"

    source: Path
    """The folder VOC2010, with JPEGImages/."""
    background: Literal["ignore", "class"] = "ignore"
    """What is none of the 59 classes is ignored, or is class 0 of 60."""
    masks: Path | None = None
    """Folder of masks, .mat or .png; default: SegmentationClassContext or trainval in source."""
    lists: Path | None = None
    """Folder of train.txt and val.txt; default: ImageSets/SegmentationContext in the source."""

    @property
    def published_sizes(self) -> Mapping[str, int]:
        """Of the official lists."""
        return {"train": 4998, "val": 5105}

    @cached_property
    def label_set(self) -> LabelSet:
        """With or without the background; raw values as the masks' kind has them."""
        from gff_keras.data.label_tables import pascal_context

        return pascal_context(self.background == "class", mat=self._suffix == ".mat")

    def split_items(self) -> Mapping[str, list[Pair]]:
        """Pair the listed files."""
        images = self.source / "JPEGImages"
        if not images.is_dir():
            raise FileNotFoundError(
                f"{self.source} holds no JPEGImages/; give --source the folder VOCdevkit/VOC2010"
            )
        lists = self.lists or self.source / "ImageSets" / "SegmentationContext"
        if self._suffix == ".mat":
            self._check_categories()
        return match_lists(lists, ("train", "val"), images, self._folder, self._suffix)

    def read_item(self, item: Pair) -> Example:
        """Map the 459 categories (.mat) or 0..59 (.png)."""
        read_mask: MaskReader = partial(read_png_mask, labels=self.label_set)
        if self._suffix == ".mat":
            read_mask = partial(read_mat_mask, labels=self.label_set, key="LabelMap")
        return read_pair(item, read_mask)

    @property
    def _folder(self) -> Path:
        if self.masks is not None:
            return self.masks
        pngs = self.source / PNG_FOLDER
        return pngs if pngs.is_dir() else self.source / MAT_FOLDER

    @cached_property
    def _suffix(self) -> str:
        folder = self._folder
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder} is no folder; give --masks the folder of the .mat or .png masks"
            )
        return ".mat" if any(folder.glob("*.mat")) else ".png"

    def _check_categories(self) -> None:
        """Compare the owners' labels.txt, where it lies beside the masks, with our numbers."""
        from gff_keras.data.label_tables import PASCAL_CONTEXT_CATEGORIES

        path = self._folder.parent / "labels.txt"
        if not path.is_file():
            return
        entries = (line.partition(":") for line in path.read_text().splitlines() if line.strip())
        names = {number.strip(): name.strip() for number, _, name in entries}
        for number, name in PASCAL_CONTEXT_CATEGORIES.items():
            if names.get(str(number)) != name:
                raise ValueError(
                    f"{path} calls category {number} {names.get(str(number))!r}, not {name!r}; "
                    "use the labels.txt and .mat files of one download"
                )
