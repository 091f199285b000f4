"""Bring all levels of a feature pyramid to one number of channels, before they are fused."""

from gff_keras.layers.convolution import ConvBNReLU


def reductions(shapes, filters, dtype):
    """Build one 1x1 convolution, BN, ReLU to `filters` channels for every level.

    Raises:
        ValueError: less than two levels.
    """
    if len(shapes) < 2 or not isinstance(shapes[0], (list, tuple)):
        raise ValueError(
            "A fusion takes a list of at least two feature maps, finest level first; received "
            f"shapes {shapes}."
        )
    layers = [
        ConvBNReLU(filters, dtype=dtype, name=f"reduce_{level}")
        for level in range(1, len(shapes) + 1)
    ]
    for layer, shape in zip(layers, shapes, strict=True):
        layer.build(shape)
    return layers


def reduce_all(layers, features, training):
    """Apply `reductions` to the features."""
    return [layer(x_l, training=training) for layer, x_l in zip(layers, features, strict=True)]
