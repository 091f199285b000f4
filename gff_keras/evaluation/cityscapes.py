"""Predictions for the Cityscapes test server: label ids under official names, in a zip file."""

import io
import os
import re
import zipfile
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from gff_keras.data import IGNORE_LABEL
from gff_keras.data.label_tables.street import CITYSCAPES
from gff_keras.evaluation.images import image_paths, read_image
from gff_keras.evaluation.prediction import load_predictor
from gff_keras.evaluation.results import check_folder

NAME = "cityscapes_submission.zip"
_IMAGE = re.compile(r"([A-Za-z-]+_\d{6}_\d{6})_leftImg8bit\.\w+")


def write_submission(images, model, out, image_size=None, views=None):
    """Write `OUT/cityscapes_submission.zip`: a PNG of label ids for every image.

    Args:
        images: folder of `CITY_SEQUENCE_FRAME_leftImg8bit.png`, searched recursively, or one file.
        model: .keras file, of Cityscapes' 19 classes.
        out: folder to write.
        image_size: (height, width) at which the network sees the images.
        views: `Views`.

    Raises:
        FileNotFoundError, ValueError: no image, an image with another name, a model with other
            classes.
    """
    paths = _official_names(image_paths(Path(images), Path(out)))
    predictor, labels = load_predictor(model, image_size, views)
    ids = label_ids(labels)
    target = Path(out) / NAME
    check_folder(target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{NAME}.{os.getpid()}")
    bar = keras.utils.Progbar(len(paths), unit_name="image", verbose=int(len(paths) > 1))
    try:
        with zipfile.ZipFile(temporary, "w") as archive:  # PNGs are compressed already
            for name, path in paths.items():
                png = io.BytesIO()
                Image.fromarray(ids[predictor.classes(read_image(path))]).save(png, "PNG")
                archive.writestr(name, png.getvalue())
                bar.add(1)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    print(f"{len(paths)} label maps written to {target}")


def label_ids(labels):
    """Return Cityscapes' label id of every class of a `LabelSet`: uint8 array.

    Raises:
        ValueError: the classes are not Cityscapes' 19.
    """
    pairs = (CITYSCAPES.raw_to_train or {}).items()
    by_name = {CITYSCAPES.classes[train]: raw for raw, train in pairs if train != IGNORE_LABEL}
    if set(labels.classes) != set(by_name):
        shown = ", ".join([*labels.classes[:3], "..."])
        raise ValueError(
            f"A Cityscapes submission needs a model of its {len(by_name)} classes, and labels.json "
            f"beside the model; this one has {len(labels.classes)} ({shown})."
        )
    return np.array([by_name[name] for name in labels.classes], "uint8")


def _official_names(paths):
    """Map the name of every label map to its image."""
    names: dict[str, Path] = {}
    for path in paths:
        match = _IMAGE.fullmatch(path.name)
        if not match:
            raise ValueError(
                f"{path} is not named CITY_SEQUENCE_FRAME_leftImg8bit.png (six digits each), so "
                "the test server could not tell which image it is; give a folder of leftImg8bit."
            )
        name = f"{match[1]}_gtFine_labelIds.png"
        if name in names:
            raise ValueError(f"{path} and {names[name]} would have one result; leave one out.")
        names[name] = path
    return names
