"""Cross-entropy over the labelled pixels, all of them or the hardest."""

import math

import keras
import numpy as np
from keras import ops

from gff_keras.data.label_check import all_known
from gff_keras.data.labels import IGNORE_LABEL
from gff_keras.layers.replicas import sum_over_replicas


@keras.saving.register_keras_serializable(package="gff_keras")
class SegmentationCrossEntropy(keras.losses.Loss):
    """Mean softmax cross-entropy (nats) over all pixels whose label is not `ignore_label`.

    Call with labels (B, H, W) or (B, H, W, 1), integers of any dtype, and logits (B, H, W, C); an
    optional `sample_weight`, (B,) or broadcastable to (B, H, W), weights each pixel. A batch with
    no labelled pixel has loss 0 and gradient 0. Under tf.distribute every replica divides by the
    pixels of all replicas, so that the sum of their gradients is the gradient of the global mean.

    Online hard example mining (`ohem`) takes the mean over hard pixels alone: those that give
    their true class a probability of `ohem` or less, and never fewer than the share
    `ohem_min_kept` of the labelled pixels of the batch (over all replicas), the hardest of them.
    Pixels as hard as the last one that is kept are kept, too. Weights and smoothing do not
    change which pixels are hard.

    A label that is neither a class nor `ignore_label` stops with its value on TensorFlow; under XLA
    and on other backends the loss is NaN and the gradient 0.

    Args:
        ignore_label: label of pixels that do not count.
        class_weights: weight in the mean of the pixels of every class, one number each; all 1 if
            None.
        label_smoothing: share of a pixel's truth, 0 to 1, that is spread over all classes alike.
        ohem: probability of the true class up to which a pixel is hard, for example 0.7; at 0 only
            `ohem_min_kept` decides. None: all pixels count.
        ohem_min_kept: smallest share of the labelled pixels that OHEM keeps.

    Raises:
        ValueError: an argument is out of its range, or the logits have not one channel for each
            class weight.
    """

    def __init__(
        self,
        ignore_label=IGNORE_LABEL,
        class_weights=None,
        label_smoothing=0.0,
        ohem=None,
        ohem_min_kept=1 / 16,
        name="segmentation_cross_entropy",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        _check_share(label_smoothing=label_smoothing, ohem=ohem or 0, ohem_min_kept=ohem_min_kept)
        self.ignore_label = ignore_label
        self.class_weights = None if class_weights is None else _checked_weights(class_weights)
        self.label_smoothing = label_smoothing
        self.ohem = ohem
        self.ohem_min_kept = ohem_min_kept

    def __call__(self, y_true, y_pred, sample_weight=None):
        # Not Loss.call: the mean runs over labelled pixels, not over all elements.
        logits = ops.cast(y_pred, "float32")
        labels = ops.cast(y_true, "int32")
        if len(labels.shape) == len(logits.shape):
            labels = ops.squeeze(labels, -1)
        num_classes = logits.shape[-1]
        known = all_known(labels, num_classes, self.ignore_label)
        valid = ops.not_equal(labels, self.ignore_label)
        # Indices that exist; their weight is zero, or else the loss is NaN.
        labels = ops.where(valid, ops.clip(labels, 0, num_classes - 1), 0)
        losses = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        counts = valid if self.ohem is None else self._hard(losses, valid)
        weights = ops.cast(counts, "float32")
        if self.class_weights is not None:
            weights = weights * _take(self.class_weights, labels, classes=num_classes)
        if sample_weight is not None:
            sample_weight = ops.cast(sample_weight, "float32")
            if len(sample_weight.shape) == 1:  # one weight per image, as Keras's fit gives it
                sample_weight = sample_weight[:, None, None]
            weights = weights * sample_weight
        if self.label_smoothing:
            every_class = ops.logsumexp(logits, axis=-1) - ops.mean(logits, axis=-1)
            losses = losses + self.label_smoothing * (every_class - losses)
        loss = ops.sum(losses * weights) / ops.maximum(sum_over_replicas(ops.sum(weights)), 1e-7)
        return ops.where(known, loss, float("nan"))

    def _hard(self, losses, valid):
        """Mask of the valid pixels that are hard enough."""
        # Non-negative floats are ordered as their bits are, read as integers.
        losses = ops.abs(ops.stop_gradient(losses))[..., None]  # `view` wants a size that is known
        hardness = ops.where(valid, ops.view(losses, "int32")[..., 0], -1)
        limit = np.float32(-math.log(self.ohem) if self.ohem else math.inf).view("int32")
        last_kept = _kth_largest(hardness, ops.round(self.ohem_min_kept * _count(valid)))
        return ops.logical_and(valid, hardness >= ops.minimum(last_kept, limit))

    def get_config(self):
        return {
            **super().get_config(),
            "ignore_label": self.ignore_label,
            "class_weights": self.class_weights,
            "label_smoothing": self.label_smoothing,
            "ohem": self.ohem,
            "ohem_min_kept": self.ohem_min_kept,
        }


def _take(class_weights, labels, classes):
    if len(class_weights) != classes:
        raise ValueError(
            f"class_weights has {len(class_weights)} numbers for {classes} classes; give one for "
            "each class."
        )
    return ops.take(ops.array(class_weights, "float32"), labels)


def _kth_largest(integers, k):
    """The k-th largest of int32 numbers >= 0 on all replicas, found bit by bit.

    No sorting, which is slow for millions of pixels, and replicas exchange counts alone.
    """
    found = ops.zeros((), "int32")
    for bit in reversed(range(31)):
        larger = found + 2**bit
        found = ops.where(_count(integers >= larger) >= k, larger, found)
    return found


def _count(mask):
    return sum_over_replicas(ops.cast(ops.sum(ops.cast(mask, "int32")), "float32"))


def _check_share(**arguments):
    for name, value in arguments.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value} is not between 0 and 1.")


def _checked_weights(class_weights):
    weights = [float(w) for w in class_weights]
    if not all(0 <= w < math.inf for w in weights) or not any(weights):
        raise ValueError(
            f"class_weights={tuple(weights)}: give one number for each class, none negative and "
            "not all of them 0."
        )
    return weights
