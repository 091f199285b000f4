"""The pictures of the page: images of the split with truth, prediction and errors."""

import base64
import io

from PIL import Image

from gff_keras.data import IGNORE_LABEL, evaluation_dataset
from gff_keras.visualization import legend_entries, overlay
from gff_keras.visualization.comparison import BROKEN, highlight

MAX_WIDTH = 800  # pixels: sharp on a phone, and 50 to 100 kB
QUALITY = 82  # of WebP
LOSSLESS = 240  # pixels of width under which a picture is kept exactly: its pixels are seen singly


def examples(predictor, data, split, chosen, labels):
    """Draw the chosen images.

    Args:
        predictor: `Predictor` or `TFLitePredictor`.
        data: folder of records.
        split: name of the split.
        chosen: what `numbers.choose` returned.
        labels: `LabelSet` of the records.

    Returns:
        List of {"title", "examples": [{"id", "mean_iou", "pixel_accuracy", "image", "truth",
        "prediction", "pictures": [(caption, array)], "legend": [(name, colour)]}]}.
    """
    found = _read(data, split, [i for _, members in chosen for i, _ in members])
    return [
        {
            "title": title,
            "examples": [_example(predictor, labels, score, *found[i]) for i, score in members],
        }
        for title, members in chosen
    ]


def _read(data, split, wanted):
    """Read examples by their number in the split: {number: (image, truth, id)}."""
    found = {}
    dataset = evaluation_dataset(data, split, with_ids=True).take(max(wanted) + 1)
    for i, (image, truth, name) in enumerate(dataset.as_numpy_iterator()):
        if i in wanted:
            found[i] = image[0], truth[0], name[0].decode(errors="replace")
    return found


def _example(predictor, labels, mean_iou, image, truth, name):
    prediction = predictor.classes(image)
    valid = truth != IGNORE_LABEL
    wrong = (prediction != truth) & valid
    shown = {
        "Image": image,
        "Truth": overlay(image, truth, labels.palette, boundaries=True),
        "Prediction": overlay(image, prediction, labels.palette, boundaries=True),
        "Errors": highlight(image, [(wrong, BROKEN)]),
    }
    return {
        "id": name,
        "mean_iou": mean_iou,
        "pixel_accuracy": 1 - float(wrong.sum() / valid.sum()) if valid.any() else None,
        "image": image,
        "truth": truth,
        "prediction": prediction,
        "pictures": list(shown.items()),
        "legend": [
            (legend_name, "rgb({}, {}, {})".format(*color))
            for legend_name, color in legend_entries([truth, prediction], labels)
        ],
    }


def data_uri(picture):
    """A picture (H, W, 3) uint8 as text that a page can hold, at most `MAX_WIDTH` wide."""
    image = Image.fromarray(picture)
    image.thumbnail((MAX_WIDTH, 2 * MAX_WIDTH), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, format="WEBP", quality=QUALITY, lossless=image.width < LOSSLESS)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
