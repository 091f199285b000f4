"""Bilinear resizing: the one place that decides how feature maps change size.

Half-pixel centres, no antialiasing, on every backend.
"""

import keras
from keras import ops


def spatial_size(x):
    """Return `(height, width)` of a (B, H, W, C) tensor; entries are tensors where unknown."""
    return tuple(ops.shape(x)[1:3])


def resize_bilinear(x, size):
    """Resize feature maps bilinearly with half-pixel centres and no antialiasing.

    Args:
        x: float tensor (B, H, W, C).
        size: `(height, width)`, integers or scalar tensors.

    Returns:
        Tensor (B, height, width, C) of the dtype of `x`.
    """
    if spatial_size_is_static(size) and tuple(x.shape[1:3]) == tuple(size):
        return x
    if keras.backend.backend() == "tensorflow":
        # keras.ops.image.resize refuses a size known only at run time.
        import tensorflow as tf

        resized = tf.image.resize(x, tf.stack(size))  # always float32
        resized.set_shape((x.shape[0], *map(_static_or_none, size), x.shape[-1]))
    else:
        resized = ops.image.resize(x, size, interpolation="bilinear", antialias=False)
    return ops.cast(resized, x.dtype)


def sum_resized(maps, size):
    """Sum feature maps after bilinear resizing to `size`.

    Resizing is linear, so maps of one size are added first and resized once.

    Args:
        maps: tensors (B, H_i, W_i, C), sizes may differ.
        size: `(height, width)` of the result.

    Returns:
        Tensor (B, height, width, C).
    """
    groups: list[list] = []
    for x in maps:
        for group in groups:
            if _same_static_size(group[0], x):
                group.append(x)
                break
        else:
            groups.append([x])
    return _sum([resize_bilinear(_sum(group), size) for group in groups])


def spatial_size_is_static(size):
    """Whether both entries of `size` are known integers."""
    return all(isinstance(n, int) for n in size)


def _static_or_none(n):
    return n if isinstance(n, int) else None


def _same_static_size(a, b):
    return None not in a.shape[1:3] and tuple(a.shape[1:3]) == tuple(b.shape[1:3])


def _sum(tensors):
    total = tensors[0]
    for x in tensors[1:]:
        total = ops.add(total, x)
    return total


@keras.saving.register_keras_serializable(package="gff_keras")
class ResizeLike(keras.layers.Layer):
    """Resize `x` bilinearly to the height and width of `reference`.

    Call with a list `[x, reference]`, (B, h, w, C) and (B, H, W, *); returns (B, H, W, C).
    """

    def call(self, inputs):
        x, reference = inputs
        return resize_bilinear(x, spatial_size(reference))

    def compute_output_shape(self, input_shape):
        x, reference = input_shape
        return (x[0], *reference[1:3], x[-1])
