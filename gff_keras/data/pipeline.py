"""From TFRecords to batches with tf.data.

Which example comes next, and all that is drawn for it, is a stateless function of the seed and a
running number. So batches do not depend on how many threads tf.data chooses, and reading can start
at any step and be shared out among workers without reading what others read.
"""

from __future__ import annotations

import math
from os import PathLike
from typing import Literal

import numpy as np
import tensorflow as tf

from gff_keras.data.augmentation import Augmentation
from gff_keras.data.crops import random_crops
from gff_keras.data.decoding import decode_example
from gff_keras.data.labels import IGNORE_LABEL
from gff_keras.data.reading import Records
from gff_keras.data.skipping import SkippedRecords, prepared

_MAX_INT = 2**31 - 1


def training_dataset(
    data_dir: str | PathLike[str],
    split: str = "train",
    *,
    batch_size: int,
    augmentation: Augmentation,
    image_size: tuple[int, int] | None = None,
    seed: int = 0,
    repeat: bool = True,
    start_step: int = 0,
    shard: tuple[int, int] | tf.distribute.InputContext = (0, 1),
    cache: bool | Literal["auto"] = "auto",
    with_ids: bool = False,
    on_error: Literal["stop", "skip"] = "stop",
    skipped: SkippedRecords | None = None,
) -> tf.data.Dataset:
    """Return shuffled, augmented batches.

    One seed gives one sequence of batches in every process; with `repeat`, whatever
    `tf.random.set_seed` was given. Every epoch is another permutation of all examples.

    Args:
        data_dir: Folder of records.
        split: Name of a split.
        batch_size: Examples in a batch.
        augmentation: What to draw; its crop_size is the size of the batches.
        image_size: (height, width) to resize to before augmentation; None keeps the size.
        seed: Number in 0..2^31-1.
        repeat: Go on for ever; a batch may reach from one epoch into the next. False: each
            iteration is a new epoch, and examples that fill no batch are left out.
        start_step: Begin with the batch that would be number `start_step` (from 0): for a run that
            goes on where another stopped. Nothing before it is read. Needs `repeat`.
        shard: (index, count) of this worker, or what tf.distribute hands to an input function. The
            workers' examples are disjoint, and together every example once per epoch.
        cache: "auto" keeps in memory what every epoch needs again: all pixels (after `image_size`)
            if they take at most `gff_keras.data.CACHE_LIMIT` bytes, else the encoded records if
            they do. True: the latter whatever they take. False: nothing.
        with_ids: Add the ids.
        on_error: What to do at a damaged record: "stop", or "skip", where the next whole example
            takes its place too, so that steps keep their numbers.
        skipped: Is told what was skipped; without it, skipping writes warnings alone.

    Returns:
        Data set of uint8 images (batch_size, h, w, 3), uint8 labels (batch_size, h, w) and, if
        asked for, ids (batch_size,).

    Raises:
        FileNotFoundError, ValueError: As `num_examples`, or an argument is out of its range.
        tf.errors.InvalidArgumentError: While reading: a record is damaged; names folder, shard,
            record and id.
    """
    _check_range(1, batch_size=batch_size)
    _check_range(0, seed=seed, start_step=start_step)
    worker, workers = _index_and_count(shard)
    if start_step and not repeat:
        raise ValueError(f"start_step={start_step} counts steps of an endless run: set repeat=True")
    records = Records(data_dir, split)
    size = records.size
    own = len(range(worker, size, workers))  # of an epoch
    if batch_size > own and not repeat:
        raise ValueError(
            f"batch_size={batch_size} exceeds the {size} examples of split {split!r} in "
            f"{data_dir}, so one epoch has no full batch; lower it or set repeat=True"
        )
    if not isinstance(augmentation, Augmentation):
        raise ValueError(
            f"augmentation={augmentation}: give an Augmentation; a batch needs its crop_size."
        )
    skipped = _taking_failures(on_error, skipped)
    crop = random_crops(records, augmentation, image_size, cache)

    spec = (
        tf.TensorSpec((*augmentation.crop_size, 3), tf.uint8),
        tf.TensorSpec(augmentation.crop_size, tf.uint8),
        tf.TensorSpec((), tf.string),
    )[: 3 if with_ids else 2]

    def examples(epoch, first, end):
        """Examples of this worker's positions; they go on through the epochs after `epoch`."""

        def place(position):
            """The seed of the position's epoch, and the place in it."""
            count = position * workers + worker
            at = tf.cast(epoch + count // size, tf.int32)
            return tf.random.fold_in((seed, 0), at), count % size

        def number(position):
            epoch_seed, i = place(position)
            return _shuffled(i, size, epoch_seed)

        def prepare(position):
            epoch_seed, i = place(position)
            example_seed = tf.random.fold_in(epoch_seed, tf.cast(i, tf.int32))
            chosen = _shuffled(i, size, epoch_seed)
            image, label = crop(chosen, example_seed)
            return (image, label, records.read(chosen)["id"]) if with_ids else (image, label)

        return prepared(first, end, number, prepare, spec, records, skipped)

    if repeat:
        batches = examples(0, start_step * batch_size, tf.int64.max // workers)
        steps = tf.data.INFINITE_CARDINALITY
    else:  # a new number each time somebody iterates, else all epochs of a loop were alike
        epochs = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).take(1)
        batches = epochs.flat_map(lambda epoch: examples(epoch, 0, own))
        steps = own // batch_size
    batches = batches.batch(batch_size, drop_remainder=True)
    if skipped is None or repeat:
        batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    return _finish(batches, shared_out=workers > 1)


def evaluation_dataset(
    data_dir: str | PathLike[str],
    split: str = "val",
    *,
    batch_size: int = 1,
    image_size: tuple[int, int] | None = None,
    with_ids: bool = False,
    on_error: Literal["stop", "skip"] = "stop",
    skipped: SkippedRecords | None = None,
) -> tf.data.Dataset:
    """Return all examples of a split once, in the order of the records, unchanged.

    Args:
        data_dir: Folder of records.
        split: Name of a split.
        batch_size: Examples in a batch; the last may have fewer. Smaller images of a batch are
            padded on the right and at the bottom, with 0 and ignore label.
        image_size: (height, width) to resize to; None keeps the size.
        with_ids: Add the ids.
        on_error: What to do at a damaged record: "stop", or "skip" it.
        skipped: Is told what was skipped; without it, skipping writes warnings alone.

    Returns:
        Data set of uint8 images (B, H, W, 3), uint8 labels (B, H, W) and, if asked for, ids (B,).

    Raises: as `training_dataset`.
    """
    _check_range(1, batch_size=batch_size)
    records = Records(data_dir, split)
    skipped = _taking_failures(on_error, skipped)

    def prepare(number):
        record = records.read(number)
        return *decode_example(record, records.num_classes, image_size), record["id"]

    height_width = image_size or (None, None)
    spec = (
        tf.TensorSpec((*height_width, 3), tf.uint8),
        tf.TensorSpec(height_width, tf.uint8),
        tf.TensorSpec((), tf.string),
    )
    examples = prepared(
        0, records.size, lambda position: position, prepare, spec, records, skipped, refill=False
    )
    batches = examples.padded_batch(
        batch_size, padding_values=(np.uint8(0), np.uint8(IGNORE_LABEL), "")
    )
    if skipped is None:
        steps = math.ceil(records.size / batch_size)
        batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    if not with_ids:
        batches = batches.map(lambda image, label, _: (image, label))
    return _finish(batches)


def _taking_failures(on_error, skipped):
    """The `SkippedRecords` that failures go to; None: they stop."""
    if on_error not in ("stop", "skip"):
        raise ValueError(f"on_error={on_error!r}: give 'stop' or 'skip'")
    if on_error == "stop":
        return None
    return SkippedRecords() if skipped is None else skipped


def _shuffled(index, size, seed):
    """Return where an index goes in the permutation of 0..size-1 that the seed names."""
    # It takes a key of three numbers; tf.random.experimental.index_shuffle fills up two, and then
    # there are 256 orders only.
    key = tf.random.stateless_uniform((3,), seed, None, None, tf.int32)
    last = tf.constant(size - 1, tf.int64)
    return tf.raw_ops.RandomIndexShuffle(index=index, seed=key, max_index=last)


def _index_and_count(shard):
    if isinstance(shard, tf.distribute.InputContext):
        return shard.input_pipeline_id, shard.num_input_pipelines
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"shard={shard}: give (index, count) with 0 <= index < count")
    return index, count


def _check_range(low, **arguments):
    for name, value in arguments.items():
        if not low <= value <= _MAX_INT:
            raise ValueError(f"{name}={value}: give a whole number in {low}..{_MAX_INT}")


def _finish(batches, shared_out=False):
    options = tf.data.Options()
    options.deterministic = True
    # Workers share out the examples, however few shards there are to share out.
    policy = tf.data.experimental.AutoShardPolicy
    options.experimental_distribute.auto_shard_policy = policy.OFF if shared_out else policy.DATA
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)
