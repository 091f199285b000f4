"""What augmentation does to pixels, with few passes over few bytes."""

from __future__ import annotations

import math

import tensorflow as tf

from gff_keras.data.resampling import resize_bilinear


def jitter(image, offsets):
    """Add the offsets to the channels of an uint8 image, saturating, without leaving uint8."""
    height, width, _ = tf.unstack(tf.shape(image))

    def row(values):  # broadcasting whole rows is many times faster than broadcasting pixels
        return tf.tile(tf.cast(values, tf.uint8), [width])

    rows = tf.reshape(image, (height, -1))
    rows = tf.minimum(
        tf.maximum(rows, row(tf.maximum(-offsets, 0))), row(255 - tf.maximum(offsets, 0))
    )
    return tf.reshape(rows + row(offsets % 256), (height, width, 3))  # a sum modulo 256


def resize(image, size, shrinks):
    """Resize float32 (h, w, 3): bilinear as elsewhere, antialiased where pixels would be lost."""
    if not shrinks:
        return resize_bilinear(image, size)
    return tf.cond(
        tf.reduce_any(2 * size < tf.shape(image)[:2]),
        lambda: resize_bilinear(image, size, antialias=True),
        lambda: resize_bilinear(image, size),
    )


def blur(image, sigma, largest):
    """Blur float32 (h, w, 3) by a Gaussian; beyond the border, the border goes on."""
    radius = math.ceil(3 * largest)
    reach = tf.range(-radius, radius + 1)
    kernel = tf.exp(-0.5 * tf.square(tf.cast(reach, tf.float32) / (sigma + 1e-3)))
    kernel = tf.tile((kernel / tf.reduce_sum(kernel))[:, None, None, None], (1, 1, 3, 1))
    for axis, weights in ((0, kernel), (1, tf.transpose(kernel, (1, 0, 2, 3)))):
        count = tf.shape(image)[axis]
        index = tf.clip_by_value(tf.range(-radius, count + radius), 0, count - 1)
        image = tf.gather(image, index, axis=axis)
        image = tf.nn.depthwise_conv2d(image[None], weights, (1, 1, 1, 1), "VALID")[0]
    return image


def rotate(image, label, angle, size):
    """Rotate a canvas about its centre and return the (height, width) of `size` in its middle."""
    centre = [(n - 1) / 2 for n in size]
    middle = tf.cast(tf.shape(label) - 1, tf.float32) / 2
    cosine, sine = tf.cos(angle), tf.sin(angle)
    row = middle[0] - sine * centre[1] - cosine * centre[0]
    column = middle[1] - cosine * centre[1] + sine * centre[0]
    transform = tf.stack([cosine, -sine, column, sine, cosine, row, 0.0, 0.0])

    def turn(canvas, interpolation):
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=canvas[None],
            transforms=transform[None],
            output_shape=size,
            fill_value=0.0,  # never seen: the canvas covers the crop
            interpolation=interpolation,
            fill_mode="NEAREST",
        )[0]

    image = tf.cast(turn(tf.cast(image, tf.float32), "BILINEAR") + 0.5, tf.uint8)
    return image, turn(label[..., None], "NEAREST")[..., 0]
