"""Gate maps as in the paper's Figure 6: which pixels each level sends to the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from gff_keras.visualization import panels
from gff_keras.visualization.colors import check_image
from gff_keras.visualization.overlays import legend_entries, overlay

if TYPE_CHECKING:
    from gff_keras.data.labels import LabelSet

GATE_COLORS = "viridis"  # its lightness grows evenly with the gate, also in grey print


def gate_sheet(
    image: np.ndarray,
    gates: Sequence[np.ndarray],
    prediction: np.ndarray,
    labels: LabelSet,
    stretch: bool = False,
) -> Image.Image:
    """Image and prediction beside the gate maps G1..GL, with one colour bar for all gates.

    Args:
        image: (H, W, 3) uint8.
        gates: L maps (h_l, w_l) or (h_l, w_l, 1) in 0..1, finest level first; resized to the image
            with half-pixel centres where they have another size.
        prediction: (H, W) class indices.
        labels: Label set: names and palette.
        stretch: Colour each map from its own least to its own greatest value, to see the pattern of
            a gate that is nearly closed or open everywhere.

    Returns:
        RGB picture: two rows, the image over the prediction on the left, the gates to the right of
        them in reading order, each with its mean and its range over the map.

    Raises:
        ValueError: No gate, a gate of another shape or with values outside 0..1, or shapes differ.
    """
    if len(gates) == 0:
        raise ValueError("no gate maps; a model without gated fusion has none")
    image = check_image(image)
    left = [
        ("Image", panels.enlarge(image)),
        ("Prediction", panels.enlarge(overlay(image, prediction, labels.palette, boundaries=True))),
    ]
    maps = [_check_gate(gate, level) for level, gate in enumerate(gates, start=1)]
    shown = [
        (_title(level, gate), panels.enlarge(gate_colors(_scaled(gate, stretch), image.shape[:2])))
        for level, gate in enumerate(maps, start=1)
    ]
    half = -(-len(shown) // 2)
    size = panels.text_size(left[0][1].shape[1])
    picture = panels.grid([[left[0], *shown[:half]], [left[1], *shown[half:]]], size)
    bar = _color_bar(picture.height, size, ("min", "max") if stretch else ("0", "1"))
    sheet = Image.new("RGB", (picture.width + bar.width, picture.height), panels.PAPER)
    sheet.paste(picture, (0, 0))
    sheet.paste(bar, (picture.width, 0))
    entries = legend_entries([prediction], labels)
    return panels.stack([sheet, panels.legend(entries, sheet.width, size)])


def gate_colors(gate: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A gate map resized bilinearly, in the colours of the colour bar.

    Args:
        gate: (h, w) in 0..1.
        shape: Height and width of the result.

    Returns:
        (*shape, 3) uint8.
    """
    small = Image.fromarray(gate.astype(np.float32))
    resized = np.asarray(small.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))
    return matplotlib.colormaps[GATE_COLORS](resized, bytes=True)[..., :3]


def _check_gate(gate: np.ndarray, level: int) -> np.ndarray:
    gate = np.asarray(gate)
    if gate.ndim == 3 and gate.shape[2] == 1:
        gate = gate[..., 0]
    if gate.ndim != 2 or gate.size == 0:
        raise ValueError(f"gate G{level} has shape {gate.shape}, it must be (h, w)")
    gate = gate.astype(np.float64)
    bad = gate[~((gate >= 0) & (gate <= 1))]  # catches NaN too
    if bad.size:
        raise ValueError(f"gate G{level} holds {bad[0]}; gates are sigmoids in 0..1")
    return gate


def _title(level: int, gate: np.ndarray) -> str:
    return f"G{level}   mean {gate.mean():.2f}, from {gate.min():.2f} to {gate.max():.2f}"


def _scaled(gate: np.ndarray, stretch: bool) -> np.ndarray:
    span = np.ptp(gate)
    return (gate - gate.min()) / span if stretch and span > 0 else gate


def _color_bar(height: int, size: int, ends: tuple[str, str]) -> Image.Image:
    """Vertical bar with its ends named, as high as the panels of a grid `height` high."""
    top, bottom = size * 5 // 2, height - size  # a grid's margin and title, its margin
    picture = Image.new("RGB", (size * 4, height), panels.PAPER)
    draw = ImageDraw.Draw(picture)
    ramp = np.linspace(1, 0, bottom - top)[:, None].repeat(size, axis=1)
    picture.paste(Image.fromarray(gate_colors(ramp, ramp.shape)), (0, top))
    draw.rectangle((0, top, size - 1, bottom - 1), outline=panels.FRAME)
    middle = {value: f"{value:g}" for value in (0.25, 0.5, 0.75)} if ends == ("0", "1") else {}
    for value, name in {0.0: ends[0], **middle, 1.0: ends[1]}.items():
        y = bottom - 1 - value * (bottom - 1 - top)
        draw.line((size, y, size * 5 // 4, y), fill=panels.FRAME, width=max(1, size // 12))
        # The outer two labels would stick out past the bar by half their height.
        anchor = {0.0: "ls", 1.0: "lt"}.get(value, "lm")
        draw.text((size * 3 // 2, y), name, panels.INK, panels.font(size), anchor=anchor)
    return picture
