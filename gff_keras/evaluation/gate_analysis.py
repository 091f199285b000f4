"""What the gates do over a data set: what each is worth, where it opens, what it carries."""

import numpy as np
from keras import ops

from gff_keras.data.labels import IGNORE_LABEL
from gff_keras.evaluation.evaluate import class_names, summarize
from gff_keras.evaluation.examples import examples
from gff_keras.evaluation.gate_maps import gated_network, on_image, without_gates
from gff_keras.evaluation.metrics import SegmentationMetrics
from gff_keras.evaluation.resizing import network_input

OPEN, CLOSED = 0.9, 0.1


def ablation(
    predictor, data, split="val", labels=None, max_images=None, verbose=True, without=None
):
    """Evaluate a network as it is, and with each of its gates at zero (the paper's Fig. 7b).

    Args:
        predictor: `Predictor`.
        data: folder of records.
        split: name of the split.
        labels: `LabelSet` that the model was trained with; the data set's must have its classes.
        max_images: count the first so many; all if None.
        verbose: show a progress bar.
        without: what `without_gates(predictor)` returned, where it is at hand.

    Returns:
        Dictionary that JSON can hold: `mean_iou`, `iou` (class name -> value, None for a class that
        never occurs), `without` ("G1" -> dictionary of the same two), `images`, `split`.

    Raises:
        ValueError: the model has no gates, or the records have other classes.
    """
    networks = {"all": predictor, **(without or without_gates(predictor))}
    names = class_names(predictor, data, labels)
    metrics = {name: SegmentationMetrics(len(names)) for name in networks}
    images = 0
    for _, image, label in examples(data, split, max_images, verbose):
        for name, network in networks.items():
            metrics[name].update_state(label[None], network.classes(image)[None])
        images += 1
    results = {}
    for name, metric in metrics.items():
        summary = summarize(metric, names)
        results[name] = {"mean_iou": summary["mean_iou"], "iou": summary["iou"]}
    whole = results.pop("all")
    return {**whole, "without": results, "images": images, "split": split}


def statistics(predictor, data, split="val", labels=None, max_images=None, verbose=True):
    """Describe the gates over a split, and what Eq. 5 moves between the levels.

    Gate maps are taken at the size of the label maps, where every pixel has a gate of each level
    and one class. What level i brings to fused level l is the L1 norm over channels of its term in
    Eq. 5, averaged over the pixels of level l in all images (`GatedFullyFusion.contributions`).

    Args:
        predictor: as for `ablation`.
        data: likewise.
        split: likewise.
        labels: likewise.
        max_images: likewise.
        verbose: likewise.

    Returns:
        Dictionary that JSON can hold. `gates`: "G1" -> `mean`, `above_0.9` and `below_0.1` (shares
        of all pixels), and `classes`, class name -> the same three over its pixels (None for a
        class that never occurs). `contribution`: L x L, row l, column i: what level i brings to
        fused level l. `receive`: its rows divided by their sums, what each fused level is made of.
        `send`: row i, column l: its columns divided by theirs, where what level i gives ends up.
        `pixels` (class name -> count), `images`, `split`.

    Raises:
        ValueError: as `ablation`.
    """
    model = gated_network(predictor)
    names = class_names(predictor, data, labels)
    gff = model.get_layer("gff")
    levels = len(gff.gate_convs)
    sums = np.zeros((levels, 3, IGNORE_LABEL + 1))  # of gate, open, closed; by label
    pixels = np.zeros(IGNORE_LABEL + 1, np.int64)
    contributed, area = np.zeros((levels, levels)), np.zeros((levels, 1))
    images = 0
    for _, image, label in examples(data, split, max_images, verbose):
        features = model.features(network_input(image, predictor.image_size))
        gates = [
            ops.convert_to_numpy(ops.cast(gate, "float32"))[0, ..., 0]
            for gate in gff.gates(features, model.zero_gates)
        ]
        sizes = np.array([[gate.size] for gate in gates])
        brought = ops.convert_to_numpy(gff.contributions(features, model.zero_gates))[0]
        contributed += sizes * brought.astype("float64")
        area += sizes
        truth = label.ravel()
        pixels += np.bincount(truth, minlength=len(pixels))
        for level, gate in enumerate(on_image(gates, predictor.image_size, label.shape)):
            gate = gate.ravel()
            for i, values in enumerate((gate, gate > OPEN, gate < CLOSED)):
                sums[level, i] += np.bincount(truth, values, len(pixels))
        images += 1
    contribution = contributed / area
    return {
        "gates": {f"G{i}": _gate(gate, pixels, names) for i, gate in enumerate(sums, start=1)},
        "contribution": contribution.tolist(),
        "receive": _shares(contribution).tolist(),
        "send": _shares(contribution.T).tolist(),
        "pixels": dict(zip(names, pixels[: len(names)].tolist(), strict=True)),
        "images": images,
        "split": split,
    }


def _gate(sums, pixels, names):
    """The numbers of one gate from sums (3, 256) over the pixels of every label."""
    classes = {name: _measures(sums[:, i], pixels[i]) for i, name in enumerate(names)}
    return {**_measures(sums.sum(1), pixels.sum()), "classes": classes}


def _measures(sums, pixels):
    values = (sums / pixels).tolist() if pixels else [None] * 3
    return dict(zip(("mean", f"above_{OPEN}", f"below_{CLOSED}"), values, strict=True))


def _shares(rows):
    """Rows divided by their sums; a row of zeros stays one: such a level gives nothing."""
    sums = rows.sum(1, keepdims=True)
    return rows / np.where(sums > 0, sums, 1)
