"""The data set that draws itself: procedural street scenes with exact masks, no download."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gff_keras.data.labels import STREET_SCENES

from .builder import Example, SegmentationBuilder
from .pairs import encode_png
from .scene_painter import LEAST_SIDE, paint_scene

FIRST_VAL_INDEX = 1_000_000  # so that train and val never share a scene, whatever their numbers


class StreetScenes(SegmentationBuilder):
    """Draws `train` and `val` scenes of one size; the same seed gives the same bytes."""

    name = "street_scenes"
    label_set = STREET_SCENES

    def __init__(
        self,
        *,
        train: int = 400,
        val: int = 80,
        height: int = 128,
        width: int = 256,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if min(train, val) < 0 or train + val == 0 or max(train, val) > FIRST_VAL_INDEX:
            raise ValueError(
                f"cannot draw train={train}, val={val} scenes; "
                f"give numbers in 0..{FIRST_VAL_INDEX}, not both 0"
            )
        if min(height, width) < LEAST_SIDE:
            raise ValueError(
                f"height={height}, width={width} is too small; give at least {LEAST_SIDE} pixels"
            )
        self._counts = {"train": (0, train), "val": (FIRST_VAL_INDEX, val)}
        self._size, self._seed = (height, width), seed
        super().__init__(**kwargs)

    def split_examples(self) -> dict[str, Iterator[Example]]:
        """The splits that have any scenes."""
        return {
            split: self._paint(split, first, count)
            for split, (first, count) in self._counts.items()
            if count
        }

    def _paint(self, split: str, first: int, count: int) -> Iterator[Example]:
        for index in range(count):
            image, mask = paint_scene(self._seed, first + index, *self._size)
            yield f"{split}_{index:06d}", encode_png(image), encode_png(mask)
