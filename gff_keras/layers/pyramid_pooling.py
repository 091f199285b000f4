"""Pyramid Pooling Module (Zhao et al., CVPR 2017), the context part of the paper's network.

Pooling and upsampling are linear in each axis, so both are written as products with small matrices:
adaptive averaging with (bins, H), bilinear upsampling with (H, bins). That is exact for any H and
W, known or not when the graph is traced, and lets the 3x3 convolution over the upsampled bins be
computed on the bins themselves.
"""

import itertools

import keras
from keras import ops

from gff_keras.layers.batch_normalization import BatchNormalization
from gff_keras.layers.convolution import (
    TORCH_INITIALIZER,
    ConvBNReLU,
    conv2d,
    split_kernel,
)
from gff_keras.layers.resizing import spatial_size


def averaging_matrix(bins, n):
    """Rows average the bins of torch.nn.AdaptiveAvgPool over an axis.

    Bin i spans [floor(i n / bins), ceil((i + 1) n / bins)).

    Args:
        bins: number of bins, an integer.
        n: length of the axis, an integer or scalar tensor.

    Returns:
        float32 tensor (bins, n); every row sums to 1.
    """
    i = ops.arange(bins, dtype="int32")[:, None]
    start = i * n // bins
    stop = -((-(i + 1) * n) // bins)
    at = ops.arange(n, dtype="int32")[None, :]
    inside = ops.cast(ops.logical_and(at >= start, at < stop), "float32")
    return inside / ops.sum(inside, axis=1, keepdims=True)


def interpolation_matrix(n, bins):
    """Rows interpolate bilinearly (half-pixel centres) from `bins` samples to `n`.

    Returns:
        float32 tensor (n, bins); every row sums to 1.
    """
    at = (ops.cast(ops.arange(n, dtype="int32"), "float32") + 0.5) * bins
    at = ops.clip(at / ops.cast(n, "float32") - 0.5, 0, bins - 1)
    samples = ops.arange(bins, dtype="float32")
    return ops.relu(1 - ops.abs(at[:, None] - samples[None, :]))


def _three_taps(matrix):
    """Rows of `matrix` (n, bins) at offsets -1, 0, +1, zero beyond the border: (n, bins 3)."""
    padded = ops.pad(matrix, [[1, 1], [0, 0]])
    taps = ops.stack([padded[:-2], matrix, padded[2:]], axis=2)
    return ops.reshape(taps, (-1, 3 * matrix.shape[1]))


@keras.saving.register_keras_serializable(package="gff_keras")
class PyramidPooling(keras.layers.Layer):
    """Add context to a feature map: averages over 1x1, 2x2, 3x3 and 6x6 bins.

    Each is convolved (1x1) and upsampled; with the input they pass a 3x3 convolution.

    Each branch has C // len(bins) channels, BN and ReLU; so does the output.

    Args:
        bins: grid sizes of the branches.
        filters: output channels; C // len(bins) if None.
        dropout: rate after the last ReLU.

    Attributes:
        transposed: write products M x as (x^T M^T)^T, the constant on the right, for runtimes that
            have no other in integers. False; it takes transpositions and changes no number.

    Call with (B, H, W, C); returns (B, H, W, filters).
    """

    def __init__(self, bins=(1, 2, 3, 6), filters=None, dropout=0.1, **kwargs):
        super().__init__(**kwargs)
        self.bins = tuple(bins)
        self.filters = filters
        self.dropout = dropout
        self.transposed = False
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape):
        channels = input_shape[-1]
        width = channels // len(self.bins)
        self.out_channels = self.filters or width
        dtype = self.dtype_policy
        self.branches = [ConvBNReLU(width, dtype=dtype, name=f"bin_{b}") for b in self.bins]
        for b, branch in zip(self.bins, self.branches, strict=True):
            branch.build((input_shape[0], b, b, channels))
        self.kernel = self.add_weight(
            shape=(3, 3, channels + width * len(self.bins), self.out_channels),
            initializer=keras.initializers.get(TORCH_INITIALIZER),
            name="kernel",
        )
        self.bn = BatchNormalization(dtype=dtype, name="bn")
        self.bn.build((*input_shape[:-1], self.out_channels))
        self.built = True

    def call(self, x, training=None):
        channels = x.shape[-1]
        width = channels // len(self.bins)
        kernel, *kernels = split_kernel(self.kernel, [channels] + [width] * len(self.bins))
        pooled = [
            branch(bins, training=training)
            for branch, bins in zip(self.branches, self.pool(x), strict=True)
        ]
        y = conv2d(x, kernel) + self.conv_upsampled(pooled, kernels, spatial_size(x))
        y = ops.relu(self.bn(y, training=training))
        return self.drop(y, training=training)

    def pool(self, x):
        """Exact adaptive average pooling, (B, H, W, C) -> a list of (B, bins, bins, C)."""
        height, width = spatial_size(x)
        rows = ops.concatenate([averaging_matrix(bins, height) for bins in self.bins], axis=0)
        strips = self._along_rows(rows, x)  # (B, sum of bins, W, C)
        return [
            self._product(averaging_matrix(bins, width), strips[:, stop - bins : stop])
            for bins, stop in zip(self.bins, itertools.accumulate(self.bins), strict=True)
        ]

    def conv_upsampled(self, pooled, kernels, size):
        """Upsample each (B, bins, bins, C) to `size`, convolve with its (3, 3, C, F), and add up.

        out[h, w] = sum_{dy, dx} K[dy, dx] up[h + dy, w + dx]   and   up = U_h pooled U_w^T,
        so K acts on the bins and the shifts act on the rows of U_h and U_w, all as small products.
        """
        height, width = size
        rows = [_three_taps(interpolation_matrix(height, bins)) for bins in self.bins]
        strips = [self._strip(*x, width) for x in zip(pooled, kernels, strict=True)]
        rows, strips = ops.concatenate(rows, axis=1), ops.concatenate(strips, axis=1)
        return self._along_rows(rows, strips)  # (B, H, W, F)

    def _strip(self, pooled, kernel, width):
        """Convolve (B, bins, bins, C) with the rows of (3, 3, C, F): (B, 3 bins, width, F)."""
        bins, (channels, filters) = pooled.shape[1], kernel.shape[2:]
        # A 1x1 convolution for every row of taps, whose taps then lie beside the bins.
        kernel = ops.reshape(ops.transpose(kernel, (0, 2, 1, 3)), (3, 1, 1, channels, 3 * filters))
        taps = [conv2d(pooled, kernel[y]) for y in range(3)]  # (B, bins, bins, 3 F)
        taps = ops.concatenate(taps, axis=2)  # (B, bins, 3 bins, 3 F)
        taps = ops.reshape(taps, (-1, 3 * bins, 3 * bins, filters))
        return self._product(_three_taps(interpolation_matrix(width, bins)), taps)

    def _along_rows(self, matrix, x):
        """`matrix` (m, H) times every column of (B, H, W, C): (B, m, W, C)."""
        height, width, channels = ops.shape(x)[1:]
        flat = self._product(matrix, ops.reshape(x, (-1, height, width * channels)))
        rows = matrix.shape[0] or ops.shape(matrix)[0]
        return ops.reshape(flat, (-1, rows, width, channels))

    def _product(self, matrix, x):
        """`matrix` (m, n) times every (n, C) of (..., n, C): (..., m, C).

        In float32 under any policy, as averages over whole maps need it.
        """
        wide = keras.backend.result_type(x.dtype, "float32")
        matrix, y = ops.cast(matrix, wide), ops.cast(x, wide)
        if self.transposed:
            y = ops.swapaxes(ops.matmul(ops.swapaxes(y, -1, -2), ops.transpose(matrix)), -1, -2)
        else:
            y = ops.matmul(matrix, y)
        return ops.cast(y, x.dtype)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters or input_shape[-1] // len(self.bins))

    def get_config(self):
        return {
            **super().get_config(),
            "bins": self.bins,
            "filters": self.filters,
            "dropout": self.dropout,
        }
