"""Shared fixtures."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng():
    """A seeded generator: the same numbers in every run."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def gff_data():
    """Folder of real images, masks and weights, named by the environment variable GFF_DATA."""
    folder = os.environ.get("GFF_DATA")
    if not folder:
        pytest.skip("GFF_DATA names no folder of real data")
    return Path(folder)


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Records of three classes told apart by colour: 5 train, 3 val images of odd sizes."""
    import json

    from PIL import Image

    from tfrecords_tools import build

    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(1)
    colours = np.array([(40, 60, 200), (120, 120, 120), (200, 60, 40)])
    sizes = {"train": [(33, 47), (40, 36), (33, 47), (47, 33), (35, 50)]}
    sizes["val"] = [(33, 47), (41, 30), (36, 36)]
    for split, shapes in sizes.items():
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for i, (height, width) in enumerate(shapes):
            blocks = rng.integers(0, 3, (5, 6))
            mask = np.kron(blocks, np.ones((10, 10), int))[:height, :width].astype("uint8")
            image = colours[mask] + rng.normal(0, 12, (height, width, 3))
            mask[rng.random(mask.shape) < 0.1] = 255
            Image.fromarray(image.clip(0, 255).astype("uint8")).save(
                folder / split / "images" / f"scene_{i}.png"
            )
            Image.fromarray(mask).save(folder / split / "masks" / f"scene_{i}.png")
    labels = {"name": "blocks", "classes": ["sky", "road", "car"], "palette": colours.tolist()}
    (folder / "labels.json").write_text(json.dumps(labels))
    return build(
        "folder",
        images=folder / "train" / "images",
        masks=folder / "train" / "masks",
        val_images=folder / "val" / "images",
        val_masks=folder / "val" / "masks",
        labels=folder / "labels.json",
        out=tmp_path_factory.mktemp("records") / "blocks",
    )


@pytest.fixture
def eager():
    """Run graphs eagerly: for a step or two, tracing them takes longer."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def tiny_model():
    """Function that builds a GFFNet on a backbone of four convolutions: tests take seconds."""
    from tests import tiny

    return tiny.tiny_model


@pytest.fixture(scope="session")
def tiny_recipe(records):
    """Function that makes a recipe of the tiny model on `records`."""
    from tests import tiny

    def make(out, **changes):
        return tiny.tiny_recipe(**{"data": records, "out": out, **changes})

    return make


@pytest.fixture(scope="session")
def trained(tiny_recipe, tmp_path_factory):
    """`(recipe, model, history)` of a training run of two epochs; do not change its folder."""
    from gff_keras.training import train

    recipe = tiny_recipe(tmp_path_factory.mktemp("runs") / "tiny")
    return recipe, *train(recipe, verbose=0)
