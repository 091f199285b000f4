"""Dilated ResNets: keras-cv's ResNetBackbone, rewritten for dense prediction.

The only file that imports keras_cv. What it returns is made of this project's and Keras's layers,
so a saved model loads without keras_cv.
"""

import keras

from gff_keras.layers.batch_normalization import BatchNormalization
from gff_keras.layers.convolution import Conv2D, MaxPooling2D

_BLOCKS = {
    "resnet18": ("basic_block", (2, 2, 2, 2)),
    "resnet34": ("basic_block", (3, 4, 6, 3)),
    "resnet50": ("block", (3, 4, 6, 3)),
    "resnet101": ("block", (3, 4, 23, 3)),
    "resnet152": ("block", (3, 8, 36, 3)),
}
RESNETS = tuple(_BLOCKS)
OUTPUT_STRIDES = (8, 16, 32)
# How names of layers begin, from the stem to the stage that ends in C5.
STAGES = ("conv1_", "v2_stack_0_", "v2_stack_1_", "v2_stack_2_", "v2_stack_3_")


def resnet(name, output_stride=8, input_shape=(None, None, 3), dtype=None):
    """Build a ResNet whose last stages are dilated instead of strided.

    Args:
        name: "resnet18", "resnet34", "resnet50", "resnet101" or "resnet152".
        output_stride: stride of the last feature map: 8, 16 or 32.
        input_shape: `(height, width, 3)`; None where unknown.
        dtype: name of the layers' dtype policy; the global policy if None.

    Returns:
        `keras.Model` from normalised images (B, H, W, 3) to the features `[C2, C3, C4, C5]` of the
        last block of each stage, strides 4, 8, 16, 32 but none above `output_stride`.

    Raises:
        ValueError: unknown name or output stride.
    """
    if name not in _BLOCKS:
        raise ValueError(f"backbone={name!r} is unknown; choose one of {', '.join(RESNETS)}.")
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride={output_stride} is not one of {OUTPUT_STRIDES}.")
    import keras_cv  # here, not above: slow to import, and needed only to build a new network

    block_type, blocks = _BLOCKS[name]
    source = keras_cv.models.ResNetBackbone(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=list(blocks),
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
        input_shape=tuple(input_shape),
        block_type=block_type,
    )
    rewrite = _Rewriter(_dilations(output_stride), block_type, dtype)
    dilated = keras.models.clone_model(source, clone_function=rewrite)
    ends = [f"v2_stack_{i}_block{n}_out" for i, n in enumerate(blocks)]
    features = [dilated.get_layer(end).output for end in ends]
    return keras.Model(dilated.input, features, name=name)


def _dilations(output_stride):
    """Dilation of each of the four stages: a stride not taken becomes a dilation that stays."""
    dilations, stride, dilation = [1], 4, 1
    for _ in range(3):
        if stride < output_stride:
            stride *= 2
        else:
            dilation *= 2
        dilations.append(dilation)
    return dilations


class _Rewriter:
    """Maps a layer of keras-cv's ResNet to its dilated, symmetrically padded counterpart."""

    def __init__(self, dilations, block_type, dtype):
        self.dilations = dilations
        self.block_type = block_type
        self.dtype = dtype or keras.config.dtype_policy().name

    def __call__(self, layer):
        if isinstance(layer, keras.layers.Conv2D):
            return self._conv(layer)
        if isinstance(layer, keras.layers.BatchNormalization):
            return BatchNormalization(name=layer.name, dtype=self.dtype)
        if isinstance(layer, keras.layers.MaxPooling2D):
            return MaxPooling2D(name=layer.name, dtype=self.dtype)
        return layer.__class__.from_config({**layer.get_config(), "dtype": self.dtype})

    def _conv(self, layer):
        stride, dilation = layer.strides[0], 1
        if layer.name.startswith("v2_stack_"):
            stage = int(layer.name.split("_")[2])
            dilation = self.dilations[stage]
            previous = self.dilations[stage - 1] if stage else 1
            if dilation > previous:  # this stage's stride was taken away
                if stride == 2 and self.block_type == "basic_block":
                    dilation = previous  # the conv that carried the stride still sees the old grid
                stride = 1
        return Conv2D(
            layer.filters,
            layer.kernel_size,
            strides=stride,
            dilation_rate=dilation if layer.kernel_size[0] > 1 else 1,
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            ),
            name=layer.name,
            dtype=self.dtype,
        )
