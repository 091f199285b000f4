"""Feature pyramid networks: top-down fusion, without and with gates (paper, Eq. 4; Table 1).

    FPN:        X~_l = X_l + X~_{l+1},    X~_L = X_L
    Gated FPN:  X~_l = (1 + G_l) . X_l + (1 - G_l) . G_{l+1} . X~_{l+1}

The second is Eq. 5 with the one sender that FPN has, the next coarser level after its own fusion.
In the paper's networks five maps are fused: the context map comes after the backbone's four.
"""

import keras

from gff_keras.layers.convolution import ConvBNReLU
from gff_keras.layers.gates import build_all, compute_gates, gate_convs
from gff_keras.layers.reduction import checked_filters, reduce_all, reductions
from gff_keras.layers.resizing import resample, spatial_size, sum_resampled


@keras.saving.register_keras_serializable(package="gff_keras")
class FeaturePyramid(keras.layers.Layer):
    """Feature Pyramid Network (Lin et al., CVPR 2017): coarse levels are added to finer ones.

    Every level is reduced to `filters` channels, added to the coarser levels' sum, and passes a 3x3
    convolution. All convolutions are followed by BN and ReLU, as everywhere in the paper.

    Args:
        filters: channels of every level.

    Call with a list of features (B, H_l, W_l, C_l), finest level first; returns a list of
    (B, H_l, W_l, filters).
    """

    def __init__(self, filters=256, **kwargs):
        super().__init__(**kwargs)
        self.filters = checked_filters(filters)

    def build(self, input_shape):
        self.laterals = reductions(input_shape, self.filters, self.dtype_policy)
        self.smooths = _smooths(input_shape, self.filters, self.dtype_policy)
        self.built = True

    def call(self, features, training=None):
        x = reduce_all(self.laterals, features, training)
        fused = [x[-1]]
        for x_l in x[-2::-1]:
            fused.append(x_l + resample(fused[-1], spatial_size(x_l)))
        return reduce_all(self.smooths, fused[::-1], training)

    def compute_output_shape(self, input_shape):
        return [(*shape[:-1], self.filters) for shape in input_shape]

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(package="gff_keras")
class GatedFeaturePyramid(keras.layers.Layer):
    """`FeaturePyramid` with the paper's gates on the top-down path.

    Args:
        filters: channels of every level.

    Call with a list of features (B, H_l, W_l, C_l), finest level first; returns a list of
    (B, H_l, W_l, filters).
    """

    def __init__(self, filters=256, **kwargs):
        super().__init__(**kwargs)
        self.filters = checked_filters(filters)

    def build(self, input_shape):
        self.laterals = reductions(input_shape, self.filters, self.dtype_policy)
        self.smooths = _smooths(input_shape, self.filters, self.dtype_policy)
        self.gate_convs = gate_convs(len(input_shape), self.dtype_policy)
        build_all(self.gate_convs, input_shape)
        self.built = True

    def gates(self, features):
        """Return the gate maps G_l, (B, H_l, W_l, 1) in [0, 1], finest level first."""
        return compute_gates(self.gate_convs, features)

    def call(self, features, training=None):
        g = self.gates(features)
        x = reduce_all(self.laterals, features, training)
        fused = [(1 + g[-1]) * x[-1]]  # the coarsest level receives nothing
        for x_l, g_l, g_coarser in zip(x[-2::-1], g[-2::-1], g[:0:-1], strict=True):
            received = resample(g_coarser * fused[-1], spatial_size(x_l))
            fused.append((1 + g_l) * x_l + (1 - g_l) * received)
        return reduce_all(self.smooths, fused[::-1], training)

    def compute_output_shape(self, input_shape):
        return [(*shape[:-1], self.filters) for shape in input_shape]

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


def _smooths(shapes, filters, dtype):
    """Build the 3x3 convolution, BN, ReLU of every level of a pyramid."""
    smooths = []
    for level, shape in enumerate(shapes, start=1):
        smooth = ConvBNReLU(filters, 3, dtype=dtype, name=f"smooth_{level}")
        smooth.build((*shape[:-1], filters))
        smooths.append(smooth)
    return smooths


@keras.saving.register_keras_serializable(package="gff_keras")
class SemanticBranch(keras.layers.Layer):
    """Merge a feature pyramid at its finest level, as semantic FPN does (Kirillov et al.).

    A level that is 2^n times as coarse as the finest passes n times a 3x3 convolution, BN, ReLU and
    bilinear upsampling by 2; one as fine as the finest passes one convolution. Then all are added.

    Args:
        factors: how many times as coarse as the finest each level is, a power of two.
        filters: channels of the result.

    Call with a list of (B, H_l, W_l, C), finest level first; returns (B, H_1, W_1, filters).
    """

    def __init__(self, factors, filters=128, **kwargs):
        super().__init__(**kwargs)
        self.factors = tuple(factors)
        self.filters = filters
        for factor in self.factors:
            if factor < 1 or factor & (factor - 1):
                raise ValueError(f"factors={self.factors} must be powers of two.")

    def build(self, input_shape):
        if len(input_shape) != len(self.factors):
            raise ValueError(
                f"SemanticBranch has factors={self.factors} for {len(self.factors)} levels; "
                f"received shapes {input_shape}."
            )
        self.stages = []  # of each level a list
        for level, (factor, shape) in enumerate(zip(self.factors, input_shape, strict=True), 1):
            convs = []
            for i in range(max(1, factor.bit_length() - 1)):
                conv = ConvBNReLU(
                    self.filters, 3, dtype=self.dtype_policy, name=f"conv_{level}_{i + 1}"
                )
                conv.build(shape)
                shape = (*shape[:-1], self.filters)
                convs.append(conv)
            self.stages.append(convs)
        self.built = True

    def call(self, levels, training=None):
        size = spatial_size(levels[0])
        merged = []
        for x, factor, convs in zip(levels, self.factors, self.stages, strict=True):
            for conv in convs:
                x = conv(x, training=training)
                factor = max(1, factor // 2)
                x = resample(x, [-(-n // factor) for n in size])
            merged.append(x)
        return sum_resampled(merged, size)

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "factors": self.factors, "filters": self.filters}
