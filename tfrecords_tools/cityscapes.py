"""Cityscapes, fine or coarse annotations, from its folders or straight from its zip archives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from .dataset import Dataset, Example
from .files import File, list_tree
from .pairs import Pair, match_files, read_pair, read_png_mask

IMAGE_ARCHIVES = ("leftImg8bit_trainvaltest.zip", "leftImg8bit_trainextra.zip")
MASK_ARCHIVES = {"fine": ("gtFine_trainvaltest.zip",), "coarse": ("gtCoarse.zip",)}
SPLITS = {"fine": ("train", "val", "test"), "coarse": ("train", "val", "train_extra")}
PUBLISHED = {"train": 2975, "val": 500, "test": 1525, "train_extra": 19998, "trainval": 3475}


@dataclass(frozen=True)
class Cityscapes(Dataset):
    """Write Cityscapes (19 classes, fine or coarse) as records."""

    name = "cityscapes"

    source: Path
    """Folder with leftImg8bit/ and gtFine/ or gtCoarse/, or with their official zip files."""
    annotations: Literal["fine", "coarse"] = "fine"
    """Which annotations: gtFine or gtCoarse."""
    splits: tuple[str, ...] = ()
    """Of train, val, test, train_extra, trainval; default: all that are there but trainval."""

    @property
    def published_sizes(self) -> Mapping[str, int]:
        """Of the official archives."""
        return PUBLISHED

    def split_items(self) -> Mapping[str, list[Pair]]:
        """Pair the files of each split; the test images have no labels."""
        known = SPLITS[self.annotations]
        unknown = [split for split in self.splits if split not in (*known, "trainval")]
        if unknown:
            raise ValueError(
                f"{self.annotations} annotations have no split {unknown[0]!r}; "
                f"choose from {', '.join(known)}, trainval"
            )
        asked = set(self.splits or known)
        if "trainval" in asked:
            asked |= {"train", "val"}
        found = {
            split: pairs for split in known if split in asked and (pairs := self._pairs(split))
        }
        if not found:
            raise FileNotFoundError(
                f"{self.source} holds neither leftImg8bit/ nor {IMAGE_ARCHIVES[0]}; "
                "give --source the folder that does"
            )
        if "train" in found and "val" in found:
            found["trainval"] = found["train"] + found["val"]
        for split in self.splits:
            if split not in found:
                raise FileNotFoundError(f"{self.source} holds no images of {split}; add them")
        wanted = self.splits or [split for split in found if split != "trainval"]
        return {split: found[split] for split in wanted}

    def read_item(self, item: Pair) -> Example:
        """Map labelIds to the 19 classes."""
        return read_pair(item, partial(read_png_mask, labels=self.label_set))

    def _pairs(self, split: str) -> list[Pair]:
        images = self._files("leftImg8bit", split, IMAGE_ARCHIVES, "_leftImg8bit")
        if not images:  # the archives of masks hold all splits, those of images some
            return []
        if split == "test":  # its masks are kept by the owners; what gtFine/test holds is empty
            return [Pair(key, file, None) for key, file in images.items()]
        kind = "gtFine" if self.annotations == "fine" else "gtCoarse"
        ending = f"_{kind}_labelIds"
        masks = self._files(kind, split, MASK_ARCHIVES[self.annotations], ending)
        return match_files(
            images,
            masks,
            f"{self.source}/leftImg8bit/{split}/CITY/{{}}_leftImg8bit.png",
            f"{self.source}/{kind}/{split}/CITY/{{}}{ending}.png",
        )

    def _files(
        self, kind: str, split: str, archives: tuple[str, ...], ending: str
    ) -> dict[str, File]:
        files = list_tree(self.source, f"{kind}/{split}", archives, (".png",), ending)
        found = {key.split("/")[-1]: file for key, file in files.items()}  # ids name their city
        for key, file in files.items():
            twin = found[key.split("/")[-1]]
            if twin != file:
                raise ValueError(f"{file} and {twin} have the same id; remove one")
        return found
