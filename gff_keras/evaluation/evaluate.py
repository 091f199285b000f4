"""Evaluation of a model on a split, at the resolution of its masks."""

import itertools
import math
import sys
import time

import numpy as np
from tqdm import tqdm

from gff_keras.data import LabelSet, evaluation_dataset, num_examples
from gff_keras.evaluation.boundary import TOLERANCES, boundary_f1
from gff_keras.evaluation.metrics import count_pixels, mean_of_present, scores


def evaluate(predictor, data, split="val", labels=None, verbose=True, partial=None):
    """Compare predictions with the masks of a split.

    Args:
        predictor: `Predictor` or `TFLitePredictor`.
        data: folder of records.
        split: name of the split.
        labels: `LabelSet` that the model was trained with; the data set's must have its classes.
        verbose: show a progress bar with the running mean IoU.
        partial: `PartialResults` to go on from, and to keep what is counted.

    Returns:
        Dictionary that JSON can hold: `mean_iou`, `pixel_accuracy`, `mean_accuracy`,
        `frequency_weighted_iou`, `thin_mean_iou` (over the classes that the label table marks as
        thin or small; None without one), `boundary_f1` (tolerance in pixels -> value), `iou` (class
        name -> value, None for a class that never occurs), `images` (their number), `split`,
        `confusion` (rows truth), `per_image` (a list of dictionaries: `id`, `mean_iou`,
        `pixel_accuracy` and `boundary_f1`; None where nothing counts), `settings` (of the
        prediction) and `seconds`. docs/evaluation.md defines them.

    Raises:
        ValueError: the records have other classes than the model.
    """
    class_names(predictor, data, labels)
    table = LabelSet.from_records(data)
    count = num_examples(data, split)
    state = (partial and partial.load()) or {"per_image": [], "confusion": 0, "seconds": 0.0}
    done, confusion = state["per_image"], np.array(state["confusion"])
    started = time.monotonic() - state["seconds"]

    def keep(save):
        save(done, confusion.tolist(), round(time.monotonic() - started, 3))

    examples = evaluation_dataset(data, split, with_ids=True)
    try:
        with _progress(len(done), count, verbose) as bar:
            for image, truth, name in itertools.islice(examples, len(done), None):
                truth, prediction = np.asarray(truth)[0], predictor.classes(np.asarray(image)[0])
                counts = count_pixels(truth, prediction, predictor.num_classes)
                confusion = confusion + counts
                done.append(_image_scores(name, counts, truth, prediction))
                bar.set_postfix_str(f"mIoU {100 * scores(confusion)['mean_iou']:.2f}", False)
                bar.update()
                if partial:
                    keep(partial.save_sometimes)
    finally:
        if partial and done:
            keep(partial.save)
    return {
        **_summary(confusion, table.classes, table.thin),
        "boundary_f1": _mean_boundary_f1(done),
        "images": len(done),
        "split": split,
        "per_image": done,
        "settings": predictor.settings,
        "seconds": round(time.monotonic() - started, 3),
    }


def summarize(metrics, names, thin=()):
    """Turn `SegmentationMetrics` into a dictionary of numbers, class names and lists.

    Raises:
        ValueError: a label or prediction was no class.
    """
    if int(metrics.unknown):
        raise ValueError(f"a label or prediction is outside the {metrics.num_classes} classes.")
    return _summary(metrics.confusion_matrix(), names, thin)


def _summary(confusion, names, thin):
    result = scores(confusion)
    iou = {n: None if math.isnan(v) else v for n, v in zip(names, result["iou"], strict=True)}
    marked = [iou[name] for name in thin if iou[name] is not None]
    return {
        **result,
        "iou": iou,
        "thin_mean_iou": mean_of_present(marked) if marked else None,
        "confusion": confusion.tolist(),
    }


def _image_scores(name, counts, truth, prediction):
    result = scores(counts)
    f1 = boundary_f1(truth, prediction, len(counts))
    return {
        "id": bytes(np.asarray(name)[0]).decode(),
        "mean_iou": result["mean_iou"] if counts.any() else None,
        "pixel_accuracy": result["pixel_accuracy"] if counts.any() else None,
        "boundary_f1": {str(t): value for t, value in zip(TOLERANCES, f1, strict=True)},
    }


def _mean_boundary_f1(images):
    means = {}
    for tolerance in map(str, TOLERANCES):
        values = [image["boundary_f1"][tolerance] for image in images]
        values = [value for value in values if value is not None]
        means[tolerance] = mean_of_present(values) if values else None
    return means


def _progress(done, count, verbose):
    """A bar on a terminal, a line a minute in a log file."""
    return tqdm(
        initial=done,
        total=count,
        unit="image",
        mininterval=0.1 if sys.stderr.isatty() else 60,
        dynamic_ncols=True,
        disable=not verbose,
    )


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
