"""Bring all levels of a feature pyramid to one number of channels, before they are fused."""

import itertools
import numbers

from gff_keras.layers.convolution import ConvBNReLU


def checked_filters(filters):
    """Return the number of channels that a fusion reduces its levels to.

    Raises:
        ValueError: it is no positive whole number.
    """
    if isinstance(filters, bool) or not isinstance(filters, numbers.Integral) or filters < 1:
        raise ValueError(f"filters={filters!r} must be positive, and a whole number.")
    return filters


def reductions(shapes, filters, dtype):
    """Build one 1x1 convolution, BN, ReLU to `filters` channels for every level.

    Raises:
        ValueError: less than two levels, not the finest first, or maps that are not
            (B, H_l, W_l, C_l) with one B and known C_l.
    """
    is_list = isinstance(shapes, (list, tuple)) and len(shapes) > 1
    if not (is_list and all(_is_map(shape) for shape in shapes)):
        raise ValueError(
            "A fusion takes a list of at least two feature maps (B, H, W, C), C known, finest "
            f"level first; received shapes {shapes}."
        )
    if len({shape[0] for shape in shapes} - {None}) > 1:  # one image would be fused with all
        raise ValueError(f"All levels must be of the same images; received shapes {shapes}.")
    for finer, coarser in itertools.pairwise(shapes):
        if any(a and b and a < b for a, b in zip(finer[1:3], coarser[1:3], strict=True)):
            raise ValueError(f"Levels run from the finest to the coarsest; received {shapes}.")
    layers = [
        ConvBNReLU(filters, dtype=dtype, name=f"reduce_{level}")
        for level in range(1, len(shapes) + 1)
    ]
    for layer, shape in zip(layers, shapes, strict=True):
        layer.build(shape)
    return layers


def _is_map(shape):
    return isinstance(shape, (list, tuple)) and len(shape) == 4 and shape[-1] is not None


def reduce_all(layers, features, training):
    """Apply `reductions` to the features."""
    return [layer(x_l, training=training) for layer, x_l in zip(layers, features, strict=True)]
