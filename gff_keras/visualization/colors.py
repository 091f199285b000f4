"""Colours of label maps: checks, colouring, indexed PNG files and a palette for any class count."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import numpy as np
from PIL import Image

from gff_keras.data.labels import IGNORE_LABEL

Palette = Sequence[Sequence[int]]


def check_label(label: np.ndarray, num_classes: int) -> np.ndarray:
    """Return a label map as uint8 after checking it.

    Args:
        label: (H, W) integers, 0..num_classes-1 or 255 (ignored).
        num_classes: Number of classes that have a colour.

    Returns:
        (H, W) uint8.

    Raises:
        ValueError: Wrong rank or type, or a value that has no colour.
    """
    label = np.asarray(label)
    if label.ndim != 2 or label.dtype.kind not in "ui":
        raise ValueError(
            f"a label map has shape (H, W) and integer values, got {label.shape} of {label.dtype}"
        )
    values = np.unique(label)
    bad = values[((values < 0) | (values >= num_classes)) & (values != IGNORE_LABEL)]
    if bad.size:
        raise ValueError(
            f"label value {bad[0]} has no colour: the palette has {num_classes} classes "
            f"(0..{num_classes - 1}, and {IGNORE_LABEL} to ignore)"
        )
    return label.astype(np.uint8)


def check_image(image: np.ndarray) -> np.ndarray:
    """Return the image if it is (H, W, 3) uint8, else raise ValueError."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image is (H, W, 3) uint8, got {image.shape} of {image.dtype}")
    return image


def color_table(palette: Palette) -> np.ndarray:
    """Colours of all 256 label values: the palette, black for the rest.

    Args:
        palette: Up to 255 colours (red, green, blue), each 0..255.

    Returns:
        (256, 3) uint8.

    Raises:
        ValueError: More than 255 colours, or one that is none.
    """
    colors = np.asarray(palette)
    if colors.ndim != 2 or colors.shape[1] != 3 or not 1 <= len(colors) <= IGNORE_LABEL:
        raise ValueError(f"a palette is 1..{IGNORE_LABEL} colours of 3 values, got {colors.shape}")
    if colors.min() < 0 or colors.max() > 255:
        raise ValueError(f"palette values lie in 0..255, got {colors.min()}..{colors.max()}")
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    return table


def colorize(label: np.ndarray, palette: Palette) -> np.ndarray:
    """Colour of every pixel's class; ignored pixels are black.

    Args:
        label: (H, W) integers, class indices or 255.
        palette: One (red, green, blue) per class, 0..255.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: A label value without a colour, or wrong shapes.
    """
    table = color_table(palette)
    return table[check_label(label, len(palette))]


def save_palette_png(path: str | PathLike[str], label: np.ndarray, palette: Palette) -> None:
    """Write a label map as an indexed PNG: it looks coloured, its values are the class indices.

    Args:
        path: File to write; an existing one is replaced.
        label: (H, W) integers, class indices or 255.
        palette: One (red, green, blue) per class, 0..255; 255 shows black.

    Raises:
        ValueError: A label value without a colour, or wrong shapes.
    """
    table = color_table(palette)
    indexed = Image.fromarray(check_label(label, len(palette)))
    indexed.putpalette(table.tobytes())  # all 256 entries, so the file keeps 8 bits per pixel
    indexed.save(path, format="PNG")


def default_palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """Colours that are easy to tell apart, the same on every call.

    Each next colour is the one farthest, in CIELAB, from all before it and from black and white, so
    a shorter palette is the beginning of a longer one.

    Args:
        count: Number of colours, 1..255.

    Raises:
        ValueError: Any other number.
    """
    if not 1 <= count <= IGNORE_LABEL:
        raise ValueError(f"a palette has 1..{IGNORE_LABEL} colours, got {count}")
    steps = np.linspace(0, 255, 14).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    lab = _cielab(grid)
    seen = (lab[:, 0] > 22) & (lab[:, 0] < 93)  # darker or paler ones drown in a photograph
    grid, lab = grid[seen], lab[seen]
    distance = np.full(len(grid), np.inf)
    for taken in _cielab(np.array([[0, 0, 0], [255, 255, 255]], np.uint8)):
        distance = np.minimum(distance, np.linalg.norm(lab - taken, axis=1))
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
    return tuple((int(r), int(g), int(b)) for r, g, b in grid[chosen])


def _cielab(rgb: np.ndarray) -> np.ndarray:
    """Convert (N, 3) sRGB uint8 to (N, 3) CIELAB, white point D65."""
    value = rgb / 255.0
    linear = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
