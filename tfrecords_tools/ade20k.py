"""ADE20K as the scene parsing challenge of 2016 distributes it: ADEChallengeData2016."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .dataset import Dataset, Example
from .pairs import Pair, match_folders, read_pair, read_png_mask

FOLDERS = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class Ade20k(Dataset):
    """Write ADE20K (ADEChallengeData2016, 150 classes) as records."""

    name = "ade20k"

    source: Path
    """The folder ADEChallengeData2016, with images/ and annotations/."""

    @property
    def published_sizes(self) -> Mapping[str, int]:
        """Of the challenge's archive."""
        return {"train": 20210, "val": 2000}

    def split_items(self) -> Mapping[str, list[Pair]]:
        """Pair the files of whichever of train and val is there."""
        images, masks = self.source / "images", self.source / "annotations"
        present = {split: name for split, name in FOLDERS.items() if (images / name).is_dir()}
        if not present:
            raise FileNotFoundError(
                f"{images} has neither training/ nor validation/; "
                "give --source the folder ADEChallengeData2016"
            )
        return {
            split: match_folders(images / name, masks / name) for split, name in present.items()
        }

    def read_item(self, item: Pair) -> Example:
        """0 becomes ignored, 1..150 become 0..149."""
        return read_pair(item, partial(read_png_mask, labels=self.label_set))
