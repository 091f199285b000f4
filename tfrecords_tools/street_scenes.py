"""The data set that draws itself: procedural street scenes with exact masks, no download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .dataset import Dataset, Example
from .images import encode_png

FIRST_VAL_INDEX = 1_000_000  # so that train and val never share a scene, whatever their numbers


@dataclass(frozen=True)
class StreetScenes(Dataset):
    """Draw street scenes with exact masks and write them as records; needs no data."""

    name = "street_scenes"

    train: int = 400
    """Number of scenes to train with."""
    val: int = 80
    """Number of scenes to validate with."""
    height: int = 128
    """Pixels."""
    width: int = 256
    """Pixels."""
    seed: int = 0
    """The same seed draws the same scenes."""

    def split_items(self) -> Mapping[str, range]:
        """Numbers of the scenes, for the splits that have any."""
        from .scene_painter import LEAST_SIDE

        if min(self.train, self.val) < 0 or not 0 < self.train + self.val <= FIRST_VAL_INDEX:
            raise ValueError(
                f"cannot draw train={self.train}, val={self.val} scenes; "
                f"give 1..{FIRST_VAL_INDEX} in all, neither below 0"
            )
        if min(self.height, self.width) < LEAST_SIDE:
            raise ValueError(
                f"height={self.height}, width={self.width} is too small; "
                f"give at least {LEAST_SIDE} pixels"
            )
        splits = {
            "train": range(self.train),
            "val": range(FIRST_VAL_INDEX, FIRST_VAL_INDEX + self.val),
        }
        return {split: numbers for split, numbers in splits.items() if numbers}

    def read_item(self, item: int) -> Example:
        """Draw a scene."""
        from .scene_painter import paint_scene

        image, mask = paint_scene(self.seed, item, self.height, self.width)
        in_train = item < FIRST_VAL_INDEX
        key = f"train_{item:06d}" if in_train else f"val_{item - FIRST_VAL_INDEX:06d}"
        return key, encode_png(image), encode_png(mask)
