"""Gates of the backbone's features (paper, section "Gated Fully Fusion").

    G_l = sigmoid(w_l * X_l + b_l)

A 1x1 convolution on the feature with all its channels: one number in [0, 1] for every pixel.
"""

import numbers

from keras import ops

from gff_keras.layers.convolution import Conv2D


def checked_levels(zero, levels):
    """Return the numbers of levels, from 1 for the finest, as a sorted tuple without doubles.

    Raises:
        ValueError: one is no level of so many.
    """
    chosen = list(zero) if isinstance(zero, (list, tuple, set, frozenset, range)) else [zero]
    for level in chosen:
        is_whole = isinstance(level, numbers.Integral) and not isinstance(level, bool)
        if not is_whole or not 1 <= int(level) <= levels:
            raise ValueError(
                f"zero={zero!r}: {level!r} is no gate; list numbers in 1..{levels}, 1 for G1, the "
                "gate of the finest level."
            )
    return tuple(sorted({int(level) for level in chosen}))


def gate_convs(levels, dtype):
    """Return the convolutions w_l, b_l of so many levels, not built yet."""
    return [Conv2D(1, 1, dtype=dtype, name=f"gate_{level}") for level in range(1, levels + 1)]


def build_all(convs, shapes):
    """Build the convolutions for maps of these shapes."""
    for conv, shape in zip(convs, shapes, strict=True):
        conv.build(shape)


def compute_gates(convs, features):
    """Return the gates G_l of features (B, H_l, W_l, C_l): a list of (B, H_l, W_l, 1)."""
    return [ops.sigmoid(conv(x_l)) for conv, x_l in zip(convs, features, strict=True)]
