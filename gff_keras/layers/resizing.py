"""Where the samples of feature maps lie on the image, and how maps move between sizes.

Padding is symmetric, so sample i of a map with stride s is centred on pixel s * i: the grids of
all levels start at pixel 0. `resample` moves maps between such grids without shifting them, at any
size. (Resizing with half-pixel centres would put sample i at s * i + (s - 1) / 2, and somewhere
else again where the height is no multiple of the stride.) Whole images have no such grid:
`resize_bilinear` resizes them with half-pixel centres.
"""

import keras
from keras import ops

_LARGEST_FACTOR = 2**15


def spatial_size(x):
    """Return `(height, width)` of a (B, H, W, C) tensor; entries are tensors where unknown."""
    return tuple(ops.shape(x)[1:3])


def resample(x, size):
    """Sample a feature map bilinearly on the grid of another level.

    Args:
        x: float tensor (B, H, W, C).
        size: `(height, width)` of the other level, integers or scalar tensors. Both sizes belong to
            one image and to strides that are powers of two: the coarser is the finer divided by a
            power of two, rounded up.

    Returns:
        Tensor (B, height, width, C) of the dtype of `x`. Towards a coarser level every factor-th
        sample is taken; towards a finer one samples are interpolated, and the last one repeated.

    Raises:
        ValueError: the sizes are known and do not belong to one pyramid.
    """
    source = spatial_size(x)
    if _is_static(*source, *size) and source == tuple(size):
        return x
    down = [_factor(n, m) for n, m in zip(source, size, strict=True)]
    up = [_factor(m, n) for n, m in zip(source, size, strict=True)]
    _check_pyramid(source, size, down, up)
    x = _take_every(x, down)
    if _is_static(*up) and up == [1, 1]:
        return x
    if keras.backend.backend() == "tensorflow":
        return _upsample_tensorflow(x, up, size)
    return _upsample(x, up, size)


def sum_resampled(maps, size):
    """Sum feature maps on the grid of `size`.

    Sampling is linear, so maps of one size are added first and sampled once.

    Args:
        maps: tensors (B, H_i, W_i, C), sizes may differ.
        size: `(height, width)` of the result.

    Returns:
        Tensor (B, height, width, C).
    """
    groups: list[list] = []
    for x in maps:
        for group in groups:
            if _is_static(*x.shape[1:3]) and group[0].shape[1:3] == x.shape[1:3]:
                group.append(x)
                break
        else:
            groups.append([x])
    return _sum([resample(_sum(group), size) for group in groups])


def resize_bilinear(x, size):
    """Resize images or logits bilinearly with half-pixel centres and no antialiasing.

    Args:
        x: float tensor (B, H, W, C).
        size: `(height, width)`, integers.

    Returns:
        Tensor (B, height, width, C) of the dtype of `x`.
    """
    resized = ops.image.resize(x, size, interpolation="bilinear", antialias=False)
    return ops.cast(resized, x.dtype)


def resize_antialiased(x, size):
    """Resize images bilinearly with half-pixel centres, averaging what a smaller image leaves out.

    That is `tf.image.resize(antialias=True)` as products with two matrices, since its operation is
    unknown to most runtimes that read a SavedModel. On GPUs that multiply float32 as TF32
    (TensorFlow's default there) pixels are off by about a tenth of a grey level.

    Args:
        x: float32 tensor (B, H, W, C).
        size: `(height, width)`, integers.

    Returns:
        float32 tensor (B, height, width, C).
    """
    rows, columns = (
        _antialiasing(n, samples) for n, samples in zip(size, spatial_size(x), strict=True)
    )
    x = ops.einsum("hp,bpwc->bhwc", rows, x)
    return ops.einsum("wq,bhqc->bhwc", columns, x)


def _antialiasing(n, samples):
    """Matrix (n, samples): triangles as wide as the larger of both pixels; rows sum to 1."""
    step = ops.cast(samples, "float32") * (1.0 / n)  # TensorFlow's graphs would rewrite a division
    centres = (ops.arange(n, dtype="float32") + 0.5) * step
    at = ops.cast(ops.arange(samples, dtype="int32"), "float32") + 0.5
    weights = ops.relu(1 - ops.abs(at[None, :] - centres[:, None]) / ops.maximum(step, 1.0))
    return weights / ops.sum(weights, axis=1, keepdims=True)


