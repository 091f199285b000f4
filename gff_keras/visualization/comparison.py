"""Two predictions of one image: which pixels the second mends, and which it breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gff_keras.data.labels import IGNORE_LABEL
from gff_keras.visualization import panels
from gff_keras.visualization.colors import check_image, check_label
from gff_keras.visualization.overlays import legend_entries, overlay

if TYPE_CHECKING:
    from gff_keras.data.labels import LabelSet

# Apart in lightness too, and for eyes that do not tell red from green.
MENDED, BROKEN, CHANGED = (0, 110, 255), (230, 40, 0), (190, 0, 170)


def changes(
    truth: np.ndarray, before: np.ndarray, after: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Tell where a second prediction is right and the first is not, and the other way round.

    Args:
        truth: (H, W) class indices or 255 (ignored: neither mended nor broken).
        before: (H, W) class indices.
        after: (H, W) class indices.

    Returns:
        (mended, broken), each (H, W) bool.
    """
    valid = truth != IGNORE_LABEL
    right_before, right_after = before == truth, after == truth
    return valid & ~right_before & right_after, valid & right_before & ~right_after


def highlight(
    image: np.ndarray, marks: Sequence[tuple[np.ndarray, tuple[int, int, int]]]
) -> np.ndarray:
    """Paint pixels in full colours on a pale grey copy of the image.

    Args:
        image: (H, W, 3) uint8.
        marks: (mask, colour) pairs; masks (H, W) bool, a later one covers an earlier one.

    Returns:
        (H, W, 3) uint8.
    """
    grey = np.asarray(Image.fromarray(check_image(image)).convert("L"), np.float32)
    pale = (255 - 0.45 * (255 - grey)).round().astype(np.uint8)
    picture = pale[..., None].repeat(3, axis=2)
    for mask, color in marks:
        picture[mask] = color
    return picture


def comparison_sheet(
    image: np.ndarray,
    truth: np.ndarray | None,
    first: np.ndarray,
    second: np.ndarray,
    labels: LabelSet,
    names: tuple[str, str] = ("A", "B"),
) -> Image.Image:
    """Two models side by side, with the pixels that the second mends and breaks (paper, Fig. 4).

    Args:
        image: (H, W, 3) uint8.
        truth: (H, W) class indices or 255; None: pixels on which they differ are marked.
        first: (H, W) class indices.
        second: (H, W) class indices.
        labels: Label set: names and palette.
        names: What the titles call the models.

    Returns:
        RGB picture: two rows of panels over a legend; titles count pixels.

    Raises:
        ValueError: Shapes differ or a label value has no class.
    """
    maps = [first, second] if truth is None else [truth, first, second]
    _check_shapes(image, maps, labels)
    one, other = (
        (name, overlay(image, label, labels.palette, boundaries=True))
        for name, label in zip(names, (first, second), strict=True)
    )
    if truth is None:
        marks = [("differ", first != second, CHANGED)]
        differing = _counted("They differ in {}", marks[0][1])
        table = [[("Image", image), one], [(differing, highlight(image, _paints(marks))), other]]
    else:
        mended, broken = changes(truth, first, second)
        marks = [("mended", mended, MENDED), ("broken", broken, BROKEN)]
        table = [
            [
                ("Image", image),
                one,
                (_counted(f"{names[1]} mends {{}}", mended), highlight(image, _paints(marks[:1]))),
            ],
            [
                ("Ground truth", overlay(image, truth, labels.palette, boundaries=True)),
                other,
                (_counted(f"{names[1]} breaks {{}}", broken), highlight(image, _paints(marks[1:]))),
            ],
        ]
    return _sheet(table, maps, labels, marks)


def ablation_sheet(
    image: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray,
    without: dict[str, np.ndarray],
    labels: LabelSet,
) -> Image.Image:
    """Mark the pixels that become wrong without each gate (the paper's Fig. 7b), and right.

    Args:
        image: (H, W, 3) uint8.
        truth: (H, W) class indices or 255; None: pixels that change their class are marked.
        prediction: (H, W) class indices, with all gates.
        without: Gate such as "G1" -> (H, W) class indices with that gate at zero.
        labels: Label set: names and palette.

    Returns:
        RGB picture: image, truth and prediction over one panel per gate; titles count pixels.

    Raises:
        ValueError: No gate, shapes differ or a label value has no class.
    """
    if not without:
        raise ValueError("no prediction without a gate; a model without gated fusion has none")
    maps = [prediction] if truth is None else [truth, prediction]
    _check_shapes(image, [*maps, *without.values()], labels)
    shown = [("Image", image)]
    if truth is not None:
        shown.append(("Ground truth", overlay(image, truth, labels.palette, boundaries=True)))
    shown.append(("Prediction", overlay(image, prediction, labels.palette, boundaries=True)))
    if truth is not None:
        wrong = (prediction != truth) & (truth != IGNORE_LABEL)
        title = _counted("Wrong with all gates: {}", wrong)
        shown.append((title, highlight(image, [(wrong, panels.INK)])))
    row = []
    for gate, other in without.items():
        if truth is None:
            marks = [("class changes", prediction != other, CHANGED)]
            title = _counted(f"Without {gate}: {{}} change", marks[0][1])
        else:
            mended, broken = changes(truth, prediction, other)
            marks = [("becomes right", mended, MENDED), ("becomes wrong", broken, BROKEN)]
            title = f"Without {gate}: {broken.sum():,} become wrong, {mended.sum():,} right"
        row.append((title, highlight(image, _paints(marks))))
    return _sheet([shown, row], maps, labels, marks)


def _check_shapes(image, maps, labels):
    for label in maps:
        if check_label(label, len(labels.classes)).shape != check_image(image).shape[:2]:
            raise ValueError(
                f"the image has shape {image.shape[:2]}, one of its label maps {label.shape}"
            )


def _paints(marks):
    return [(mask, color) for _, mask, color in marks]


def _counted(text, mask):
    return text.format(f"{mask.sum():,} pixels ({mask.mean():.1%})")


def _sheet(table, maps, labels, marks):
    """Panels over a legend of the classes shown and of the marks."""
    table = [[(title, panels.enlarge(panel)) for title, panel in row] for row in table]
    size = panels.text_size(table[0][0][1].shape[1])
    picture = panels.grid(table, size)
    entries = legend_entries(maps, labels) + [(name, color) for name, _, color in marks]
    return panels.stack([picture, panels.legend(entries, picture.width, size)])
