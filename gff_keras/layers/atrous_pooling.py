"""Context by dilated convolutions: ASPP with DeepLabV3+'s decoder, and DenseASPP.

Chen et al., "Encoder-Decoder with Atrous Separable Convolution" (ECCV 2018), and Yang et al.,
"DenseASPP for Semantic Segmentation in Street Scenes" (CVPR 2018). With them the paper shows that
gated fully fusion is not tied to pyramid pooling (Tables 4 and 8). Convolutions are plain ones, not
separable, as in the DeepLabV3+ networks that were published on Wider-ResNet-38.
"""

import keras
from keras import ops

from gff_keras.layers.batch_normalization import BatchNormalization
from gff_keras.layers.convolution import Conv2D, ConvBNReLU
from gff_keras.layers.multi_level_conv import MultiLevelConv

ASPP_RATES = (12, 24, 36)  # at output stride 8; half of them at 16
DENSE_ASPP_RATES = (3, 6, 12, 18, 24)  # likewise


@keras.saving.register_keras_serializable(package="gff_keras")
class ASPP(keras.layers.Layer):
    """Atrous Spatial Pyramid Pooling: a 1x1, three dilated 3x3 convolutions, and the mean.

    Each branch has `filters` channels, BN and ReLU; a 1x1 convolution, BN, ReLU joins them.

    Args:
        rates: dilations of the 3x3 convolutions.
        filters: channels of each branch and of the result.
        dropout: rate after the last ReLU.

    Call with (B, H, W, C); returns (B, H, W, filters).
    """

    def __init__(self, rates=ASPP_RATES, filters=256, dropout=0.1, **kwargs):
        super().__init__(**kwargs)
        self.rates = tuple(rates)
        self.filters = filters
        self.dropout = dropout
        dtype = self.dtype_policy
        self.point = ConvBNReLU(filters, dtype=dtype, name="point")
        self.dilated = [
            ConvBNReLU(filters, 3, dilation_rate=rate, dtype=dtype, name=f"dilated_{i}")
            for i, rate in enumerate(self.rates, start=1)
        ]
        self.mean = ConvBNReLU(filters, dtype=dtype, name="mean")
        self.join = MultiLevelConv(filters, dtype=dtype, name="join")
        # Not "bn": weights are found by names, and that is pyramid pooling's, which has the same
        # shape where C is 1024.
        self.bn = BatchNormalization(dtype=dtype, name="join_bn")
        self.drop = keras.layers.Dropout(dropout, dtype=dtype)

    def build(self, input_shape):
        for branch in (self.point, *self.dilated, self.mean):
            branch.build(input_shape)
        branch_shape = (*input_shape[:-1], self.filters)
        self.join.build([branch_shape] * (2 + len(self.rates)))
        self.bn.build(branch_shape)
        self.built = True

    def call(self, x, training=None):
        mean = ops.mean(ops.cast(x, "float32"), axis=(1, 2), keepdims=True)
        mean = self.mean(ops.cast(mean, x.dtype), training=training)  # (B, 1, 1, filters)
        maps = [branch(x, training=training) for branch in (self.point, *self.dilated)]
        maps.append(ops.broadcast_to(mean, ops.shape(maps[0])))
        y = ops.relu(self.bn(self.join(maps), training=training))
        return self.drop(y, training=training)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "rates": self.rates,
            "filters": self.filters,
            "dropout": self.dropout,
        }


