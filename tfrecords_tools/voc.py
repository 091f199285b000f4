"""PASCAL VOC 2012, segmentation with 21 classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .dataset import Dataset, Example
from .pairs import Pair, match_lists, read_pair, read_png_mask

PUBLISHED = {"train": 1464, "val": 1449, "trainval": 2913, "trainaug": 10582}


@dataclass(frozen=True)
class Voc(Dataset):
    """Write PASCAL VOC 2012 (SegmentationClass, 21 classes) as records."""

    name = "voc"

    source: Path
    """The folder VOCdevkit/VOC2012, with JPEGImages/, SegmentationClass/ and ImageSets/."""
    splits: tuple[str, ...] = ()
    """Names of lists in ImageSets/Segmentation, without .txt; default: train and val."""
    masks: Path | None = None
    """Folder of the masks; default: SegmentationClass in the source."""

    @property
    def published_sizes(self) -> Mapping[str, int]:
        """Of the official lists, and of the augmented one that many add."""
        return PUBLISHED

    def split_items(self) -> Mapping[str, list[Pair]]:
        """Pair the listed files."""
        images, lists = self.source / "JPEGImages", self.source / "ImageSets" / "Segmentation"
        masks = self.masks or self.source / "SegmentationClass"
        if not images.is_dir():
            raise FileNotFoundError(
                f"{self.source} holds no JPEGImages/; give --source the folder VOCdevkit/VOC2012"
            )
        for split in self.splits:
            if not (lists / f"{split}.txt").is_file():
                raise FileNotFoundError(f"{lists / split}.txt is missing; add it or leave it out")
        return match_lists(lists, self.splits or ("train", "val"), images, masks, ".png")

    def read_item(self, item: Pair) -> Example:
        """The palette's indices are the classes, 255 is void."""
        return read_pair(item, partial(read_png_mask, labels=self.label_set))
