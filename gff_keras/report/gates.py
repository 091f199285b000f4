"""What the gates let through: maps of some images, statistics and ablation over the split."""

import importlib

import numpy as np

from gff_keras.evaluation.prediction import Predictor
from gff_keras.report.pictures import marked
from gff_keras.visualization.gates import gate_colors

RAMP = 9  # colours of the colour bar
SHEETS = 3


def section(predictor, labels, data, split, groups, images, verbose):
    """Gate maps of the first image of each group, statistics and ablation of `images` images."""
    model = getattr(predictor, "model", None)
    if model is None:
        return {"missing": "A TFLite file holds no gate maps; give the .keras file of the model."}
    if model.fusion != "gff":
        return {"missing": "This network has no gates: it fuses no levels (PSPNet)."}
    without = _without(predictor)
    of_each = -(-SHEETS // len(groups))
    examples = [example for group in groups for example in group["examples"][:of_each]]
    found = analysis(predictor, labels, data, split, images, verbose)
    ramp = gate_colors(np.linspace(0, 1, RAMP)[None], (1, RAMP))[0]
    return {
        "sheets": [_sheet(predictor, without, example) for example in examples],
        "ramp": [f"rgb({r}, {g}, {b})" for r, g, b in ramp],
        **found,
    }


def analysis(predictor, labels, data, split, images, verbose=False):
    """Statistics and ablation as the page shows them."""
    try:
        module = importlib.import_module("gff_keras.evaluation.gate_analysis")
    except ImportError:
        return {"statistics": None, "ablation": None}
    return {
        "statistics": statistics_rows(
            module.statistics(predictor, data, split, labels, images, verbose)
        ),
        "ablation": ablation_rows(module.ablation(predictor, data, split, labels, images, verbose)),
    }


def statistics_rows(statistics):
    """Order the result of `gate_analysis.statistics` by gate and by class."""
    gates = statistics["gates"]
    classes = list(next(iter(gates.values()))["classes"])
    return {
        "images": statistics["images"],
        "gates": list(gates),
        "rows": [
            (name, gate["mean"], gate["above_0.9"], gate["below_0.1"])
            for name, gate in gates.items()
        ],
        "classes": [
            (name, [gate["classes"][name]["mean"] for gate in gates.values()]) for name in classes
        ],
        "shares": [
            ("What each level received", "Level", "from", statistics["receive"]),
            ("What each level sent", "Level", "to", statistics["send"]),
        ],
    }


def ablation_rows(ablation):
    """Order the result of `gate_analysis.ablation`: IoU, and its change without each gate."""
    without = ablation["without"]

    def row(name, whole, parts):
        return name, whole, [_difference(part, whole) for part in parts]

    mean = row("Mean", ablation["mean_iou"], [gate["mean_iou"] for gate in without.values()])
    classes = [
        row(name, iou, [gate["iou"].get(name) for gate in without.values()])
        for name, iou in ablation["iou"].items()
    ]
    return {"images": ablation["images"], "gates": list(without), "rows": [mean, *classes]}


def _difference(part, whole):
    return None if part is None or whole is None else part - whole


def _without(predictor):
    """Predictors of the same network with one gate at zero: {"G1": ...}."""
    model = predictor.model
    if not hasattr(model, "with_gates"):
        return {}
    levels = range(1, len(model.backbone.outputs) + 1)
    return {
        f"G{level}": Predictor(model.with_gates(zero=[level]), predictor.image_size)
        for level in levels
    }


def _caption(name, gate):
    return f"{name}, {gate.min():.2f} to {gate.max():.2f}, mean {gate.mean():.2f}"


def _sheet(predictor, without, example):
    """The gate maps of an image, and the pixels that each gate alone keeps right."""
    image, truth = example["image"], example["truth"]
    maps = [
        (_caption(f"G{level}", gate), gate_colors(gate, image.shape[:2]))
        for level, gate in enumerate(predictor.gates(image), start=1)
    ]
    right = example["prediction"] == truth
    lost = {name: right & (other.classes(image) != truth) for name, other in without.items()}
    return {
        "id": example["id"],
        "image": image,
        "maps": maps,
        "lost": [
            (f"without {name}: {pixels.mean():.1%}", marked(image, pixels))
            for name, pixels in lost.items()
        ],
    }
