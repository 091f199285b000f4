"""Wider-ResNet-38, variant A2: "Wider or Deeper" (Wu et al., 2016), dilated.

A few wide blocks instead of many narrow ones. Blocks are identity mappings (He et al., 2016b):
normalisation and ReLU stand before each convolution, and a projection takes what they return.

    x -> bn1, ReLU -> conv1 -> bn2, ReLU -> conv2 [-> bn3, ReLU -> dropout -> conv3] -> + -> y
    x, or proj_conv of the first ReLU's output where stride or channels change ---------^

Layers have the names of the published PyTorch networks' state dicts, weights too but for Keras's
words: `mod4.block1.convs.conv1.weight` is the kernel of the layer `mod4.block1.convs.conv1`;
`weight`, `bias`, `running_mean` and `running_var` of a normalisation `mod4.block1.bn1` or `bn_out`
are its gamma, beta, moving mean and moving variance.
"""

import keras

from gff_keras.layers.batch_normalization import BatchNormalization
from gff_keras.layers.convolution import Conv2D, MaxPooling2D

# Blocks of a module, filters of a block's convolutions, stride where none is dilated, dropout.
_MODULES = {
    "mod2": (3, (128, 128), 2, 0),
    "mod3": (3, (256, 256), 4, 0),
    "mod4": (6, (512, 512), 8, 0),
    "mod5": (3, (512, 1024), 16, 0),
    "mod6": (1, (512, 1024, 2048), 32, 0.3),
    "mod7": (1, (1024, 2048, 4096), 32, 0.5),
}
_POOLS = {"mod2": "pool2", "mod3": "pool3"}  # modules that halve by pooling; others by a stride
_FEATURES = ("mod3", "mod4", "mod5", "mod7")


def wider_resnet38(output_stride=8, input_shape=(None, None, 3), dtype=None):
    """Build a Wider-ResNet-38 (A2) whose last modules are dilated instead of strided.

    At output stride 8 all 3x3 convolutions of mod5 have dilation 2, those of mod6 and mod7 4: as in
    the published networks, also the one that carried the stride.

    Args:
        output_stride: stride of the last feature map: 8, 16 or 32.
        input_shape: `(height, width, 3)`; None where unknown.
        dtype: name of the layers' dtype policy; the global policy if None.

    Returns:
        `keras.Model` from normalised images (B, H, W, 3) to the features `[C2, C3, C4, C5]` of
        mod3, mod4, mod5 and mod7, 256, 512, 1024 and 4096 channels, strides 4, 8, 16, 32 but none
        above `output_stride`. Sizes are rounded up. C5 is normalised (`bn_out`) and non-negative,
        the others are sums as the blocks leave them.
    """
    make = _Maker(dtype)
    images = keras.Input(tuple(input_shape))
    x = make.conv(64, 3, "mod1.conv1")(images)
    features = []
    reached = 1
    for module, (blocks, filters, full_stride, dropout) in _MODULES.items():
        dilation = max(1, full_stride // output_stride)
        stride, reached = full_stride // dilation // reached, full_stride // dilation
        if module in _POOLS:
            # Both signs occur there: a border of zeros would be the largest value of many a window.
            x = make(MaxPooling2D, _POOLS[module], border="mirror")(x)
            stride = 1
        for block in range(1, blocks + 1):
            x = _block(x, filters, stride, dilation, dropout, make, f"{module}.block{block}")
            stride = 1
        if module in _FEATURES:
            features.append(x)
    features[-1] = make.bn_relu(features[-1], "bn_out")
    return keras.Model(images, features, name="wider_resnet38")


def _block(x, filters, stride, dilation, dropout, make, name):
    """Identity-mapping residual block: two 3x3 convolutions, or a bottleneck of three.

    (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), filters[-1]).
    """
    kernel_sizes = (3, 3) if len(filters) == 2 else (1, 3, 1)
    y = activated = make.bn_relu(x, f"{name}.bn1")
    for i, (width, kernel_size) in enumerate(zip(filters, kernel_sizes, strict=True), start=1):
        if i > 1:
            y = make.bn_relu(y, f"{name}.convs.bn{i}")
        if dropout and i == len(filters):
            # Of whole channels. (SpatialDropout2D would forget the dtype policy in a saved model.)
            shape = (None, 1, 1, None)
            y = make(keras.layers.Dropout, f"{name}.convs.dropout", dropout, noise_shape=shape)(y)
        y = make.conv(
            width,
            kernel_size,
            f"{name}.convs.conv{i}",
            strides=stride if i == 1 else 1,
            dilation_rate=dilation if kernel_size > 1 else 1,
        )(y)
    if stride > 1 or x.shape[-1] != filters[-1]:
        x = make.conv(filters[-1], 1, f"{name}.proj_conv", strides=stride)(activated)
    return make(keras.layers.Add, f"{name}.add")([y, x])


class _Maker:
    """Makes layers of one dtype policy."""

    def __init__(self, dtype):
        self.dtype = dtype or keras.config.dtype_policy().name

    def __call__(self, kind, name, *arguments, **options):
        return kind(*arguments, **options, name=name, dtype=self.dtype)

    def conv(self, filters, kernel_size, name, **options):
        he = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
        options |= {"use_bias": False, "kernel_initializer": he}
        return self(Conv2D, name, filters, kernel_size, **options)

    def bn_relu(self, x, name):
        x = self(BatchNormalization, name)(x)
        return self(keras.layers.ReLU, name.replace("bn", "relu"))(x)
