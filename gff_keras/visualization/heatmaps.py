"""Heat maps of numbers per class and gate, and of what moves between the levels."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INCH_PER_ROW, INCH_PER_COLUMN = 0.26, 0.62
DARK = 0.45  # luminance below which numbers in a cell are white


def statistics_heatmap(statistics: dict[str, Any], path: str | PathLike[str]) -> None:
    """Draw the mean of every gate by class, and the receive and send shares of Eq. 5.

    Args:
        statistics: What `gff_keras.evaluation.gate_analysis.statistics` returns.
        path: Picture to write.
    """
    gates = statistics["gates"]
    classes = list(next(iter(gates.values()))["classes"])
    means = [[gate["mean"] for gate in gates.values()]]
    means += [[gate["classes"][name]["mean"] for gate in gates.values()] for name in classes]
    levels = range(1, len(gates) + 1)
    from_level, to_level = [f"X{i}" for i in levels], [f"X̃{i}" for i in levels]
    figure, (left, middle, right) = _figure(len(means), len(gates), 3)
    _draw(left, means, ["all pixels", *classes], list(gates), "Mean gate", "{:.2f}")
    receive, send = np.array(statistics["receive"]), np.array(statistics["send"])
    _draw(middle, 100 * receive, to_level, from_level, "Receives, % from", "{:.0f}", top=100)
    _draw(right, 100 * send, from_level, to_level, "Sends, % to", "{:.0f}", top=100)
    figure.savefig(path, format="png")


def ablation_heatmap(ablation: dict[str, Any], path: str | PathLike[str]) -> None:
    """Draw the change of every class's IoU, in points, with each gate at zero.

    Args:
        ablation: What `gff_keras.evaluation.gate_analysis.ablation` returns.
        path: Picture to write.
    """
    rows = [
        ("mean IoU", ablation["mean_iou"], [w["mean_iou"] for w in ablation["without"].values()])
    ]
    for name, iou in ablation["iou"].items():
        rows.append((name, iou, [w["iou"][name] for w in ablation["without"].values()]))
    changes = [[points(iou, other) for other in others] for _, iou, others in rows]
    largest = max((abs(c) for row in changes for c in row if c is not None), default=0) or 1
    figure, (axes,) = _figure(len(rows), len(ablation["without"]), 1)
    _draw(
        axes,
        changes,
        [name for name, _, _ in rows],
        [f"{gate} = 0" for gate in ablation["without"]],
        "Change of IoU, points",
        "{:+z.1f}",
        bottom=-largest,
        top=largest,
        colors="RdBu",
    )
    figure.savefig(path, format="png")


def points(before: float | None, after: float | None) -> float | None:
    """Difference of two IoU values in points (per cent); None where one is missing."""
    return None if before is None or after is None else 100 * (after - before)


def _figure(rows: int, columns: int, count: int) -> tuple[Figure, Sequence[Axes]]:
    # A Figure of its own, never pyplot: no global state, no window system.
    size = (count * (1.6 + columns * INCH_PER_COLUMN), 1.0 + rows * INCH_PER_ROW)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def _draw(
    axes: Axes,
    values: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    text: str,
    bottom: float = 0.0,
    top: float = 1.0,
    colors: str = "viridis",
) -> None:
    numbers = np.array(values, np.float64)  # None becomes NaN, which stays white
    shown = matplotlib.colormaps[colors]((numbers - bottom) / (top - bottom))
    shown[np.isnan(numbers)] = 1
    axes.imshow(shown, aspect="auto")
    luminance = shown[..., :3] @ np.array([0.2126, 0.7152, 0.0722])
    for i, j in np.argwhere(np.isfinite(numbers)):
        ink = "white" if luminance[i, j] < DARK else "black"
        axes.text(j, i, text.format(numbers[i, j]), ha="center", va="center", color=ink, size=8)
    axes.set_yticks(range(len(rows)), rows, size=9)
    axes.set_xticks(range(len(columns)), columns, size=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_title(title, size=10)
