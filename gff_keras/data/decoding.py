"""Encoded images and masks to pixels: only the window that is wanted where the format allows it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from gff_keras.data.labels import IGNORE_LABEL
from gff_keras.data.resampling import resize_pair

_END_OF_JPEG = b"\xff\xd9"
_MARGIN = 2  # columns: colours of half the width are interpolated between neighbours


def decode_label(encoded, num_classes):
    """Return the mask, uint8 (H, W).

    Fails unless the file is a grey image whose values are classes or 255; any value is fine if
    `num_classes` is None.
    """
    label = tf.io.decode_image(encoded, channels=0, expand_animations=False)
    label = tf.squeeze(tf.ensure_shape(label, (None, None, None)), -1)
    if num_classes is None:
        return label
    highest = tf.reduce_max(label + 1)  # modulo 256: 255, the ignore label, becomes 0
    known = tf.cast(highest, tf.int32) <= num_classes
    with tf.control_dependencies([tf.debugging.Assert(known, [highest])]):
        return tf.identity(label)


def decode_image(encoded, size):
    """Return the image, uint8 (H, W, 3); fails unless its size is (H, W)."""
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(image)[:2], size)]):
        return tf.identity(image)


def decode_example(record, num_classes, image_size):
    """Return image, uint8 (H, W, 3), and mask, uint8 (H, W), of a record, whole.

    Resized to `image_size`, (height, width), unless it is None. Fails as the two functions above.
    """
    label = decode_label(record["label"], num_classes)
    image = decode_image(record["image"], tf.shape(label))
    return (image, label) if image_size is None else resize_pair(image, label, image_size)


def decode_window(encoded, size, window):
    """Return a window of an image without decoding the rest, if it is a JPEG.

    PNG knows no such thing: every pixel is predicted from those before it.

    Args:
        encoded: An image file's bytes.
        size: int32 tensor (2,), what the image's height and width must be, else this fails.
        window: int32 tensor (4,): top, left, height, width.

    Returns:
        uint8 tensor (height, width, 3).
    """
    top, left, height, width = tf.unstack(window)

    def from_jpeg():
        found = tf.image.extract_jpeg_shape(encoded)[:2]
        start = tf.maximum(left - _MARGIN, 0)
        end = tf.minimum(left + width + _MARGIN, size[1])
        with tf.control_dependencies([tf.debugging.assert_equal(found, size)]):
            wider = tf.stack([top, start, height, end - start])
        part = tf.io.decode_and_crop_jpeg(encoded, wider, channels=3)
        return part[:, left - start : left - start + width]

    def from_all():
        return decode_image(encoded, size)[top : top + height, left : left + width]

    # A JPEG that was cut off must fail even where the window lies before the cut.
    ends = tf.strings.substr(encoded, -2, 2) == _END_OF_JPEG
    return tf.cond(tf.io.is_jpeg(encoded) & ends, from_jpeg, from_all)


def damage(record, num_classes) -> str:
    """Return what is wrong with a record's encoded image and label; empty if nothing is."""
    try:
        image = tf.io.decode_image(record["image"], channels=3, expand_animations=False)
        label = tf.io.decode_image(record["label"], channels=0, expand_animations=False)
    except tf.errors.OpError:
        return "its image or label cannot be decoded"
    if label.shape != (*image.shape[:2], 1):
        return "its label is no grey image of the image's size"
    values = np.unique(label)
    unknown = values[(values >= (num_classes or 256)) & (values != IGNORE_LABEL)]
    if unknown.size:
        listed = ", ".join(map(str, unknown[:10])) + (", ..." if unknown.size > 10 else "")
        return f"its label holds {listed}, but there are {num_classes} classes and {IGNORE_LABEL}"
    return ""
