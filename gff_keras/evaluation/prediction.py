"""Predictions at the resolution of the image, and what lies beside a saved model."""

import functools
import json
import zipfile
from pathlib import Path

import keras
import numpy as np
from keras import ops

from gff_keras.data import LabelSet
from gff_keras.evaluation.resizing import resized
from gff_keras.evaluation.tflite import load_tflite
from gff_keras.layers import resize_bilinear
from gff_keras.models import GFFNet
from gff_keras.visualization import default_palette

UNNAMED = "unnamed"  # label sets that were made up


class Predictor:
    """Whole-image prediction, one image at a time.

    Args:
        model: `GFFNet`.
        image_size: (height, width) at which the network sees an image; its own size if None.
            Results have the size of the image in any case.
    """

    def __init__(self, model, image_size=None):
        if image_size is not None and (len(image_size) != 2 or min(image_size) < 1):
            raise ValueError(f"image_size={image_size} is not (height, width) in pixels.")
        self.model = model
        self.image_size = image_size
        self.num_classes = model.num_classes
        self._forward = _compiled(model.segmenter())

    def logits(self, image):
        """Return float32 logits (H, W, classes) of an RGB image (H, W, 3), 0..255."""
        logits = self._forward(self._network_input(image))
        return ops.convert_to_numpy(resize_bilinear(ops.array(logits), image.shape[:2]))[0]

    def classes(self, image):
        """Return the most likely class of every pixel, (H, W) uint8."""
        return self.logits(image).argmax(-1).astype("uint8")

    def gates(self, image):
        """Return the gate maps, arrays (h_l, w_l) in [0, 1], finest level first."""
        gates = self.model.gates(self._network_input(image))
        return [ops.convert_to_numpy(ops.cast(gate, "float32"))[0, :, :, 0] for gate in gates]

    def _network_input(self, image):
        if self.image_size is None:
            return np.asarray(image, "float32")[None]
        return resized(image, self.image_size)


def _compiled(segmenter):
    """Return a function from images (1, H, W, 3) to logits that is traced once for all sizes."""
    if keras.backend.backend() != "tensorflow":
        return segmenter.predict_on_batch
    import tensorflow as tf

    images = tf.TensorSpec((1, None, None, 3), "float32")
    # Not a lambda: of several networks TensorFlow would warn that one function is traced anew.
    forward = functools.partial(segmenter, training=False)
    return tf.function(forward, input_signature=[images])


def load_model(path):
    """Load a saved `GFFNet`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no Keras model, or another one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Model file {path} does not exist; give a .keras file.")
    if path.suffix != ".keras":  # Keras would explain all formats that it ever had
        raise ValueError(f"{path} is not a .keras file; give one that `gff-keras train` wrote.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no .keras archive, or is cut short; copy it again.")
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} cannot be loaded as a .keras model: {reason}") from error
    if not isinstance(model, GFFNet):
        raise ValueError(f"{path} holds a {type(model).__name__}, not a GFFNet.")
    return model


def load_predictor(path, image_size=None):
    """Load a model with what its run folder says about it.

    Args:
        path: .keras file; `recipe.json` and `labels.json` beside it are read where present. Or a
            .tflite file that `gff-keras export` wrote, which has its size and labels inside.
        image_size: overrides the size that the recipe trained at; not for .tflite files.

    Returns:
        `(predictor, labels)`: labels is a `LabelSet`, with generic names and colours if the folder
        has none.
    """
    if Path(path).suffix == ".tflite":
        return load_tflite(path, image_size)
    model = load_model(path)
    folder = Path(path).parent
    if image_size is None and (folder / "recipe.json").is_file():
        image_size = _trained_image_size(folder / "recipe.json")
    labels_file = folder / "labels.json"
    if labels_file.is_file():
        labels = LabelSet.load(labels_file)
    else:
        labels = generic_labels(model.num_classes)
    if labels.num_classes != model.num_classes:
        raise ValueError(
            f"{labels_file} names {labels.num_classes} classes, but {path} predicts "
            f"{model.num_classes}; put the model back beside the labels it was trained with."
        )
    return Predictor(model, image_size), labels


def generic_labels(num_classes):
    """Labels for a model of which only the number of classes is known."""
    names = tuple(f"class {i}" for i in range(num_classes))
    return LabelSet(UNNAMED, names, default_palette(num_classes))


def _trained_image_size(recipe):
    """Read `image_size` from a run's recipe.json: (height, width) or None."""
    try:
        size = json.loads(recipe.read_text(encoding="utf-8"))["image_size"]
        return None if size is None else (int(size[0]), int(size[1]))
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{recipe} does not tell the image_size of the run ({error!r}); "
            "correct it, or move it away to use images at their own size."
        ) from error
