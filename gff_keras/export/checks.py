"""What every format asks for: Keras on TensorFlow, a GFFNet with its labels, a folder to write."""

import tempfile

import keras

from gff_keras.evaluation.prediction import generic_labels
from gff_keras.models import GFFNet


def check_backend(what):
    """Raise unless Keras runs on TensorFlow, whose graph is exported as `what`."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"{what} are made from TensorFlow's graph, but KERAS_BACKEND is "
            f"{keras.backend.backend()!r}; set KERAS_BACKEND=tensorflow."
        )


def check_model(model):
    """Raise unless `model` is a `GFFNet`, which takes RGB images and gives logits."""
    if not isinstance(model, GFFNet):
        raise TypeError(
            f"model is a {type(model).__name__}, not a GFFNet; give what GFFNet(...) or "
            "keras.saving.load_model(...) returned."
        )


def labels_of(model, labels):
    """Return `labels`, or generic ones if None.

    Raises:
        ValueError: they name more or fewer classes than the model predicts.
    """
    if labels is None:
        return generic_labels(model.num_classes)
    if labels.num_classes != model.num_classes:
        raise ValueError(
            f"labels name {labels.num_classes} classes, but the model predicts "
            f"{model.num_classes}; give the labels it was trained with."
        )
    return labels


def make_folder(folder):
    """Make a folder, unless it is there, in which files can be written.

    Raises:
        OSError: that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # permissions do not tell: of root, of /proc
    except OSError as error:
        raise OSError(
            f"{folder} cannot be made, or not be written to ({error.strerror}); choose another "
            "folder."
        ) from error
