"""Two models on the same images: what the second mends and what it breaks (the paper's Fig. 4)."""

import itertools

from gff_keras.evaluation.evaluate import class_names, summarize
from gff_keras.evaluation.examples import examples
from gff_keras.evaluation.images import read_all
from gff_keras.evaluation.metrics import SegmentationMetrics
from gff_keras.evaluation.prediction import UNNAMED
from gff_keras.visualization.comparison import changes, comparison_sheet


def common_labels(labels, other, paths=("A", "B")):
    """Return the `LabelSet` of two models that predict the same classes.

    Args:
        labels: `LabelSet` of the first.
        other: `LabelSet` of the second.
        paths: what the error calls them.

    Raises:
        ValueError: they have not the same classes.
    """
    if labels.num_classes != other.num_classes:
        raise ValueError(
            f"{paths[0]} predicts {labels.num_classes} classes, but {paths[1]} "
            f"{other.num_classes}; compare models that were trained on the same classes."
        )
    if UNNAMED in (labels.name, other.name):
        return other if labels.name == UNNAMED else labels
    for i, (a, b) in enumerate(zip(labels.classes, other.classes, strict=True)):
        if a != b:
            raise ValueError(
                f"{paths[0]} and {paths[1]} have other classes: number {i} is {a!r} for one and "
                f"{b!r} for the other; compare models that were trained on the same classes."
            )
    return labels


def compare(predictor, other, data, split="val", labels=None, max_images=None, verbose=True):
    """Evaluate two models on a split and count the pixels on which one of them alone is right.

    Args:
        predictor: `Predictor` or `TFLitePredictor`, "A" in the results.
        other: likewise, "B".
        data: folder of records.
        split: name of the split.
        labels: `LabelSet` of both; the data set's must have its classes.
        max_images: count the first so many; all if None.
        verbose: show a progress bar.

    Returns:
        Dictionary that JSON can hold: `A` and `B` (each `mean_iou`, `pixel_accuracy` and `iou`,
        class name -> value or None), `pixels` (that are not ignored), `mended` and `broken` (by B),
        `classes` (class of the truth -> the same three), `per_image` (`id`, `pixels`, `mended`,
        `broken`), `images`, `split`.

    Raises:
        ValueError: the records or the models have other classes.
    """
    names = class_names(predictor, data, labels)
    class_names(other, data, labels)
    metrics = {"A": SegmentationMetrics(len(names)), "B": SegmentationMetrics(len(names))}
    classes = {name: {"pixels": 0, "mended": 0, "broken": 0} for name in names}
    per_image = []
    for name, image, truth in examples(data, split, max_images, verbose):
        a, b = predictor.classes(image), other.classes(image)
        metrics["A"].update_state(truth[None], a[None])
        metrics["B"].update_state(truth[None], b[None])
        mended, broken = changes(truth, a, b)
        counts = dict.fromkeys(("pixels", "mended", "broken"), 0)
        for index, row in enumerate(classes.values()):
            own = truth == index
            for key, mask in (("pixels", own), ("mended", own & mended), ("broken", own & broken)):
                row[key] += int(mask.sum())
                counts[key] += int(mask.sum())
        per_image.append({"id": name, **counts})
    results = {}
    for name, metric in metrics.items():
        summary = summarize(metric, names)
        results[name] = {key: summary[key] for key in ("mean_iou", "pixel_accuracy", "iou")}
    totals = {key: sum(i[key] for i in per_image) for key in ("pixels", "mended", "broken")}
    return {
        **results,
        **totals,
        "classes": classes,
        "per_image": per_image,
        "images": len(per_image),
        "split": split,
    }


def most_changed(results, count):
    """Return the ids of the `count` images of `compare` with most pixels mended and broken."""
    ranked = sorted(results["per_image"], key=lambda x: x["mended"] + x["broken"], reverse=True)
    return {image["id"] for image in itertools.islice(ranked, count)}


def draw_comparisons(predictor, other, labels, images, out):
    """Write `NAME_comparison.png` for image files, of which the truth is not known.

    Args:
        predictor: `Predictor` or `TFLitePredictor`.
        other: likewise.
        labels: `LabelSet` of both.
        images: image file or folder; folders are searched recursively and mirrored in `out`.
        out: folder to write.
    """
    for image, target in read_all(images, out):
        a, b = predictor.classes(image), other.classes(image)
        sheet = comparison_sheet(image, None, a, b, labels)
        sheet.save(f"{target}_comparison.png")
