"""Convolution and max pooling with PyTorch's padding, and the block that the network is made of.

The paper's network was written in PyTorch: padding is the same on both sides. (TensorFlow's "same"
pads a strided convolution on one side only and shifts every feature map against the image.)
"""

import functools
import itertools

import keras
from keras import ops

from gff_keras.layers.batch_normalization import BatchNormalization

# torch.nn.Conv2d's default: uniform with variance 1 / (3 fan_in).
TORCH_INITIALIZER = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1 / 3, "mode": "fan_in", "distribution": "uniform"},
}


@keras.saving.register_keras_serializable(package="gff_keras")
class Conv2D(keras.layers.Conv2D):
    """2-D convolution, padded by `dilation * (kernel_size - 1) / 2` on every side.

    Output size is `ceil(input / stride)`. Takes the arguments of `keras.layers.Conv2D`; `padding`
    must be "same" (the default here), kernel sizes odd.
    """

    def __init__(self, filters, kernel_size, *, padding="same", kernel_initializer=None, **kwargs):
        if padding != "same":
            raise ValueError(f"padding={padding!r} is not supported; use 'same'.")
        kernel_initializer = kernel_initializer or keras.initializers.get(TORCH_INITIALIZER)
        super().__init__(
            filters, kernel_size, padding=padding, kernel_initializer=kernel_initializer, **kwargs
        )
        if any(k % 2 == 0 for k in self.kernel_size):
            raise ValueError(f"kernel_size={kernel_size} is even; symmetric padding needs odd.")

    def convolution_op(self, inputs, kernel):
        return conv2d(inputs, kernel, self.strides[0], self.dilation_rate[0])


def conv2d(x, kernel, stride=1, dilation=1):
    """Convolve (B, H, W, C) with (k, k, C, F), zero padding of the same width on every side."""
    if dilation > 1 and stride == 1 and keras.backend.backend() == "tensorflow":
        return _dilated_conv2d(x, kernel, dilation)
    if stride == 1:
        return ops.conv(x, kernel, padding="same", dilation_rate=dilation)
    pad = [dilation * (k - 1) // 2 for k in kernel.shape[:2]]
    if any(pad):
        x = ops.pad(x, [[0, 0], [pad[0], pad[0]], [pad[1], pad[1]], [0, 0]])
    return ops.conv(x, kernel, strides=stride, padding="valid", dilation_rate=dilation)


def split_kernel(kernel, channels):
    """Split (k, k, C, F) into one kernel for each part of the input; `channels` sum to C.

    Not by slices: the gradient of each is as large as the whole kernel, zero but for the slice, and
    TensorFlow holds them all to add them up. The gradient of one split is one concatenation.
    """
    kernel = ops.convert_to_tensor(kernel)
    *stops, _ = itertools.accumulate(channels)
    return ops.split(kernel, stops, axis=2) if stops else [kernel]


def _dilated_conv2d(x, kernel, dilation):
    """A dilated convolution as one TensorFlow op.

    keras.ops.conv would emit SpaceToBatchND, Conv2D and BatchToSpaceND: the same numbers, three
    passes over memory, and three operators in a TFLite file.
    """
    import tensorflow as tf

    kernel = tf.convert_to_tensor(kernel)

    def forward(x, kernel):
        return tf.nn.conv2d(x, kernel, strides=1, padding="SAME", dilations=dilation)

    if _has_dilated_gradient(x.dtype):
        return forward(x, kernel)

    @tf.custom_gradient
    def forward_with_portable_gradient(x, kernel):
        def gradient(upstream):
            with tf.GradientTape() as tape:
                tape.watch((x, kernel))
                y = tf.nn.convolution(x, kernel, padding="SAME", dilations=dilation)
            return tape.gradient(y, (x, kernel), upstream)

        return forward(x, kernel), gradient

    return forward_with_portable_gradient(x, kernel)


@functools.cache
def _has_dilated_gradient(dtype):
    """Whether this machine has a kernel for the gradient of a dilated convolution.

    GPUs have it; CPUs only through oneDNN, and there not in float16.
    """
    import tensorflow as tf

    with tf.init_scope():
        try:
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=[1, 5, 5, 1],
                filter=tf.zeros((3, 3, 1, 1), dtype),
                out_backprop=tf.zeros((1, 5, 5, 1), dtype),
                strides=[1, 1, 1, 1],
                padding="SAME",
                dilations=[1, 2, 2, 1],
            )
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True


@keras.saving.register_keras_serializable(package="gff_keras")
class MaxPooling2D(keras.layers.Layer):
    """3x3 max pooling with stride 2, padded by one on every side.

    (B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), C).

    Args:
        border: what stands for the minus infinity that PyTorch pads with. "zero" is the same on
            non-negative maps only, as they are after a ReLU, and every runtime has it. "mirror",
            which repeats the outermost samples, is the same on any map.
    """

    def __init__(self, border="zero", **kwargs):
        super().__init__(**kwargs)
        if border not in ("zero", "mirror"):
            raise ValueError(f"border={border!r} is unknown; choose 'zero' or 'mirror'.")
        self.border = border

    def call(self, x):
        mode = "constant" if self.border == "zero" else "symmetric"
        x = ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode=mode)
        return ops.max_pool(x, 3, strides=2, padding="valid")

    def compute_output_shape(self, input_shape):
        batch, *size, channels = input_shape
        return (batch, *(None if n is None else -(-n // 2) for n in size), channels)

    def get_config(self):
        return {**super().get_config(), "border": self.border}


@keras.saving.register_keras_serializable(package="gff_keras")
class ConvBNReLU(keras.layers.Layer):
    """Convolution without bias, batch normalisation, ReLU.

    Args:
        filters: output channels.
        kernel_size: odd integer.
    """

    def __init__(self, filters, kernel_size=1, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        dtype = self.dtype_policy
        self.conv = Conv2D(filters, kernel_size, use_bias=False, dtype=dtype, name="conv")
        self.bn = BatchNormalization(dtype=dtype, name="bn")

    def build(self, input_shape):
        self.conv.build(input_shape)
        self.bn.build(self.conv.compute_output_shape(input_shape))
        self.built = True

    def call(self, x, training=None):
        return ops.relu(self.bn(self.conv(x), training=training))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size}
