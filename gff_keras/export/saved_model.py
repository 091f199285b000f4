"""A GFFNet as a SavedModel that TF Serving, TensorFlow and OpenVINO run without this project."""

import itertools
import json
import math
import tempfile
from pathlib import Path

import tensorflow as tf

from gff_keras.data.labels import IGNORE_LABEL
from gff_keras.export.encoded_images import MAX_SIDE
from gff_keras.export.precision import with_dtype
from gff_keras.export.serving_graph import ServedSegmenter
from gff_keras.export.tf_serving import write_configuration, write_warmup
from gff_keras.visualization import default_palette

MAX_PIXELS = 2048 * 2048


def saved_model(
    model,
    directory,
    labels=None,
    *,
    image_size=None,
    size=None,
    dtype=None,
    flip=False,
    max_pixels=MAX_PIXELS,
    overwrite=False,
):
    """Write a version for TF Serving: the SavedModel, its warm-up requests and configuration files.

    The signatures are in docs/serving.md. The folder appears when all of it is written.

    Args:
        model: `GFFNet`.
        directory: folder to write; its name is the version, a number, and its parent's name that of
            the model: `served/camvid/1`.
        labels: `LabelSet` that the model was trained with; "class 0" ... if None.
        image_size: (height, width) at which the network sees images; their own size if None.
            Results have the size of the image in any case.
        size: (height, width) of all images given as pixels, and of what the network sees.
        dtype: dtype policy of the network, "float32" or "mixed_bfloat16"; its own if None.
        flip: average the probabilities with those of the mirrored image.
        max_pixels: most pixels that an image may have.
        overwrite: replace the folder.

    Returns:
        Path of the folder.

    Raises:
        ValueError: the folder's name is no version, or an argument makes no sense.
        FileExistsError: the folder exists.
    """
    directory = Path(directory).resolve()
    check_directory(directory, overwrite)
    _check_size("size", size)
    _check_size("image_size", image_size)
    if max_pixels < 1:
        raise ValueError(f"max_pixels={max_pixels} must be positive.")
    if size and size[0] * size[1] > max_pixels:
        raise ValueError(f"size={size} is beyond max_pixels={max_pixels}; raise max_pixels.")
    table = _label_table(model, labels)
    if dtype is not None:
        model = with_dtype(model, dtype)

    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".incomplete-") as name:
        folder = Path(name)
        labels_file = folder / "labels.json"
        labels_file.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        served = ServedSegmenter(
            model,
            table["classes"],
            table["palette"],
            max_pixels=max_pixels,
            image_size=size or image_size,
            fixed=size is not None,
            flip=flip,
        )
        module = tf.Module()
        module.labels_file = tf.saved_model.Asset(str(labels_file))
        module.network_variables = served.variables
        version = folder / directory.name
        tf.saved_model.save(module, str(version), signatures=served.functions())
        write_warmup(version, directory.parent.name, _warmup_size(size or image_size, max_pixels))
        if directory.exists():
            directory.rename(folder / "replaced")
        version.rename(directory)
    write_configuration(directory.parent)
    return directory


def check_directory(directory, overwrite):
    """Raise unless `directory` is named by a version and may be written."""
    if not (directory.name.isascii() and directory.name.isdigit()):
        raise ValueError(
            f"{directory} does not end in a version number, by which TF Serving finds models; "
            f"give {directory}/1."
        )
    if directory.exists() and not (overwrite and directory.is_dir()):
        raise FileExistsError(
            f"{directory} exists; give the next version a number of its own, or --overwrite."
        )


def _check_size(name, size):
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"{name}={size} is not (height, width) in pixels.")


def _warmup_size(size, max_pixels):
    """Size of an image like those to come: the network's, if that is not more than allowed."""
    if size and size[0] * size[1] <= max_pixels and max(size) <= MAX_SIDE:
        return size
    side = min(256, math.isqrt(max_pixels))
    return side, side


def _label_table(model, labels):
    """Return names and colours as the asset holds them."""
    count = model.num_classes
    if labels is None:
        colours = itertools.cycle(default_palette(min(count, IGNORE_LABEL)))
        names = [f"class {i}" for i in range(count)]
        return {"classes": names, "palette": list(itertools.islice(colours, count))}
    if labels.num_classes != count:
        raise ValueError(f"labels name {labels.num_classes} classes, the model predicts {count}.")
    return labels.to_dict()
