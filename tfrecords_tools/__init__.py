"""Write data sets as records that tensorflow-datasets reads, with or without this project."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from .quiet import quiet_stderr

DATASETS = ("camvid", "folder", "street_scenes")
PATHS = {"source", "images", "masks", "labels", "val_images", "val_masks"}


def build(
    dataset: str,
    *,
    source: str | PathLike[str] | None = None,
    out: str | PathLike[str],
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Write a data set into the folder `out`, which then directly holds the records.

    Args:
        dataset: "camvid", "folder" or "street_scenes".
        source: Folder of the original files (camvid only).
        out: Folder to write: dataset_info.json, features.json, metadata.json with the label set
            (`gff_keras.data.labels.LabelSet.from_records(out)`) and the shards.
        overwrite: Replace records that `out` holds already.
        **options: folder: images, masks, labels, val_images, val_masks, val_fraction, mask_suffix.
            street_scenes: train, val, height, width, seed.

    Returns:
        The absolute path of `out`.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: One sentence with the file and the remedy;
            then `out` is as it was.
        TypeError: An option that the data set does not have.
    """
    if dataset not in DATASETS:
        raise ValueError(f"unknown data set {dataset!r}; choose one of {', '.join(DATASETS)}")
    if dataset == "camvid" and source is None:
        raise ValueError("camvid needs a source; give the folder that holds it")
    if dataset != "camvid" and source is not None:
        raise ValueError(f"{dataset} takes no source; leave it out")
    with quiet_stderr():  # imported here: these import TensorFlow, which takes seconds
        from .builder import SegmentationBuilder, write_records
        from .camvid import Camvid
        from .folder import Folder
        from .street_scenes import StreetScenes

    builders: dict[str, type[SegmentationBuilder]] = {
        "camvid": Camvid,
        "folder": Folder,
        "street_scenes": StreetScenes,
    }
    if source is not None:
        options["source"] = source
    for name in PATHS & options.keys():
        if options[name] is not None:
            options[name] = Path(options[name])
    return write_records(builders[dataset], Path(out), overwrite=overwrite, **options)
