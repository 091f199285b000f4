"""Images whose pixels tell where they come from, draws of the augmentation, and plain resizing."""

import numpy as np
import tensorflow as tf

from gff_keras.data import augment


def coordinates(height, width):
    """An image whose pixels hold (row, column, something above 0), and a mask that fits."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, 1 + (rows * 7 + columns * 13) % 255], -1).astype(np.uint8)
    return image, ((rows * 3 + columns * 5) % 19).astype(np.uint8)


def draw(image, label, augmentation, count, first_seed=0):
    """`count` augmented pairs under different seeds, through tf.data."""
    seeds = tf.data.Dataset.range(first_seed, first_seed + count)
    pairs = seeds.map(
        lambda i: augment(
            tf.constant(image),
            tf.constant(label),
            tf.stack([7, tf.cast(i, tf.int32)]),
            augmentation,
        )
    )
    return [(x.numpy(), y.numpy()) for x, y in pairs]


def bilinear(old, new):
    """Resizing matrix (new, old): triangle of half-pixel centres, widened where it shrinks."""
    centre = (np.arange(new) + 0.5) * old / new - 0.5
    weight = np.maximum(0, 1 - np.abs(np.arange(old) - centre[:, None]) / max(1, old / new))
    return weight / weight.sum(1, keepdims=True)


def nearest(old, new):
    return np.floor((np.arange(new) + 0.5) * old / new).astype(int)
