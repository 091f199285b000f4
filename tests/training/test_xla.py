"""The training step under XLA: same numbers, compiled once; validation is not compiled."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import gff_keras as gff
from gff_keras.layers import convolution
from gff_keras.training import train


@pytest.mark.slow
@pytest.mark.parametrize("portable", [False, True], ids=["native", "portable"])
def test_gradient_of_a_dilated_network(rng, monkeypatch, portable):
    """Both gradients of a dilated convolution, pooling of odd sizes, sampling to image size."""
    if portable:
        monkeypatch.setattr(convolution, "_has_dilated_gradient", lambda dtype: False)
    images = keras.Input((17, 19, 3))
    x = gff.layers.Conv2D(6, 3, strides=2)(images)
    x = gff.layers.Conv2D(8, 3, dilation_rate=2)(gff.layers.MaxPooling2D()(keras.ops.relu(x)))
    x = gff.layers.Conv2D(4, 1)(gff.layers.PyramidPooling(bins=(1, 3))(x))
    model = keras.Model(images, gff.layers.ResampleLike()([x, images]))
    loss = gff.losses.SegmentationCrossEntropy(ohem=0.3, ohem_min_kept=0.5, label_smoothing=0.1)
    x = rng.standard_normal((2, 17, 19, 3)).astype("float32")
    y = rng.integers(0, 4, (2, 17, 19), "uint8")

    def gradients():
        with tf.GradientTape() as tape:
            value = loss(y, model(x))
        return value, tape.gradient(value, [w.value for w in model.trainable_weights])

    expected, grads = gradients()
    compiled, compiled_grads = tf.function(gradients, jit_compile=True)()
    assert float(compiled) == pytest.approx(float(expected), rel=1e-5)
    for a, b in zip(compiled_grads, grads, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max() + 1e-8)


@pytest.mark.slow
def test_a_compiled_run_is_the_run(tiny_recipe, tmp_path):
    """With every switch that acts in the step; images of validation differ in size."""
    switches = dict(accumulate=2, clip_norm=0.3, ema=0.5, ohem=0.2, dropout=0.0, warmup_steps=1)
    runs = {}
    for jit in (False, True):
        recipe = tiny_recipe(tmp_path / f"{jit}", jit_compile=jit, **switches)
        model, history = train(recipe, verbose=0)
        assert model.jit_compile is jit
        runs[jit] = history, model.get_weights()
    for name in ("loss", "val_loss", "val_mean_iou"):
        np.testing.assert_allclose(runs[True][0][name], runs[False][0][name], rtol=1e-3)
    for a, b in zip(runs[True][1], runs[False][1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
