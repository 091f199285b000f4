"""Segmentation metrics from one integer confusion matrix."""

import keras
import numpy as np
from keras import ops

from gff_keras.data.label_check import all_known
from gff_keras.data.labels import IGNORE_LABEL

_UNIT = 2**30


@keras.saving.register_keras_serializable(package="gff_keras")
class SegmentationMetrics(keras.metrics.Metric):
    """Mean IoU, pixel accuracy, mean accuracy and per-class IoU.

    Pixels are counted in integers, exactly for any number of pixels. Classes absent from both truth
    and prediction are NaN in `iou` and left out of the means.

    Call with labels (B, H, W) or (B, H, W, 1) and either logits (B, H, W, num_classes) or predicted
    classes (B, H, W) of an integer dtype. A label that is neither a class nor `ignore_label` stops
    with its value on TensorFlow; under XLA and on other backends all results are NaN.

    Args:
        num_classes: number of classes.
        ignore_label: label of pixels that do not count.
    """

    def __init__(
        self, num_classes, ignore_label=IGNORE_LABEL, name="segmentation_metrics", **kwargs
    ):
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self.confusion = self.add_variable(
            (num_classes, num_classes),
            initializer="zeros",
            dtype="int64" if _has_64_bits() else "int32",
            name="confusion",
        )
        self.unknown = self.add_variable((), initializer="zeros", dtype="int32", name="unknown")
        self.carried = None  # counts in units of _UNIT, where there are no integers of 64 bits
        if not _has_64_bits():
            self.carried = self.add_variable(
                self.confusion.shape, initializer="zeros", dtype="int32", name="carried"
            )

    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            raise ValueError("SegmentationMetrics counts pixels; sample_weight is not supported.")
        n = self.num_classes
        truth = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        y_pred = ops.convert_to_tensor(y_pred)
        valid = truth != self.ignore_label
        known = all_known(truth, n, self.ignore_label)
        if keras.backend.is_float_dtype(y_pred.dtype):
            if y_pred.shape[-1] != n:
                raise ValueError(
                    f"SegmentationMetrics({n}) cannot count logits of {y_pred.shape[-1]} classes; "
                    "give it the network's number of classes."
                )
            prediction = ops.reshape(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), (-1,))
        else:
            prediction = ops.reshape(ops.cast(y_pred, "int32"), (-1,))
            predicted = all_known(ops.where(valid, prediction, 0), n, name="prediction")
            known = ops.logical_and(known, predicted)
        self.unknown.assign_add(ops.cast(ops.logical_not(known), "int32"))
        # Ignored pixels are counted in one cell beyond the matrix, and so is all that is unknown.
        cell = ops.where(ops.logical_and(valid, known), truth * n + prediction, n * n)
        counts = ops.segment_sum(ops.ones_like(cell), cell, num_segments=n * n + 1)[: n * n]
        counts = ops.cast(ops.reshape(counts, (n, n)), self.confusion.dtype)
        self.confusion.assign_add(counts)
        if self.carried is not None:
            self.carried.assign_add(self.confusion // _UNIT)
            self.confusion.assign(self.confusion % _UNIT)

    def result(self):
        """Return a dict: `mean_iou`, `pixel_accuracy`, `mean_accuracy` and `iou` (num_classes,)."""
        confusion = ops.cast(self.confusion, "float64" if _has_64_bits() else "float32")
        if self.carried is not None:
            confusion = confusion + ops.cast(self.carried, "float32") * _UNIT
        confusion = ops.where(self.unknown > 0, float("nan"), confusion)
        right = ops.diagonal(confusion)
        truth = ops.sum(confusion, axis=1)
        union = truth + ops.sum(confusion, axis=0) - right
        return {
            "mean_iou": _mean_of_present(right, union),
            "pixel_accuracy": ops.sum(right) / ops.maximum(ops.sum(truth), 1),
            "mean_accuracy": _mean_of_present(right, truth),
            "iou": ops.where(union > 0, right / ops.maximum(union, 1), float("nan")),
        }

    def confusion_matrix(self):
        """Return the counts as a NumPy array: rows truth, columns prediction."""
        counts = ops.convert_to_numpy(self.confusion).astype("int64")
        if self.carried is not None:
            counts += ops.convert_to_numpy(self.carried).astype("int64") * _UNIT
        return counts

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "ignore_label": self.ignore_label,
        }


def count_pixels(truth, prediction, num_classes, ignore_label=IGNORE_LABEL):
    """Count the pixels of an image in NumPy.

    Args:
        truth: (H, W) integers, classes and `ignore_label`.
        prediction: (H, W) integers, classes.
        num_classes: number of classes.
        ignore_label: label of pixels that do not count.

    Returns:
        int64 confusion matrix (num_classes, num_classes): rows truth, columns prediction.
    """
    valid = truth != ignore_label
    cell = truth[valid].astype("int64") * num_classes + prediction[valid]
    counts = np.bincount(cell, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes)


def scores(confusion):
    """Compute all scores from a confusion matrix (rows truth), in float64.

    Returns:
        Dictionary: `mean_iou`, `pixel_accuracy`, `mean_accuracy`, `frequency_weighted_iou`, each 0
        where no pixel counts, and `iou`, a list with NaN for classes that never occur. Means are
        added up class by class, as the Cityscapes scripts do.
    """
    right, truth = np.diag(confusion), confusion.sum(1)
    union = truth + confusion.sum(0) - right
    pixels = max(truth.sum(), 1)
    iou = [float(r / u) if u else float("nan") for r, u in zip(right, union, strict=True)]
    return {
        "mean_iou": mean_of_present(iou),
        "pixel_accuracy": float(right.sum() / pixels),
        "mean_accuracy": mean_of_present([r / t for r, t in zip(right, truth, strict=True) if t]),
        "frequency_weighted_iou": float(
            sum(t * i for t, i in zip(truth, iou, strict=True) if t) / pixels
        ),
        "iou": iou,
    }


def mean_of_present(values):
    """Mean of the numbers that are not NaN, 0 without one."""
    present = [value for value in values if value == value]
    return float(sum(present) / len(present)) if present else 0.0


def _has_64_bits():
    return keras.backend.backend() == "tensorflow"


def _mean_of_present(part, whole):
    present = ops.cast(whole > 0, part.dtype)
    return ops.sum(part / ops.maximum(whole, 1)) / ops.maximum(ops.sum(present), 1)
