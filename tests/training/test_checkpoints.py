"""Checkpoints: what they hold, when they are written, and how damage is found."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from gff_keras.evaluation.metrics import SegmentationMetrics
from gff_keras.training import checkpoints
from gff_keras.training.checkpointing import Checkpoints
from gff_keras.training.interruptions import (
    ResumableCallbacks,
    StopSignals,
)
from gff_keras.training.losses import SegmentationCrossEntropy
from gff_keras.training.optimizers import SGD


@pytest.mark.slow
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