@keras.saving.register_keras_serializable(package="gff_keras")
class DeepLabDecoder(keras.layers.Layer):
    """DeepLabV3+'s decoder: context beside the finest features, and two 3x3 convolutions.

    Args:
        filters: channels of the result.
        reduced: channels to which the finest features are reduced, so that context outweighs them.

    Call with a list `[x_1, context]`, (B, H_1, W_1, C_1) and (B, H, W, C); returns
    (B, H_1, W_1, filters).
    """

    def __init__(self, filters=256, reduced=48, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.reduced = reduced
        dtype = self.dtype_policy
        self.reduce = ConvBNReLU(reduced, dtype=dtype, name="reduce")
        self.conv_1 = MultiLevelConv(filters, 3, dtype=dtype, name="conv_1")
        self.bn_1 = BatchNormalization(dtype=dtype, name="bn_1")
        self.conv_2 = ConvBNReLU(filters, 3, dtype=dtype, name="conv_2")

    def build(self, input_shape):
        x_1, context = input_shape
        self.reduce.build(x_1)
        self.conv_1.build([context, (*x_1[:-1], self.reduced)])
        self.bn_1.build((*x_1[:-1], self.filters))
        self.conv_2.build((*x_1[:-1], self.filters))
        self.built = True

    def call(self, inputs, training=None):
        x_1, context = inputs
        y = self.conv_1([context, self.reduce(x_1, training=training)])
        y = ops.relu(self.bn_1(y, training=training))
        return self.conv_2(y, training=training)

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "reduced": self.reduced}


@keras.saving.register_keras_serializable(package="gff_keras")
class DenseASPP(keras.layers.Layer):
    """Dilated 3x3 convolutions in a row, each of which sees the input and all before it.

    The input is reduced to half its channels (1x1 convolution, BN, ReLU), as the published network
    does between DenseNet and DenseASPP. A block is BN, ReLU, 1x1 convolution to `bottleneck`
    channels, BN, ReLU, dilated 3x3 convolution to `filters` channels with bias; the first begins
    with its 1x1 convolution, since the reduced input comes from BN and ReLU. The numbers of
    channels are those that its authors give DenseNet-121 (they give DenseNet-161 128 and 512).

    Args:
        rates: dilations.
        filters: channels that each block adds.
        bottleneck: channels between the two convolutions of a block.
        dropout: rate at which whole channels are dropped, after each block and at the end.

    Call with (B, H, W, C); returns (B, H, W, C // 2 + len(rates) * filters).
    """

    def __init__(self, rates=DENSE_ASPP_RATES, filters=64, bottleneck=128, dropout=0.1, **kwargs):
        super().__init__(**kwargs)
        self.rates = tuple(rates)
        self.filters = filters
        self.bottleneck = bottleneck
        self.dropout = dropout
        self.drop = keras.layers.SpatialDropout2D(dropout, dtype=self.dtype_policy)

    def build(self, input_shape):
        dtype = self.dtype_policy
        channels = input_shape[-1] // 2
        self.reduce = ConvBNReLU(channels, dtype=dtype, name="reduce")
        self.reduce.build(input_shape)
        self.norms, self.points, self.dilated = [], [], []
        for i, rate in enumerate(self.rates, start=1):
            seen = (*input_shape[:-1], channels + (i - 1) * self.filters)
            norm = BatchNormalization(dtype=dtype, name=f"bn_{i}") if i > 1 else None
            point = ConvBNReLU(self.bottleneck, dtype=dtype, name=f"point_{i}")
            dilated = Conv2D(self.filters, 3, dilation_rate=rate, dtype=dtype, name=f"dilated_{i}")
            if norm:  # the first block's input has just been normalised
                norm.build(seen)
            point.build(seen)
            dilated.build((*seen[:-1], self.bottleneck))
            self.norms.append(norm)
            self.points.append(point)
            self.dilated.append(dilated)
        self.built = True

    def call(self, x, training=None):
        seen = self.reduce(x, training=training)
        for norm, point, dilated in zip(self.norms, self.points, self.dilated, strict=True):
            y = ops.relu(norm(seen, training=training)) if norm else seen
            y = self.drop(dilated(point(y, training=training)), training=training)
            seen = ops.concatenate([seen, y], axis=-1)
        return self.drop(seen, training=training)

    def compute_output_shape(self, input_shape):
        channels = input_shape[-1] // 2 + len(self.rates) * self.filters
        return (*input_shape[:-1], channels)

    def get_config(self):
        return {
            **super().get_config(),
            "rates": self.rates,
            "filters": self.filters,
            "bottleneck": self.bottleneck,
            "dropout": self.dropout,
        }
