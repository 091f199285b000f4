"""Drawn scenes, what lies where in their records, and ways to damage them."""

import io
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

ROOT = Path(__file__).parents[2]
HEIGHT, WIDTH = 64, 96
SHARD = "street_scenes-{}.tfrecord-00000-of-00001"


def places(findings):
    """What is said, as sets of (kind, file, record, id)."""
    return sorted((f.kind, f.file, f.record, f.id) for f in findings)


def decode(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def read_examples(path):
    """Id, image bytes and mask bytes of all records of an intact shard, by TensorFlow's reader."""
    for data in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        features = tf.train.Example.FromString(data).features.feature
        yield [features[name].bytes_list.value[0] for name in ("id", "image", "label")]


def write_examples(path, examples):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for values in examples:
            feature = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for name, value in zip(("id", "image", "label"), values, strict=True)
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


def offsets(path):
    """Where each record begins, and the file's end."""
    data, found = path.read_bytes(), [0]
    while found[-1] < len(data):
        found.append(found[-1] + 16 + int.from_bytes(data[found[-1] :][:8], "little"))
    return found


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(bytes(data))


def folder_options(folder):
    return {
        "images": folder / "train/images",
        "masks": folder / "train/masks",
        "val_images": folder / "val/images",
        "val_masks": folder / "val/masks",
        "labels": folder / "labels.json",
    }
