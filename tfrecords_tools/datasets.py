"""The data sets that can be built, by name."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from .ade20k import Ade20k
from .camvid import Camvid
from .cityscapes import Cityscapes
from .coco_stuff import CocoStuff
from .dataset import Dataset
from .folder import Folder
from .from_tfds import FromTfds
from .pascal_context import PascalContext
from .street_scenes import StreetScenes
from .voc import Voc

DATASETS: dict[str, type[Dataset]] = {
    dataset.name: dataset
    for dataset in (
        Ade20k,
        Camvid,
        Cityscapes,
        CocoStuff,
        Folder,
        FromTfds,
        PascalContext,
        StreetScenes,
        Voc,
    )
}


def make_dataset(name: str, /, **options: Any) -> Dataset:
    """Make a data set from its name and options.

    Raises:
        ValueError: There is no such data set, or an option is unknown or missing.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; choose one of {', '.join(DATASETS)}")
    known = fields(DATASETS[name])
    unknown = options.keys() - {field.name for field in known}
    if unknown:
        raise ValueError(
            f"{name} takes no {sorted(unknown)[0]}; "
            f"its options are {', '.join(field.name for field in known)}"
        )
    for field in known:
        if field.default is MISSING and options.get(field.name) is None:
            raise ValueError(f"{name} needs a {field.name}; see {name} --help")
    return DATASETS[name](**options)
