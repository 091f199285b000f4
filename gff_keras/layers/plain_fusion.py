"""Fusion by concatenation and by addition (paper, Eqs. 2 and 3; Table 1).

    Concat:    X~ = concat(X_1, ..., X_L)
    Addition:  X~ = X_1 + ... + X_L

Both are the same for every level but for its size, so they are computed once, at the finest. "For
fair comparison" the features are reduced to 256 channels before, and two 3x3 convolutions refine
what is fused, as in the network with gates.
"""

import keras
from keras import ops

from gff_keras.layers.batch_normalization import BatchNormalization
from gff_keras.layers.convolution import ConvBNReLU
from gff_keras.layers.multi_level_conv import MultiLevelConv
from gff_keras.layers.reduction import checked_filters, reduce_all, reductions
from gff_keras.layers.resizing import spatial_size, sum_resampled


@keras.saving.register_keras_serializable(package="gff_keras")
class ConcatFusion(keras.layers.Layer):
    """Concatenate all levels at the size of the finest (Eq. 2), and refine.

    Args:
        filters: channels to which every level is reduced, and of the result.

    Call with a list of features (B, H_l, W_l, C_l), finest level first; returns
    (B, H_1, W_1, filters).
    """

    def __init__(self, filters=256, **kwargs):
        super().__init__(**kwargs)
        self.filters = checked_filters(filters)

    def build(self, input_shape):
        dtype = self.dtype_policy
        self.reductions = reductions(input_shape, self.filters, dtype)
        # The first of the two convolutions works on the parts of the concatenation.
        self.refine_1 = MultiLevelConv(self.filters, 3, dtype=dtype, name="refine_1")
        self.bn_1 = BatchNormalization(dtype=dtype, name="bn_1")
        self.refine_2 = ConvBNReLU(self.filters, 3, dtype=dtype, name="refine_2")
        reduced = [(*shape[:-1], self.filters) for shape in input_shape]
        self.refine_1.build(reduced[::-1])
        self.bn_1.build(reduced[0])
        self.refine_2.build(reduced[0])
        self.built = True

    def call(self, features, training=None):
        x = reduce_all(self.reductions, features, training)
        fused = self.refine_1(x[::-1])  # the finest level last: it sets the size
        fused = ops.relu(self.bn_1(fused, training=training))
        return self.refine_2(fused, training=training)

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(package="gff_keras")
class AdditionFusion(keras.layers.Layer):
    """Add all levels at the size of the finest (Eq. 3), and refine.

    Args:
        filters: channels to which every level is reduced, and of the result.

    Call with a list of features (B, H_l, W_l, C_l), finest level first; returns
    (B, H_1, W_1, filters).
    """

    def __init__(self, filters=256, **kwargs):
        super().__init__(**kwargs)
        self.filters = checked_filters(filters)

    def build(self, input_shape):
        dtype = self.dtype_policy
        self.reductions = reductions(input_shape, self.filters, dtype)
        self.refine_1 = ConvBNReLU(self.filters, 3, dtype=dtype, name="refine_1")
        self.refine_2 = ConvBNReLU(self.filters, 3, dtype=dtype, name="refine_2")
        for refine in (self.refine_1, self.refine_2):
            refine.build((*input_shape[0][:-1], self.filters))
        self.built = True

    def call(self, features, training=None):
        x = reduce_all(self.reductions, features, training)
        fused = sum_resampled(x, spatial_size(x[0]))
        return self.refine_2(self.refine_1(fused, training=training), training=training)

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}
