"""Random flip, scale, crop and colour jitter of an image together with its mask.

The paper's training augmentation (Sec. 4.1): horizontal flip, scale in [0.75, 2], crop, colour
jitter in [-10, 10]; what the crop takes from outside the image is zero, in the mask ignore label.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from gff_keras.data.labels import IGNORE_LABEL


@dataclass(frozen=True)
class Augmentation:
    """What `augment` draws at random.

    Attributes:
        crop_size: (height, width) in pixels of every augmented example.
        scale: Smallest and largest factor of a uniform draw; one factor for both axes.
        flip: Mirror left and right with probability 1/2.
        color_jitter: Largest j of an offset drawn uniformly from [-j, j] for each colour channel,
            in units of 0..255.

    Raises:
        ValueError: A value is out of its range.
    """

    crop_size: tuple[int, int]
    scale: tuple[float, float] = (0.75, 2.0)
    flip: bool = True
    color_jitter: float = 10.0

    def __post_init__(self) -> None:
        if len(self.crop_size) != 2 or min(self.crop_size) < 1:
            raise ValueError(f"crop_size={self.crop_size}: give a positive (height, width)")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale={self.scale}: give 0 < smallest <= largest")
        if not 0 <= self.color_jitter <= 255:
            raise ValueError(f"color_jitter={self.color_jitter}: give a number in 0..255")


def augment(image, label, seed, augmentation: Augmentation):
    """Augment one example; the same seed always gives the same result.

    Args:
        image: uint8 tensor (H, W, 3).
        label: uint8 tensor (H, W) of training indices and 255.
        seed: int32 tensor (2,), as `tf.random.stateless_uniform` takes it.
        augmentation: What to draw.

    Returns:
        uint8 image (h, w, 3) and uint8 label (h, w) of `augmentation.crop_size`.
    """
    flip_seed, scale_seed, *origin_seeds, jitter_seed = tf.unstack(tf.random.split(seed, 5))
    if augmentation.flip:
        image, label = _random_flip(image, label, flip_seed)

    factor = tf.random.stateless_uniform((), scale_seed, *augmentation.scale)
    size = tf.cast(tf.round(tf.cast(tf.shape(label), tf.float32) * factor), tf.int32)
    size = tf.maximum(size, 1)  # (2,)

    # Negative slack is the room for padding; the image then lies anywhere inside the crop.
    slack = tf.unstack(size - augmentation.crop_size)
    origin = tf.stack(
        [
            tf.random.stateless_uniform((), s, tf.minimum(n, 0), tf.maximum(n, 0) + 1, tf.int32)
            for s, n in zip(origin_seeds, slack, strict=True)
        ]
    )
    image, label, inside = _resized_window(image, label, size, origin, augmentation.crop_size)

    jitter = augmentation.color_jitter
    image += tf.random.stateless_uniform((3,), jitter_seed, -jitter, jitter)
    image = tf.where(inside[..., None], _to_uint8(image), 0)  # padding gets no jitter
    label = tf.where(inside, label, IGNORE_LABEL)
    return image, label


def resize_pair(image, label, size):
    """Resize an image and its mask on one grid of half-pixel centres.

    Args:
        image: uint8 tensor (H, W, 3); bilinear, antialiased when it shrinks.
        label: uint8 tensor (H, W); nearest neighbour.
        size: (height, width) in pixels, integers or an int32 tensor.

    Returns:
        uint8 image (height, width, 3) and uint8 label (height, width).
    """
    image, label, _ = _resized_window(image, label, tf.convert_to_tensor(size), (0, 0), size)
    return _to_uint8(image), label


def _random_flip(image, label, seed):
    return tf.cond(
        tf.random.stateless_uniform((), seed) < 0.5,
        lambda: (image[:, ::-1], label[:, ::-1]),
        lambda: (image, label),
    )


def _resized_window(image, label, size, origin, window):
    """Return the part of the resized pair that starts at `origin` and is `window` large.

    Only the window is computed: at twice the size of a 2048x1024 image, a crop of 512 takes a
    tenth of the time that resizing everything takes.

    Args:
        image: uint8 tensor (H, W, 3).
        label: uint8 tensor (H, W).
        size: int32 tensor (2,), the size of the whole resized image.
        origin: (top, left) in the resized image; may lie outside.
        window: (h, w), integers or an int32 tensor.

    Returns:
        float32 image (h, w, 3) in 0..255, uint8 label (h, w) and bool (h, w): whether the pixel
        lies inside the resized image. Outside, image and label mean nothing.
    """
    source = tf.shape(label)
    # This is what tf.image.resize(..., antialias=True) calls, with a translation of zero.
    resized = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=window,
        scale=tf.cast(size, tf.float32) / tf.cast(source, tf.float32),
        translation=-tf.cast(origin, tf.float32),
        kernel_type="triangle",
        antialias=True,
    )[0]  # (h, w, 3)
    rows, row_inside = _nearest(origin[0], window[0], source[0], size[0])
    columns, column_inside = _nearest(origin[1], window[1], source[1], size[1])
    label = tf.gather(tf.gather(label, rows, axis=0), columns, axis=1)  # (h, w)
    if not tf.is_tensor(window):
        resized = tf.ensure_shape(resized, (*window, 3))
    return resized, label, row_inside[:, None] & column_inside[None]


def _nearest(start, count, source, size):
    """Return source indices (count,) of the resized pixels from `start` on, and which exist."""
    position = start + tf.range(count)
    # Pixel p has its centre at (p + 1/2) * source / size; integers leave no tie to rounding.
    doubled = tf.cast(2 * position + 1, tf.int64) * tf.cast(source, tf.int64)
    index = tf.cast(doubled // tf.cast(2 * size, tf.int64), tf.int32)
    return tf.clip_by_value(index, 0, source - 1), (position >= 0) & (position < size)


def _to_uint8(image):
    return tf.saturate_cast(tf.round(image), tf.uint8)
