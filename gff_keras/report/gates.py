"""What the gates let through: maps of some images, statistics and ablation over the split."""

import numpy as np

from gff_keras.evaluation.gate_analysis import ablation, statistics
from gff_keras.evaluation.gate_maps import gate_maps, without_gates
from gff_keras.evaluation.gate_tables import change
from gff_keras.visualization.comparison import BROKEN, highlight
from gff_keras.visualization.gates import gate_colors

RAMP = 9  # colours of the colour bar
SHEETS = 3


def section(predictor, labels, data, split, groups, images, verbose):
    """Gate maps of the first image of each group, statistics and ablation of `images` images."""
    model = getattr(predictor, "model", None)
    if model is None:
        return {"missing": "A TFLite file holds no gate maps; give the .keras file of the model."}
    if model.fusion != "gff":
        return {"missing": f"This network has no gates of Eq. 5: its fusion is {model.fusion!r}."}
    without = without_gates(predictor)
    of_each = -(-SHEETS // len(groups))
    examples = [example for group in groups for example in group["examples"][:of_each]]
    arguments = (predictor, data, split, labels, images, verbose)
    ramp = gate_colors(np.linspace(0, 1, RAMP)[None], (1, RAMP))[0]
    return {
        "sheets": [_sheet(predictor, without, example) for example in examples],
        "ramp": [f"rgb({r}, {g}, {b})" for r, g, b in ramp],
        "statistics": statistics_rows(statistics(*arguments)),
        "ablation": ablation_rows(ablation(*arguments, without)),
    }


def statistics_rows(found):
    """Order the result of `statistics` by gate and by class."""
    gates = found["gates"]
    classes = list(next(iter(gates.values()))["classes"])
    return {
        "images": found["images"],
        "gates": list(gates),
        "rows": [
            (name, gate["mean"], gate["above_0.9"], gate["below_0.1"])
            for name, gate in gates.items()
        ],
        "classes": [
            (name, [gate["classes"][name]["mean"] for gate in gates.values()]) for name in classes
        ],
        "shares": [
            ("What each level received", "Level", "from", found["receive"]),
            ("What each level sent", "Level", "to", found["send"]),
        ],
    }


def ablation_rows(found):
    """Order the result of `ablation`: IoU, and its change without each gate."""
    without = found["without"]

    def row(name, whole, parts):
        return name, whole, [change(whole, part) for part in parts]

    mean = row("Mean", found["mean_iou"], [gate["mean_iou"] for gate in without.values()])
    classes = [
        row(name, iou, [gate["iou"].get(name) for gate in without.values()])
        for name, iou in found["iou"].items()
    ]
    return {"images": found["images"], "gates": list(without), "rows": [mean, *classes]}


def _caption(name, gate):
    return f"{name}, {gate.min():.2f} to {gate.max():.2f}, mean {gate.mean():.2f}"


def _sheet(predictor, without, example):
    """The gate maps of an image, and the pixels that each gate alone keeps right."""
    image, truth = example["image"], example["truth"]
    maps = [
        (_caption(f"G{level}", gate), gate_colors(gate, image.shape[:2]))
        for level, gate in enumerate(gate_maps(predictor, image), start=1)
    ]
    right = example["prediction"] == truth
    lost = {name: right & (other.classes(image) != truth) for name, other in without.items()}
    return {
        "id": example["id"],
        "image": image,
        "maps": maps,
        "lost": [
            (f"without {name}: {pixels.mean():.1%}", highlight(image, [(pixels, BROKEN)]))
            for name, pixels in lost.items()
        ],
    }
