"""Dense Feature Pyramid (paper, section "Dense Feature Pyramid", Eq. 6).

    y_i = H_i([y_0, X~_1, ..., X~_i]),   i = 1..L from the coarsest level

Eq. 6 prints the list up to X~_{i-1}, with which the finest level would never be used; the list ends
with the level whose size the output takes.
"""

import keras
from keras import ops

from gff_keras.layers.batch_normalization import BatchNormalization
from gff_keras.layers.multi_level_conv import MultiLevelConv


@keras.saving.register_keras_serializable(package="gff_keras")
class DenseFeaturePyramid(keras.layers.Layer):
    """Carry context top-down: each level sees the context map and all coarser fused levels.

    Args:
        filters: channels of every output level.
        kernel_size: of H_i, one convolution, BN, ReLU. Only 1 fits the 0.8 M parameters of Table 3.

    Call with a list `[X~_1, ..., X~_L, y_0]`: the fused levels (B, H_l, W_l, C), finest first, and
    the context map last. Returns a list of L maps (B, H_l, W_l, filters), finest first.
    """

    def __init__(self, filters=256, kernel_size=1, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size

    def build(self, input_shape):
        *fused, y_0 = input_shape
        if not fused:
            raise ValueError(
                "DenseFeaturePyramid needs the fused levels, finest first, and the context map "
                f"last; received shapes {input_shape}."
            )
        dtype = self.dtype_policy
        self.convs, self.bns = [], []  # in the order of computation, coarsest level first
        seen = [y_0]
        for i, shape in enumerate(reversed(fused), start=1):
            seen.append(shape)
            conv = MultiLevelConv(self.filters, self.kernel_size, dtype=dtype, name=f"conv_{i}")
            bn = BatchNormalization(dtype=dtype, name=f"bn_{i}")
            conv.build(seen)
            bn.build((*shape[:-1], self.filters))
            self.convs.append(conv)
            self.bns.append(bn)
        self.built = True

    def call(self, levels, training=None):
        *fused, y_0 = levels
        seen, outputs = [y_0], []
        for x_i, conv, bn in zip(reversed(fused), self.convs, self.bns, strict=True):
            seen.append(x_i)
            outputs.append(ops.relu(bn(conv(seen), training=training)))
        return outputs[::-1]

    def compute_output_shape(self, input_shape):
        return [(*shape[:-1], self.filters) for shape in input_shape[:-1]]

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
        }
