"""The page: `gather` collects what there is to know as a dictionary, `render` sets it in HTML.

What cannot be shown is a section {"missing": reason}: the page says why instead of leaving a gap.
"""

import datetime

import jinja2

from gff_keras.data import LabelSet, num_examples
from gff_keras.evaluation.prediction import UNNAMED, load_predictor
from gff_keras.report import gates, numbers, pictures, run, sizes
from gff_keras.sharing import locate

GATE_IMAGES = 10  # the ablation predicts each of them once for every gate


def page(
    model,
    data,
    *,
    split="val",
    image_size=None,
    results=None,
    gate_images=GATE_IMAGES,
    verbose=True,
):
    """Return the HTML page on a model and how it does on a split.

    Args:
        model: .keras or .tflite file, folder or "hf://USER/NAME"; the files of a run beside it are
            used where present.
        data: folder of records.
        split: name of the split.
        image_size: (height, width) at which the network sees the images; as the run if None.
        results: what `evaluate` returned for this model and split. If None, they are read from the
            JSON file beside the model, where that fits, or computed.
        gate_images: images of the split that the statistics of the gates and their ablation take.
        verbose: show the progress of what takes long.

    Raises:
        FileNotFoundError, ValueError: model or records are missing or do not fit each other.
    """
    return render(gather(model, data, split, image_size, results, gate_images, verbose))


def gather(
    model, data, split, image_size=None, results=None, gate_images=GATE_IMAGES, verbose=False
):
    """Return all that the page shows as a dictionary; arguments as of `page`."""
    count = num_examples(data, split)  # a wrong split is told before the model is loaded
    model = locate(model)
    predictor, named = load_predictor(model, image_size)
    labels = LabelSet.from_records(data)
    source = "given"
    if results is None:
        results, source = numbers.evaluated(
            model, predictor, None if named.name == UNNAMED else named, data, split, verbose
        )
    groups = pictures.examples(predictor, data, split, numbers.choose(results), labels)
    measured = sizes.measure(predictor, model, groups[0]["examples"][0]["image"])
    return {
        "title": f"{run.network_name(predictor)} on {labels.name}",
        "model": model.name,
        "data": labels.name,
        "split": split,
        "images": count,
        "drawn": f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
        "tiles": numbers.tiles(results) + sizes.tiles(measured),
        "configuration": run.configuration(predictor, model.parent),
        "evaluation": numbers.settings(results, source),
        "curves": run.curves(model.parent),
        "classes": numbers.classes(results, labels),
        "confusion": numbers.confusion(results),
        "examples": {"groups": groups, "scored": bool(results.get("per_image"))},
        "gates": gates.section(predictor, labels, data, split, groups, gate_images, verbose),
        "sizes": sizes.section(measured, results, model.parent),
    }


def render(gathered):
    """Return the HTML of a dictionary that `gather` made."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gff_keras", "report"),
        autoescape=True,  # names of classes and files are anybody's
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["points"] = points
    environment.filters["uri"] = pictures.data_uri
    return environment.get_template("template.html.jinja").render(gathered)


def percent(share, digits=1):
    """A share as percent, without the sign; a dash for what is not defined."""
    return "–" if share is None else f"{100 * share:.{digits}f}"


def points(change):
    """A change of a share in percent points, with its sign."""
    text = f"{100 * change:+.1f}"
    return "0.0" if text[1:] == "0.0" else text.replace("-", "−")
