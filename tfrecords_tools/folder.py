"""Your own data: a folder of images, a folder of masks and a JSON table of classes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gff_keras.data.labels import LabelSet

from .builder import Example, SegmentationBuilder
from .pairs import Pair, match_pairs, read_pairs


class Folder(SegmentationBuilder):
    """Pairs images and masks by name; val from its own folders or by a fraction of the ids."""

    name = "folder"

    def __init__(
        self,
        *,
        images: Path,
        masks: Path,
        labels: Path,
        val_images: Path | None = None,
        val_masks: Path | None = None,
        val_fraction: float = 0.0,
        mask_suffix: str = "",
        **kwargs: Any,
    ) -> None:
        if (val_images is None) != (val_masks is None):
            raise ValueError("--val_images and --val_masks belong together; give both or neither")
        if not 0 <= val_fraction < 1:
            raise ValueError(f"--val_fraction {val_fraction} is not a share; give 0 <= share < 1")
        if val_fraction and val_images is not None:
            raise ValueError("--val_fraction and --val_images exclude each other; give one of them")
        self.label_set = LabelSet.load(labels)
        self._train, self._val = (images, masks), (val_images, val_masks)
        self._fraction, self._suffix = val_fraction, mask_suffix
        super().__init__(**kwargs)

    def split_examples(self) -> dict[str, Iterator[Example]]:
        """Split train, and val where asked for."""
        splits = {"train": match_pairs(*self._train, self._suffix)}
        val_images, val_masks = self._val
        if val_images is not None and val_masks is not None:
            splits["val"] = match_pairs(val_images, val_masks, self._suffix)
        elif self._fraction:
            splits = split_by_hash(splits["train"], self._fraction)
        return {name: read_pairs(pairs, self.label_set) for name, pairs in splits.items()}


def split_by_hash(pairs: list[Pair], fraction: float) -> dict[str, list[Pair]]:
    """Put about `fraction` of the pairs into val, each by its own id alone.

    So a pair stays in its split when others come or go.

    Raises:
        ValueError: One split would be empty.
    """
    splits: dict[str, list[Pair]] = {"train": [], "val": []}
    for pair in pairs:
        digest = hashlib.sha256(pair.id.encode()).digest()
        share = int.from_bytes(digest[:8]) / 2**64
        splits["val" if share < fraction else "train"].append(pair)
    for name, chosen in splits.items():
        if not chosen:
            raise ValueError(
                f"a val fraction of {fraction} of {len(pairs)} images leaves {name} empty; "
                "change --val_fraction or give --val_images and --val_masks"
            )
    return splits
