"""From a data set to a folder of records, by tensorflow-datasets."""

from __future__ import annotations

import math
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

from .beam_path import pipeline_options, pipeline_steps, readable_errors
from .dataset import Dataset, Items, as_features
from .output import Output, put_in_place, refuse_existing, staging_folder
from .parallel import Map, default_workers, worker_pool


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


def write_records(dataset: Dataset, output: Output) -> Path:
    """Write a data set so that the folder `output.out` directly holds its records, or nothing.

    Returns:
        The absolute path of the folder with dataset_info.json, features.json, metadata.json (the
        label set) and the shards.

    Raises:
        ValueError, FileNotFoundError: As the data set raised it, or options do not fit.
        FileExistsError: The folder holds something that must not be replaced.
        OSError: The disk is full, or the system ended a worker.
    """
    output.check()
    out = output.out.expanduser().resolve()
    refuse_existing(out, output.overwrite)
    splits = dataset.split_items()
    counts = {name: len(items) for name, items in splits.items()}
    for sentence in dataset.size_warnings(counts):
        print(f"warning: {sentence}", file=sys.stderr)
    config = _Config(try_download_gcs=False, max_shard_size=output.shard_size_mb * 2**20)
    with staging_folder(out) as staging, _quiet(), ExitStack() as stack:
        refuse_existing(out, output.overwrite)  # what a killed run had moved away is back
        generators: Mapping[str, Any]
        if output.beam_workers or output.beam_options:
            config.beam_options = pipeline_options(output.beam_workers, output.beam_options)
            generators = pipeline_steps(dataset, splits, staging)
        else:
            workers = output.workers or default_workers(sum(counts.values()))
            run = stack.enter_context(worker_pool(workers))
            generators = {name: _Examples(dataset, items, run) for name, items in splits.items()}
        builder = SegmentationBuilder(dataset, generators, data_dir=str(staging))
        with readable_errors(staging), _disk_errors(out):
            builder.download_and_prepare(download_dir=str(staging), download_config=config)
        put_in_place(Path(builder.data_dir), out, staging)
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
