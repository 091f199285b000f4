"""From TFRecords to batches with tf.data.

Every random draw is a stateless function of (seed, epoch, position in the epoch), so batches do not
depend on how many threads tf.data chooses.
"""

from __future__ import annotations

from os import PathLike

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from gff_keras.data.augmentation import Augmentation, augment, resize_pair
from gff_keras.data.labels import IGNORE_LABEL

_BUILD = "`python -m tfrecords_tools build`"
_MAX_INT = 2**31 - 1


def open_records(data_dir: str | PathLike[str]):
    """Return the tensorflow-datasets builder of a folder of records.

    Raises:
        FileNotFoundError: The folder is missing, holds no data set or lacks shards.
        ValueError: The data set's description is unreadable or lacks a feature.
    """
    path = str(data_dir)
    if not tf.io.gfile.isdir(path):
        raise FileNotFoundError(f"{path} is no folder; give one that {_BUILD} wrote")
    names = set(tf.io.gfile.listdir(path))
    for name in ("dataset_info.json", "features.json"):
        if name not in names:
            raise FileNotFoundError(f"{path} holds no data set: no {name}; write it with {_BUILD}")
    try:
        builder = tfds.builder_from_directory(path)
    except Exception as error:  # JSON, protocol buffer and feature errors have no common class
        raise ValueError(f"{path} is unreadable ({error}); write it with {_BUILD}") from error
    wanted = {name for split in builder.info.splits.values() for name in split.filenames}
    if missing := sorted(wanted - names):
        raise FileNotFoundError(
            f"{path} is incomplete: {missing[0]} is missing, {len(missing)} of {len(wanted)} files "
            f"in all; write it again with {_BUILD}"
        )
    _check_features(path, builder.info.features)
    return builder


def num_examples(data_dir: str | PathLike[str], split: str) -> int:
    """Return how many examples a split has.

    Raises:
        FileNotFoundError, ValueError: As `open_records`, or the split is absent or empty.
    """
    return _split_size(open_records(data_dir), data_dir, split)


def training_dataset(
    data_dir: str | PathLike[str],
    split: str = "train",
    *,
    batch_size: int,
    augmentation: Augmentation,
    image_size: tuple[int, int] | None = None,
    seed: int = 0,
    shuffle_buffer: int = 1000,
    repeat: bool = True,
) -> tf.data.Dataset:
    """Return shuffled, augmented batches.

    One seed gives one sequence of batches in every process; with `repeat`, whatever
    `tf.random.set_seed` was given.

    Args:
        data_dir: Folder of records.
        split: Name of a split.
        batch_size: Examples in a batch.
        augmentation: What to draw; its crop_size is the size of the batches.
        image_size: (height, width) to resize to before augmentation; None keeps the size.
        seed: Number in 0..2^31-1.
        shuffle_buffer: Encoded examples held in memory for shuffling.
        repeat: Go on for ever; a batch may reach from one epoch into the next. False: each
            iteration is a new epoch, and examples that fill no batch are left out.

    Returns:
        Data set of uint8 images (batch_size, h, w, 3) and uint8 labels (batch_size, h, w).

    Raises:
        FileNotFoundError, ValueError: As `num_examples`, or an argument is out of its range.
        tf.errors.InvalidArgumentError: While reading: a record is damaged; names its id.
    """
    builder = open_records(data_dir)
    size = _split_size(builder, data_dir, split)
    _check_range(1, batch_size=batch_size, shuffle_buffer=shuffle_buffer)
    _check_range(0, seed=seed)
    if batch_size > size and not repeat:
        raise ValueError(
            f"batch_size={batch_size} exceeds the {size} examples of split {split!r} in "
            f"{data_dir}, so one epoch has no full batch; lower it or set repeat=True"
        )

    @tf.autograph.experimental.do_not_convert  # it warns about tensorflow-datasets' decorators
    def epoch_records(epoch):
        # Shuffling mixes the graph's seed into its own; this function's graph gets a fixed one.
        tf.compat.v1.set_random_seed(1)
        epoch_seed = tf.random.fold_in((seed, 0), tf.cast(epoch, tf.int32))  # (2,)
        shuffle_seed = tf.random.stateless_uniform((), epoch_seed, 0, _MAX_INT, tf.int64)
        records = _encoded_records(builder, split, shuffle_seed)
        records = records.shuffle(shuffle_buffer, shuffle_seed, reshuffle_each_iteration=False)
        seeds = tf.data.Dataset.range(size).map(
            lambda position: tf.random.fold_in(epoch_seed, tf.cast(position, tf.int32))
        )
        return tf.data.Dataset.zip(records, seeds)

    def prepare(record, example_seed):
        image, label, _ = _decode(record, data_dir, image_size)
        return augment(image, label, example_seed, augmentation)

    if repeat:
        epochs, steps = tf.data.Dataset.counter(), tf.data.INFINITE_CARDINALITY
    else:  # a new number each time somebody iterates, else all epochs of a loop were alike
        epochs = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).take(1)
        steps = size // batch_size
    batches = (
        epochs.flat_map(epoch_records)
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .apply(tf.data.experimental.assert_cardinality(steps))
    )
    return _finish(batches)


