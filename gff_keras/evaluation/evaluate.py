"""Evaluation of a model on a split, at the resolution of its masks."""

import keras
import numpy as np

from gff_keras.data import LabelSet, evaluation_dataset, num_examples
from gff_keras.evaluation.metrics import SegmentationMetrics


def evaluate(predictor, data, split="val", labels=None, verbose=True):
    """Compare predictions with the masks of a split.

    Args:
        predictor: `Predictor` or `TFLitePredictor`.
        data: folder of records.
        split: name of the split.
        labels: `LabelSet` that the model was trained with; the data set's must have its classes.
        verbose: show a progress bar with the running mean IoU.

    Returns:
        Dictionary that JSON can hold: `mean_iou`, `pixel_accuracy`, `mean_accuracy`, `iou` (class
        name -> value, None for a class that never occurs), `images`, `confusion` (rows truth).

    Raises:
        ValueError: the records have other classes than the model.
    """
    names = class_names(predictor, data, labels)
    metrics = SegmentationMetrics(len(names))
    count = num_examples(data, split)
    bar = keras.utils.Progbar(count, stateful_metrics=["mean_iou"], verbose=int(verbose))
    for i, (image, label) in enumerate(evaluation_dataset(data, split), start=1):
        metrics.update_state(label, predictor.classes(image.numpy()[0])[None])
        bar.update(i, [("mean_iou", float(metrics.result()["mean_iou"]))])
    return summarize(metrics, names) | {"images": count, "split": split}


def class_names(predictor, data, labels=None):
    """Return the names of a data set's classes, if they are those of the model.

    Raises:
        ValueError: the records have other classes.
    """
    names = LabelSet.from_records(data).classes
    classes = predictor.num_classes
    if len(names) != classes:
        raise ValueError(
            f"{data} has {len(names)} classes, but the model predicts {classes}; "
            "evaluate it on the data set it was trained for."
        )
    if labels is not None and labels.classes != names:
        differing = [
            f"{a!r} for {b!r}" for a, b in zip(labels.classes, names, strict=True) if a != b
        ]
        raise ValueError(
            f"{data} has other classes than the model, {', '.join(differing[:3])}; "
            "evaluate it on the data set it was trained for."
        )
    return names


def summarize(metrics, names):
    """Turn `SegmentationMetrics` into a dictionary of numbers, class names and lists."""
    result = metrics.result()
    iou = np.asarray(result.pop("iou"))
    return {
        **{name: float(value) for name, value in result.items()},
        "iou": {n: None if np.isnan(v) else float(v) for n, v in zip(names, iou, strict=True)},
        "confusion": metrics.confusion_matrix().tolist(),
    }


def table(results, thin=()):
    """Format the results of `evaluate` as lines of text, classes first; mark thin classes."""
    width = max(map(len, (*results["iou"], "pixel_accuracy"))) + 2
    lines = [f"{'class':{width}} IoU %"]
    for name, value in results["iou"].items():
        number = "absent" if value is None else f"{100 * value:6.2f}"
        lines.append(f"{name:{width}}{number}{'   thin or small' if name in thin else ''}")
    lines.append("")
    for key in ("mean_iou", "pixel_accuracy", "mean_accuracy"):
        lines.append(f"{key:{width}}{100 * results[key]:6.2f}")
    return "\n".join(lines)
