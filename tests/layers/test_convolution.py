import keras
import numpy as np
import pytest
import tensorflow as tf

from gff_keras.layers import Conv2D, ConvBNReLU, MaxPooling2D, convolution


def convolve(x, kernel, stride, dilation):
    """Cross-correlation with the same zero padding on every side, tap by tap."""
    k = kernel.shape[0]
    pad = dilation * (k - 1) // 2
    padded = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    height, width = (-(-n // stride) for n in x.shape[1:3])
    out = np.zeros((len(x), height, width, kernel.shape[-1]))
    for dy in range(k):
        for dx in range(k):
            rows = slice(dy * dilation, dy * dilation + stride * (height - 1) + 1, stride)
            columns = slice(dx * dilation, dx * dilation + stride * (width - 1) + 1, stride)
            out += padded[:, rows, columns] @ kernel[dy, dx]
    return out


def kernel_gradient(x, upstream, k):
    """Gradient of sum(upstream * convolve(x, kernel, 1, 1)) with respect to the kernel."""
    pad = (k - 1) // 2
    padded = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    height, width = x.shape[1:3]
    out = np.zeros((k, k, x.shape[-1], upstream.shape[-1]))
    for dy in range(k):
        for dx in range(k):
            part = padded[:, dy : dy + height, dx : dx + width]
            out[dy, dx] = np.einsum("bhwc,bhwf->cf", part, upstream)
    return out


@pytest.mark.parametrize("size", [(12, 16), (13, 15)])
@pytest.mark.parametrize(
    "kernel_size, stride, dilation",
    [(1, 1, 1), (3, 1, 1), (3, 1, 2), (3, 1, 4), (7, 2, 1), (3, 2, 1), (1, 2, 1)],
)
def test_conv_pads_symmetrically(rng, size, kernel_size, stride, dilation):
    x = rng.normal(size=(2, *size, 3)).astype("float32")
    layer = Conv2D(4, kernel_size, strides=stride, dilation_rate=dilation)
    y = layer(x)
    assert y.shape == layer.compute_output_shape(x.shape)
    expected = convolve(x, layer.kernel.numpy(), stride, dilation)
    np.testing.assert_allclose(y, expected, atol=1e-4)


def test_conv_refuses_what_it_cannot_pad():
    with pytest.raises(ValueError, match="even"):
        Conv2D(4, 2)
    with pytest.raises(ValueError, match="valid"):
        Conv2D(4, 3, padding="valid")


def test_dilated_conv_is_one_operation():
    layer = Conv2D(4, 3, dilation_rate=2)
    layer.build((None, None, None, 3))
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec((1, None, None, 3))).graph
    types = [op.type for op in graph.get_operations()]
    assert types.count("Conv2D") == 1
    assert "SpaceToBatchND" not in types
    assert next(op for op in graph.get_operations() if op.type == "Conv2D").get_attr(
        "dilations"
    ) == [1, 2, 2, 1]


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_dilated_gradient_equals_that_of_keras(rng, monkeypatch, native, dtype):
    """On machines with and without kernels for it; CPUs have none for float16."""
    if not native:
        monkeypatch.setattr(convolution, "_has_dilated_gradient", lambda dtype: False)
    x = tf.constant(rng.normal(size=(2, 9, 11, 3)), dtype)
    ours = Conv2D(4, 3, dilation_rate=2, dtype=dtype)
    keras_conv = keras.layers.Conv2D(4, 3, dilation_rate=2, padding="same", dtype=dtype)
    gradients = []
    for layer in (ours, keras_conv):
        layer.build(x.shape)
        layer.kernel.assign(ours.kernel)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.cast(layer(x), "float32") ** 2)
        gradients.append(tape.gradient(loss, [x, layer.kernel.value]))
    for a, b in zip(*gradients, strict=True):
        scale = float(tf.reduce_max(tf.abs(tf.cast(b, "float32"))))
        np.testing.assert_allclose(
            np.float32(a), np.float32(b), atol=scale * (1e-5 if dtype == "float32" else 1e-2)
        )


@pytest.mark.parametrize("size", [(12, 16), (13, 15), (1, 2)])
@pytest.mark.parametrize("border", ["zero", "mirror"])
def test_max_pooling_pads_with_minus_infinity(rng, border, size):
    x = rng.normal(size=(2, *size, 3)).astype("float32")
    if border == "zero":
        x = np.abs(x)
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    layer = MaxPooling2D.from_config(MaxPooling2D(border).get_config())
    y = layer(x)
    assert y.shape == layer.compute_output_shape(x.shape)
    np.testing.assert_array_equal(y, windows.max((-1, -2)))


def test_max_pooling_refuses_an_unknown_border():
    with pytest.raises(ValueError, match="border='reflect'.*'zero' or 'mirror'"):
        MaxPooling2D("reflect")


def test_conv_bn_relu(rng):
    x = rng.normal(size=(2, 6, 7, 3)).astype("float32")
    layer = ConvBNReLU(5, 3)
    layer.build(x.shape)
    gamma, beta, mean, variance = rng.uniform(0.5, 2, (4, 5)).astype("float32")
    for weight, value in zip(layer.bn.weights, (gamma, beta, mean, variance), strict=True):
        weight.assign(value)
    y = convolve(x, layer.conv.kernel.numpy(), 1, 1)
    y = (y - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    np.testing.assert_allclose(layer(x), np.maximum(y, 0), atol=1e-5)
