"""Stop at the step where numbers stop making sense, and keep what is needed to see why."""

from pathlib import Path

import keras
import numpy as np
from keras import ops

from gff_keras.data.labels import IGNORE_LABEL
from gff_keras.training.measurements import used_learning_rate
from gff_keras.visualization import label_sheet

_LISTED = 16  # ids that a sentence names


class NonFiniteLoss(ValueError):
    """The loss or a weight is NaN or infinite: going on would teach nothing."""


class StopAtNonFiniteLoss(keras.callbacks.Callback):
    """Raise `NonFiniteLoss` at the step whose loss, or after which a weight, is NaN or infinite.

    Put it before all callbacks that save: no checkpoint is then younger than the last good step.
    Running statistics of batch normalisation count as weights. A step that the loss scaling of
    float16 leaves out has a finite loss and changes no weight, so it passes.

    The weights are looked at after every step on TensorFlow and at the end of every epoch
    elsewhere, the validation loss at the end of every epoch. With `steps_per_execution` above 1 the
    step named is the last of its group.

    Args:
        out: folder to write `nonfinite_step_N.npz` to, with arrays `images`, `labels` and `ids`,
            and `nonfinite_step_N.png`, the same to look at.
        batch: function that returns batch N, counted from 0, once more: `(images, labels)` or
            `(images, labels, ids)`; nothing is written without it.
        labels: `LabelSet` with the colours of the labels; no picture is drawn without it.
        start_step: number of the first step, where a run goes on that was begun before.
    """

    def __init__(self, out=None, batch=None, labels=None, start_step=0):
        super().__init__()
        self.out = None if out is None else Path(out)
        self.batch = batch
        self.labels = labels
        self.next_step = start_step

    def on_train_begin(self, logs=None):
        self._sums = _sums_of(self.model.weights)

    def on_train_batch_begin(self, batch, logs=None):
        self._first = batch

    def on_train_batch_end(self, batch, logs=None):
        self.next_step += batch - self._first + 1
        loss = logs["loss"]
        if not np.isfinite(loss):
            self._stop(f"the loss is {loss} at step {self.next_step - 1}")
        if keras.backend.backend() == "tensorflow":  # elsewhere this would hold up every step
            self._check_weights(loss)

    def on_epoch_end(self, epoch, logs=None):
        self._check_weights(logs["loss"])
        validation = logs.get("val_loss", 0.0)
        if not np.isfinite(validation):
            raise NonFiniteLoss(
                f"the validation loss is {validation} after step {self.next_step - 1}, although "
                f"that of training is {logs['loss']:.4g} and all weights are finite; look for "
                "images that are unlike those of training."
            )

    def _check_weights(self, epochs_loss):
        weights = self.model.weights  # on JAX, asking for the model brings them up to date
        if np.isfinite(ops.convert_to_numpy(self._sums())).all():
            return
        names = [w.path for w in weights if not np.isfinite(ops.convert_to_numpy(w)).all()]
        if names:  # else a sum of large numbers was too large
            more = f" and {len(names) - 1} more weights are" if len(names) > 1 else " is"
            self._stop(
                f"{names[0]}{more} not finite after step {self.next_step - 1}, although the "
                f"epoch's mean loss is {epochs_loss:.4g}"
            )

    def _stop(self, what):
        if self.params.get("verbose"):
            print()  # ends the line of the progress bar
        rate = used_learning_rate(self.model.optimizer)
        message = f"{what} (the first step is 0; learning rate {rate:.4g})"
        remedy = "a lower learning rate or clipped gradients may help"
        if self.batch is not None:
            try:
                images, labels, ids = _arrays(self.batch(self.next_step - 1))
                message += f"; its batch holds {_listed(ids)}"
                unknown = self._unknown(labels)
                remedy = _correction(labels, ids, unknown) or remedy
                if self.out is not None:
                    path = self._write(self.out, images, labels, ids, unknown)
                    message += f" and is written to {path}"
            except Exception as error:  # of any kind: it must not hide why training stops
                message += f"; its batch cannot be written: {error}"
        raise NonFiniteLoss(f"{message}; {remedy}.")

    def _unknown(self, labels):
        """Return which labels are neither classes of the model nor to be ignored."""
        classes = getattr(self.model, "num_classes", IGNORE_LABEL)
        ignored = getattr(self.model.loss, "ignore_label", IGNORE_LABEL)
        return (labels != ignored) & ((labels < 0) | (labels >= classes))

    def _write(self, folder, images, labels, ids, unknown):
        """Write a batch and return where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"nonfinite_step_{self.next_step - 1}.npz"
        np.savez_compressed(path, images=images, labels=labels, ids=ids)
        if self.labels is None:
            return path
        shown = np.nan_to_num(images).clip(0, 255).astype("uint8")
        known = np.where(unknown, IGNORE_LABEL, labels)
        label_sheet(list(shown), list(known), self.labels, ids).save(path.with_suffix(".png"))
        return f"{path} and .png"


def _sums_of(weights):
    """Return a function that sums each weight: where all sums are finite, all weights are."""

    def sums():
        return ops.stack([ops.sum(ops.cast(weight, "float32")) for weight in weights])

    if keras.backend.backend() != "tensorflow":
        return sums
    import tensorflow as tf

    return tf.function(sums)


def _arrays(batch):
    """Return a batch as images (B, H, W, 3), labels (B, H, W) and a list of B names."""
    images, labels, *ids = map(np.asarray, batch)
    if ids:  # text comes out of TensorFlow as bytes
        names = [x.decode(errors="replace") if isinstance(x, bytes) else str(x) for x in ids[0]]
    else:
        names = [f"image {i}" for i in range(len(images))]
    return images, labels.reshape(images.shape[:3]), names


def _correction(labels, ids, unknown):
    """Return what is wrong with the labels, if that is why the loss is NaN."""
    if not unknown.any():
        return ""
    example = unknown.any((1, 2)).argmax()
    return f"label {labels[unknown][0]} of {ids[example]!r} is no class: correct it"


def _listed(ids):
    rest = f" and {len(ids) - _LISTED} more" if len(ids) > _LISTED else ""
    return ", ".join(map(repr, ids[:_LISTED])) + rest
