"""Random flip, scale, crop, colour jitter, rotation and blur of an image together with its mask.

The paper's training augmentation (Sec. 4.1): horizontal flip, scale in [0.75, 2], crop, colour
jitter in [-10, 10]; what the crop takes from outside the image is zero, in the mask ignore label.

The crop is drawn first, as a window of the source: only this window is decoded, and resized to the
crop. A window of whole pixels whose size is the crop's over the factor comes out as the same crop
of the scaled image, but for the outermost half pixel of the source.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from gff_keras.data.labels import IGNORE_LABEL
from gff_keras.data.resampling import resize_nearest
from gff_keras.data.transforms import blur, jitter, resize, rotate

TRIES = 10  # crops drawn at most until one keeps to `max_class_fraction`
_SAMPLES = 128  # rows and columns of a window that are counted, at least, where it has as many


@dataclass(frozen=True)
class Augmentation:
    """What `augment` draws at random.

    Attributes:
        crop_size: (height, width) in pixels of every augmented example; one number means both.
        scale: Smallest and largest factor of a uniform draw; one factor for both axes.
        flip: Mirror left and right with probability 1/2.
        color_jitter: Largest j of an offset drawn uniformly from [-j, j] for each colour channel,
            in units of 0..255; whole numbers.
        max_class_fraction: Largest share of a crop's labelled pixels that one class may have; the
            first crop of ten that keeps to it is taken, else the last. 1 allows all.
        rotation: Largest angle in degrees, drawn uniformly from both sides, about the crop's
            centre; 0 rotates nothing.
        blur: Largest standard deviation in pixels of a Gaussian blur, drawn uniformly from 0 on; 0
            blurs nothing.

    Raises:
        ValueError: A value is out of its range.
    """

    crop_size: tuple[int, int]
    scale: tuple[float, float] = (0.75, 2.0)
    flip: bool = True
    color_jitter: float = 10.0
    max_class_fraction: float = 1.0
    rotation: float = 0.0
    blur: float = 0.0

    def __post_init__(self) -> None:
        size: Any = self.crop_size
        if isinstance(size, int):
            object.__setattr__(self, "crop_size", (size, size))
        if len(self.crop_size) != 2 or min(self.crop_size) < 1:
            raise ValueError(f"crop_size={self.crop_size}: give a positive (height, width)")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale={self.scale}: give 0 < smallest <= largest")
        if not 0 < self.max_class_fraction <= 1:
            raise ValueError(f"max_class_fraction={self.max_class_fraction}: give 0 < share <= 1")
        for name, largest in (("color_jitter", 255), ("rotation", 180), ("blur", 20)):
            value = getattr(self, name)
            if not 0 <= value <= largest:
                raise ValueError(f"{name}={value}: give a number in 0..{largest}")


class Crop(NamedTuple):
    """One draw: a window of the source and what becomes of it."""

    window: tf.Tensor  # int32 (4,): top, left, height, width in the source
    size: tf.Tensor  # int32 (2,): height and width that the window takes in the crop
    offset: tf.Tensor  # int32 (2,): top and left of the window in the crop; the rest is padding
    flip: tf.Tensor  # bool
    jitter: tf.Tensor  # int32 (3,): offsets of the channels
    angle: tf.Tensor  # float32, radians
    sigma: tf.Tensor  # float32, pixels


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
    crop = draw_crop(label, seed, augmentation)
    return apply_crop(cut(image, crop.window), cut(label, crop.window), crop, augmentation)


def draw_crop(label, seed, augmentation: Augmentation) -> Crop:
    """Draw what to do to an example; the mask alone tells all that the draw needs.

    Args:
        label: uint8 tensor (H, W).
        seed: int32 tensor (2,).
        augmentation: What to draw.
    """
    draws = tf.unstack(tf.random.stateless_uniform((7,), seed))
    flip, factor, angle, sigma, *channels = draws
    flip = flip < (0.5 if augmentation.flip else 0.0)
    low, high = augmentation.scale
    factor = low + (high - low) * factor
    source = tf.shape(label)
    crop_size = tf.constant(augmentation.crop_size)
    wanted = _round(tf.cast(crop_size, tf.float32) / factor)  # of the source
    small = wanted > source  # the whole axis fits into the crop, and is padded
    height_width = tf.where(small, source, tf.maximum(wanted, 1))
    size = tf.clip_by_value(_round(tf.cast(source, tf.float32) * factor), 1, crop_size)
    size = tf.where(small, size, crop_size)

    where = tf.random.stateless_uniform((TRIES, 2), tf.random.fold_in(seed, 1))
    room = tf.where(small, crop_size - size, source - height_width)
    places = tf.cast(where * tf.cast(room + 1, tf.float32), tf.int32)
    places = tf.minimum(places, room)  # the product may round up to the end
    starts = tf.where(small, 0, places)
    chosen = _balanced(label, starts, height_width, augmentation.max_class_fraction)
    window, size, offset = _with_margin(
        starts[chosen], height_width, size, tf.where(small, places[chosen], 0), source, augmentation
    )
    mirrored = _canvas(augmentation)[1] - size[1] - offset[1]
    offset = tf.stack([offset[0], tf.where(flip, mirrored, offset[1])])
    offsets = augmentation.color_jitter * (2 * tf.stack(channels) - 1)
    return Crop(
        window=window,
        size=size,
        offset=offset,
        flip=flip,
        jitter=_round(offsets),
        angle=math.radians(augmentation.rotation) * (2 * angle - 1),
        sigma=augmentation.blur * sigma,
    )


def apply_crop(image, label, crop: Crop, augmentation: Augmentation):
    """Turn the window of an example into its crop.

    Args:
        image: uint8 tensor (height, width, 3): `crop.window` of the image.
        label: uint8 tensor (height, width): the same of the mask.
        crop: Result of `draw_crop`.
        augmentation: What it was drawn from.

    Returns:
        uint8 image (h, w, 3) and uint8 label (h, w) of `augmentation.crop_size`.
    """
    if augmentation.color_jitter:
        image = jitter(image, crop.jitter)
    if augmentation.flip:
        image = tf.cond(crop.flip, lambda: tf.reverse(image, [1]), lambda: image)
    image = tf.cast(image, tf.float32) + 0.5  # casting back cuts off: this rounds
    image = resize(image, crop.size, augmentation.scale[0] < 0.5)
    if augmentation.blur:
        image = blur(image, crop.sigma, augmentation.blur)
    image = tf.cast(image, tf.uint8)  # means of 0.5..255.5
    label = resize_nearest(label, crop.size, crop.flip)

    before, after = crop.offset, tf.constant(_canvas(augmentation)) - crop.size - crop.offset
    padding = tf.stack([before, after], 1)  # (2, 2)
    image = tf.pad(image, tf.concat([padding, [[0, 0]]], 0))
    label = tf.pad(label, padding, constant_values=tf.constant(IGNORE_LABEL, tf.uint8))
    if augmentation.rotation:
        image, label = rotate(image, label, crop.angle, augmentation.crop_size)
    return (
        tf.ensure_shape(image, (*augmentation.crop_size, 3)),
        tf.ensure_shape(label, augmentation.crop_size),
    )


def cut(image, window):
    """Return the window (top, left, height, width) of an image or mask."""
    top, left, height, width = tf.unstack(window)
    return image[top : top + height, left : left + width]


def _round(x):
    return tf.cast(tf.round(x), tf.int32)


def _balanced(label, starts, size, max_class_fraction):
    """Return the number of the first window in which no class exceeds its share, else the last."""
    if max_class_fraction >= 1:
        return 0

    def exceeds(number):
        part = cut(label, tf.concat([starts[number], size], 0))
        rows, columns = tf.unstack(tf.maximum(size // _SAMPLES, 1))
        counts = tf.math.bincount(tf.cast(part[::rows, ::columns], tf.int32), minlength=256)
        counts = tf.cast(counts[:IGNORE_LABEL], tf.float32)
        labelled = tf.reduce_sum(counts)
        return (labelled == 0) | (tf.reduce_max(counts) > max_class_fraction * labelled)

    (number,) = tf.while_loop(
        lambda number: (number < TRIES - 1) & exceeds(number), lambda number: (number + 1,), (0,)
    )
    return number


def _canvas(augmentation):
    """(height, width) that holds the crop at every angle, the crop in its middle."""
    height, width = augmentation.crop_size
    margins = _margins(augmentation)
    return height + 2 * margins[0], width + 2 * margins[1]


def _margins(augmentation):
    if not augmentation.rotation:
        return 0, 0
    height, width = augmentation.crop_size
    slack = math.ceil(augmentation.scale[1]) + 1  # a window of whole source pixels covers less
    margins = []
    for along, across in ((height, width), (width, height)):
        angle = min(math.radians(augmentation.rotation), math.atan2(across, along))
        extent = along * math.cos(angle) + across * math.sin(angle)
        margins.append(math.ceil((extent - along) / 2) + slack)
    return tuple(margins)


def _with_margin(start, height_width, size, offset, source, augmentation):
    """Widen a window so that it covers what a rotation turns into the crop."""
    margins = tf.constant(_margins(augmentation))
    if not augmentation.rotation:
        return tf.concat([start, height_width], 0), size, offset
    factor = tf.cast(size, tf.float32) / tf.cast(height_width, tf.float32)
    reach = tf.cast(tf.cast(margins, tf.float32) / factor, tf.int32)
    before = tf.minimum(start, reach)
    after = tf.minimum(source - start - height_width, reach)
    wide = height_width + before + after
    offset += margins - _round(tf.cast(before, tf.float32) * factor)
    size = tf.minimum(_round(tf.cast(wide, tf.float32) * factor), _canvas(augmentation) - offset)
    return tf.concat([start - before, wide], 0), size, offset
