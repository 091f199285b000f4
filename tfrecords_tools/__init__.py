"""Write data sets as records that tensorflow-datasets reads, with or without this project."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from .dataset import Dataset
from .datasets import DATASETS, make_dataset
from .output import Output
from .quiet import quiet_stderr

__all__ = ["DATASETS", "Dataset", "build", "make_dataset"]


def build(
    dataset: str | Dataset,
    /,
    *,
    out: str | PathLike[str],
    overwrite: bool = False,
    workers: int | None = None,
    shard_size_mb: int = 256,
    beam_workers: int = 0,
    beam_options: str = "",
    **options: Any,
) -> Path:
    """Write a data set into the folder `out`, which then directly holds the records.

    Args:
        dataset: One of `DATASETS`, e.g. "cityscapes"; or a `Dataset`, and then no options.
        out: Folder to write: dataset_info.json, features.json, metadata.json with the label set
            (`gff_keras.data.labels.LabelSet.from_records(out)`) and the shards.
        overwrite: Replace records that `out` holds already.
        workers: Number of processes; None: all cores that have enough to do. The records are the
            same for any number.
        shard_size_mb: A split gets the fewest shards that hold this many MiB on average at most.
        beam_workers: Build with Apache Beam in so many processes of this machine.
        beam_options: Or: flags of a Beam pipeline, e.g. "--runner=FlinkRunner ...".
        **options: Of the data set, e.g. `source`; `python -m tfrecords_tools build NAME --help`
            lists them.

    Returns:
        The absolute path of `out`.

    Raises:
        ValueError, OSError: One sentence with the file or option and the remedy; then `out` is as
            it was.
    """
    if isinstance(dataset, str):
        dataset = make_dataset(dataset, **options)
    with quiet_stderr():  # imported here: it imports TensorFlow, which takes seconds
        from .builder import write_records
    output = Output(Path(out), overwrite, workers, shard_size_mb, beam_workers, beam_options)
    return write_records(dataset, output)
