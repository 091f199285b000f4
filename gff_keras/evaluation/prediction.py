"""Predictions at the resolution of the image."""

import dataclasses
import functools

import keras
import numpy as np
from keras import ops

from gff_keras.data import LabelSet
from gff_keras.evaluation.resizing import check_size, network_input
from gff_keras.evaluation.sliding import bands
from gff_keras.evaluation.tflite import load_tflite
from gff_keras.evaluation.views import Views
from gff_keras.sharing import load, locate
from gff_keras.sharing.metadata import RECIPE_FILE
from gff_keras.visualization import default_palette

UNNAMED = "unnamed"  # label sets that were made up


class Predictor:
    """Prediction at the resolution of the image, one image at a time.

    Args:
        model: `GFFNet`.
        image_size: (height, width) at which the network sees an image; its own size if None.
            Results have the size of the image in any case.
        views: `Views` of the image whose predictions are averaged; the whole image if None.
    """

    def __init__(self, model, image_size=None, views=None):
        if image_size is not None:
            check_size("image_size", image_size)
        self.model = model
        self.image_size = image_size
        self.views = views or Views()
        if self.views.mode == "sliding" and self.views.crop_size is None:
            raise ValueError("mode='sliding' needs the crop_size that the model was trained at.")
        self.num_classes = model.num_classes
        self._forward = _compiled(model, self.views.crop_size)

    @property
    def settings(self):
        """How predictions are made, for JSON."""
        return {**self.views.settings, "image_size": self.image_size and [*self.image_size]}

    def logits(self, image):
        """Return float32 logits (H, W, classes) of an RGB image (H, W, 3), 0..255.

        Of several views, the logarithm of the mean probabilities, whose softmax they are.
        """
        if self.views.count == 1:
            return self._all_scores(image)
        probabilities = self._all_scores(image)
        np.maximum(probabilities, np.finfo("float32").tiny, out=probabilities)
        return np.log(probabilities, out=probabilities)

    def probabilities(self, image):
        """Return float32 probabilities (H, W, classes), the mean over all views."""
        return self._all_scores(image, softmax=True)

    def classes(self, image):
        """Return the most likely class of every pixel, (H, W) uint8.

        The scores of all pixels are never in memory together.
        """
        classes = np.empty(image.shape[:2], "uint8")
        for start, stop, scores in self.bands(image):
            classes[start:stop] = scores.argmax(-1)
        return classes

    def bands(self, image, softmax=False):
        """Yield `(start, stop, scores)` from the top to the bottom, as `sliding.bands` does.

        Args:
            image: RGB image (H, W, 3), 0..255.
            softmax: probabilities, also of a single view.
        """
        return bands(self._forward, image, self.views, self.image_size, softmax)

    def gates(self, image):
        """Return the gate maps, arrays (h_l, w_l) in [0, 1], of the whole image, finest first."""
        gates = self.model.gates(network_input(image, self.image_size))
        return [ops.convert_to_numpy(ops.cast(gate, "float32"))[0, :, :, 0] for gate in gates]

    def _all_scores(self, image, softmax=False):
        result = np.empty((*image.shape[:2], self.num_classes), "float32")
        for start, stop, scores in self.bands(image, softmax):
            result[start:stop] = scores
        return result


def _compiled(model, size):
    """Return a function from images to the classifier's logits, as arrays.

    It is traced once, for images of `size` or, if that is None, of any size.
    """
    network = model.segmenter(full_size=False)
    if keras.backend.backend() != "tensorflow":
        return network.predict_on_batch
    import tensorflow as tf

    images = tf.TensorSpec((None, *(size or (None, None)), 3), "float32")
    # Not a lambda: of several networks TensorFlow would warn that one function is traced anew.
    forward = tf.function(functools.partial(network, training=False), input_signature=[images])
    return lambda images: forward(images).numpy()


def load_predictor(source, image_size=None, views=None):
    """Load a model with what its file, or its run folder, says about it.

    Args:
        source: as of `gff_keras.load`: .keras file, folder or "hf://USER/NAME"; its recipe and
            label table are used where there are any. Or a .tflite file that `gff-keras export`
            wrote, which has its size and labels inside.
        image_size: overrides the size that the recipe trained at; not for .tflite files.
        views: `Views`; windows without a size get the recipe's crop_size. Not for .tflite files.

    Returns:
        `(predictor, labels)`: labels is a `LabelSet`, with generic names and colours if the model
        has none.
    """
    path = locate(source)
    if path.suffix == ".tflite":
        return load_tflite(path, image_size, views)
    model = load(path)
    views = views or Views()
    if image_size is None:
        image_size = _trained_size(model.recipe, "image_size", path)
    if views.mode == "sliding" and views.crop_size is None:
        if not model.recipe:
            raise ValueError(
                f"{path} carries no recipe, and there is no recipe.json beside it, that tells the "
                "crop size it was trained at; give --crop_size HEIGHT WIDTH."
            )
        crop_size = _trained_size(model.recipe, "crop_size", path)
        views = dataclasses.replace(views, crop_size=crop_size)
    return Predictor(model, image_size, views), model.labels or generic_labels(model.num_classes)


def generic_labels(num_classes):
    """Labels for a model of which only the number of classes is known."""
    names = tuple(f"class {i}" for i in range(num_classes))
    return LabelSet(UNNAMED, names, default_palette(num_classes))


def _trained_size(recipe, name, path):
    """Return `image_size` or `crop_size` of a model's recipe: (height, width) or None."""
    if not recipe:
        return None
    try:
        size = recipe[name]
        return None if size is None else (int(size[0]), int(size[1]))
    except (ValueError, LookupError, TypeError) as error:
        beside = path.with_name(RECIPE_FILE)
        raise ValueError(
            f"{beside if beside.is_file() else f'The recipe in {path}'} does not tell the {name} "
            f"of the run ({error!r}); give --{name} HEIGHT WIDTH, or correct it."
        ) from error
