"""The model card of a trained network: Markdown, with the metadata that the Hugging Face hub reads.

Every number comes from the model's file or from the results of `evaluate`; what only its author
knows is marked TODO.
"""

import html
import json
import math
import re
from pathlib import Path

import jinja2
import numpy as np

from gff_keras.evaluation.prediction import UNNAMED, load_predictor
from gff_keras.report import numbers, run
from gff_keras.sharing import locate

LOW_IOU = 0.3  # classes below it are named under the limits
_HANDLING = (  # fields of a recipe that tell how a run was handled, not what was learned from
    *("report", "tensorboard_images", "checkpoint_every", "keep", "cache", "on_error"),
    *("cpu_replicas", "jit_compile", "train_split", "val_split"),
)


def model_card(source, results=None, repository="USER/NAME"):
    """Return the card of a model.

    Args:
        source: .keras file, folder or "hf://USER/NAME".
        results: JSON file of `gff-keras evaluate`. If None, MODEL_SPLIT.json of the recipe's
            validation split or metrics.json beside the model, unless older than the model.
        repository: where the card will lie on the hub, "USER/NAME".

    Raises:
        FileNotFoundError, ValueError: the model cannot be loaded, or the results are none, or of
            other classes.
    """
    path = locate(source)
    if path.suffix == ".tflite":
        raise ValueError(f"{path} is exported already; give the .keras file of the model.")
    predictor, labels = load_predictor(path)
    file = _evaluation_beside(path, predictor.model) if results is None else Path(results)
    evaluation = file and _read(file, path, predictor, labels)
    return render(gather(path, predictor, labels, evaluation, file, repository))


def gather(path, predictor, labels, evaluation, evaluation_file, repository):
    """Return all that the card shows as a dictionary."""
    model, recipe = predictor.model, predictor.model.recipe
    configuration = run.configuration(predictor, path.parent)
    inference = count_parameters(model.segmenter())
    return {
        "title": run.network_name(predictor),
        "data": recipe.get("data") if labels.name == UNNAMED else labels.name,
        "file": path.name,
        "repository": repository,
        "backbone": model.backbone.name,
        "num_classes": model.num_classes,
        "image_size": predictor.image_size,
        "fixed_size": model.input_shape[1:3] if all(model.input_shape[1:3]) else None,
        "parameters": inference,
        "auxiliary_parameters": count_parameters(model) - inference,
        "zero_gates": model.zero_gates,
        "network": [(name, value) for name, value in configuration["network"] if value != "–"],
        "recipe": [
            (name, value)
            for name, value in configuration["recipe"]
            if name not in _HANDLING and value != "–"
        ],
        "weights": recipe.get("weights"),
        "classes": _classes(labels, evaluation),
        "labelled": labels.name != UNNAMED,
        "evaluation": evaluation,
        "settings": evaluation and numbers.settings(evaluation, f"from {evaluation_file.name}"),
        "tiles": numbers.tiles(evaluation) if evaluation else [],
        "low_iou": LOW_IOU,
    }


def render(gathered):
    """Return the Markdown of a dictionary that `gather` made."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gff_keras", "report"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["text"] = plain_text
    environment.filters["percent"] = lambda x: "–" if x is None else f"{100 * x:.1f}"
    return environment.get_template("card.md.jinja").render(gathered)


def plain_text(words):
    """Anybody's words as Markdown that shows them as they are, also in a table's cell."""
    line = " ".join(str(words).split())
    escaped = re.sub(r"[\\`*\[\]|#~$]|(?<!\w)_|_(?!\w)", r"\\\g<0>", line)
    return html.escape(escaped, quote=False)


def count_parameters(network):
    """Count the trainable parameters of a network, frozen ones among them."""
    layers = network._flatten_layers(include_self=False)
    return sum(math.prod(v.shape) for layer in layers for v in layer._trainable_variables)


def _classes(labels, evaluation):
    if evaluation:
        return numbers.classes(evaluation, labels)["rows"]
    colors = ["#{:02x}{:02x}{:02x}".format(*color) for color in labels.palette]
    return [
        {"name": name, "color": color, "thin": name in labels.thin, "iou": None}
        for name, color in zip(labels.classes, colors, strict=True)
    ]


def _evaluation_beside(path, model):
    """The file of an evaluation of this model, None where there is none."""
    split = model.recipe.get("val_split", "val")
    for file in (path.with_name(f"{path.stem}_{split}.json"), path.with_name("metrics.json")):
        if file.is_file():
            if file.stat().st_mtime >= path.stat().st_mtime:
                return file
            print(
                f"{file} is older than {path.name}, so the card has no results: evaluate again, or "
                f"give --results {file} if it is of this model."
            )
    return None


def _read(file, path, predictor, labels):
    """Read the JSON of `evaluate` and check that it can be this model's."""
    try:
        evaluation = json.loads(file.read_text(encoding="utf-8"))
        names, confusion = tuple(evaluation["iou"]), np.shape(evaluation["confusion"])
        numbers.tiles(evaluation), numbers.settings(evaluation, "")
        _ = evaluation["images"], evaluation["split"]
    except OSError as error:
        raise FileNotFoundError(f"{file} cannot be read ({error.strerror}).") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is no result of `gff-keras evaluate` ({error!r}); give its JSON file."
        ) from None
    count = predictor.num_classes
    if len(names) != count or confusion != (count, count):
        raise ValueError(f"{file} has {len(names)} classes, but {path} predicts {count}.")
    if labels.name != UNNAMED and names != labels.classes:
        raise ValueError(f"{file} is of other classes than {path}: evaluate this model again.")
    return evaluation
