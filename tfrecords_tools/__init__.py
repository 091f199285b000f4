"""Write data sets as records that tensorflow-datasets reads anywhere; check them."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dataset import Dataset
from .datasets import DATASETS, make_dataset
from .output import Output
from .quiet import quiet_stderr

if TYPE_CHECKING:
    from .report import Report

__all__ = ["DATASETS", "Dataset", "build", "check", "make_dataset"]


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


def check(
    what: str | PathLike[str] | Dataset, /, *, workers: int | None = None, **options: Any
) -> Report:
    """Decode records, or the files of a data set, and collect all that is wrong with them.

    Args:
        what: Folder of records; or one of `DATASETS` or a `Dataset`, whose source is then checked.
        workers: Number of processes; None: all cores that have enough to do.
        **options: Of the data set, as for `build`.

    Returns:
        The findings and counts; `print` it, `save` it.

    Raises:
        ValueError, OSError: There is nothing to check; one sentence with the remedy.
    """
    if isinstance(what, str) and what in DATASETS:
        what = make_dataset(what, **options)
    elif options:
        raise ValueError(f"{what} takes no {', '.join(options)}; leave it out")
    with quiet_stderr():  # imported here: it imports TensorFlow, which takes seconds
        from .checker import check_records, check_source
    if isinstance(what, Dataset):
        return check_source(what, workers)
    return check_records(Path(what).expanduser(), workers)
