"""Boxes, lines and chips of the figure of the architecture; all lengths are inches."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Circle, FancyBboxPatch
from PIL import Image

CHIP = 0.7  # width of a tensor's label
CHIP_HEIGHT = 0.42
INK, PANEL, STAGE, EDGE, QUIET = "#222222", "#f6f7f9", "#e5e7eb", "#8a9099", "#5b6470"


class Canvas:
    """A figure to draw on; (0, 0) is its lower left corner."""

    def __init__(self, width, height):
        self.figure = plt.figure(figsize=(width, height), facecolor="white")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def text(self, x, y, text, size=8, color=INK, **options):
        options = {"ha": "center", "va": "center", **options}
        self.axes.text(x, y, text, size=size, color=color, zorder=5, **options)

    def box(self, x, y, width, height, color="white", edge=EDGE, z=3):
        """A box whose left edge has its middle at (x, y)."""
        style = "round,pad=0,rounding_size=0.05"
        corner = (x, y - height / 2)
        self.axes.add_patch(
            FancyBboxPatch(
                corner, width, height, boxstyle=style, facecolor=color, edgecolor=edge, zorder=z
            )
        )

    def line(self, *points, color=INK, arrow=True, style="-"):
        self.axes.plot(*zip(*points, strict=True), color=color, lw=1.1, ls=style, zorder=2)
        if arrow:
            head = {"arrowstyle": "-|>,head_width=0.16,head_length=0.32", "color": color, "lw": 1.1}
            head |= {"shrinkA": 0, "shrinkB": 0, "linestyle": style}
            self.axes.annotate("", points[-1], points[-2], arrowprops=head, zorder=2)

    def dot(self, x, y, color, filled):
        face = color if filled else "white"
        self.axes.add_patch(
            Circle((x, y), 0.045, facecolor=face, edgecolor=color, lw=1.3, zorder=4)
        )

    def chip(self, x, y, tensor, symbol, edge=EDGE, face="white", ink=INK):
        """A tensor: its symbol, its size as a share of the image's, and its channels."""
        self.box(x, y, CHIP, CHIP_HEIGHT, face, edge)
        self.text(x + CHIP / 2, y + 0.085, symbol, 10.5 if symbol.startswith("$") else 8.5, ink)
        scale = f"1/{tensor.stride}" if tensor.stride > 1 else "1"
        self.text(x + CHIP / 2, y - 0.11, f"{scale} · {tensor.channels}", color=ink)

    def save(self, path, dpi):
        self.figure.savefig(path, dpi=dpi, facecolor="white")
        if path.suffix.lower() == ".png":  # flat colours: a third of the size
            with Image.open(path) as file:
                picture = file.convert("RGB").quantize(128, dither=Image.Dither.NONE)
            picture.save(path, optimize=True)
        self.close()

    def close(self):
        plt.close(self.figure)
