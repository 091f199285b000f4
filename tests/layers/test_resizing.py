import numpy as np
import pytest
import tensorflow as tf

from gff_keras.layers import ResizeLike
from gff_keras.layers.resizing import resize_bilinear, sum_resized


def bilinear(x, size):
    """Half-pixel bilinear resizing of (B, H, W, C), one axis after the other."""
    for axis, n in zip((1, 2), size, strict=True):
        m = x.shape[axis]
        at = np.clip((np.arange(n) + 0.5) * m / n - 0.5, 0, m - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, m - 1)
        shape = [1, 1, 1, 1]
        shape[axis] = n
        weight = (at - low).reshape(shape)
        x = np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight
    return x


@pytest.mark.parametrize("size", [(14, 18), (7, 9), (13, 40), (3, 4), (1, 1)])
def test_equals_half_pixel_bilinear_without_antialiasing(rng, size):
    x = rng.normal(size=(2, 7, 9, 3)).astype("float32")
    np.testing.assert_allclose(resize_bilinear(x, size), bilinear(x, size), atol=1e-5)


def test_size_known_only_at_run_time(rng):
    x = rng.normal(size=(2, 7, 9, 3)).astype("float32")
    like = rng.normal(size=(2, 15, 11, 5)).astype("float32")
    spec = tf.TensorSpec((None, None, None, None), "float32")
    dynamic = tf.function(lambda a, b: ResizeLike()([a, b]), input_signature=[spec, spec])
    np.testing.assert_allclose(dynamic(x, like), bilinear(x, (15, 11)), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_keeps_the_dtype(rng, dtype):
    x = tf.cast(rng.normal(size=(1, 4, 4, 2)), dtype)
    assert resize_bilinear(x, (8, 8)).dtype == dtype


def test_sum_of_maps_of_several_sizes(rng):
    maps = [
        rng.normal(size=(2, h, w, 3)).astype("float32")
        for h, w in ((9, 12), (5, 6), (5, 6), (3, 2))
    ]
    expected = sum(bilinear(x, (9, 12)) for x in maps)
    np.testing.assert_allclose(sum_resized(maps, (9, 12)), expected, atol=1e-5)
