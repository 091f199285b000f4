"""DenseNet-121 for dense prediction: keras-cv's DenseNetBackbone, dilated as in DenseASPP.

DenseNet is by Huang et al. (CVPR 2017), the dilation by Yang et al. (CVPR 2018): a transition whose
stride is taken away loses its average pooling, and the 3x3 convolutions behind it dilate.

What it returns is made of this project's and Keras's layers, named as in
`keras.applications.DenseNet121`: `conv3_block12_2_conv` is the second convolution of the twelfth
layer of the block that ends in C3, `pool3_conv` that of the transition behind it.
"""

import re

import keras

from gff_keras.layers.batch_normalization import BatchNormalization
from gff_keras.layers.convolution import Conv2D, MaxPooling2D

_LAYERS = (6, 12, 24, 16)  # of the four dense blocks, which are called conv2 .. conv5


def densenet121(output_stride=8, input_shape=(None, None, 3), dtype=None):
    """Build a DenseNet-121 whose last blocks are dilated instead of strided.

    Args:
        output_stride: stride of the last feature map: 8, 16 or 32.
        input_shape: `(height, width, 3)`; None where unknown.
        dtype: name of the layers' dtype policy; the global policy if None.

    Returns:
        `keras.Model` from normalised images (B, H, W, 3) to the features `[C2, C3, C4, C5]` of the
        four dense blocks, 256, 512, 1024 and 1024 channels, strides 4, 8, 16, 32 but none above
        `output_stride`. Sizes are rounded up. C5 is normalised and non-negative, the others are
        concatenations as the blocks leave them.
    """
    import keras_cv  # here, not above: slow to import, and needed only to build a new network

    source = keras_cv.models.DenseNetBackbone(
        stackwise_num_repeats=list(_LAYERS),
        include_rescaling=False,
        input_shape=tuple(input_shape),
    )
    rewrite = _Rewriter(output_stride, dtype)
    dilated = keras.models.clone_model(source, clone_function=rewrite)
    ends = [f"conv{level}_block{n}_concat" for level, n in enumerate(_LAYERS, start=2)]
    features = [dilated.get_layer(end).output for end in [*ends[:-1], "relu"]]
    return keras.Model(dilated.input, features, name="densenet121")


class _Rewriter:
    """Maps a layer of keras-cv's DenseNet to its dilated, symmetrically padded counterpart."""

    def __init__(self, output_stride, dtype):
        self.output_stride = output_stride
        self.dtype = dtype or keras.config.dtype_policy().name

    def __call__(self, layer):
        # keras-cv counts the layers of a block from 0, keras.applications from 1.
        name = re.sub(r"_block_(\d+)", lambda found: f"_block{int(found[1]) + 1}", layer.name)
        common = {"name": name, "dtype": self.dtype}
        if isinstance(layer, keras.layers.Conv2D):
            return self._conv(layer, **common)
        if isinstance(layer, keras.layers.BatchNormalization):
            return BatchNormalization(**common)
        if isinstance(layer, keras.layers.MaxPooling2D):
            return MaxPooling2D(**common)
        if isinstance(layer, keras.layers.AveragePooling2D):
            if self._dilation(_level(name) + 1) > 1:
                return keras.layers.Identity(**common)
            # "same" rounds the size up: the last window of an odd map holds one sample.
            return keras.layers.AveragePooling2D(2, strides=2, padding="same", **common)
        return layer.__class__.from_config({**layer.get_config(), **common})

    def _conv(self, layer, **common):
        dilated = re.fullmatch(r"conv\d_block\d+_2_conv", common["name"])
        return Conv2D(
            layer.filters,
            layer.kernel_size,
            strides=layer.strides,
            dilation_rate=self._dilation(_level(common["name"])) if dilated else 1,
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_in", "untruncated_normal"
            ),
            **common,
        )

    def _dilation(self, level):
        """Dilation of the block that ends in C_level, whose stride was 2^level."""
        return max(1, 2**level // self.output_stride)


def _level(name):
    """`conv4_block2_1_conv` and `pool4_pool` -> 4."""
    return int(name.split("_")[0][-1])
