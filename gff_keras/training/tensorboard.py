"""What a run leaves for TensorBoard: curves of steps and epochs, pictures of validation images.

LOG_DIR/train        step/loss, step/learning_rate, step/step_seconds, step/images_per_second,
                     step/memory_gib; epoch/loss, epoch/mean_iou, ...
LOG_DIR/validation   epoch/loss, epoch/mean_iou, ...; pictures: predictions, gates_1, gates_2, ...
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from gff_keras.evaluation.gate_maps import gate_maps
from gff_keras.evaluation.prediction import Predictor
from gff_keras.visualization import gate_sheet, prediction_sheet

PICTURE_WIDTH = 1200  # pixels: wide enough for three panels, about 1 MB


class TensorBoard(keras.callbacks.Callback):
    """Write scalars and pictures with the steps and epochs of the whole run.

    Keras's own callback counts steps from 0 in each `fit` and gives the learning rate of the step
    after; it writes no predictions.

    Args:
        log_dir: folder for `tensorboard --logdir`.
        progress: the run's `Progress`, before this one in the list of callbacks.
        steps_every: steps between two points of the curves `step/...`.
        examples: pairs (image (H, W, 3) uint8, label (H, W)) to draw with the prediction, of any
            sizes; a network with gates gives their maps too.
        labels: `LabelSet` of the examples.
        pictures_every: epochs between two pictures; the last epoch has one.
    """

    def __init__(
        self, log_dir, progress, *, steps_every=10, examples=(), labels=None, pictures_every=1
    ):
        super().__init__()
        self.log_dir = Path(log_dir)
        self.progress = progress
        self.steps_every = steps_every
        self.examples = list(examples)
        self.labels = labels
        self.pictures_every = pictures_every
        self._writers = {}

    def on_train_begin(self, logs=None):
        if self.examples:
            self._predictor = Predictor(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        self._summed = None  # steps of this epoch and the sum of their losses, as written

    def on_train_batch_end(self, batch, logs=None):
        if self._summed is None:  # the epoch begins here, or a run goes on in its middle
            self._summed = (batch, batch * logs["loss"]) if batch else (0, 0.0)
        if self.progress.step % self.steps_every:
            return
        # Keras gives the mean since the epoch began: the new part of it is what these steps had.
        steps, loss = self._summed
        self._summed = batch + 1, (batch + 1) * logs["loss"]
        mean = (self._summed[1] - loss) / (self._summed[0] - steps)
        values = {"loss": mean, **self.progress.measurements()}
        self._write_scalars("train", "step", values, self.progress.step)

    def on_epoch_end(self, epoch, logs=None):
        train = {name: v for name, v in logs.items() if not name.startswith("val_")}
        validation = {name[4:]: v for name, v in logs.items() if name.startswith("val_")}
        self._write_scalars("train", "epoch", train, epoch + 1)
        if validation:
            self._write_scalars("validation", "epoch", validation, epoch + 1)
        if self.examples and (self.progress.epochs - epoch - 1) % self.pictures_every == 0:
            self._write_pictures(epoch + 1)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs=None):
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _writer(self, name):
        if name not in self._writers:
            folder = str(self.log_dir / name)
            self._writers[name] = tf.summary.create_file_writer(folder, flush_millis=20_000)
        return self._writers[name].as_default()

    def _write_scalars(self, folder, group, values, step):
        with self._writer(folder):
            for name, value in values.items():
                tf.summary.scalar(f"{group}/{name}", value, step)

    def _write_pictures(self, step):
        rows, sheets = [], {}
        for i, (image, truth) in enumerate(self.examples, start=1):
            classes = self._predictor.classes(image)
            rows.append((image, classes, truth))
            if self.model.fusion == "gff":
                gates = gate_maps(self._predictor, image)
                sheets[f"gates_{i}"] = gate_sheet(image, gates, classes, self.labels)
        sheets["predictions"] = prediction_sheet(rows, self.labels)
        with self._writer("validation"):
            for name, sheet in sheets.items():
                sheet.thumbnail((PICTURE_WIDTH, sheet.height))
                tf.summary.image(name, np.asarray(sheet)[None], step)
