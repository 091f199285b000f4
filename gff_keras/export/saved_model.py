"""A GFFNet as a SavedModel that TF Serving, TensorFlow and OpenVINO run without this project."""

import itertools
import json
import math
import re
import tempfile
from pathlib import Path

import tensorflow as tf

from gff_keras.data.labels import IGNORE_LABEL
from gff_keras.evaluation.resizing import check_size
from gff_keras.export.checks import check_backend, check_model, labels_of, make_folder
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
        size: (height, width) of all images given as pixels, and of what the network sees; instead
            of `image_size`.
        dtype: dtype policy of the network, "float32" or "mixed_bfloat16"; its own if None.
        flip: average the probabilities with those of the mirrored image; best at a width of 8 k + 1
            (docs/alignment.md).
        max_pixels: most pixels that an image may have.
        overwrite: replace the folder.

    Returns:
        Path of the folder.

    Raises:
        TypeError: the model is no `GFFNet`.
        ValueError: the folder's name is no version, an argument makes no sense, or Keras runs on
            another backend.
        FileExistsError: the folder exists.
        OSError: its parent cannot be written to.
    """
    directory = Path(directory).resolve()
    check_backend("SavedModels")
    check_model(model)
    check_directory(directory, overwrite)
    _check_sizes(size, image_size, max_pixels)
    table = _label_table(model, labels)
    if dtype is not None:
        model = with_dtype(model, dtype)

    make_folder(directory.parent)
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
        _publish(version, directory, folder / "replaced", overwrite)
    write_configuration(directory.parent)
    return directory


def check_directory(directory, overwrite):
    """Raise unless `directory` is named by a version and may be written."""
    if not re.fullmatch("0|[1-9][0-9]{0,17}", directory.name):  # as int64 is written
        raise ValueError(
            f"{directory} does not end in a version number, by which TF Serving finds models; "
            f"give {directory}/1."
        )
    if directory.exists() and not (overwrite and directory.is_dir()):
        raise FileExistsError(
            f"{directory} exists; give the next version a number of its own, or --overwrite."
        )


def _check_sizes(size, image_size, max_pixels):
    for name, value in (("size", size), ("image_size", image_size)):
        if value is not None:
            check_size(name, value)
    if max_pixels < 1:
        raise ValueError(f"max_pixels={max_pixels} must be positive.")
    if size and image_size:
        raise ValueError(
            f"size={size} is what the network sees; leave out image_size={image_size}."
        )
    if size and size[0] * size[1] > max_pixels:
        raise ValueError(f"size={size} is beyond max_pixels={max_pixels}; raise max_pixels.")
    if size and max(size) > MAX_SIDE:
        raise ValueError(f"size={size} has a side beyond {MAX_SIDE}; give a smaller one.")


def _publish(version, directory, aside, overwrite):
    """Move a finished version to its place; what it replaces comes back if that fails."""
    check_directory(directory, overwrite)  # again: it may have been made meanwhile
    replaces = directory.exists()
    if replaces:
        directory.rename(aside)
    try:
        version.rename(directory)
    except BaseException:
        if replaces:
            aside.rename(directory)
        raise


def _warmup_size(size, max_pixels):
    """Size of an image like those to come: the network's, if that is not more than allowed."""
    if size and size[0] * size[1] <= max_pixels and max(size) <= MAX_SIDE:
        return size
    side = min(256, math.isqrt(max_pixels))
    return side, side


def _label_table(model, labels):
    """Return names and colours as the asset holds them."""
    count = model.num_classes
    if labels is None and count > IGNORE_LABEL:  # more than a label set holds: colours come again
        colours = itertools.cycle(default_palette(IGNORE_LABEL))
        names = [f"class {i}" for i in range(count)]
        return {"classes": names, "palette": list(itertools.islice(colours, count))}
    return labels_of(model, labels).to_dict()
