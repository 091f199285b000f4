"""From a data set to a folder of records, by tensorflow-datasets.

A build is written into `incomplete.NAME` beside the wanted folder NAME and renamed at the very end,
so a folder under its wanted name is always complete.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core.utils.shard_utils import ShardConfig

from gff_keras.data.labels import METADATA_FILE

from .beam_path import pipeline_options, pipeline_steps, readable_errors
from .dataset import Dataset, Items, as_features
from .parallel import Map, default_workers, worker_pool

SHARD_SIZE_MB = 256
MARKER = ".tfrecords_tools"  # says that a folder incomplete.NAME is a leftover of ours


class SegmentationBuilder(  # type: ignore[call-arg]
    tfds.core.GeneratorBasedBuilder, skip_registration=True
):
    """Writes images, masks of training indices and ids, with their label set.

    Kept out of tfds's table of names: it needs arguments that `tfds.load` lacks.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, dataset: Dataset, splits: Mapping[str, Any], **kwargs: Any) -> None:
        self.name = dataset.name
        self._dataset, self._splits = dataset, splits
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        label_set = self._dataset.label_set
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Semantic segmentation with the classes of {label_set.name}.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),  # JPEG or PNG, as it came
                    "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
                    "id": tfds.features.Text(),
                }
            ),
            metadata=tfds.core.MetadataDict(label_set=label_set.to_dict()),
        )

    def _split_generators(self, dl_manager: Any) -> Mapping[str, Any]:
        del dl_manager  # nothing is downloaded
        return self._splits

    def _generate_examples(self) -> None:
        """Unused: the splits come as generators already, or as steps of a Beam pipeline."""


@dataclass(frozen=True)
class _Examples:
    """Examples for tfds; their number is what its progress bar counts up to."""

    dataset: Dataset
    items: Items
    run: Map

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        return map(as_features, self.run(self.dataset.read_item, self.items))


class _Shards(ShardConfig):
    """Shards as large as asked for; tfds 4.9 has the option but always takes its defaults."""

    def get_number_shards(
        self, total_size: int, num_examples: int, uses_precise_sharding: bool = True
    ) -> int:
        del uses_precise_sharding
        total = total_size + num_examples * self.overhead
        return min(num_examples, math.ceil(total / self.max_shard_size))


class _Config(tfds.download.DownloadConfig):
    def get_shard_config(self) -> ShardConfig:
        return _Shards(max_shard_size=self.max_shard_size)


def write_records(
    dataset: Dataset,
    out: Path,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    shard_size_mb: int = SHARD_SIZE_MB,
    beam_workers: int = 0,
    beam_options: str = "",
) -> Path:
    """Write a data set so that `out` directly holds its records, or nothing at all.

    Args:
        dataset: What to write.
        out: Folder for dataset_info.json, features.json, metadata.json (the label set) and shards.
        overwrite: Replace records that are there already.
        workers: Number of processes that read and encode; None: `default_workers`.
        shard_size_mb: A split gets the fewest shards that hold this many MiB on average at most,
            all with the same number of examples (one more or less; Beam: about the same).
        beam_workers: Build with Apache Beam in so many processes of this machine.
        beam_options: Or: flags of a Beam pipeline, e.g. "--runner=FlinkRunner ...".

    Returns:
        `out`.

    Raises:
        ValueError, FileNotFoundError: As the data set raised it.
        FileExistsError: `out` holds something that must not be replaced.
        ChildProcessError: The system ended a worker.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"--workers {workers} cannot work; give 1 or more")
    if beam_workers < 0:
        raise ValueError(f"--beam_workers {beam_workers} cannot work; give 1 or more")
    if shard_size_mb < 1:
        raise ValueError(f"--shard_size_mb {shard_size_mb} is too small; give 1 or more")
    out = out.expanduser().resolve()
    _refuse_existing(out, overwrite)
    splits = dataset.split_items()
    counts = {name: len(items) for name, items in splits.items()}
    for sentence in dataset.size_warnings(counts):
        print(f"warning: {sentence}", file=sys.stderr)
    config = _Config(try_download_gcs=False, max_shard_size=shard_size_mb * 2**20)
    if beam_workers or beam_options:
        config.beam_options = pipeline_options(beam_workers, beam_options)
    with _staging(out) as staging, _quiet(), ExitStack() as stack:
        generators: Mapping[str, Any]
        if config.beam_options is not None:
            generators = pipeline_steps(dataset, splits, staging)
        else:
            run = stack.enter_context(worker_pool(workers or default_workers(sum(counts.values()))))
            generators = {name: _Examples(dataset, items, run) for name, items in splits.items()}
        builder = SegmentationBuilder(dataset, generators, data_dir=str(staging))
        with readable_errors(staging), _disk_errors(out):
            builder.download_and_prepare(download_dir=str(staging), download_config=config)
        _put_in_place(Path(builder.data_dir), out, staging / "replaced")
    return out


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep tfds's notices away; its progress bars go to the standard error."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


@contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    """Raise an OSError when TensorFlow cannot write, e.g. because the disk is full."""
    try:
        yield
    except (RuntimeError, tf.errors.OpError) as error:
        cause = error if isinstance(error, tf.errors.OpError) else error.__cause__
        if not isinstance(cause, tf.errors.OpError):
            raise
        reason = cause.message.rpartition(";")[2].strip()
        raise OSError(f"{out} could not be written: {reason}") from None


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """Give the folder `incomplete.NAME` beside `out`; it is gone at the end."""
    staging = out.with_name(f"incomplete.{out.name}")
    if (staging / MARKER).is_file():
        shutil.rmtree(staging)  # what a killed run left
    elif staging.exists() and (not staging.is_dir() or any(staging.iterdir())):
        raise FileExistsError(
            f"{staging} is needed for the build but is not ours; move it away or give another --out"
        )
    try:
        staging.mkdir(parents=True, exist_ok=True)
        (staging / MARKER).touch()
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _put_in_place(new: Path, out: Path, replaced: Path) -> None:
    if out.exists():
        out.rename(replaced)
    try:
        new.rename(out)
    except OSError:
        if replaced.exists():
            replaced.rename(out)
        raise


def _refuse_existing(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise FileExistsError(f"{out} is a file; give --out the path of a folder")
    entries = sorted(path.name for path in out.iterdir())
    known = ("dataset_info.json", "features.json", METADATA_FILE)
    foreign = [name for name in entries if name not in known and ".tfrecord" not in name]
    if foreign:  # never delete what no build wrote
        raise FileExistsError(
            f"{out} holds other files ({foreign[0]}, ...); give --out a new or empty folder"
        )
    if entries and not overwrite:
        raise FileExistsError(
            f"{out} already holds records; add --overwrite to replace them or give another --out"
        )
