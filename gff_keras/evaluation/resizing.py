"""The size at which a network sees an image."""

import numpy as np
from keras import ops

from gff_keras.layers.resizing import resize_antialiased


def network_input(image, image_size=None):
    """Return an RGB image (H, W, 3) as a network sees it: float32 (1, *image_size, 3).

    Without `image_size` the image keeps its own.
    """
    if image_size is None:
        return np.asarray(image, "float32")[None]
    return resized(image, image_size)


def check_size(name, size):
    """Raise ValueError unless `size`, an argument of this name, is a pair of positive integers."""
    is_pair = isinstance(size, (tuple, list)) and len(size) == 2
    if not is_pair or not all(isinstance(n, (int, np.integer)) and n > 0 for n in size):
        raise ValueError(f"{name}={size} is not (height, width) in pixels.")


def parse_size(flag, words):
    """Parse the words after a flag, or None, to (height, width).

    Raises:
        ValueError: they are not two whole numbers.
    """
    if words is None:
        return None
    if len(words) != 2 or not all(word.lstrip("-").isdecimal() for word in words):
        given = " ".join(words)
        raise ValueError(f"--{flag} {given}: give height and width in pixels, as --{flag} 512 1024")
    return int(words[0]), int(words[1])


def resized(image, size):
    """Resize an RGB image (H, W, 3) for a network, with antialias: float32 (1, *size, 3)."""
    x = np.asarray(image, "float32")[None]
    return ops.convert_to_numpy(resize_antialiased(x, size))
