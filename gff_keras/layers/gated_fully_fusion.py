"""Gated Fully Fusion (paper, section "Gated Fully Fusion", Eq. 5).

X~_l = (1 + G_l) . X_l + (1 - G_l) . sum_{i != l} G_i . X_i,     G_l = sigmoid(w_l * X_l + b_l)
"""

import keras
from keras import ops

from gff_keras.layers.gates import build_all, checked_levels, compute_gates, gate_convs
from gff_keras.layers.reduction import checked_filters, reduce_all, reductions
from gff_keras.layers.resizing import resample, spatial_size, sum_resampled


@keras.saving.register_keras_serializable(package="gff_keras")
class GatedFullyFusion(keras.layers.Layer):
    """Fuse a feature pyramid: every level sends where it is useful and receives where it is not.

    Each gate is a 1x1 convolution on the backbone feature with all its channels; the features
    themselves are reduced to `filters` channels (1x1 convolution, BN, ReLU) before they are fused.

    Args:
        filters: channels of every fused level.

    Call with a list of features (B, H_l, W_l, C_l), finest level first; returns a list of
    (B, H_l, W_l, filters). With `zero`, a tuple of levels counted from 1, those gates are 0
    instead: such a level sends nothing, adds nothing to itself, and receives all (1 - 0).
    """

    def __init__(self, filters=256, **kwargs):
        super().__init__(**kwargs)
        self.filters = checked_filters(filters)

    def build(self, input_shape):
        # This order makes the weights that a seed has always made.
        self.gate_convs = gate_convs(len(input_shape), self.dtype_policy)
        self.reductions = reductions(input_shape, self.filters, self.dtype_policy)
        build_all(self.gate_convs, input_shape)
        self.built = True

    def gates(self, features, zero=()):
        """Return the gate maps G_l, (B, H_l, W_l, 1) in [0, 1], finest level first.

        Raises:
            ValueError: `zero` lists what is no level.
        """
        zero = checked_levels(zero, len(self.gate_convs))
        g = compute_gates(self.gate_convs, features)
        return [ops.zeros_like(g_l) if i in zero else g_l for i, g_l in enumerate(g, start=1)]

    def call(self, features, training=None, zero=()):
        g = self.gates(features, zero)
        x = reduce_all(self.reductions, features, training)
        sent = [g_l * x_l for g_l, x_l in zip(g, x, strict=True)]
        fused = []  # a new list: every level receives from the unfused X_i
        for level, (g_l, x_l) in enumerate(zip(g, x, strict=True)):
            others = sent[:level] + sent[level + 1 :]
            received = sum_resampled(others, spatial_size(x_l))
            fused.append((1 + g_l) * x_l + (1 - g_l) * received)
        return fused

    def contributions(self, features, zero=()):
        """Return how much of every fused level comes from every level.

        That is the mean over pixels of the L1 norm over channels of each term of Eq. 5. No term is
        negative after the ReLU, so nothing cancels: the terms of a level add up to all of it.

        Args:
            features: as for the call.
            zero: as for the call.

        Returns:
            float32 (B, L, L): `[:, l, i]` is what level i brings to X~_l, both finest first.
        """
        g = [ops.cast(g_l, "float32") for g_l in self.gates(features, zero)]
        # The norm of what is not negative is a sum, and sampling keeps sums: one channel is enough.
        norms = [
            ops.sum(ops.cast(x_l, "float32"), axis=-1, keepdims=True)
            for x_l in reduce_all(self.reductions, features, training=False)
        ]
        rows = []
        for level, (g_l, n_l) in enumerate(zip(g, norms, strict=True)):
            size = spatial_size(n_l)
            terms = [
                (1 - g_l) * resample(g_i * n_i, size) for g_i, n_i in zip(g, norms, strict=True)
            ]
            terms[level] = (1 + g_l) * n_l
            rows.append(ops.stack([ops.mean(term, axis=(1, 2, 3)) for term in terms], axis=-1))
        return ops.stack(rows, axis=1)

    def compute_output_shape(self, input_shape):
        return [(*shape[:-1], self.filters) for shape in input_shape]

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}
