"""The Beam path of tensorflow-datasets, for data sets that outgrow one machine.

tfds takes the steps of a pipeline in place of generators; reading, encoding, shuffling and writing
then happen wherever the pipeline's runner has workers.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .dataset import Dataset, Item, Items, as_features

ERROR_FILE = "error.txt"  # in the folder that all workers write to


def pipeline_options(workers: int, flags: str) -> Any:
    """Options of the pipeline: any runner by its flags, or `workers` processes on this machine.

    Raises:
        ValueError: apache-beam is not installed, or both are given.
    """
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise ValueError(
            "Beam needs apache-beam, which is not installed; `pip install -e '.[beam]'` in an "
            "environment of its own"
        ) from None
    if workers and flags:
        raise ValueError("--beam_workers and --beam_options exclude each other; give one of them")
    local = [
        "--runner=FnApiRunner",
        "--direct_running_mode=multi_processing",
        "--default_sdk_harness_log_level=WARNING",
    ]
    return PipelineOptions(
        shlex.split(flags) if flags else [*local, f"--direct_num_workers={workers}"]
    )


def pipeline_steps(dataset: Dataset, splits: Mapping[str, Items], shared: Path) -> dict[str, Any]:
    """For each split, the step that makes a pipeline give its examples.

    Args:
        dataset: What to read.
        splits: Its items.
        shared: Folder that all workers can write to, for the first error.

    Raises:
        ValueError: The items are no list but come one after the other.
    """
    import apache_beam as beam

    steps = {}
    for name, items in splits.items():
        if not isinstance(items, Sequence):
            raise ValueError(f"{dataset.name} is read in one stream; build it without Beam")
        read = beam.Map(ReadItem(dataset, shared / ERROR_FILE))
        steps[name] = beam.Create(list(items)) | beam.Reshuffle() | read
    return steps


@dataclass(frozen=True)
class ReadItem:
    """Reads an item in a worker; what goes wrong is written down, for Beam wraps it in pages."""

    dataset: Dataset
    error_file: Path

    def __call__(self, item: Item) -> tuple[str, dict[str, Any]]:
        try:
            return as_features(self.dataset.read_item(item))
        except (ValueError, OSError) as error:
            self.error_file.write_text(str(error))
            raise


@contextmanager
def readable_errors(shared: Path) -> Iterator[None]:
    """Raise what `ReadItem` wrote down instead of what Beam made of it.

    Raises:
        ValueError: A worker could not read an item.
    """
    try:
        yield
    except Exception:
        error_file = shared / ERROR_FILE
        if error_file.is_file():
            raise ValueError(error_file.read_text()) from None
        raise
