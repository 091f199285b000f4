"""Dilated ResNets: keras-cv's ResNetBackbone, rewritten for dense prediction.

Only this package imports keras_cv. What it returns is made of this project's and Keras's layers,
so a saved model loads without keras_cv.
"""

import re

import keras
from keras import ops

from gff_keras.layers.batch_normalization import BatchNormalization
from gff_keras.layers.convolution import Conv2D, MaxPooling2D

_BLOCKS = {
    "resnet18": ("basic_block", (2, 2, 2, 2)),
    "resnet34": ("basic_block", (3, 4, 6, 3)),
    "resnet50": ("block", (3, 4, 6, 3)),
    "resnet101": ("block", (3, 4, 23, 3)),
    "resnet152": ("block", (3, 8, 36, 3)),
}
# Bottlenecks are of three kinds. The paper's (He et al., 2016) have their stride in the first 1x1;
# PyTorch's in the 3x3: torchvision's, known as v1.5, and semseg's with a deep stem of three 3x3.
_BOTTLENECKS = ("resnet50", "resnet101", "resnet152")
RESNETS = (*_BLOCKS, *(f"{name}_{kind}" for kind in ("v1.5", "deep") for name in _BOTTLENECKS))
OUTPUT_STRIDES = (8, 16, 32)


def resnet(name, output_stride=8, input_shape=(None, None, 3), dtype=None):
    """Build a ResNet whose last stages are dilated instead of strided.

    Args:
        name: "resnet18", "resnet34", "resnet50", "resnet101" or "resnet152", the last three also
            as "resnet50_v1.5" (torchvision's, with a bottleneck's stride in its 3x3 convolution)
            and "resnet50_deep" (that with a stem of three 3x3 convolutions, 64, 64 and 128 filters,
            as in the published PSPNets).
        output_stride: stride of the last feature map: 8, 16 or 32.
        input_shape: `(height, width, 3)`; None where unknown.
        dtype: name of the layers' dtype policy; the global policy if None.

    Returns:
        `keras.Model` from normalised images (B, H, W, 3) to the features `[C2, C3, C4, C5]` of the
        last block of each stage, strides 4, 8, 16, 32 but none above `output_stride`.

    Raises:
        ValueError: unknown name or output stride.
    """
    if name not in RESNETS:
        raise ValueError(f"backbone={name!r} is unknown; choose one of {', '.join(RESNETS)}.")
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride={output_stride} is not one of {OUTPUT_STRIDES}.")
    import keras_cv  # here, not above: slow to import, and needed only to build a new network

    depth, _, kind = name.partition("_")
    block_type, blocks = _BLOCKS[depth]
    source = keras_cv.models.ResNetBackbone(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=list(blocks),
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
        input_shape=tuple(input_shape),
        block_type=block_type,
    )
    strided = 2 if kind else 1  # the convolution of a block that has its stride
    rewrite = _Rewriter(_dilations(output_stride), strided, kind == "deep", dtype)
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

    def __init__(self, dilations, strided, deep, dtype):
        self.dilations = dilations
        self.strided = strided
        self.deep = deep
        self.dtype = dtype or keras.config.dtype_policy().name

    def __call__(self, layer):
        if self.deep and layer.name == "conv1_conv":
            return DeepStem(name="conv1_convs", dtype=self.dtype)
        if isinstance(layer, keras.layers.Conv2D):
            return self._conv(layer)
        if isinstance(layer, keras.layers.BatchNormalization):
            name = "conv1_bn3" if self.deep and layer.name == "conv1_bn" else layer.name
            return BatchNormalization(name=name, dtype=self.dtype)
        if isinstance(layer, keras.layers.MaxPooling2D):
            return MaxPooling2D(name=layer.name, dtype=self.dtype)
        return layer.__class__.from_config({**layer.get_config(), "dtype": self.dtype})

    def _conv(self, layer):
        stride, dilation = layer.strides[0], 1
        if match := re.fullmatch(r"v2_stack_(\d)_block(\d+)_(\d)_conv", layer.name):
            stride, dilation = self._stride_and_dilation(*map(int, match.groups()))
        return _conv(
            layer.filters,
            layer.kernel_size,
            strides=stride,
            dilation_rate=dilation if layer.kernel_size[0] > 1 else 1,
            name=layer.name,
            dtype=self.dtype,
        )

    def _stride_and_dilation(self, stage, block, index):
        """Of convolution `index` of a block, counted from 1; 0 is the shortcut's."""
        dilation = self.dilations[stage]
        if stage == 0 or block > 1 or index not in (0, self.strided):
            return 1, dilation
        previous = self.dilations[stage - 1]
        if dilation == previous:
            return 2, dilation
        # The stride was taken away: this convolution still sees the grid of the stage before. The
        # published PSPNets with a deep stem were trained with the whole stage's dilation here.
        return 1, dilation if self.deep else previous


def _conv(*arguments, **options):
    he = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return Conv2D(*arguments, use_bias=False, kernel_initializer=he, **options)


@keras.saving.register_keras_serializable(package="gff_keras")
class DeepStem(keras.layers.Layer):
    """Three 3x3 convolutions of 64, 64 and 128 filters instead of one 7x7, the first with stride 2.

    Normalisation and ReLU follow the first two. (B, H, W, 3) -> (B, ceil(H / 2), ceil(W / 2), 128).
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.conv1 = _conv(64, 3, strides=2, dtype=dtype, name="conv1")
        self.bn1 = BatchNormalization(dtype=dtype, name="bn1")
        self.conv2 = _conv(64, 3, dtype=dtype, name="conv2")
        self.bn2 = BatchNormalization(dtype=dtype, name="bn2")
        self.conv3 = _conv(128, 3, dtype=dtype, name="conv3")

    def build(self, input_shape):
        shape = input_shape
        for layer in (self.conv1, self.bn1, self.conv2, self.bn2, self.conv3):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.built = True

    def call(self, x, training=None):
        x = ops.relu(self.bn1(self.conv1(x), training=training))
        x = ops.relu(self.bn2(self.conv2(x), training=training))
        return self.conv3(x)

    def compute_output_shape(self, input_shape):
        return (*self.conv1.compute_output_shape(input_shape)[:-1], 128)