def evaluation_dataset(
    data_dir: str | PathLike[str],
    split: str = "val",
    *,
    batch_size: int = 1,
    image_size: tuple[int, int] | None = None,
    with_ids: bool = False,
) -> tf.data.Dataset:
    """Return all examples of a split once, in the order of the records, unchanged.

    Args:
        data_dir: Folder of records.
        split: Name of a split.
        batch_size: Examples in a batch; the last may have fewer. Smaller images of a batch are
            padded on the right and at the bottom, with 0 and ignore label.
        image_size: (height, width) to resize to; None keeps the size.
        with_ids: Add the ids.

    Returns:
        Data set of uint8 images (B, H, W, 3), uint8 labels (B, H, W) and, if asked for, ids (B,).

    Raises: as `training_dataset`.
    """
    builder = open_records(data_dir)
    _split_size(builder, data_dir, split)
    _check_range(1, batch_size=batch_size)

    def prepare(record):
        example = _decode(record, data_dir, image_size)
        return example if with_ids else example[:2]

    padding = (np.uint8(0), np.uint8(IGNORE_LABEL), "")
    batches = (
        _encoded_records(builder, split)
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .padded_batch(batch_size, padding_values=padding if with_ids else padding[:2])
    )
    return _finish(batches)


def _check_features(path, features):
    found = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    wanted = dict(image=tfds.features.Image, label=tfds.features.Image, id=tfds.features.Text)
    fits = all(isinstance(found.get(name), kind) for name, kind in wanted.items())
    if not fits or found["label"].shape[-1] != 1 or found["label"].np_dtype != np.uint8:
        raise ValueError(
            f"{path} holds {found or features}, not 'image' (RGB), 'label' (uint8, (H, W, 1)) and "
            f"'id' (text); write it with {_BUILD}"
        )


def _split_size(builder, data_dir, split):
    sizes = {name: info.num_examples for name, info in builder.info.splits.items()}
    if split not in sizes:
        raise ValueError(f"{data_dir} has no split {split!r}; choose from: {', '.join(sizes)}")
    if not sizes[split]:
        raise ValueError(f"split {split!r} in {data_dir} is empty; write it again with {_BUILD}")
    return sizes[split]


def _check_range(low, **arguments):
    for name, value in arguments.items():
        if not low <= value <= _MAX_INT:
            raise ValueError(f"{name}={value}: give a whole number in {low}..{_MAX_INT}")


def _encoded_records(builder, split, shuffle_seed=None):
    """Read undecoded records: shards in order, or shuffled and interleaved under a seed."""
    shuffle = shuffle_seed is not None
    config = tfds.ReadConfig(
        shuffle_seed=shuffle_seed,
        shuffle_reshuffle_each_iteration=False,
        interleave_cycle_length=16 if shuffle else 1,
        enable_ordering_guard=False,  # records that were written in order are shuffled on purpose
        try_autocache=False,
    )
    decoders = dict.fromkeys(("image", "label"), tfds.decode.SkipDecoding())
    return builder.as_dataset(split, shuffle_files=shuffle, decoders=decoders, read_config=config)


def _decode(record, data_dir, image_size):
    """Return image (H, W, 3), label (H, W) and id of an encoded record, or fail with its id."""

    def decode(record):
        image = tf.io.decode_image(record["image"], channels=3, expand_animations=False)
        label = tf.io.decode_image(record["label"], channels=0, expand_animations=False)
        return image, label

    def fail(record):
        with _assert(False, record, data_dir, "its image or label cannot be decoded"):
            return tf.zeros((0, 0, 3), tf.uint8), tf.zeros((0, 0, 0), tf.uint8)

    # A graph cannot catch the error of an operation and decoders do not know the id. A data set
    # can: drop what fails to decode, and reach for the failure with the id if nothing is left.
    one = tf.data.Dataset.from_tensors(record)
    decoded = one.map(decode).ignore_errors(log_warning=True)
    image, label = decoded.concatenate(one.map(fail)).take(1).get_single_element()

    fits = tf.reduce_all(tf.shape(label) == [*tf.unstack(tf.shape(image)[:2]), 1])
    with _assert(fits, record, data_dir, "its label is no grey image of the image's size"):
        image, label = tf.identity(image), tf.squeeze(label, -1)
    if image_size is not None:
        image, label = resize_pair(image, label, image_size)
    return image, label, record["id"]


def _assert(condition, record, data_dir, problem):
    """Return a context whose operations run only if the condition holds."""
    message = [f"{data_dir}: record '", record["id"], f"': {problem}; correct it and build again"]
    check = tf.debugging.Assert(condition, [tf.strings.join(message)])
    return tf.control_dependencies([check])


def _finish(batches):
    options = tf.data.Options()
    options.deterministic = True
    # Workers share out the examples, however few shards there are to share out.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)
