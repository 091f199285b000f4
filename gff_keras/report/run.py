"""What the folder of a run tells: its configuration, its learning curves, how long it took."""

import json

import numpy as np
import tensorflow as tf
from matplotlib.ticker import MaxNLocator

from gff_keras.models.names import model_name
from gff_keras.sharing.metadata import portable
from gff_keras.visualization.curves import PLOTS, curve_name, read_history

WIDTH, HEIGHT = 420, 260  # of a plot: its text stays readable at the width of a phone
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 34  # what lies around the curves
DOTTED = 60  # epochs up to which each has a dot


def network_name(predictor):
    """What a network is called: GFFNet-ResNet-18, for example."""
    model = getattr(predictor, "model", None)
    if model is None:
        return "GFFNet (TFLite)"
    return model_name(model)


def configuration(predictor, folder):
    """Network and recipe: lists of (name, value as text)."""
    model = getattr(predictor, "model", None)
    network = [("num_classes", predictor.num_classes), ("image_size", predictor.image_size)]
    if model is not None:
        names = ("context", "fusion", "dfp", "aux_head", "output_stride", "filters", "dropout")
        network = [
            ("backbone", model.backbone.name),
            *network,
            *((name, getattr(model, name)) for name in names),
            ("dtype", model.dtype_policy.name),
        ]
    shown = {name for name, _ in network}
    recipe = _recipe(folder / "recipe.json") if model is None else model.recipe
    return {
        "network": [(name, _text(name, value)) for name, value in network],
        "recipe": [(name, _text(name, v)) for name, v in recipe.items() if name not in shown],
    }


def _recipe(path):
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return portable(recipe) if isinstance(recipe, dict) else {}


def _text(name, value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        between = " × " if name.endswith("_size") else ", "
        return between.join(_text(name, part) for part in value)
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def curves(folder):
    """Plots of the history: lines in the coordinates of an SVG picture."""
    path = folder / "history.csv"
    if not path.is_file():
        return {"missing": "There is no history.csv beside the model: it was not trained here."}
    try:
        history = read_history(path)
    except ValueError as error:
        return {"missing": f"The history cannot be drawn: {error}."}
    epochs = history["epoch"] + 1
    plots = []
    for ending, title, factor in PLOTS:
        names = sorted((n for n in history if n.endswith(ending)), key=_curve_order)
        lines = {curve_name(name): factor * history[name] for name in names}
        if any(np.isfinite(values).any() for values in lines.values()):
            plots.append({"title": title} | _plot(epochs, lines))
    if not plots:
        return {"missing": "history.csv holds neither losses nor mean IoU."}
    return {"plots": plots, "width": WIDTH, "height": HEIGHT, "edges": (LEFT, RIGHT, TOP, BOTTOM)}


def _curve_order(name):
    return len(name.removeprefix("val_")), name.startswith("val_")


def _plot(epochs, lines):
    values = np.concatenate(list(lines.values()))
    values = values[np.isfinite(values)]
    y_ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(values.min(), values.max())
    x_ticks = MaxNLocator(6, integer=True).tick_values(epochs.min(), epochs.max())
    x_ticks = [tick for tick in x_ticks if epochs.min() <= tick <= epochs.max()]

    def x(epoch):
        span = max(epochs.max() - epochs.min(), 1)
        return round(LEFT + (epoch - epochs.min()) / span * (WIDTH - LEFT - RIGHT), 1)

    def y(value):
        share = (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    drawn = []
    for name, line in lines.items():
        seen = np.isfinite(line)
        points = [
            (x(epoch), y(value), f"epoch {epoch:g}: {value:.4g}")
            for epoch, value in zip(epochs[seen], line[seen], strict=True)
        ]
        dots = points if len(points) <= DOTTED else []
        dashed = not name.startswith("Validation")
        drawn.append({"name": name, "points": points, "dots": dots, "dashed": dashed})
    return {
        "lines": [line for line in drawn if line["points"]],
        "x_ticks": [(x(tick), f"{tick:g}") for tick in x_ticks],
        "y_ticks": [(y(tick), f"{tick:g}") for tick in y_ticks],
    }


def training_seconds(folder):
    """Seconds that the logs of a run span, without what lies between its parts; None without log.

    They begin some steps after the run does: with the first entry.
    """
    seconds = 0.0
    for path in folder.glob("tensorboard/train/events.out.tfevents.*"):
        first = last = None
        try:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                last = tf.compat.v1.Event.FromString(record).wall_time
                first = first or last
        except tf.errors.OpError:  # cut off when the run was killed
            pass
        seconds += (last - first) if first else 0
    return seconds or None
