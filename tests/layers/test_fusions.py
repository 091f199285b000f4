"""The fusions of Table 1 beside gated fully fusion, against NumPy."""

import numpy as np
import pytest

from gff_keras.layers import (
    AdditionFusion,
    ConcatFusion,
    FeaturePyramid,
    GatedFeaturePyramid,
    SemanticBranch,
)
from tests.layers.test_convolution import convolve
from tests.layers.test_pyramid_pooling import normalize
from tests.layers.test_resizing import resampled

SIZES = ((13, 18), (7, 9), (7, 9), (4, 5))
CHANNELS = (6, 8, 10, 12)


@pytest.fixture
def x(rng):
    return [
        rng.normal(size=(2, *size, c)).astype("float32")
        for size, c in zip(SIZES, CHANNELS, strict=True)
    ]


def made(layer, x, rng):
    """The layer, with all weights at random."""
    layer.build([x_l.shape for x_l in x])
    for weight in layer.weights:
        if "kernel" not in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return layer


def conv_bn_relu(x, layer):
    return normalize(convolve(x, layer.conv.kernel.numpy(), 1, 1), layer.bn)


def reduced(x, layers):
    return [conv_bn_relu(x_l, layer) for x_l, layer in zip(x, layers, strict=True)]


def test_concatenation_is_equation_2(rng, x):
    layer = made(ConcatFusion(5), x, rng)
    maps = [resampled(x_l, SIZES[0]) for x_l in reduced(x, layer.reductions)]
    joined = np.concatenate(maps[::-1], -1)
    expected = normalize(convolve(joined, layer.refine_1.kernel.numpy(), 1, 1), layer.bn_1)
    expected = conv_bn_relu(expected, layer.refine_2)
    fused = layer(x)
    assert fused.shape == layer.compute_output_shape([x_l.shape for x_l in x])
    np.testing.assert_allclose(fused, expected, atol=1e-4)


def test_addition_is_equation_3(rng, x):
    layer = made(AdditionFusion(5), x, rng)
    expected = sum(resampled(x_l, SIZES[0]) for x_l in reduced(x, layer.reductions))
    for refine in (layer.refine_1, layer.refine_2):
        expected = conv_bn_relu(expected, refine)
    fused = layer(x)
    assert fused.shape == layer.compute_output_shape([x_l.shape for x_l in x])
    np.testing.assert_allclose(fused, expected, atol=1e-4)


def test_feature_pyramid_is_equation_4(rng, x):
    layer = made(FeaturePyramid(5), x, rng)
    x_1, x_2, x_3, x_4 = reduced(x, layer.laterals)
    fused_3 = x_3 + resampled(x_4, SIZES[2])
    fused_2 = x_2 + fused_3
    fused_1 = x_1 + resampled(fused_2, SIZES[0])
    expected = reduced([fused_1, fused_2, fused_3, x_4], layer.smooths)
    levels = layer(x)
    assert [y.shape for y in levels] == layer.compute_output_shape([x_l.shape for x_l in x])
    for y, y_l in zip(levels, expected, strict=True):
        np.testing.assert_allclose(y, y_l, atol=1e-4)


def gates_of(layer, x):
    return [
        1 / (1 + np.exp(-(x_l @ conv.kernel.numpy()[0, 0] + conv.bias.numpy())))
        for x_l, conv in zip(x, layer.gate_convs, strict=True)
    ]


def test_gated_pyramid_receives_from_the_next_coarser_level(rng, x):
    layer = made(GatedFeaturePyramid(5), x, rng)
    g, r = gates_of(layer, x), reduced(x, layer.laterals)
    fused = (1 + g[3]) * r[3]
    expected = [fused]
    for level in (2, 1, 0):
        received = resampled(g[level + 1] * fused, SIZES[level])
        fused = (1 + g[level]) * r[level] + (1 - g[level]) * received
        expected.insert(0, fused)
    for y, y_l in zip(layer(x), reduced(expected, layer.smooths), strict=True):
        np.testing.assert_allclose(y, y_l, atol=1e-4)
    for gate, g_l in zip(layer.gates(x), g, strict=True):
        np.testing.assert_allclose(gate, g_l, atol=1e-5)


def test_an_open_gate_of_the_pyramid_receives_nothing(rng, x):
    layer = made(GatedFeaturePyramid(5), x, rng)
    layer.gate_convs[0].bias.assign([200.0])
    before = layer(x)
    after = layer([*x[:3], x[3] + 1])
    np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(before[2] - after[2]).max() > 0.01


def test_semantic_branch_upsamples_step_by_step(rng, x):
    """Kirillov's head: a level four times as coarse passes two convolutions, each then doubled."""
    x = [x[0], x[1], rng.normal(size=(2, 4, 5, 6)).astype("float32")]
    layer = made(SemanticBranch((1, 2, 4), 3), x, rng)
    (a,), (b,), (c, d) = layer.stages
    expected = conv_bn_relu(x[0], a) + resampled(conv_bn_relu(x[1], b), SIZES[0])
    coarse = resampled(conv_bn_relu(x[2], c), (7, 9))
    expected += resampled(conv_bn_relu(coarse, d), SIZES[0])
    merged = layer(x)
    assert merged.shape == layer.compute_output_shape([x_l.shape for x_l in x])
    np.testing.assert_allclose(merged, expected, atol=1e-4)


@pytest.mark.parametrize("kind", [AdditionFusion, ConcatFusion, FeaturePyramid])
def test_one_map_is_no_pyramid(rng, kind):
    with pytest.raises(ValueError, match=r"list of at least two .* finest level first"):
        kind(4)(rng.normal(size=(1, 5, 5, 3)))


@pytest.mark.parametrize("kind", [AdditionFusion, ConcatFusion, FeaturePyramid])
@pytest.mark.parametrize(
    "shapes, message",
    [
        ([(2, 5, 6, 3), None], r"feature maps \(B, H, W, C\), C known"),
        ([(5, 6, 3), (3, 3, 4)], r"feature maps \(B, H, W, C\), C known"),
        ([(None, 5, 6, None), (None, 3, 3, 4)], r"feature maps \(B, H, W, C\), C known"),
        ([(2, 5, 6, 3), (1, 3, 3, 4)], "All levels must be of the same images"),
    ],
)
def test_maps_that_cannot_be_fused(kind, shapes, message):
    with pytest.raises(ValueError, match=message):
        kind(4).build(shapes)
    with pytest.raises(ValueError, match="filters=-1 must be positive"):
        kind(-1)


def test_factors_are_powers_of_two_and_one_for_each_level(rng, x):
    with pytest.raises(ValueError, match=r"factors=\(1, 3\) must be powers of two"):
        SemanticBranch((1, 3))
    with pytest.raises(ValueError, match=r"factors=\(1, 2\) for 2 levels; received shapes"):
        SemanticBranch((1, 2))(x)
