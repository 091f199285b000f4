"""Check records, or a data set's files before they are built: decode all, collect what is wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from tqdm import tqdm

from gff_keras.data.labels import IGNORE_LABEL, LabelSet

from .dataset import Dataset, Item
from .examine import Examined, Finding, examine
from .files import collect_missing
from .fit import SKETCH_BYTES, SUSPICIOUS, compare_fits
from .parallel import default_workers, worker_pool
from .report import Report, Split, list_some
from .shards import read_shard

Record = tuple[Finding, bytes, bytes]  # place, encoded image, encoded mask
# Splits that share images by definition.
OVERLAPS = {"train+trainval", "trainval+val", "train+trainaug", "trainaug+trainval"}


def check_records(folder: Path, workers: int | None = None) -> Report:
    """Check a folder of records.

    Args:
        folder: As `tfrecords_tools.build` writes it.
        workers: Number of processes; None: as many as are worth it.

    Raises:
        ValueError: It is no such folder.
    """
    if not (folder / "dataset_info.json").is_file():
        raise ValueError(
            f"{folder} holds no records (no dataset_info.json); give a folder that "
            "`python -m tfrecords_tools build` wrote, or the name of a data set"
        )
    labels = LabelSet.from_records(folder)
    try:
        splits = tfds.builder_from_directory(folder).info.splits
    except Exception as error:  # JSON, protocol buffer and feature errors have no common class
        raise ValueError(f"{folder} is unreadable ({error}); build it again") from None
    report = Report(str(folder), labels)
    report.splits = {name: Split(split.num_examples) for name, split in splits.items()}
    records = (
        record
        for name, split in splits.items()
        for path, count in zip(split.filepaths, split.shard_lengths, strict=True)
        for record in _readable_records(Path(path), count, name, report)
    )
    _examine_all(partial(_examine_record, num_classes=labels.num_classes), records, report, workers)
    named = {name for split in splits.values() for name in split.filenames}
    for path in sorted(folder.glob("*.tfrecord*")):
        if path.name not in named:
            place = Finding(file=path.name)
            report.warn("unknown shard", "dataset_info.json does not name it", place)
    return report


def check_source(dataset: Dataset, workers: int | None = None) -> Report:
    """Check the files of a data set as a build would read them, but to the end.

    Args:
        dataset: With its options.
        workers: Number of processes; None: as many as are worth it.

    Raises:
        ValueError, FileNotFoundError: The files cannot even be listed.
    """
    with collect_missing() as missing:
        items = dataset.split_items()
    counts = {name: len(part) for name, part in items.items()}
    report = Report(dataset.name, dataset.label_set)
    report.splits = {name: Split(count) for name, count in counts.items()}
    for sentence in missing:
        report.error("missing file", sentence)
    for sentence in dataset.size_warnings(counts):
        report.warn("split size", sentence)
    jobs = ((name, item) for name, part in items.items() for item in part)
    _examine_all(partial(_examine_item, dataset=dataset), jobs, report, workers)
    return report


def _readable_records(path: Path, expected: int, split: str, report: Report) -> Iterator[Record]:
    """Yield the records of a shard that can be read; report the others."""
    place = Finding(split=split, file=path.name)
    if not path.is_file():
        report.error("missing shard", f"records lost: {expected}", place)
        return
    number = -1
    for number, (data, wrong) in enumerate(read_shard(path)):
        record = replace(place, record=number)
        if data is None:
            lost = max(1, expected - number)
            report.error("broken shard", f"{wrong}; records lost from here: {lost}", record)
            return
        try:
            key, image, mask = _parse(data)
        except ValueError as error:
            report.error("corrupt record", wrong or str(error), record)
            continue
        record = replace(record, id=key)
        if wrong:
            report.error("corrupt record", wrong, record)
        else:
            yield record, image, mask
    if number + 1 != expected:
        message = f"it holds {number + 1} records, but dataset_info.json says {expected}"
        report.error("wrong count", message, place)


def _parse(data: bytes) -> tuple[str, bytes, bytes]:
    """Return id, image and mask of a record, both encoded."""
    try:
        features = tf.train.Example.FromString(data).features.feature
        key, image, mask = (features[n].bytes_list.value[0] for n in ("id", "image", "label"))
    except (DecodeError, IndexError):
        raise ValueError("it holds no example with image, label and id") from None
    return key.decode(errors="replace"), image, mask


def _examine_record(record: Record, num_classes: int) -> Examined:
    return examine(*record, num_classes)


def _examine_item(job: tuple[str, Item], dataset: Dataset) -> Examined:
    split, item = job
    try:
        key, image, mask = dataset.read_item(item)
    except (ValueError, OSError) as error:
        examined = Examined(Finding(split=split, id=getattr(item, "id", "")))
        examined.find("unusable source", str(error))
        return examined
    return examine(Finding(split=split, id=key), image, mask, dataset.label_set.num_classes)


def _examine_all(
    function: Callable[[Any], Examined], jobs: Iterable[Any], report: Report, workers: int | None
) -> None:
    """Examine in parallel, gather in order; compare the examples with each other at the end."""
    if workers is not None and workers < 1:
        raise ValueError(f"--workers {workers} cannot work; give 1 or more")
    total = sum(split.expected for split in report.splits.values())
    with ExitStack() as stack, worker_pool(workers or default_workers(total)) as run:
        sketches = _Sketches(stack)
        same: dict[bytes, list[Finding]] = defaultdict(list)
        unlabelled: list[Finding] = []
        for found in tqdm(run(function, jobs), total=total, desc="Checking", unit=" examples"):
            report.add(found)
            if found.digest:
                same[found.digest].append(found.place)
            if found.values is not None and found.values[IGNORE_LABEL] == found.values.sum():
                unlabelled.append(found.place)
            if found.sketch:
                sketches.add(found)
        sketches.compare(report)
    # Workers run behind the reader, whose findings would come earlier the more workers there are.
    report.errors.sort(key=lambda found: (found.file, -1 if found.record is None else found.record))
    _report_duplicates(same, report)
    _report_unlabelled(unlabelled, report)
    _report_absent_classes(report)


class _Sketches:
    """Sketches of each split, in temporary files, for a large data set has a gigabyte of them."""

    def __init__(self, stack: ExitStack):
        self._files: dict[str, IO[bytes]] = {}
        self._examples: dict[str, list[tuple[Finding, object]]] = defaultdict(list)
        self._stack = stack

    def add(self, found: Examined) -> None:
        split = found.place.split
        if split not in self._files:
            self._files[split] = self._stack.enter_context(TemporaryFile())
        self._files[split].write(found.sketch)
        self._examples[split].append((found.place, found.size))

    def compare(self, report: Report) -> None:
        for split, file in self._files.items():
            file.flush()
            places, sizes = zip(*self._examples[split], strict=True)
            shape = len(places), SKETCH_BYTES
            sketches = np.memmap(file, np.uint8, "r", shape=shape)
            fits = compare_fits(sketches, sizes)
            if fits is None:
                continue
            for image in fits.suspicious():
                rival, excess = places[fits.rival[image]].id, fits.excess[image]
                message = (
                    f"{rival}'s mask fits its edges better than its own mask "
                    f"(by {excess:.1f}, suspicious from {SUSPICIOUS}); exchanged?"
                )
                report.warn("suspicious mask", message, places[image])
            if fits.all_wrong:
                message = (
                    "its masks fit their own images no better than any others; are all images and "
                    "masks paired rightly?"
                )
                report.warn("suspicious split", message, Finding(split=split))


def _report_duplicates(same: dict[bytes, list[Finding]], report: Report) -> None:
    for places in same.values():
        counts = Counter(place.split for place in places)
        listed = list_some([f"{place.split}/{place.id}" for place in places])
        message = f"the same image {len(places)} times: {listed}"
        if any("+".join(pair) not in OVERLAPS for pair in combinations(sorted(counts), 2)):
            report.error("duplicate across splits", message)
        elif max(counts.values()) > 1:
            report.warn("duplicate within a split", message, Finding(split=places[0].split))


def _report_unlabelled(places: list[Finding], report: Report) -> None:
    for name, split in report.splits.items():
        ids = [place.id for place in places if place.split == name]
        if ids:
            message = f"{len(ids)} of {split.read} masks ignore every pixel: {list_some(ids)}"
            report.warn("nothing labelled", message, Finding(split=name))


def _report_absent_classes(report: Report) -> None:
    names, count = report.labels.classes, report.labels.num_classes
    pixels = {name: split.pixels[:count] for name, split in report.splits.items()}
    present = sum(pixels.values(), np.zeros(count, np.int64)) > 0
    absent = [names[index] for index in np.flatnonzero(~present)]
    if absent:
        message = f"{len(absent)} of {count} classes occur nowhere: {list_some(absent)}"
        report.warn("absent class", message)
    untaught = present & (pixels.get("train", np.ones(count)) == 0)
    if untaught.any():
        listed = list_some([names[index] for index in np.flatnonzero(untaught)])
        message = f"in other splits, but never in this one: {listed}"
        report.warn("absent class", message, Finding(split="train"))