def _take_every(x, steps):
    batch, height, width, channels = x.shape
    if _is_static(height, width, *steps):
        return _take_every_static(x, steps)
    taken = x[:, :: steps[0], :: steps[1]]
    if not _is_static(*steps):  # TensorFlow forgets even the rank
        taken.set_shape((batch, None, None, channels))
    return taken


def _take_every_static(x, steps):
    """`x[:, ::steps[0], ::steps[1]]` as a slice without strides, which TFLite's delegates take."""
    if steps == [1, 1]:
        return x
    _, height, width, channels = x.shape
    rows, columns = -(-height // steps[0]), -(-width // steps[1])
    missing = rows * steps[0] - height, columns * steps[1] - width
    if any(missing):
        x = ops.pad(x, [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]])
    x = ops.reshape(x, (-1, steps[0], columns, steps[1] * channels))  # (B rows, ...)
    return ops.reshape(x[:, :1, :, :channels], (-1, rows, columns, channels))


def _factor(covered, n):
    """Smallest power of two by which `n` samples cover at least `covered`."""
    if _is_static(covered, n):
        factor = 1
        while n * factor < covered:
            factor *= 2
        return factor
    powers = 2 ** ops.arange(16, dtype="int32")
    return ops.min(ops.where(n * powers >= covered, powers, _LARGEST_FACTOR))


def _check_pyramid(source, size, down, up):
    if not _is_static(*source, *size):
        return
    for n, m, d, u in zip(source, size, down, up, strict=True):
        if m != -(-n // d) and n != -(-m // u):
            raise ValueError(
                f"feature maps of sizes {tuple(source)} and {tuple(size)} are not levels of one "
                "pyramid; their strides must be powers of two, their sizes rounded up."
            )


def _upsample_tensorflow(x, factors, size):
    import tensorflow as tf

    # With neither of its flags the op samples at i / factor, and repeats the last sample.
    covered = [n * f for n, f in zip(spatial_size(x), factors, strict=True)]
    y = tf.raw_ops.ResizeBilinear(images=x, size=tf.stack(covered))
    if not _is_static(*covered, *size) or covered != list(size):
        whole = [-1 if n is None else n for n in x.shape]  # -1, which XNNPACK does not take
        y = tf.slice(y, (0, 0, 0, 0), (whole[0], *size, whole[3]))  # its gradient is a padding
    static = [n if _is_static(n) else None for n in size]
    y.set_shape((x.shape[0], *static, x.shape[-1]))
    return tf.cast(y, x.dtype)


def _upsample(x, factors, size):
    rows, columns = (
        ops.cast(_interpolation(n, f, m), x.dtype)
        for n, f, m in zip(size, factors, spatial_size(x), strict=True)
    )
    return ops.einsum("wq,bhqc->bhwc", columns, ops.einsum("hp,bpwc->bhwc", rows, x))


def _interpolation(n, factor, samples):
    """Matrix (n, samples) that interpolates at multiples of 1 / factor, repeating the last."""
    at = ops.minimum(ops.arange(n, dtype="float32") / factor, samples - 1)
    return ops.relu(1 - ops.abs(at[:, None] - ops.arange(samples, dtype="float32")[None, :]))


def _is_static(*numbers):
    return all(isinstance(n, int) for n in numbers)


def _sum(tensors):
    total = tensors[0]
    for x in tensors[1:]:
        total = ops.add(total, x)
    return total


@keras.saving.register_keras_serializable(package="gff_keras")
class ResampleLike(keras.layers.Layer):
    """Sample `x` on the grid of `reference`, a finer level or the image itself.

    Call with a list `[x, reference]`, (B, h, w, C) and (B, H, W, *); returns (B, H, W, C).
    """

    def call(self, inputs):
        x, reference = inputs
        return resample(x, spatial_size(reference))

    def compute_output_shape(self, input_shape):
        x, reference = input_shape
        return (x[0], *reference[1:3], x[-1])
