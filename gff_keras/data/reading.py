"""Records by number: in any order, without a shuffle buffer, each failure with shard and record.

A shard of TFRecords is a row of lengths and records. Following the lengths once gives the place of
every record, so that one can be read alone; resuming and sharing out then need no reading at all.
"""

from __future__ import annotations

from os import PathLike

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from gff_keras.data.decoding import damage

_BUILD = "`python -m tfrecords_tools build`"
_FRAME = 16  # bytes around a record: its length (8), and two checksums


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
    return _split(open_records(data_dir), data_dir, split).num_examples


class Records:
    """The encoded examples of a split, numbered from 0 in the order of the shards.

    Args:
        data_dir: Folder of records.
        split: Name of a split.

    Attributes:
        size: How many there are.
        nbytes: How much space they take.
        num_classes: Of the data set's label set; None without one.

    Raises:
        FileNotFoundError, ValueError: As `num_examples`.
    """

    def __init__(self, data_dir, split) -> None:
        builder = open_records(data_dir)
        info = _split(builder, data_dir, split)
        self.data_dir = data_dir
        self.size = info.num_examples
        label_set = (builder.info.metadata or {}).get("label_set")  # others' records have none
        self.num_classes = len(label_set["classes"]) if label_set else None
        self._features = builder.info.features
        self._files = [str(path) for path in info.filepaths]
        lengths = info.shard_lengths
        places = [_places(path, n) for path, n in zip(info.filepaths, lengths, strict=True)]
        self._shards = np.repeat(np.arange(len(lengths)), lengths)
        self._numbers = np.concatenate([np.arange(n) for n in lengths])
        # Tensors, for a graph that takes them in instead of writing them out.
        self._paths = tf.constant([self._files[shard] for shard in self._shards])
        self._places = tf.constant(np.concatenate([place[:-1] for place in places]))
        self.nbytes = int(sum(place[-1] for place in places))
        self._loaded = None

    def load(self) -> None:
        """Keep all records in memory, encoded; one that cannot be read stays damaged."""

        def read(number):
            one = tf.data.Dataset.from_tensors(number).map(self._serialized).ignore_errors()
            return one.concatenate(tf.data.Dataset.from_tensors("")).take(1).get_single_element()

        records = tf.data.Dataset.range(self.size).map(read, num_parallel_calls=tf.data.AUTOTUNE)
        self._loaded = records.batch(self.size).get_single_element()

    def read(self, number):
        """Return the encoded `image` and `label` and the `id` of a record.

        Args:
            number: int64 tensor, 0..size-1.

        Raises:
            tf.errors.OpError: The record is damaged; `explain` says where.
        """
        serialized = self._serialized(number) if self._loaded is None else self._loaded[number]
        decoders = dict.fromkeys(("image", "label"), tfds.decode.SkipDecoding())
        return self._features.deserialize_example(serialized, decoders=decoders)

    def explain(self, number: int) -> str:
        """Return a sentence on what is wrong with a record; empty if it is whole."""
        shard = self._files[self._shards[number]].rsplit("/", 1)[-1]
        place = f"{shard}, record {self._numbers[number]}"
        try:
            record = self.read(tf.constant(number, tf.int64))
        except tf.errors.OpError:
            return (
                f"{self.data_dir}: {place}: it cannot be read, the file is cut off or damaged; "
                "build again"
            )
        if problem := damage(record, self.num_classes):
            name = record["id"].numpy().decode(errors="replace")
            return (
                f"{self.data_dir}: record '{name}' ({place}): {problem}; correct it and build again"
            )
        return ""

    def _serialized(self, number):
        # The one reader that starts in the middle of a file; tf.data's classes do not offer it.
        rest = tf.raw_ops.TFRecordDatasetV2(
            filenames=self._paths[number][None],
            compression_type="",
            buffer_size=tf.constant(0, tf.int64),  # a record is read in one piece
            byte_offsets=self._places[number][None],
        )
        kind = dict(output_types=[tf.string], output_shapes=[()])
        first = tf.raw_ops.TakeDataset(input_dataset=rest, count=tf.constant(1, tf.int64), **kind)
        return tf.raw_ops.DatasetToSingleElement(dataset=first, **kind)[0]


def _places(path, count):
    """Return where each record of a shard starts, (count + 1,), in bytes, and where the last ends.

    In a file that was cut off, the lost ones start at its end.
    """
    end = tf.io.gfile.stat(str(path)).length
    places = np.zeros(count + 1, np.int64)
    with path.open("rb") as file:
        for number in range(count):
            file.seek(places[number])
            length = int.from_bytes(file.read(8), "little")
            places[number + 1] = min(int(places[number]) + length + _FRAME, end)
    return places


def _check_features(path, features):
    found = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    wanted = dict(image=tfds.features.Image, label=tfds.features.Image, id=tfds.features.Text)
    fits = all(isinstance(found.get(name), kind) for name, kind in wanted.items())
    if not fits or found["label"].shape[-1] != 1 or found["label"].np_dtype != np.uint8:
        raise ValueError(
            f"{path} holds {found or features}, not 'image' (RGB), 'label' (uint8, (H, W, 1)) and "
            f"'id' (text); write it with {_BUILD}"
        )


def _split(builder, data_dir, split):
    splits = builder.info.splits
    if split not in splits:
        raise ValueError(f"{data_dir} has no split {split!r}; choose from: {', '.join(splits)}")
    if not splits[split].num_examples:
        raise ValueError(f"split {split!r} in {data_dir} is empty; write it again with {_BUILD}")
    return splits[split]
