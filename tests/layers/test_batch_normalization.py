"""Batch normalisation equals PyTorch's definition, fused or not."""

import keras
import numpy as np
import pytest

from gff_keras.layers import BatchNormalization, batch_normalization


@pytest.fixture(params=["fused", "composed"])
def path(request, monkeypatch):
    """Both implementations: the composed one serves replicas and other backends."""
    if request.param == "composed":
        monkeypatch.setattr(batch_normalization, "_has_fused_op", lambda x: False)
    return request.param


def _random_layer(rng, channels, **kwargs):
    layer = BatchNormalization(**kwargs)
    layer.build((None, None, None, channels))
    values = [rng.normal(size=channels) for _ in range(3)] + [rng.uniform(0.5, 2, channels)]
    layer.set_weights(values)  # gamma, beta, moving mean, moving variance
    return layer, values


def test_training_normalises_by_the_batch_and_keeps_the_unbiased_variance(rng, path):
    layer, (gamma, beta, mean, variance) = _random_layer(rng, 5)
    x = rng.normal(30, 2, (3, 4, 7, 5)).astype("float32")
    y = layer(x, training=True)
    x = x.astype("float64")
    expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5) * gamma + beta
    np.testing.assert_allclose(y, expected, atol=2e-5)
    np.testing.assert_allclose(
        layer.moving_mean, 0.9 * mean + 0.1 * x.mean((0, 1, 2)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        layer.moving_variance, 0.9 * variance + 0.1 * x.var((0, 1, 2), ddof=1), rtol=1e-5
    )


@pytest.mark.parametrize("frozen", [False, True])
def test_inference_and_frozen_layers_use_running_statistics(rng, path, frozen):
    layer, (gamma, beta, mean, variance) = _random_layer(rng, 6)
    layer.trainable = not frozen
    x = rng.normal(size=(2, 3, 5, 6)).astype("float32")
    y = layer(x, training=frozen)
    expected = (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_width_inputs_are_normalised_in_float32(rng, path, dtype):
    layer, (gamma, beta, *_) = _random_layer(rng, 4, dtype=dtype)
    x = rng.normal(3, 1, (2, 6, 5, 4)).astype("float32")
    y = layer(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == dtype.removeprefix("mixed_")
    expected = (x - x.mean((0, 1, 2))) / x.std((0, 1, 2)) * gamma + beta
    np.testing.assert_allclose(keras.ops.cast(y, "float32"), expected, atol=0.1)
    assert layer.moving_mean.dtype == "float32"


def test_gradients_of_both_paths_agree(rng, monkeypatch):
    import tensorflow as tf

    x = tf.constant(rng.normal(2, 3, (2, 5, 4, 3)).astype("float32"))
    weight = rng.normal(size=x.shape).astype("float32")
    layer, _ = _random_layer(rng, 3)

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=True) * weight)
        return tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])

    fused = gradients()
    monkeypatch.setattr(batch_normalization, "_has_fused_op", lambda x: False)
    for a, b in zip(fused, gradients(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_constants_are_pytorchs():
    """Its momentum 0.1 is Keras's 0.9."""
    layer = BatchNormalization.from_config(BatchNormalization().get_config())
    assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)


def test_one_value_per_channel_keeps_the_running_variance_finite(rng, path):
    """PyTorch refuses this: the 1x1 bin of pyramid pooling at batch size 1."""
    layer, (_, beta, _, variance) = _random_layer(rng, 3)
    y = layer(rng.normal(size=(1, 1, 1, 3)).astype("float32"), training=True)
    np.testing.assert_allclose(y[0, 0, 0], beta, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.9 * variance, rtol=1e-5)
