"""ASPP, its decoder and DenseASPP against NumPy."""

import itertools
import math

import keras
import numpy as np
import pytest

from gff_keras import GFFNet
from gff_keras.layers import ASPP, Conv2D, DeepLabDecoder, DenseASPP, PyramidPooling
from tests.layers.test_convolution import convolve
from tests.layers.test_pyramid_pooling import normalize
from tests.layers.test_resizing import resampled


def made(layer, shape, rng):
    layer.build(shape)
    for weight in layer.weights:
        if "kernel" not in weight.path and "seed" not in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return layer


def conv_bn_relu(x, layer):
    rate = layer.dilation_rate
    return normalize(convolve(x, layer.conv.kernel.numpy(), 1, rate), layer.bn)


def test_aspp(rng):
    x = rng.normal(size=(2, 9, 7, 8)).astype("float32")
    layer = made(ASPP((2, 4), filters=5), x.shape, rng)
    maps = [conv_bn_relu(x, branch) for branch in (layer.point, *layer.dilated)]
    mean = conv_bn_relu(x.mean((1, 2), keepdims=True), layer.mean)
    joined = np.concatenate([*maps, np.broadcast_to(mean, maps[0].shape)], -1)
    expected = normalize(convolve(joined, layer.join.kernel.numpy(), 1, 1), layer.bn)
    y = layer(x)
    assert y.shape == layer.compute_output_shape(x.shape)
    np.testing.assert_allclose(y, expected, atol=1e-4)
    assert [branch.dilation_rate for branch in ASPP().dilated] == [12, 24, 36]


def test_decoder(rng):
    x = [rng.normal(size=(2, *s)).astype("float32") for s in ((13, 18, 6), (7, 9, 4))]
    layer = made(DeepLabDecoder(5, reduced=3), [x_i.shape for x_i in x], rng)
    joined = np.concatenate([resampled(x[1], (13, 18)), conv_bn_relu(x[0], layer.reduce)], -1)
    expected = normalize(convolve(joined, layer.conv_1.kernel.numpy(), 1, 1), layer.bn_1)
    y = layer(x)
    assert y.shape == layer.compute_output_shape([x_i.shape for x_i in x])
    np.testing.assert_allclose(y, conv_bn_relu(expected, layer.conv_2), atol=1e-4)


def test_dense_aspp(rng):
    x = rng.normal(size=(2, 9, 7, 8)).astype("float32")
    layer = made(DenseASPP((1, 3, 2), filters=3, bottleneck=6), x.shape, rng)
    seen = conv_bn_relu(x, layer.reduce)
    assert seen.shape[-1] == 4
    for i, rate in enumerate((1, 3, 2)):
        y = normalize(seen, layer.norms[i]) if i else seen
        y = conv_bn_relu(y, layer.points[i])
        dilated = layer.dilated[i]
        y = convolve(y, dilated.kernel.numpy(), 1, rate) + dilated.bias.numpy()
        seen = np.concatenate([seen, y], -1)
    y = layer(x)
    assert y.shape == layer.compute_output_shape(x.shape) == (2, 9, 7, 13)
    np.testing.assert_allclose(y, seen, atol=1e-4)


def test_dense_aspp_as_published_for_densenet121():
    """By its authors' cfgs/DenseASPP121.py: `d_feature0` 128, `d_feature1` 64 channels."""
    layer = DenseASPP()
    layer.build((None, None, None, 1024))
    assert [conv.dilation_rate[0] for conv in layer.dilated] == [3, 6, 12, 18, 24]
    assert layer.compute_output_shape((1, 8, 8, 1024)) == (1, 8, 8, 512 + 5 * 64)
    seen = [512 + i * 64 for i in range(5)]
    assert [p.conv.kernel.shape for p in layer.points] == [(1, 1, c, 128) for c in seen]
    # Kernels, scale and shift of every normalisation, and the last convolutions' biases.
    parameters = 1024 * 512 + 2 * 512
    parameters += sum(c * 128 + 2 * 128 + 9 * 128 * 64 + 64 for c in seen)
    parameters += sum(2 * c for c in seen[1:])
    assert sum(math.prod(w.shape) for w in layer.trainable_variables) == parameters


@pytest.mark.parametrize("whole_channels", [False, True])
def test_dropout_is_for_training(rng, whole_channels):
    x = rng.normal(size=(2, 6, 6, 8)).astype("float32")
    layer = DenseASPP((1,), 64, 6, dropout=0.5) if whole_channels else ASPP((2,), 64, dropout=0.5)
    still = layer(x)
    np.testing.assert_array_equal(still, layer(x))
    keras.utils.set_random_seed(0)
    dropped, dead = np.asarray(layer(x, training=True)) == 0, np.asarray(still) == 0
    assert dropped.mean() > dead.mean() + 0.2
    gone = dropped.all((1, 2)).mean() - dead.all((1, 2)).mean()  # share of channels
    assert gone > 0.3 if whole_channels else gone < 0.1


@pytest.mark.parametrize("stride, factor", [(8, 1), (16, 2), (32, 4)])
def test_rates_of_a_network_follow_its_stride(stride, factor):
    """Halved where stride 16 halves the grid; dropout is the network's."""
    images = x = keras.Input((None, None, 3))
    maps = []
    for i, strides in enumerate((4, stride // 4)):
        x = Conv2D(6 + i, 3, strides=strides)(x)
        maps.append(x)
    arguments = dict(fusion=None, dfp=False, aux_head=False, dropout=0.3)
    for context, published in (("aspp", [12, 24, 36]), ("dense_aspp", [3, 6, 12, 18, 24])):
        model = GFFNet(keras.Model(images, maps), 3, context=context, **arguments)
        layer = model.get_layer("context")
        assert list(layer.rates) == [max(1, rate // factor) for rate in published]
        assert layer.dropout == layer.drop.rate == 0.3
        assert len({w.path for w in model.weights}) == len(model.weights)


def test_weights_of_two_contexts_have_no_name_in_common():
    """With 1024 channels some have the same shape: one would be loaded into the other."""
    names = []
    for kind in (PyramidPooling, ASPP, DenseASPP):
        layer = kind(name="context")
        layer.build((None, None, None, 1024))
        names.append({weight.path for weight in layer.weights})
    for one, other in itertools.combinations(names, 2):
        assert not one & other
