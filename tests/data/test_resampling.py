"""Resizing against NumPy, and windows against the whole."""

import numpy as np
import pytest
import tensorflow as tf

from gff_keras.data import Augmentation, resize_pair
from gff_keras.data.augmentation import draw_crop
from gff_keras.data.resampling import resize_window, source_window
from tests.data.draws import bilinear, draw, nearest


@pytest.mark.parametrize("size", [(33, 40), (97, 131), (150, 263), (194, 50)])
def test_resize_pair_is_that_of_numpy(size):
    rng = np.random.default_rng(6)
    image = rng.integers(0, 256, (97, 131, 3), np.uint8)
    label = rng.integers(0, 256, (97, 131), np.uint8)
    rows, columns = bilinear(97, size[0]), bilinear(131, size[1])
    expected = np.einsum("ih,hwc,jw->ijc", rows, image, columns, optimize=True)
    expected_label = label[nearest(97, size[0])][:, nearest(131, size[1])]
    graph = tf.function(resize_pair)
    for got, got_label in (
        resize_pair(image, label, size),
        graph(image, label, tf.constant(size)),
    ):
        assert got.dtype == tf.uint8
        assert np.abs(got.numpy() - expected).max() < 0.51  # half a step and float32's rounding
        np.testing.assert_array_equal(got_label, expected_label)


@pytest.mark.parametrize("size", [(20, 30), (97, 131), (150, 200)])
def test_a_part_of_the_image_gives_a_window_of_the_resized_image(size):
    rng = np.random.default_rng(12)
    image = rng.integers(0, 256, (97, 131, 3), np.uint8)
    whole = resize_pair(image, image[..., 0], size)[0].numpy()
    for _ in range(8):
        height, width = (int(rng.integers(1, n + 1)) for n in size)
        top, left = (
            int(rng.integers(n - k + 1)) for n, k in zip(size, (height, width), strict=True)
        )
        window = (top, left, height, width)
        y, x, h, w = source_window((97, 131), size, tf.constant(window)).numpy()
        part = resize_window(image[y : y + h, x : x + w], (y, x), (97, 131), size, window)
        expected = whole[top : top + height, left : left + width]
        assert np.abs(part.numpy().astype(int) - expected).max() <= 1  # rounding in float32
        assert h <= (height + 4) * max(1, 97 / size[0]) + 4  # the part is no more than it takes


@pytest.mark.parametrize("numerator, denominator", [(3, 4), (3, 2), (2, 1)])
def test_a_resized_window_is_a_crop_of_the_resized_pair(numerator, denominator):
    """Scaling after cropping: the same pixels, but for the outermost half pixel of the source."""
    rng = np.random.default_rng(5)
    factor = numerator / denominator
    image = rng.integers(0, 256, (40, 52, 3), np.uint8)
    label = rng.integers(0, 200, (40, 52), np.uint8)
    size = tuple(int(n * factor) for n in label.shape)
    whole = tf.image.resize(image, size).numpy()  # bilinear without antialias
    whole_label = label[nearest(40, size[0])][:, nearest(52, size[1])]
    augmentation = Augmentation((24, 30), scale=(factor, factor), flip=False, color_jitter=0.0)
    edge = int(np.ceil(factor / 2))
    inner = np.s_[edge:-edge, edge:-edge]
    compared = 0
    for number, (got, got_label) in enumerate(draw(image, label, augmentation, 40)):
        window = draw_crop(label, tf.constant([7, number]), augmentation).window.numpy()
        assert (window[2:] * factor == (24, 30)).all()
        top, left = window[:2] * factor
        if top % 1 or left % 1:  # between two pixels of the whole scaled image
            continue
        part = np.s_[int(top) : int(top) + 24, int(left) : int(left) + 30]
        np.testing.assert_array_equal(got_label, whole_label[part])
        np.testing.assert_allclose(got[inner], whole[part][inner], atol=0.51)
        compared += 1
    assert compared >= 2


def scale_then_crop(rng, size, crop, scale):
    """Window (top, height) of the source, in pixels, of a crop drawn after scaling."""
    factor = rng.uniform(*scale)
    scaled = round(size * factor)
    if scaled <= crop:
        return 0.0, float(size)
    return rng.integers(scaled - crop + 1) / factor, crop / factor


def largest_gap(a, b):
    """Kolmogorov's distance of two samples."""
    at = np.sort(np.concatenate([a, b]))
    shares = [np.searchsorted(np.sort(x), at, side="right") / len(x) for x in (a, b)]
    return np.abs(shares[0] - shares[1]).max()


@pytest.mark.parametrize("size, crop", [(200, 130), (120, 150)])
def test_windows_are_distributed_as_those_of_crops_drawn_after_scaling(size, crop):
    count, scale = 3000, (0.75, 2.0)
    rng = np.random.default_rng(11)
    expected = np.array([scale_then_crop(rng, size, crop, scale) for _ in range(count)])
    label = np.zeros((size, size), np.uint8)
    augmentation = Augmentation((crop, crop), scale)
    seeds = tf.data.Dataset.range(count).map(lambda i: tf.stack([5, tf.cast(i, tf.int32)]))
    drawn = seeds.map(lambda seed: draw_crop(label, seed, augmentation).window)
    drawn = np.array(list(drawn.as_numpy_iterator()))
    for axis in (0, 1):
        top, height = drawn[:, axis] + 0.0, drawn[:, 2 + axis] + 0.0
        shake = rng.uniform(-0.5, 0.5, (2, count))  # whole pixels against any numbers
        where = height < size
        assert abs(where.mean() - (expected[:, 1] < size).mean()) < 0.04
        # 1.63 * sqrt(2 / n) is exceeded once in a hundred samples
        bound = 1.63 * np.sqrt(2 / (0.9 * where.sum())) + 0.01
        other = expected[expected[:, 1] < size]
        assert largest_gap(height[where] + shake[0][where], other[:, 1]) < bound
        centre, other_centre = (top + height / 2)[where], other[:, 0] + other[:, 1] / 2
        assert largest_gap(centre + shake[1][where], other_centre) < bound
