"""COCO-Stuff with 171 classes, 10k (.mat masks) or 164k (PNG masks)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .dataset import Dataset, Example
from .pairs import Pair, match_folders, match_lists, read_mat_mask, read_pair, read_png_mask

if TYPE_CHECKING:
    from gff_keras.data.labels import LabelSet

LISTS = "imageLists"  # only 10k has them
FOLDERS = {"train": "train2017", "val": "val2017"}


@dataclass(frozen=True)
class CocoStuff(Dataset):
    """Write COCO-Stuff (10k or 164k, whichever the source holds; 171 classes) as records."""

    name = "coco_stuff"

    source: Path
    """Folder with images/, annotations/; 10k also has imageLists/, 164k has train2017/ in each."""

    @property
    def published_sizes(self) -> Mapping[str, int]:
        """Of 10k or of 164k."""
        return {"train": 9000, "test": 1000} if self._is_10k else {"train": 118287, "val": 5000}

    @property
    def label_set(self) -> LabelSet:
        """The same classes; the values of the .mat files are one larger."""
        from gff_keras.data.label_tables import COCO_STUFF, COCO_STUFF_10K

        return COCO_STUFF_10K if self._is_10k else COCO_STUFF

    def split_items(self) -> Mapping[str, list[Pair]]:
        """10k: train and test by their lists; 164k: whichever of train and val is there."""
        images, masks = self.source / "images", self.source / "annotations"
        if self._is_10k:
            return match_lists(self.source / LISTS, ("train", "test"), images, masks, ".mat")
        present = {split: name for split, name in FOLDERS.items() if (images / name).is_dir()}
        if not present:
            raise FileNotFoundError(
                f"{self.source} has neither {LISTS}/ (10k) nor images/train2017 or images/val2017 "
                "(164k); give --source the folder that does"
            )
        return {
            split: match_folders(images / name, masks / name) for split, name in present.items()
        }

    def read_item(self, item: Pair) -> Example:
        """Map the matrix `S` of a .mat file, or a PNG."""
        if self._is_10k:
            return read_pair(item, partial(read_mat_mask, labels=self.label_set, key="S"))
        return read_pair(item, partial(read_png_mask, labels=self.label_set))

    @property
    def _is_10k(self) -> bool:
        return (self.source / LISTS).is_dir()
