"""Decoding a window gives the pixels that decoding everything gives."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gff_keras.data.decoding import decode_image, decode_window


def photograph(height, width):
    """Smooth shapes, strong colours: what a JPEG's subsampled colours get wrong at borders."""
    rows, columns = np.mgrid[:height, :width]
    channels = [np.sin(rows / a) * np.cos(columns / b) for a, b in ((3, 7), (9, 4), (5, 5))]
    return (127 + 120 * np.stack(channels, -1)).astype(np.uint8)


def encoded(image, kind, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


FORMATS = {
    "4:4:4": ("JPEG", dict(quality=90, subsampling=0)),
    "4:2:2": ("JPEG", dict(quality=90, subsampling=1)),
    "4:2:0": ("JPEG", dict(quality=90, subsampling=2)),
    "progressive": ("JPEG", dict(quality=90, progressive=True)),
    "png": ("PNG", {}),
    "gif": ("GIF", {}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_window_is_that_of_the_whole_image(name):
    size, rng = (97, 131), np.random.default_rng(1)
    kind, options = FORMATS[name]
    file = encoded(photograph(*size), kind, **options)
    whole = decode_image(file, size).numpy()
    decode = tf.function(decode_window)
    windows = [(0, 0, *size), (96, 130, 1, 1), (0, 0, 1, 131)]
    for _ in range(25):
        height, width = rng.integers(1, 98), rng.integers(1, 132)
        top, left = rng.integers(98 - height), rng.integers(132 - width)
        windows.append((top, left, height, width))
    for top, left, height, width in windows:
        window = tf.constant((top, left, height, width), tf.int32)
        part = decode(tf.constant(file), tf.constant(size), window).numpy()
        np.testing.assert_array_equal(part, whole[top : top + height, left : left + width])


def test_grey_jpegs_become_rgb():
    grey = photograph(40, 50)[..., 0]
    part = decode_window(encoded(grey, "JPEG", quality=95), (40, 50), tf.constant([3, 4, 20, 30]))
    assert part.shape == (20, 30, 3)
    assert np.abs(part.numpy() - grey[3:23, 4:34, None].astype(int)).max() < 12


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_what_is_cut_off_or_of_another_size_fails_wherever_the_window_lies(kind):
    file, window = encoded(photograph(64, 80), kind), tf.constant([0, 0, 4, 4])
    assert decode_window(file, (64, 80), window).shape == (4, 4, 3)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_window(file[: len(file) * 2 // 3], (64, 80), window)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_window(file, (64, 81), window)


def test_a_jpeg_with_bytes_after_its_end_is_whole():
    image = photograph(64, 80)
    file = encoded(image, "JPEG") + b"\0" * 7
    part = decode_window(file, (64, 80), tf.constant([5, 6, 20, 30]))
    np.testing.assert_array_equal(part, decode_image(file, (64, 80))[5:25, 6:36])
