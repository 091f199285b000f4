"""A run that is stopped anywhere and goes on ends as one that is not stopped."""

import csv
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from gff_keras.cli import main
from gff_keras.training import Stopped, checkpoints, train
from gff_keras.training.interruptions import (
    ResumableCallbacks,
    cut_history,
    history_until,
)
from gff_keras.training.saving import ListSkipped
from tests.tiny import eagerly

ROOT = Path(__file__).parents[2]
RECIPE = """
from pathlib import Path
import tensorflow as tf
from tests.tiny import tiny_recipe
tf.config.run_functions_eagerly(True)
RECIPE = tiny_recipe(Path({data!r}), Path("runs/tiny"))
"""


@pytest.fixture
def recipe_file(records, tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(RECIPE.format(data=str(records)))
    return path


def assert_same_run(out, straight):
    """Variables of model, optimiser and metrics, best model and history: equal to 1e-6."""
    ours, theirs = checkpoints.newest(out), checkpoints.newest(straight)
    assert ours.header["finished"] and ours.step == theirs.step
    assert ours.header["best"] == pytest.approx(theirs.header["best"], abs=1e-6)
    for name, group in theirs.values.items():
        assert group
        for a, b in zip(ours.values[name], group, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    best = [keras.saving.load_model(folder / "best.keras").weights for folder in (out, straight)]
    for a, b in zip(*best, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    histories = [
        list(csv.DictReader((folder / "history.csv").open())) for folder in (out, straight)
    ]
    for ours, theirs in zip(*histories, strict=True):
        for name in theirs:
            assert float(ours[name]) == pytest.approx(float(theirs[name]), abs=1e-6), name


def interrupted(command, number, checkpoint):
    """Run a command, send it a signal as soon as a checkpoint is there, and return its end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        deadline = time.monotonic() + 300
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def straight(tiny_recipe, tmp_path_factory):
    """A run of two epochs, eagerly, that nothing interrupts."""
    recipe = tiny_recipe(tmp_path_factory.mktemp("runs") / "straight")
    with eagerly():
        _, history = train(recipe, verbose=0)
    return recipe, history


def test_preempted_then_killed_then_resumed_equals_straight(recipe_file, straight, tmp_path, eager):
    """As a job script does it: always the same command, with --resume."""
    out = tmp_path / "run"
    arguments = ["train", str(recipe_file), "--out", str(out), "--resume"]
    arguments += ["--checkpoint_every", "1"]
    command = [sys.executable, "-m", "gff_keras.cli", *arguments]
    first, second = (out / f"checkpoints/step_0000000{step}.npz" for step in (1, 4))
    status, stdout, stderr = interrupted(command, signal.SIGTERM, first)
    assert status == 143, stderr
    assert "no checkpoint to resume: the run begins" in stdout
    assert "stopped by SIGTERM after step" in stderr and "--resume goes on there" in stderr
    assert "Traceback" not in stderr
    status, stdout, stderr = interrupted(command, signal.SIGKILL, second)
    assert status == -signal.SIGKILL, stderr
    assert "going on after step" in stdout
    assert (out / "run.lock").exists()  # of the process that is no more
    assert main(arguments) == 0
    assert_same_run(out, straight[0].out)


@pytest.fixture
def stopped(tiny_recipe, tmp_path, monkeypatch, eager):
    """Function that trains until a signal at the n-th call of a callback's method."""

    def run(method, calls, number=signal.SIGTERM, **changes):
        recipe = tiny_recipe(tmp_path / "run", **changes)
        seen = []

        def count(self, index, logs=None):
            seen.append(index)
            if len(seen) == calls:
                os.kill(os.getpid(), number)

        with monkeypatch.context() as patch:
            patch.setattr(ListSkipped, method, count)
            with pytest.raises(Stopped) as stop:
                train(recipe, verbose=0)
        assert stop.value.status == 128 + number
        return recipe, str(stop.value)

    return run


@pytest.mark.slow
def test_stopped_in_validation(stopped, tiny_recipe, straight):
    """The epoch's last step is done again, and the validation."""
    handler = signal.getsignal(signal.SIGTERM)
    recipe, message = stopped("on_test_batch_end", 2, signal.SIGINT)
    assert f"stopped by SIGINT after step 2, saved in {recipe.out}" in message
    assert checkpoints.newest(recipe.out).step == 2
    _, history = train(tiny_recipe(recipe.out, resume=True), verbose=0)
    assert_same_run(recipe.out, straight[0].out)
    assert history == straight[1]
    assert signal.getsignal(signal.SIGTERM) == handler


def test_history_is_cut_at_the_checkpoint(tmp_path):
    path = tmp_path / "history.csv"
    whole = "epoch,loss,val_loss\r\n0,0.5,NA\r\n1,0.25,NA\r\n"
    path.write_text(whole + "2,0.125,NA\r\n3,0.0", newline="")  # killed while it wrote
    before = path.read_bytes()
    assert history_until(path, 2) == {"loss": [0.5, 0.25]}
    assert path.read_bytes() == before
    cut_history(path, 2)
    assert path.read_bytes() == whole.encode()
    cut_history(path, 0)
    assert path.read_bytes() == b"" and history_until(path) == {}
    cut_history(tmp_path / "none.csv", 3)
    assert history_until(tmp_path / "none.csv", 3) == {}


def refuse(number):
    def write(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return write


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(stopped, tiny_recipe, capsys):
    """Then the disk is full, and what is there stays."""
    changes = dict(val_split="none", checkpoint_every=2)
    recipe, _ = stopped("on_train_batch_end", 4, **changes)
    folder = recipe.out / "checkpoints"
    first, second, third = (folder / f"step_0000000{step}.npz" for step in (0, 2, 4))
    assert sorted(folder.iterdir()) == [first, second, third]
    third.write_bytes(third.read_bytes()[:-5000])
    before = second.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints.np, "savez", refuse(errno.ENOSPC))
        with pytest.raises(OSError, match="step_00000004.npz cannot be written .No space left on"):
            train(tiny_recipe(recipe.out, resume=True, **changes), verbose=0)
    printed = capsys.readouterr().out
    assert f"{third} is damaged" in printed and "going on after step 2" in printed
    assert sorted(folder.iterdir()) == [first, second, third]
    assert second.read_bytes() == before
    assert checkpoints.newest(recipe.out).step == 2


def test_callbacks_see_the_numbers_of_an_uninterrupted_run(rng):
    """Three steps an epoch, eight in all, of which four are done."""
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(f"epoch {epoch}")

        def on_train_batch_begin(self, batch, logs=None):
            seen.append(batch)

        def on_epoch_end(self, epoch, logs=None):
            seen.append("end")

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    batch = rng.normal(size=(2, 3)), rng.normal(size=(2, 1))
    data = tf.data.Dataset.from_tensors(batch).repeat()
    callbacks = ResumableCallbacks(
        [Watch()], step=4, steps=3, total_steps=8, add_history=True, model=model, epochs=3
    )
    model.fit(
        data, initial_epoch=1, epochs=3, steps_per_epoch=3, callbacks=callbacks, shuffle=False
    )
    assert seen == ["epoch 1", 1, 2, "end", "epoch 2", 0, 1, "end"]
