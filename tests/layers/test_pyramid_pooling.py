import math

import numpy as np
import pytest
import tensorflow as tf

from gff_keras.layers import PyramidPooling
from gff_keras.layers.pyramid_pooling import averaging_matrix, interpolation_matrix
from tests.layers.test_convolution import convolve, kernel_gradient
from tests.layers.test_resizing import bilinear


def adaptive_average(x, bins):
    """torch.nn.AdaptiveAvgPool2d(bins) of (B, H, W, C), bin by bin."""
    out = np.zeros((len(x), bins, bins, x.shape[-1]))
    edges = [
        [(math.floor(i * n / bins), math.ceil((i + 1) * n / bins)) for i in range(bins)]
        for n in x.shape[1:3]
    ]
    for i, (top, bottom) in enumerate(edges[0]):
        for j, (left, right) in enumerate(edges[1]):
            out[:, i, j] = x[:, top:bottom, left:right].mean((1, 2))
    return out


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(12, 18), (13, 17), (4, 5), (1, 7)])
def test_pooling_is_exact_for_any_size(rng, bins, size):
    x = rng.normal(size=(2, *size, 4)).astype("float32")
    np.testing.assert_allclose(
        PyramidPooling((6, bins)).pool(x)[1], adaptive_average(x, bins), rtol=1e-4, atol=1e-5
    )


def test_matrices_preserve_constants():
    for n in (1, 5, 60, 129):
        for bins in (1, 2, 3, 6):
            np.testing.assert_allclose(np.sum(averaging_matrix(bins, n), 1), 1, atol=1e-6)
            np.testing.assert_allclose(np.sum(interpolation_matrix(n, bins), 1), 1, atol=1e-6)


def build(rng, shape):
    layer = PyramidPooling()
    layer.build(shape)
    for branch in [*layer.branches, layer]:
        for weight in branch.bn.weights:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return layer


def normalize(y, bn):
    gamma, beta, mean, variance = (w.numpy() for w in bn.weights)
    return np.maximum((y - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)


def concatenated(layer, x):
    """Pool, 1x1 conv, BN, ReLU, upsample, concatenate as the text says it."""
    maps = [x]
    for bins, branch in zip(layer.bins, layer.branches, strict=True):
        y = convolve(adaptive_average(x, bins), branch.conv.kernel.numpy(), 1, 1)
        maps.append(bilinear(normalize(y, branch.bn), x.shape[1:3]))
    return np.concatenate(maps, -1)


def reference(layer, x):
    """The concatenation, 3x3 conv, BN, ReLU."""
    return normalize(convolve(concatenated(layer, x), layer.kernel.numpy(), 1, 1), layer.bn)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("size", [(9, 12), (7, 5), (3, 4)])
def test_whole_module_against_the_text(rng, size, transposed):
    x = rng.normal(size=(2, *size, 16)).astype("float32")
    layer = build(rng, x.shape)
    layer.transposed = transposed
    np.testing.assert_allclose(layer(x), reference(layer, x), atol=1e-4)


def test_gradient_of_the_kernel(rng):
    x = rng.normal(size=(2, 9, 12, 16)).astype("float32")
    layer = build(rng, x.shape)
    upstream = rng.normal(size=(2, 9, 12, 4)).astype("float32")
    with tf.GradientTape() as tape:
        y = layer(x)
    found = tape.gradient(y, layer.kernel.value, upstream)
    gamma, _, _, variance = (w.numpy() for w in layer.bn.weights)
    upstream = upstream * (reference(layer, x) > 0) * gamma / np.sqrt(variance + 1e-5)
    expected = kernel_gradient(concatenated(layer, x), upstream, 3)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_sizes_unknown_when_traced(rng):
    layer = build(rng, (None, None, None, 16))
    dynamic = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 16), "float32")])
    for size in ((9, 12), (10, 7)):
        x = rng.normal(size=(2, *size, 16)).astype("float32")
        np.testing.assert_allclose(dynamic(x), layer(x), atol=1e-5)
