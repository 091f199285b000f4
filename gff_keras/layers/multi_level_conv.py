"""One convolution over several feature maps of different sizes."""

import keras

from gff_keras.layers.convolution import TORCH_INITIALIZER, conv2d, split_kernel
from gff_keras.layers.resizing import resample, spatial_size, sum_resampled


@keras.saving.register_keras_serializable(package="gff_keras")
class MultiLevelConv(keras.layers.Layer):
    """Convolve the concatenation of feature maps, all sampled on the grid of the last one.

    A convolution over a concatenation is a sum of convolutions over its parts, and a 1x1
    convolution commutes with bilinear sampling; so each map is convolved at its own size and only
    the result is sampled. The numbers are those of sample, concatenate, convolve, at a fraction of
    the cost.

    Args:
        filters: output channels.
        kernel_size: odd integer; beyond 1 the maps have to be sampled first.
        use_bias: add a bias.

    Call with a list of (B, H_i, W_i, C_i); returns (B, H_last, W_last, filters).
    """

    def __init__(self, filters, kernel_size=1, use_bias=False, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.use_bias = use_bias

    def build(self, input_shape):
        self.channels = [shape[-1] for shape in input_shape]
        k = self.kernel_size
        self.kernel = self.add_weight(
            shape=(k, k, sum(self.channels), self.filters),
            initializer=keras.initializers.get(TORCH_INITIALIZER),
            name="kernel",
        )
        self.bias = (
            self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")
            if self.use_bias
            else None
        )
        self.built = True

    def call(self, maps):
        size = spatial_size(maps[-1])
        if self.kernel_size > 1:
            maps = [resample(x, size) for x in maps]
        kernels = split_kernel(self.kernel, self.channels)
        parts = [conv2d(x, kernel) for x, kernel in zip(maps, kernels, strict=True)]
        if self.bias is not None:  # on the map that is not sampled, where it fuses
            parts[-1] = parts[-1] + self.bias
        return sum_resampled(parts, size)

    def compute_output_shape(self, input_shape):
        return (*input_shape[-1][:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "use_bias": self.use_bias,
        }
