import numpy as np
import pytest
import tensorflow as tf

from gff_keras.layers import DenseFeaturePyramid, MultiLevelConv
from tests.layers.test_convolution import convolve, kernel_gradient
from tests.layers.test_resizing import resampled

SIZES = ((13, 18), (7, 9), (7, 9), (4, 5))


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_multi_level_conv_is_a_conv_over_resized_and_concatenated_maps(rng, kernel_size):
    maps = [
        rng.normal(size=(2, *size, c)).astype("float32")
        for size, c in zip(reversed(SIZES), (3, 4, 5, 6), strict=True)
    ]
    layer = MultiLevelConv(7, kernel_size, use_bias=True)
    layer.build([x.shape for x in maps])
    layer.bias.assign(rng.normal(size=7))
    joined = np.concatenate([resampled(x, SIZES[0]) for x in maps], -1)
    expected = convolve(joined, layer.kernel.numpy(), 1, 1) + layer.bias.numpy()
    np.testing.assert_allclose(layer(maps), expected, atol=1e-4)


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("channels", [(3, 4, 5, 6), (6,)])
def test_gradient_of_the_kernel(rng, kernel_size, channels):
    maps = [
        rng.normal(size=(2, *size, c)).astype("float32")
        for size, c in zip(SIZES[: len(channels)][::-1], channels, strict=True)
    ]
    layer = MultiLevelConv(7, kernel_size)
    layer.build([x.shape for x in maps])
    upstream = rng.normal(size=(2, *SIZES[0], 7)).astype("float32")

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            y = layer(maps)
        return tape.gradient(y, layer.kernel.value, upstream)

    joined = np.concatenate([resampled(x, SIZES[0]) for x in maps], -1)
    expected = kernel_gradient(joined, upstream, kernel_size)
    np.testing.assert_allclose(gradient(), expected, atol=1e-3)
    found = gradient.get_concrete_function().graph.get_operations()
    of_kernel = [op for op in found for y in op.outputs if y.shape.rank == 4]
    as_large = [op.type for op in of_kernel if op.outputs[0].shape == layer.kernel.shape]
    assert "StridedSliceGrad" not in as_large and "AddN" not in as_large


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_equation_6(rng, kernel_size):
    fused = [rng.normal(size=(2, *size, 6)).astype("float32") for size in SIZES]
    y_0 = rng.normal(size=(2, *SIZES[-1], 6)).astype("float32")
    layer = DenseFeaturePyramid(5, kernel_size)
    outputs = layer([*fused, y_0])
    assert [y.shape for y in outputs] == layer.compute_output_shape(
        [x.shape for x in [*fused, y_0]]
    )
    seen = [y_0]
    for i, x_i in enumerate(reversed(fused)):
        seen.append(x_i)
        size = x_i.shape[1:3]
        joined = np.concatenate([resampled(x, size) for x in seen], -1)
        y_i = convolve(joined, layer.convs[i].kernel.numpy(), 1, 1) / np.sqrt(1 + 1e-5)
        np.testing.assert_allclose(outputs[-1 - i], np.maximum(y_i, 0), atol=1e-4)


def test_refuses_the_context_map_alone(rng):
    with pytest.raises(ValueError, match="context map"):
        DenseFeaturePyramid(4)([rng.normal(size=(1, 4, 4, 3)).astype("float32")])
