"""What an evaluation found, as the page shows it: headline, classes, confusions, which images."""

import json
import math
from pathlib import Path

import numpy as np

from gff_keras.data import LabelSet, num_examples, open_records
from gff_keras.evaluation.evaluate import evaluate

EACH = 2  # images of each kind: best, median, worst
SPREAD = 4  # images where there is no score by which to choose them
CONFUSIONS = 15
NUMBERED = 25  # classes up to which a cell of the confusion matrix has room for its number


def evaluated(model, predictor, labels, data, split, verbose):
    """Return `(results, source)`: of the JSON file beside the model where it fits, else new."""
    path = model.with_name(f"{model.stem}_{split}.json")
    results = _saved(path, model, predictor, data, split)
    if results is not None:
        return results, f"read from {path.name}"
    return evaluate(predictor, data, split, labels, verbose=verbose), "computed for this page"


def _saved(path, model, predictor, data, split):
    """Results in a file, None where they may be of another model, split, data or size."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        size = results["settings"]["image_size"]
        fits = (
            results["split"] == split
            and results["images"] == num_examples(data, split)
            and tuple(results["iou"]) == LabelSet.from_records(data).classes
            and np.shape(results["confusion"]) == (predictor.num_classes,) * 2
            and (None if size is None else tuple(size)) == predictor.image_size
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
    written = map(Path, [model, *open_records(data).info.splits[split].filepaths])
    newer = all(path.stat().st_mtime >= file.stat().st_mtime for file in written)
    return results if fits and newer else None


def settings(results, source):
    """How the numbers came about, as a sentence."""
    used = results.get("settings") or {}
    size, crop, scales = used.get("image_size"), used.get("crop_size"), used.get("scales") or ()
    words = []
    if used.get("mode") == "sliding":
        words.append("sliding windows" + (f" of {crop[0]}×{crop[1]}" if crop else ""))
    elif used:
        words.append("whole images")
    if size:
        words.append(f"resized to {size[0]}×{size[1]}")
    if len(scales) > 1:
        words.append(f"at scales {', '.join(f'{scale:g}' for scale in scales)}")
    if used.get("flip"):
        words.append("and mirrored")
    text = f"{' '.join(words)}; " if words else ""
    text += f"counted at the masks’ resolution; {source}."
    return text[0].upper() + text[1:]


def tiles(results):
    """Headline numbers: (name, value) with the most important first."""
    shares = [
        ("Mean IoU", results["mean_iou"]),
        ("Pixel accuracy", results["pixel_accuracy"]),
        ("Mean class accuracy", results["mean_accuracy"]),
        ("Thin and small classes, IoU", results.get("thin_mean_iou")),
        ("Frequency-weighted IoU", results.get("frequency_weighted_iou")),
        ("Boundary F1, 3 px", (results.get("boundary_f1") or {}).get("3")),
    ]
    return [(name, f"{100 * share:.1f} %") for name, share in shares if share is not None]


def classes(results, labels):
    """Rows of the table of classes: shares, None where there is nothing to divide by."""
    counts = np.asarray(results["confusion"], np.float64)
    truth, predicted, right = counts.sum(1), counts.sum(0), counts.diagonal()
    rows = [
        {
            "name": name,
            "color": _css(labels.palette[i]),
            "thin": name in labels.thin,
            "iou": iou,
            "accuracy": _share(right[i], truth[i]),
            "precision": _share(right[i], predicted[i]),
            "pixels": _share(truth[i], truth.sum()),
        }
        for i, (name, iou) in enumerate(results["iou"].items())
    ]
    return {"rows": rows, "absent": [row["name"] for row in rows if row["iou"] is None]}


def confusion(results):
    """The confusion matrix: each row, divided by its sum, and the most frequent errors."""
    names = list(results["iou"])
    counts = np.asarray(results["confusion"], np.float64)  # rows truth
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    wrong = counts * (1 - np.eye(len(names)))
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
    largest = [
        {
            "truth": names[i],
            "prediction": names[j],
            "of_truth": shares[i, j],
            "of_errors": wrong[i, j] / wrong.sum(),
        }
        for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[i, j]
    ]
    return {
        "names": names,
        "shares": shares.tolist(),
        "largest": largest,
        "numbered": len(names) <= NUMBERED,
    }


def choose(results, each=EACH):
    """Choose the images to show.

    Returns:
        List of (what they are, [(number in the split, its mean IoU or None), ...]).
    """
    scores = {
        i: image["mean_iou"]
        for i, image in enumerate(results.get("per_image") or ())
        if image["mean_iou"] is not None
    }
    order = sorted(scores, key=lambda i: (scores[i], i))
    count = len(order)
    if not order:
        numbers = np.linspace(0, results["images"] - 1, min(SPREAD, results["images"]))
        return [("Spread evenly over the split", [(int(i), None) for i in numbers])]
    if count == 1:
        groups = [("The only image", order)]
    elif count == 2:
        groups = [("Better", order[1:]), ("Worse", order[:1])]
    else:
        each = min(each, count // 3)  # none twice
        middle = (count - each) // 2
        groups = [
            ("Best", order[::-1][:each]),
            ("Median", order[middle : middle + each]),
            ("Worst", order[:each]),
        ]
    return [(title, [(i, scores[i]) for i in numbers]) for title, numbers in groups]


def _share(part, whole):
    share = float(part / whole) if whole else None
    return None if share is None or math.isnan(share) else share


def _css(color):
    return "#{:02x}{:02x}{:02x}".format(*color)
