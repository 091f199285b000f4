"""Layout of figures at exact pixels: titled panels in a grid, and a legend under them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

MIN_PANEL_WIDTH = 480  # pixels; smaller images are enlarged by an integer factor
PAPER, INK, FRAME = (255, 255, 255), (25, 25, 25), (120, 120, 120)

Panel = tuple[str, np.ndarray]  # title, (h, w, 3) uint8


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib, `size` pixels high."""
    return ImageFont.truetype(
        Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size
    )


def text_size(panel_width: int) -> int:
    """Font height in pixels that stays readable when a figure is shrunk to the screen."""
    return int(np.clip(round(panel_width / 28), 16, 64))


def enlarge(image: np.ndarray) -> np.ndarray:
    """Repeat pixels, by an integer factor, until the image is `MIN_PANEL_WIDTH` wide."""
    factor = max(1, -(-MIN_PANEL_WIDTH // image.shape[1]))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def fit_text(text: str, width: int, size: int) -> str:
    """Shorten a text with an ellipsis until it is at most `width` pixels wide."""
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(text + "…") > width:
        text = text[:-1].rstrip(" ,")
    return text + "…"


def grid(rows: Sequence[Sequence[Panel]], size: int) -> Image.Image:
    """Panels in rows and columns, each centred in its cell under its title.

    Args:
        rows: Panels of every row; rows may differ in length.
        size: Font height in pixels.

    Returns:
        RGB picture on white, with a margin of one font height.
    """
    columns = max(len(row) for row in rows)
    widths = [max(row[i][1].shape[1] for row in rows if i < len(row)) for i in range(columns)]
    heights = [max(panel.shape[0] for _, panel in row) for row in rows]
    titles = [size * 3 // 2 if any(title for title, _ in row) else 0 for row in rows]
    gap = size // 2
    picture = Image.new(
        "RGB",
        (
            sum(widths) + gap * (columns - 1) + 2 * size,
            sum(heights) + sum(titles) + gap * (len(rows) - 1) + 2 * size,
        ),
        PAPER,
    )
    draw = ImageDraw.Draw(picture)
    top = size
    for row, height, title_height in zip(rows, heights, titles, strict=True):
        left = size
        for (title, panel), width in zip(row, widths, strict=False):
            draw.text(
                (left + width // 2, top + size // 2),
                fit_text(title, width, size),
                INK,
                font(size),
                anchor="mm",
            )
            y = top + title_height + (height - panel.shape[0]) // 2
            picture.paste(Image.fromarray(panel), (left + (width - panel.shape[1]) // 2, y))
            left += width + gap
        top += title_height + height + gap
    return picture


def legend(
    entries: Sequence[tuple[str, tuple[int, int, int]]], width: int, size: int
) -> Image.Image:
    """Colour swatches with names, in columns of equal width, read row by row.

    Args:
        entries: (name, colour) of each class shown.
        width: Width of the picture in pixels.
        size: Font height in pixels.

    Returns:
        RGB picture `width` wide; names too long for a column end in an ellipsis.
    """
    swatch, line = size * 3 // 2, size * 7 // 4
    around = swatch + size // 2 + size  # what a column has left and right of the name
    longest = max((math.ceil(font(size).getlength(name)) for name, _ in entries), default=0)
    # A cap keeps one very long name from costing all others their columns.
    per_row = max(1, (width - 2 * size) // (min(longest, 14 * size) + around))
    lines = -(-len(entries) // per_row)
    per_row = -(-len(entries) // max(lines, 1))  # lines of equal length, not one name in the last
    column = min((width - 2 * size) // max(per_row, 1), longest + around)
    picture = Image.new("RGB", (width, lines * line + size if entries else 0), PAPER)
    draw = ImageDraw.Draw(picture)
    for i, (name, color) in enumerate(entries):
        x = size + (i % per_row) * column
        y = (i // per_row) * line
        draw.rectangle((x, y, x + swatch, y + size), fill=tuple(color), outline=FRAME)
        shown = fit_text(name, column - around, size)
        draw.text((x + swatch + size // 2, y + size // 2), shown, INK, font(size), anchor="lm")
    return picture


def stack(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures one below the other, flush left, on white."""
    picture = Image.new(
        "RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), PAPER
    )
    top = 0
    for part in pictures:
        picture.paste(part, (0, top))
        top += part.height
    return picture
