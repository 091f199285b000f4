"""Folders of random images and masks, and the records that are built of them."""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from gff_keras.data.labels import LabelSet
from tfrecords_tools import build

COLOURS = ((10, 20, 30), (200, 0, 0), (0, 0, 250))
RAW = {3: 0, 0: 1, 100: 2, 9: 255}


def random_image(rng, mode="RGB", size=(24, 16)):
    width, height = size
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).convert(mode)


def write_pair(folder, key, rng, values=tuple(RAW), suffix=".jpg"):
    """An image and a mask of random values; returns (image path, mask path, mask values)."""
    image, mask = folder / f"images/{key}{suffix}", folder / f"masks/{key}.png"
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    random_image(rng).save(image)
    raw = rng.choice(values, (16, 24)).astype(np.uint8)
    Image.fromarray(raw).save(mask)
    return image, mask, raw


def write_labels(path, raw_to_train=RAW):
    LabelSet("mine", ("a", "b", "c"), COLOURS, raw_to_train, ("b",)).save(path)
    return path


def build_folder(source, **options):
    options = {
        "images": source / "images",
        "masks": source / "masks",
        "labels": source / "labels.json",
        **options,
    }
    return build("folder", out=source / "out", **options)


def read(out, split="train"):
    """Encoded images and masks of a split: {id: (image bytes, mask bytes)}."""
    skip = {"image": tfds.decode.SkipDecoding(), "label": tfds.decode.SkipDecoding()}
    data = tfds.builder_from_directory(out).as_dataset(split=split, decoders=skip)
    return {e["id"].decode(): (e["image"], e["label"]) for e in tfds.as_numpy(data)}


def decode(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def assert_nothing_written(out):
    assert not out.exists()
    assert not list(out.parent.glob("*incomplete*"))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def corrupt(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


IMAGE, MASK = "images/two.jpg", "masks/two.png"
