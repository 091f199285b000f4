"""Training in half width: near float32, with weights and optimizer in float32."""

import keras
import numpy as np
import pytest

import gff_keras as gff

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture
def batch(rng):
    """Blocks of three brightnesses. (On noise, what is left of a gradient is mostly rounding.)"""
    labels = np.kron(rng.integers(0, 3, (4, 5, 5)), np.ones((13, 13), int)).astype("uint8")
    noise = rng.integers(0, 64, (4, 65, 65, 3), "uint8")
    return noise + 60 * labels[..., None], labels


def train_on(build, batch, dtype):
    keras.utils.set_random_seed(0)
    model = build(dropout=0.0, dtype=dtype)
    optimizer = gff.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5)
    if dtype == "mixed_float16":  # at Keras's first scale, 2^15, this gradient overflows
        optimizer = gff.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**10)
    model.compile(optimizer, gff.losses.SegmentationCrossEntropy())
    before = np.concatenate([w.numpy().ravel() for w in model.trainable_weights])
    loss = float(np.ravel(model.train_on_batch(*batch))[0])
    after = np.concatenate([w.numpy().ravel() for w in model.trainable_weights])
    return model, loss, after - before


@pytest.mark.parametrize("dtype, bound", [("mixed_float16", 0.04), ("mixed_bfloat16", 0.3)])
def test_near_float32(batch, tiny_model, dtype, bound):
    _, expected, way = train_on(tiny_model, batch, "float32")
    model, loss, way_of_half = train_on(tiny_model, batch, dtype)
    assert loss == pytest.approx(expected, rel=1e-2)
    difference = np.linalg.norm(way_of_half - way) / np.linalg.norm(way)
    assert 0 < difference < bound
    assert {w.dtype for w in model.weights} == {"float32"}
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    assert int(inner.iterations) == 1
    assert {v.dtype for v in inner.velocities} == {"float32"}
