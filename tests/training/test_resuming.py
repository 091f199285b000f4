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
from gff_keras.evaluation.metrics import SegmentationMetrics
from gff_keras.training import Stopped, checkpoints, train
from gff_keras.training.checkpointing import Checkpoints
from gff_keras.training.interruptions import (
    ResumableCallbacks,
    StopSignals,
    cut_history,
    history_until,
)
from gff_keras.training.losses import SegmentationCrossEntropy
from gff_keras.training.optimizers import SGD
from gff_keras.training.saving import ListSkipped
from tests.tiny import eagerly

ROOT = Path(__file__).parents[2]
RECIPE = """
from pathlib import Path
from tests.tiny import tiny_recipe
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


def test_preempted_then_killed_then_resumed_equals_straight(recipe_file, trained, tmp_path):
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
    assert_same_run(out, trained[0].out)


@pytest.fixture(scope="module")
def straight(tiny_recipe, tmp_path_factory):
    """A run of one epoch, eagerly, that nothing interrupts."""
    recipe = tiny_recipe(tmp_path_factory.mktemp("runs") / "straight", epochs=1)
    with eagerly():
        _, history = train(recipe, verbose=0)
    return recipe, history


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


def test_stopped_in_validation(stopped, tiny_recipe, straight):
    """The epoch's last step is done again, and the validation."""
    handler = signal.getsignal(signal.SIGTERM)
    recipe, message = stopped("on_test_batch_end", 2, signal.SIGINT, epochs=1)
    assert f"stopped by SIGINT after step 2, saved in {recipe.out}" in message
    assert checkpoints.newest(recipe.out).step == 2
    _, history = train(tiny_recipe(recipe.out, epochs=1, resume=True), verbose=0)
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


def test_values_of_every_optimizer_survive(tiny_model, rng, tmp_path, eager):
    """Averages, accumulated gradients, loss scale, and the random numbers of dropout."""
    images = rng.integers(0, 256, (5, 2, 17, 19, 3), "uint8")
    labels = rng.integers(0, 3, (5, 2, 17, 19), "uint8")

    def model(seed, aux_head=False):
        keras.utils.set_random_seed(seed)
        model = tiny_model(aux_head=aux_head, dropout=0.5)
        inner = SGD(0.1, use_ema=True, ema_momentum=0.9, gradient_accumulation_steps=2)
        optimizer = keras.optimizers.LossScaleOptimizer(inner, dynamic_growth_steps=2)
        model.compile(optimizer, SegmentationCrossEntropy(), metrics=[SegmentationMetrics(3)])
        checkpoints.make_variables(model)
        return model

    def train_on(model, steps):
        return [model.train_on_batch(images[i], labels[i]) for i in steps]

    one, two = model(0), model(1)
    train_on(one, [0, 1, 2])
    path = tmp_path / "checkpoints" / "step_00000003.npz"
    checkpoints.write(path, {"step": 3}, checkpoints.values(one))
    checkpoint = checkpoints.newest(tmp_path)
    assert checkpoint.step == 3
    checkpoint.restore(two)
    assert train_on(two, [3, 4]) == train_on(one, [3, 4])
    ours, theirs = checkpoints.values(two), checkpoints.values(one)
    for name, group in theirs.items():
        for a, b in zip(ours[name], group, strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="does not fit the network"):
        checkpoint.restore(model(0, aux_head=True))


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


@pytest.mark.parametrize(
    "every, keep, steps", [(100, 9, [0, 2, 5, 7, 8]), (2, 9, [0, 2, 4, 5, 7, 8]), (1, 2, [7, 8])]
)
def test_when_checkpoints_are_written(tmp_path, rng, every, keep, steps):
    """At the start, every so many steps, before the last step of an epoch and at the end."""
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    model.build((None, 3))
    model.optimizer.build(model.trainable_variables)
    batch = rng.normal(size=(2, 3)), rng.normal(size=(2, 1))
    data = tf.data.Dataset.from_tensors(batch).repeat()
    save = Checkpoints(tmp_path, dict, every, keep, StopSignals())
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step_00000077.npz").write_bytes(b"damaged, or this were no start")
    callbacks = ResumableCallbacks(
        [save], step=0, steps=3, total_steps=8, add_history=True, model=model, epochs=3
    )
    model.fit(data, epochs=3, steps_per_epoch=3, callbacks=callbacks, shuffle=False)
    paths = sorted((tmp_path / "checkpoints").iterdir())
    assert [int(path.stem[5:]) for path in paths] == steps
    last = checkpoints.newest(tmp_path)
    assert last.header["finished"]
    np.testing.assert_array_equal(last.values["model"][0], model.layers[0].kernel)


@pytest.mark.parametrize("position", [200, -30, -400])
def test_a_flipped_bit_is_damage(tmp_path, rng, position, capsys):
    values = {"model": [rng.normal(size=(9, 9))], "optimizer": [], "metrics": []}
    older, newer = (tmp_path / "checkpoints" / f"step_0000000{step}.npz" for step in (8, 9))
    checkpoints.write(older, {"step": 8}, values)
    checkpoints.write(newer, {"step": 9}, values)
    assert checkpoints.newest(tmp_path).step == 9
    content = bytearray(newer.read_bytes())
    content[position] ^= 4
    newer.write_bytes(content)
    found = checkpoints.newest(tmp_path)
    assert found.step == 8
    np.testing.assert_array_equal(found.values["model"][0], values["model"][0])
    assert f"{newer} is damaged" in capsys.readouterr().out
    older.write_bytes(b"cut")
    with pytest.raises(ValueError, match="none of the 2 checkpoints"):
        checkpoints.newest(tmp_path)
