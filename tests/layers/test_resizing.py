import keras
import numpy as np
import pytest
import tensorflow as tf

from gff_keras.layers import ResampleLike
from gff_keras.layers.resizing import (
    _upsample,
    resample,
    resize_antialiased,
    resize_bilinear,
    sum_resampled,
)


def interpolate(x, axis, at):
    """Read (B, H, W, C) at real-valued positions along an axis, the ends repeated."""
    last = x.shape[axis] - 1
    at = np.clip(at, 0, last)
    low = np.floor(at).astype(int)
    weight = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
    high = np.minimum(low + 1, last)
    return np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight


def bilinear(x, size):
    """Half-pixel bilinear resizing."""
    for axis, n in zip((1, 2), size, strict=True):
        x = interpolate(x, axis, (np.arange(n) + 0.5) * x.shape[axis] / n - 0.5)
    return x


def resampled(x, size):
    """The pixel p of the result has the position p / factor: all grids start at pixel 0."""
    for axis, n in zip((1, 2), size, strict=True):
        factor = 2.0 ** np.ceil(np.log2(n / x.shape[axis]))
        if n < x.shape[axis]:
            factor = 0.5 ** np.ceil(np.log2(x.shape[axis] / n))
        x = interpolate(x, axis, np.arange(n) / factor)
    return x


SIZES = [(7, 9), (13, 17), (14, 18), (25, 36), (97, 130), (4, 5), (2, 3), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_resample(rng, size):
    x = rng.normal(size=(2, 7, 9, 3)).astype("float32")
    np.testing.assert_allclose(resample(x, size), resampled(x, size), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_resample_to_a_size_known_only_at_run_time(rng, size):
    x = rng.normal(size=(2, 7, 9, 3)).astype("float32")
    like = rng.normal(size=(2, *size, 5)).astype("float32")
    spec = tf.TensorSpec((None, None, None, None), "float32")
    dynamic = tf.function(lambda a, b: ResampleLike()([a, b]), input_signature=[spec, spec])
    np.testing.assert_allclose(dynamic(x, like), resampled(x, size), atol=1e-5)


def test_other_backends_compute_the_same(rng):
    x = rng.normal(size=(2, 7, 9, 3)).astype("float32")
    np.testing.assert_allclose(
        _upsample(keras.ops.array(x), (4, 2), (26, 17)), resampled(x, (26, 17)), atol=1e-5
    )


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_a_linear_ramp_keeps_its_place(stride):
    """Sampled at pixels 0, s, 2s, ... and resampled, a ramp is itself again, at any size."""
    for n in range(2 * stride, 3 * stride + 1):
        ramp = np.arange(n, dtype="float32").reshape(1, n, 1, 1)
        back = np.array(resample(ramp[:, ::stride], (n, 1)))[0, :, 0, 0]
        known = (n - 1) // stride * stride + 1  # beyond the last sample there is nothing to know
        np.testing.assert_allclose(back[:known], np.arange(known), atol=1e-5)


def test_sizes_of_no_pyramid(rng):
    x = rng.normal(size=(1, 10, 10, 1)).astype("float32")
    with pytest.raises(ValueError, match=r"\(10, 10\) and \(30, 30\)"):
        resample(x, (30, 30))


@pytest.mark.parametrize("size", [(14, 18), (7, 9), (13, 40), (3, 4), (1, 1)])
def test_resize_bilinear_has_half_pixel_centres(rng, size):
    x = rng.normal(size=(2, 7, 9, 3)).astype("float32")
    np.testing.assert_allclose(resize_bilinear(x, size), bilinear(x, size), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_keeps_the_dtype(rng, dtype):
    x = tf.cast(rng.normal(size=(1, 4, 4, 2)), dtype)
    assert resample(x, (8, 8)).dtype == resize_bilinear(x, (8, 8)).dtype == dtype


def test_sum_of_maps_of_several_sizes(rng):
    maps = [
        rng.normal(size=(2, h, w, 3)).astype("float32")
        for h, w in ((9, 12), (5, 6), (5, 6), (3, 3))
    ]
    expected = sum(resampled(x, (9, 12)) for x in maps)
    np.testing.assert_allclose(sum_resampled(maps, (9, 12)), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(20, 26), (7, 100), (64, 3), (33, 47)])
def test_antialiased_is_tensorflows(rng, size):
    import tensorflow as tf

    x = rng.uniform(0, 255, (2, 33, 47, 3)).astype("float32")
    expected = tf.image.resize(x, size, antialias=True)
    np.testing.assert_allclose(resize_antialiased(x, size), expected, atol=1e-3)
