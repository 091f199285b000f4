"""Predictions over images, alone and side by side with the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gff_keras.data.labels import IGNORE_LABEL
from gff_keras.visualization import panels
from gff_keras.visualization.colors import Palette, check_image, check_label, color_table

if TYPE_CHECKING:
    from gff_keras.data.labels import LabelSet

Row = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # image, prediction, truth


def overlay(
    image: np.ndarray,
    label: np.ndarray,
    palette: Palette,
    alpha: float = 0.55,
    boundaries: bool = False,
) -> np.ndarray:
    """Blend class colours over an image: `(1 - alpha) image + alpha colour`.

    Args:
        image: (H, W, 3) uint8.
        label: (H, W) integers, class indices or 255; ignored pixels show the image.
        palette: One (red, green, blue) per class, 0..255.
        alpha: Weight of the colour, 0..1.
        boundaries: Give the pixels along class boundaries the full colour of their class, so that
            things a few pixels wide stay visible.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: Shapes differ, a label value has no colour, or alpha is out of range.
    """
    table = color_table(palette)
    image, label = check_image(image), check_label(label, len(palette))
    if image.shape[:2] != label.shape:
        raise ValueError(f"the image has shape {image.shape[:2]}, its label map {label.shape}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in 0..1, got {alpha}")
    weight = np.full(label.shape, alpha, np.float32)
    if boundaries:
        weight[_boundary(label)] = 1.0
    weight[label == IGNORE_LABEL] = 0.0
    blend = image + weight[..., None] * (table[label].astype(np.float32) - image)  # (H, W, 3)
    return blend.round().astype(np.uint8)


def legend_entries(
    label_maps: Sequence[np.ndarray], labels: LabelSet
) -> list[tuple[str, tuple[int, int, int]]]:
    """Name and colour of the classes present in any of the maps, in the order of their indices.

    Args:
        label_maps: Arrays (H, W) of class indices or 255.
        labels: Label set of the maps.

    Raises:
        ValueError: A map holds a value that the label set does not have.
    """
    present = {
        int(value)
        for label in label_maps
        for value in np.unique(check_label(label, len(labels.classes)))
    }
    return [(labels.classes[i], labels.palette[i]) for i in sorted(present - {IGNORE_LABEL})]


def overlay_figure(
    image: np.ndarray, prediction: np.ndarray, labels: LabelSet, truth: np.ndarray | None = None
) -> Image.Image:
    """Image, ground truth if given, and prediction side by side over a legend.

    Args:
        image: (H, W, 3) uint8.
        prediction: (H, W) class indices.
        labels: Label set: names and palette.
        truth: (H, W) class indices or 255 (ignored, shows the image).

    Returns:
        RGB picture; panels at native pixels, or enlarged by an integer factor to at least
        480 pixels.

    Raises:
        ValueError: Shapes differ or a label value has no class.
    """
    return prediction_sheet([(image, prediction, truth)], labels)


def prediction_sheet(rows: Sequence[Row], labels: LabelSet) -> Image.Image:
    """Several predictions in one picture, one row each, over one legend.

    Args:
        rows: (image, prediction, truth) of every row as in `overlay_figure`; truth may be None, but
            then in all rows.
        labels: Label set: names and palette.

    Returns:
        RGB picture.

    Raises:
        ValueError: No row, some rows with and some without truth, or bad arrays.
    """
    if not rows:
        raise ValueError("a prediction sheet needs at least one row")
    without = sum(truth is None for _, _, truth in rows)
    if without not in (0, len(rows)):
        raise ValueError(f"{without} of {len(rows)} rows have no truth; give it for all or none")
    table: list[list[panels.Panel]] = []
    maps: list[np.ndarray] = []
    for image, prediction, truth in rows:
        shown = {"Image": check_image(image)}
        for title, label in (("Ground truth", truth), ("Prediction", prediction)):
            if label is not None:
                shown[title] = overlay(image, label, labels.palette, boundaries=True)
                maps.append(label)
        named = not table  # titles head the columns: only the first row has them
        table.append([(name if named else "", panels.enlarge(p)) for name, p in shown.items()])
    size = panels.text_size(max(panel.shape[1] for row in table for _, panel in row))
    picture = panels.grid(table, size)
    return panels.stack([picture, panels.legend(legend_entries(maps, labels), picture.width, size)])


def label_sheet(
    images: Sequence[np.ndarray],
    label_maps: Sequence[np.ndarray],
    labels: LabelSet,
    titles: Sequence[str],
) -> Image.Image:
    """Images beside their labels, one row each, over one legend.

    Args:
        images: Arrays (H, W, 3) uint8.
        label_maps: As many arrays (H, W) of class indices or 255 (ignored, shows the image).
        labels: Label set: names and palette.
        titles: What to write over each image, such as its id.

    Returns:
        RGB picture.

    Raises:
        ValueError: Numbers or shapes differ, or a label value has no class.
    """
    table: list[list[panels.Panel]] = []
    for title, image, label in zip(titles, images, label_maps, strict=True):
        shown = overlay(image, label, labels.palette, boundaries=True)
        table.append([(title, panels.enlarge(image)), ("Labels", panels.enlarge(shown))])
    size = panels.text_size(max(panel.shape[1] for row in table for _, panel in row))
    picture = panels.grid(table, size)
    entries = legend_entries(label_maps, labels)
    return panels.stack([picture, panels.legend(entries, picture.width, size)])


def _boundary(label: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels with a neighbour, left, right, above or below, of another class."""
    edge = np.zeros(label.shape, bool)
    down, right = label[1:] != label[:-1], label[:, 1:] != label[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge
