"""Prediction with TFLite files that `gff-keras export tflite` wrote, through LiteRT."""

import json
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from keras import ops

from gff_keras.data import LabelSet
from gff_keras.evaluation.resizing import resized
from gff_keras.evaluation.views import Views


class TFLitePredictor:
    """Whole-image prediction, one image at a time, at the size of the file.

    Args:
        path: .tflite file with an input (1, h, w, 3) uint8.
        threads: of XNNPACK; one for each core if None.
        preserve_all_tensors: keep the results of all operators, to be read from `interpreter`.

    Raises:
        FileNotFoundError, ValueError: no such file, or none that this project wrote.
    """

    def __init__(self, path, threads=None, preserve_all_tensors=False):
        self.labels = read_labels(path)
        self.num_classes = self.labels.num_classes
        try:
            with warnings.catch_warnings():  # who asks for all tensors wants them
                warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors")
                self.interpreter = Interpreter(
                    model_path=str(path),
                    num_threads=threads or os.cpu_count(),
                    experimental_preserve_all_tensors=preserve_all_tensors,
                )
            self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"{path} cannot be read as a TFLite model: {reason}") from error
        (self._input,) = self.interpreter.get_input_details()
        self.image_size = tuple(int(n) for n in self._input["shape"][1:3])
        self._outputs = self.interpreter.get_output_details()

    @property
    def settings(self):
        """How predictions are made, for JSON."""
        return {**Views().settings, "image_size": [*self.image_size]}

    def run(self, image):
        """Return the outputs, a list of arrays, for an image (h, w, 3) uint8 of the file's size."""
        self.interpreter.set_tensor(self._input["index"], image[None])
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(output["index"])[0] for output in self._outputs]

    def logits(self, image):
        """Return logits or confidences (H, W, classes) of an RGB image (H, W, 3), 0..255.

        Raises:
            ValueError: the file gives classes alone.
        """
        scores = self._scores(self.run(self.network_input(image)))
        if scores is None:
            raise ValueError(
                "This TFLite file gives classes alone; export it with --outputs logits."
            )
        return _sampled(scores, image.shape[:2])

    def classes(self, image):
        """Return the most likely class of every pixel, (H, W) uint8.

        Scores are resized bilinearly before the maximum is taken, a map of classes is not
        interpolated: at another size than the file's, outlines are finer with logits.
        """
        outputs = self.run(self.network_input(image))
        size = image.shape[:2]
        scores = self._scores(outputs)
        if scores is not None:
            return _sampled(scores, size).argmax(-1).astype("uint8")
        return nearest(outputs[0], size)

    def gates(self, image):
        """Raise: a TFLite file has no gate maps."""
        raise ValueError("TFLite files hold no gate maps; give the .keras file of the model.")

    def network_input(self, image):
        """Return the image (H, W, 3) as the file takes it: (h, w, 3) uint8."""
        if image.shape[:2] == self.image_size and image.dtype == np.uint8:
            return image
        return np.round(resized(image, self.image_size)[0]).clip(0, 255).astype("uint8")

    def _scores(self, outputs):
        return next((y for y in outputs if y.ndim == 3), None)


def nearest(classes, size):
    """Resize a map of classes (h, w) to `size`, without interpolation."""
    if classes.shape == tuple(size):
        return classes
    rows, columns = (
        ((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(size, classes.shape, strict=True)
    )
    return classes[rows[:, None], columns]


def _sampled(scores, size):
    if scores.shape[:2] == size:
        return scores
    return ops.convert_to_numpy(
        ops.image.resize(scores, size, interpolation="bilinear", antialias=False)
    )


def load_tflite(path, image_size=None, views=None):
    """Return `(predictor, labels)` of a .tflite file.

    Raises:
        FileNotFoundError, ValueError: as `TFLitePredictor`, or the file has another size, or more
            than one view is asked for.
    """
    if views not in (None, Views()):
        raise ValueError(
            f"{path} sees whole images at one size; windows, scales and flip need the .keras file."
        )
    predictor = TFLitePredictor(path)
    if image_size is not None and tuple(image_size) != predictor.image_size:
        raise ValueError(
            f"image_size={tuple(image_size)}, but {path} takes images of {predictor.image_size} "
            "alone; leave it out, or export the model at that size."
        )
    return predictor, predictor.labels


def read_labels(path):
    """Read the `LabelSet` that was packed into a .tflite file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Model file {path} does not exist; give a .tflite file.")
    try:
        with zipfile.ZipFile(path) as archive:
            table = json.loads(archive.read("labels.json"))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} holds no label table, or is cut short; export it with `gff-keras export`."
        ) from error
    return LabelSet.from_dict_in_file(table, path)
