"""Write data sets as records that tensorflow-datasets reads, with or without this project."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .datasets import DATASETS, make_dataset
from .quiet import quiet_stderr

if TYPE_CHECKING:
    from .report import Report

__all__ = ["DATASETS", "build", "check", "make_dataset"]


def build(
    dataset: str,
    *,
    out: str | PathLike[str],
    overwrite: bool = False,
    workers: int | None = None,
    shard_size_mb: int = 256,
    **options: Any,
) -> Path:
    """Write a data set into the folder `out`, which then directly holds the records.

    Args:
        dataset: One of `DATASETS`, e.g. "cityscapes" or "folder".
        out: Folder to write: dataset_info.json, features.json, metadata.json with the label set
            (`gff_keras.data.labels.LabelSet.from_records(out)`) and the shards.
        overwrite: Replace records that `out` holds already.
        workers: Number of processes; None: all cores that have enough to do. The records are the
            same for any number.
        shard_size_mb: Size that shards have on average at most, in MiB.
        **options: Of the data set, e.g. `source`; `python -m tfrecords_tools build NAME --help`
            lists them.

    Returns:
        The absolute path of `out`.

    Raises:
        ValueError, OSError: One sentence with the file or option and the remedy; then `out` is as
            it was.
    """
    described = make_dataset(dataset, **options)
    with quiet_stderr():  # imported here: it imports TensorFlow, which takes seconds
        from .builder import write_records
    return write_records(
        described, Path(out), overwrite=overwrite, workers=workers, shard_size_mb=shard_size_mb
    )


def check(what: str | PathLike[str], *, workers: int | None = None, **options: Any) -> Report:
    """Decode records, or the files of a data set, and collect all that is wrong with them.

    Args:
        what: Folder of records, or one of `DATASETS`.
        workers: Number of processes; None: all cores that have enough to do.
        **options: Of the data set, as for `build`.

    Returns:
        The findings and counts; `print` it, `save` it.

    Raises:
        ValueError, OSError: There is nothing to check; one sentence with the remedy.
    """
    described = make_dataset(what, **options) if what in DATASETS else None
    if described is None and options:
        raise ValueError(f"{', '.join(options)}: a folder of records takes no such options")
    with quiet_stderr():  # imported here: it imports TensorFlow, which takes seconds
        from .checker import check_records, check_source
    if described is None:
        return check_records(Path(what).expanduser(), workers)
    return check_source(described, workers)
