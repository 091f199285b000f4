"""Augmented crops of records, without paying for pixels that a crop throws away.

Either only the crop's window is decoded, or all pixels of a small data set were decoded once and
lie in memory.
"""

from __future__ import annotations

import math

import tensorflow as tf

from gff_keras.data.augmentation import apply_crop, cut, draw_crop
from gff_keras.data.decoding import decode_example, decode_label, decode_window
from gff_keras.data.resampling import resize_nearest, resize_window, source_window

CACHE_LIMIT = 512 * 2**20  # bytes that `cache="auto"` keeps in memory


def random_crops(records, augmentation, image_size, cache):
    """Return a function of record number and seed that gives a crop.

    Args:
        records: `gff_keras.data.reading.Records`.
        augmentation: `gff_keras.data.Augmentation`.
        image_size: (height, width) to resize to before augmentation; None keeps the size.
        cache: What of the data set to keep in memory, see `training_dataset`.

    Returns:
        Function that maps a number, int64, and a seed, int32 (2,), to an uint8 image (h, w, 3) and
        an uint8 label (h, w).

    Raises:
        ValueError: `cache` is something else.
    """
    if cache not in (True, False, "auto"):
        raise ValueError(f"cache={cache!r}: give True, False or 'auto'")
    if cache and (pixels := _pixels(records, image_size)):
        return _from_memory(pixels, augmentation)
    if cache is True or (cache and records.nbytes <= CACHE_LIMIT):
        records.load()
    return _from_files(records, augmentation, image_size)


def _from_files(records, augmentation, image_size):
    def crop(number, seed):
        record = records.read(number)
        label = decode_label(record["label"], records.num_classes)
        return _decode_crop(record["image"], label, seed, augmentation, image_size)

    return crop


def _decode_crop(encoded, label, seed, augmentation, image_size):
    """Draw on the mask, then decode only what the drawn crop needs of the image."""
    source = tf.shape(label)
    if image_size is None:
        crop = draw_crop(label, seed, augmentation)
        image = decode_window(encoded, source, crop.window)
    else:
        label = resize_nearest(label, image_size)
        crop = draw_crop(label, seed, augmentation)
        window = source_window(source, image_size, crop.window)
        part = decode_window(encoded, source, window)
        image = resize_window(part, window[:2], source, image_size, crop.window)
    return apply_crop(image, cut(label, crop.window), crop, augmentation)


def _from_memory(pixels, augmentation):
    images, labels, sizes, starts = pixels

    def crop(number, seed):
        size, start = sizes[number], starts[number]
        count = tf.reduce_prod(size)
        # A record that could not be decoded fails where it is used, as it does from files.
        with tf.control_dependencies([tf.debugging.Assert(count > 0, [number])]):
            label = tf.reshape(labels[start : start + count], size)
        image = images[3 * start : 3 * (start + count)]
        image = tf.reshape(image, tf.concat([size, [3]], 0))
        drawn = draw_crop(label, seed, augmentation)
        parts = cut(image, drawn.window), cut(label, drawn.window)
        return apply_crop(*parts, drawn, augmentation)

    return crop


def _pixels(records, image_size):
    """Return all examples decoded and resized; None if they exceed `CACHE_LIMIT`.

    Returns:
        uint8 values of all images and of all masks in one row each; int64 sizes (N, 2), zero where
        a record is damaged; int64 first pixel of each, (N,).
    """
    nbytes = records.nbytes if image_size is None else 4 * records.size * math.prod(image_size)
    if nbytes > CACHE_LIMIT:  # pixels take more room than files
        return None

    def decode(number):
        image, label = decode_example(records.read(number), records.num_classes, image_size)
        return tf.reshape(image, [-1]), tf.reshape(label, [-1]), tf.shape(label, tf.int64)

    def attempt(number):
        none = tf.constant([], tf.uint8)
        one = tf.data.Dataset.from_tensors(number).map(decode).ignore_errors()
        damaged = tf.data.Dataset.from_tensors((none, none, tf.zeros(2, tf.int64)))
        return one.concatenate(damaged).take(1).get_single_element()

    images, labels, sizes, nbytes = [], [], [], 0
    for image, label, size in tf.data.Dataset.range(records.size).map(attempt, tf.data.AUTOTUNE):
        images.append(image)
        labels.append(label)
        sizes.append(size)
        nbytes += 4 * len(label)
        if nbytes > CACHE_LIMIT:
            return None
    sizes = tf.stack(sizes)
    starts = tf.cumsum(tf.reduce_prod(sizes, 1), exclusive=True)
    return tf.concat(images, 0), tf.concat(labels, 0), sizes, starts
