"""A small run, and ways to start it in processes of their own."""

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
UNEVEN_RECIPE = """
from pathlib import Path
from tests.tiny import TinyRecipe, tiny_model

class Plain(TinyRecipe):
    def model(self, num_classes):
        return tiny_model(num_classes, fusion=None, dfp=False, aux_head=False, dropout=self.dropout)

RECIPE = Plain(
    Path({data!r}), Path("unused"), crop_size=(25, 31), learning_rate=0.02, batch_size=4, epochs=5,
    dropout=0.0,  # replicas draw other masks than one device
    tensorboard_images=0, report=False,
)
"""


@pytest.fixture(scope="session")
def two_replicas():
    """Strategy of two logical CPUs in this process."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture(scope="session")
def uneven_recipe(tmp_path_factory):
    """File with a recipe of ten steps on images of which half have hardly a labelled pixel.

    Metrics of runs on other devices equal these exactly only if no pixel is nearly undecided: the
    two best logits of each labelled one are 1e-5 apart in all ten steps and all validations, and
    rounding moves them by a hundredth of that. So few are labelled, by a seed that was tried.
    """
    from tests.tiny import write_blocks

    def ignored(split, i):
        return 0.995 if i % 2 and split == "train" else 0.8

    folder = tmp_path_factory.mktemp("uneven")
    sizes = {"train": [(33, 47)] * 8, "val": [(33, 47), (41, 30), (36, 36)]}
    data = write_blocks(folder, folder / "records", 7, sizes, ignored)
    path = folder / "uneven.py"
    path.write_text(UNEVEN_RECIPE.format(data=str(data)))
    return path


@pytest.fixture(scope="session")
def on_one_device(uneven_recipe, tmp_path_factory):
    """`(folder, model)` of that run in this process."""
    import dataclasses

    from gff_keras.training import train

    out = tmp_path_factory.mktemp("runs") / "one"
    recipe = runpy.run_path(str(uneven_recipe))["RECIPE"]
    model, _ = train(dataclasses.replace(recipe, out=out), verbose=0)
    return out, model


@pytest.fixture
def start():
    """Function that starts a program, `gff-keras train`, with variables of its environment."""
    processes = []

    def start(*arguments, program=("-m", "gff_keras.cli", "train"), **variables):
        command = [sys.executable, *program, *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        processes.append(subprocess.Popen(command, env=environment, text=True, **pipes))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def start_workers(start):
    """Function that starts two workers on this machine."""

    def start_workers(*arguments, **options):
        sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
        cluster = {"worker": [f"localhost:{s.getsockname()[1]}" for s in sockets]}
        for each in sockets:
            each.close()
        return [
            start(
                *arguments,
                **options,
                TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}}),
            )
            for i in range(2)
        ]

    return start_workers


@pytest.fixture
def assert_same_run(on_one_device):
    """Function that compares the folder of a run with that of the run on one device."""
    import csv

    import keras

    def rows(out):
        return list(csv.DictReader((out / "history.csv").open()))

    def assert_same_run(out):
        reference, model = on_one_device
        for ours, theirs in zip(rows(out), rows(reference), strict=True):
            assert ours.keys() == theirs.keys()
            for name, value in theirs.items():
                if "loss" in name:
                    assert float(ours[name]) == pytest.approx(float(value), rel=1e-5)
                else:  # counted in whole numbers
                    assert ours[name] == value, name
        (checkpoint,) = (out / "checkpoints").glob("*10.npz")
        ours, theirs = np.load(checkpoint), np.load(reference / "checkpoints" / checkpoint.name)
        assert ours.files == theirs.files
        for name in set(ours.files) - {"header"}:
            if np.issubdtype(theirs[name].dtype, np.integer):
                np.testing.assert_array_equal(ours[name], theirs[name])
            else:
                np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-5)
        # The model is a plain one again, in a process without replicas.
        images = np.random.default_rng(3).integers(0, 256, (1, 37, 45, 3), "uint8")
        loaded = keras.saving.load_model(out / "last.keras")
        expected = model(images)["logits"]
        np.testing.assert_allclose(loaded(images)["logits"], expected, atol=1e-4)

    return assert_same_run
