"""Learning curves from the history that `keras.callbacks.CSVLogger` writes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# (end of the column name, axis label, factor); "NA" is what CSVLogger writes for a missing value.
PLOTS = (("loss", "Loss", 1.0), ("mean_iou", "Mean IoU (%)", 100.0))
MISSING = ("", "NA", "nan")


def learning_curves(history_csv: Path, out_png: Path) -> None:
    """Draw loss and mean IoU over the epochs, side by side.

    Args:
        history_csv: File of `keras.callbacks.CSVLogger`: a column `epoch` and columns whose names
            end in `loss` or `mean_iou`, `val_` in front for validation. Other columns are left out.
        out_png: Picture to write.

    Raises:
        ValueError: The file is missing, empty, lacks those columns or holds a word for a number.
    """
    history = read_history(Path(history_csv))
    plots = [
        (names, label, factor)
        for ending, label, factor in PLOTS
        if (names := [name for name in history if name.endswith(ending)])
    ]
    if not plots:
        raise ValueError(
            f"{history_csv} has no column that ends in 'loss' or 'mean_iou', only {list(history)}"
        )
    # A Figure of its own, never pyplot: no global state, no window system.
    figure = Figure(figsize=(5.5 * len(plots), 4.2), dpi=150, layout="constrained")
    for axes, (names, label, factor) in zip(
        figure.subplots(1, len(plots), squeeze=False)[0], plots, strict=True
    ):
        _draw(axes, history, names, factor)
        axes.set_xlabel("Epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylabel(label)
    figure.savefig(out_png, format="png")


def _draw(axes: Axes, history: dict[str, np.ndarray], names: list[str], factor: float) -> None:
    # The shortest name is the total, the others are parts of it (one per output of the model).
    for column in sorted({name.removeprefix("val_") for name in names}, key=len):
        for name, style in ((column, "-"), (f"val_{column}", "--")):
            if name not in history:
                continue
            seen = np.isfinite(history[name])  # validation may run only every few epochs
            axes.plot(
                history["epoch"][seen] + 1,  # CSVLogger counts from 0
                history[name][seen] * factor,
                style,
                label=curve_name(name),
                marker="o",
                markersize=3.5 if seen.sum() <= 60 else 0,
            )
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)


def curve_name(column: str) -> str:
    """Name a column for a legend: `val_aux_loss` is "Validation (aux)"."""
    rest = column.removeprefix("val_")
    part = rest.removesuffix("mean_iou").removesuffix("loss").strip("_")
    name = "Validation" if column.startswith("val_") else "Training"
    return f"{name} ({part})" if part else name


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Read columns `epoch`, *loss and *mean_iou as float64, NaN where a value is missing.

    Raises:
        ValueError: The file is missing, empty, has no epochs or holds a word for a number.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist; training writes it with CSVLogger")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows, columns = list(reader), list(reader.fieldnames or ())
    if not columns:
        raise ValueError(f"{path} is empty: training has not finished an epoch")
    if "epoch" not in columns:
        raise ValueError(f"{path} has no column 'epoch', only {columns}; is it a CSVLogger file?")
    if not rows:
        raise ValueError(f"{path} is empty: a header but no epoch")
    wanted = [name for name in columns if name == "epoch" or name.endswith(("loss", "mean_iou"))]
    history = {name: np.full(len(rows), np.nan) for name in wanted}
    for i, row in enumerate(rows):
        for name in wanted:
            text = (row[name] or "").strip()
            try:
                history[name][i] = np.nan if text in MISSING else float(text)
            except ValueError:
                raise ValueError(f"{path}, row {i + 2}: {name} is {text!r}, not a number") from None
    return history
