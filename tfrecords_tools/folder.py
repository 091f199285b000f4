"""Your own data: a folder of images, a folder of masks and a JSON table of classes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from .dataset import Dataset, Example
from .images import read_upright
from .pairs import Pair, match_folders, read_pair, read_png_mask

if TYPE_CHECKING:
    from gff_keras.data.labels import LabelSet


@dataclass(frozen=True)
class Folder(Dataset):
    """Write your own images and masks, paired by name, as records."""

    name = "folder"

    images: Path
    """Folder of .jpg, .jpeg or .png images; folders in it are searched too."""
    masks: Path
    """Folder of .png masks with the images' names: grey, palette or in the table's colours."""
    labels: Path
    """JSON file with `classes`, `palette` and, if raw values are no indices, `raw_to_train`."""
    val_images: Path | None = None
    """Folder of the validation images."""
    val_masks: Path | None = None
    """Folder of the validation masks."""
    val_fraction: float = 0.0
    """Or: share of the images to validate with, chosen by their names, e.g. 0.1."""
    mask_suffix: str = ""
    """What a mask's name has more than its image's: "_mask" pairs a.jpg with a_mask.png."""

    @cached_property
    def label_set(self) -> LabelSet:
        """The user's own."""
        from gff_keras.data.labels import LabelSet

        return LabelSet.load(self.labels)

    def split_items(self) -> Mapping[str, list[Pair]]:
        """Split train, and val where asked for."""
        self._check_options()
        splits = {"train": match_folders(self.images, self.masks, self.mask_suffix)}
        if self.val_images is not None and self.val_masks is not None:
            splits["val"] = match_folders(self.val_images, self.val_masks, self.mask_suffix)
        elif self.val_fraction:
            splits = split_by_hash(splits["train"], self.val_fraction)
        return splits

    def read_item(self, item: Pair) -> Example:
        """Images must be 8-bit and upright."""
        return read_pair(item, partial(read_png_mask, labels=self.label_set), read_upright)

    def _check_options(self) -> None:
        if (self.val_images is None) != (self.val_masks is None):
            raise ValueError("--val_images and --val_masks belong together; give both or neither")
        if not 0 <= self.val_fraction < 1:
            raise ValueError(
                f"--val_fraction {self.val_fraction} is not a share; give 0 <= share < 1"
            )
        if self.val_fraction and self.val_images is not None:
            raise ValueError("--val_fraction and --val_images exclude each other; give one of them")
        _ = self.label_set  # a broken table is told before any work


def split_by_hash(pairs: list[Pair], fraction: float) -> dict[str, list[Pair]]:
    """Put about `fraction` of the pairs into val, each by its own id alone, and at least one.

    So a pair stays in its split when others come or go.

    Raises:
        ValueError: There is only one pair.
    """

    def share(pair: Pair) -> float:
        digest = hashlib.sha256(pair.id.encode()).digest()
        return int.from_bytes(digest[:8]) / 2**64

    if len(pairs) < 2:
        raise ValueError("one image cannot be split; give val_images and val_masks, or more images")
    shares = sorted(map(share, pairs))
    limit = min(max(fraction, shares[0]), shares[-2])  # neither split is empty
    splits: dict[str, list[Pair]] = {"train": [], "val": []}
    for pair in pairs:
        splits["val" if share(pair) <= limit else "train"].append(pair)
    return splits
