"""A network and a recipe that train in seconds, also for processes that a test starts."""

import contextlib
import json

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from gff_keras import GFFNet, layers
from gff_keras.training import Recipe
from tfrecords_tools import build

# Flags that make a recipe of the command line train in seconds.
SMALL = (
    *("--backbone", "resnet18", "--filters", "8"),
    *("--crop_size", "33", "--batch_size", "2", "--no-report"),
)


@contextlib.contextmanager
def eagerly():
    """Context in which graphs run eagerly, for fixtures that must not leave it so."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def write_blocks(folder, out, seed, sizes, ignored=lambda split, i: 0.1):
    """Write records of three classes told apart by colour, of which a share is ignored.

    `sizes` has a list of (height, width) for train and for val.
    """
    rng = np.random.default_rng(seed)
    colours = np.array([(40, 60, 200), (120, 120, 120), (200, 60, 40)])
    for split, shapes in sizes.items():
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for i, (height, width) in enumerate(shapes):
            mask = np.kron(rng.integers(0, 3, (5, 6)), np.ones((10, 10), int))[:height, :width]
            image = colours[mask] + rng.normal(0, 12, (height, width, 3))
            mask[rng.random(mask.shape) < ignored(split, i)] = 255
            for kind, array in (("images", image.clip(0, 255)), ("masks", mask)):
                path = folder / split / kind / f"scene_{i}.png"
                Image.fromarray(array.astype("uint8")).save(path)
    labels = {"name": "blocks", "classes": ["sky", "road", "car"], "palette": colours.tolist()}
    (folder / "labels.json").write_text(json.dumps(labels))
    return build(
        "folder",
        images=folder / "train" / "images",
        masks=folder / "train" / "masks",
        val_images=folder / "val" / "images",
        val_masks=folder / "val" / "masks",
        labels=folder / "labels.json",
        out=out,
    )


def tiny_model(num_classes=3, **arguments):
    """A GFFNet on a backbone of four convolutions."""
    images = x = keras.Input((None, None, 3))
    features = []
    for filters, strides in ((8, 2), (12, 2), (16, 2), (20, 1)):
        conv = layers.Conv2D(filters, 3, strides=strides, name=f"conv_{filters}")
        x = keras.layers.ReLU()(conv(x))
        features.append(x)
    backbone = keras.Model(images, features[1:])  # strides 4, 8, 8
    return GFFNet(backbone, num_classes, **{"filters": 8, **arguments})


class TinyRecipe(Recipe):
    def model(self, num_classes):
        return tiny_model(num_classes, dropout=self.dropout, aux_head=self.aux_head)


def tiny_recipe(data, out, **changes):
    """Two epochs of three steps on the five images of the fixture `records`."""
    fields = dict(crop_size=(33, 41), batch_size=2, epochs=2, learning_rate=0.02)
    fields |= dict(tensorboard_images=0, report=False)  # drawing takes longer than such a run
    return TinyRecipe(data=data, out=out, **{**fields, **changes})
