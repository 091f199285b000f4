"""Augmented crops of records, without paying for pixels that a crop throws away.

Either only the crop's window is decoded, or the pixels were decoded once and lie in memory. Keeping
the latter pays where examples are resized first: they are as small as their files then.
"""

from __future__ import annotations

import math

import tensorflow as tf

from gff_keras.data.augmentation import apply_crop, cut, draw_crop
from gff_keras.data.decoding import decode_image, decode_label, decode_window
from gff_keras.data.resampling import resize_nearest, resize_pair, resize_window, source_window

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
    if image_size is not None and _keeps(cache, 4 * records.size * math.prod(image_size)):
        return _from_memory(records, augmentation, image_size)
    if _keeps(cache, records.nbytes):
        records.load()
    return _from_files(records, augmentation, image_size)


def _keeps(cache, nbytes):
    return cache is True or (cache == "auto" and nbytes <= CACHE_LIMIT)


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


def _from_memory(records, augmentation, image_size):
    images, labels, whole = _load(records, image_size)

    def crop(number, seed):
        # A record that could not be decoded fails where it is used, as it does from files.
        with tf.control_dependencies([tf.debugging.Assert(whole[number], [number])]):
            label = labels[number]
        drawn = draw_crop(label, seed, augmentation)
        image = cut(images[number], drawn.window)
        return apply_crop(image, cut(label, drawn.window), drawn, augmentation)

    return crop


def _load(records, image_size):
    """Return all resized images, labels, and whether each could be decoded."""
    nothing = (tf.zeros((*image_size, 3), tf.uint8), tf.zeros(image_size, tf.uint8), False)

    def decode(number):
        record = records.read(number)
        label = decode_label(record["label"], records.num_classes)
        image = decode_image(record["image"], tf.shape(label))
        return *resize_pair(image, label, image_size), True

    def attempt(number):
        one = tf.data.Dataset.from_tensors(number).map(decode).ignore_errors()
        return one.concatenate(tf.data.Dataset.from_tensors(nothing)).take(1).get_single_element()

    examples = tf.data.Dataset.range(records.size).map(attempt, tf.data.AUTOTUNE)
    return examples.batch(records.size).get_single_element()
