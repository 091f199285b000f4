"""Shared fixtures."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

# Two devices for replicas to train on. They can be made only before TensorFlow starts, which some
# test files do when they are imported.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


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
    from tests.tiny import write_blocks

    sizes = {"train": [(33, 47), (40, 36), (33, 47), (47, 33), (35, 50)]}
    sizes["val"] = [(33, 47), (41, 30), (36, 36)]
    out = tmp_path_factory.mktemp("records") / "blocks"
    return write_blocks(tmp_path_factory.mktemp("source"), out, 1, sizes)


@pytest.fixture
def eager():
    """Run graphs eagerly: for a step or two, tracing them takes longer."""
    from tests.tiny import eagerly

    with eagerly():
        yield


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
    result = recipe, *train(recipe, verbose=0)
    files = sorted(recipe.out.rglob("*"))
    yield result
    assert sorted(recipe.out.rglob("*")) == files  # what a test adds, others would find


@pytest.fixture
def run(capsys):
    """Function that runs a command line and returns (status, stdout, stderr)."""

    from gff_keras.cli import main

    def call(*arguments):
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # tyro's way out, for --help and wrong flags
            status = stop.code
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return status, out, err

    return call


@pytest.fixture
def refused(run):
    """Function that runs a command line which must end in status 2 and one sentence on stderr."""

    def call(*arguments):
        status, _, err = run(*arguments)
        assert status == 2
        lines = [line for line in err.splitlines() if ": error: " in line]
        assert len(lines) == 1, err
        assert lines[0].startswith(f"gff-keras {arguments[0]}: error: ")
        return lines[0]

    return call


@pytest.fixture
def photo(rng, tmp_path):
    """A photograph of noise."""
    from PIL import Image

    path = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 256, (33, 47, 3), "uint8")).save(path)
    return path
