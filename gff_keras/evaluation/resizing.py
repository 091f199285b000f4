"""The size at which a network sees an image."""

import numpy as np
from keras import ops

from gff_keras.layers.resizing import resize_antialiased


def resized(image, size):
    """Resize an RGB image (H, W, 3) for a network, with antialias: float32 (1, *size, 3)."""
    x = np.asarray(image, "float32")[None]
    return ops.convert_to_numpy(resize_antialiased(x, size))
