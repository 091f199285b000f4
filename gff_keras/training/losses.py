"""Cross-entropy over the labelled pixels."""

import keras
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

    A label that is neither a class nor `ignore_label` stops with its value on TensorFlow; under XLA
    and on other backends the loss is NaN and the gradient 0.

    Args:
        ignore_label: label of pixels that do not count.
        class_weights: weight of every class in the mean, one number each; all 1 if None.
    """

    def __init__(
        self,
        ignore_label=IGNORE_LABEL,
        class_weights=None,
        name="segmentation_cross_entropy",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.ignore_label = ignore_label
        self.class_weights = None if class_weights is None else [float(w) for w in class_weights]

    def __call__(self, y_true, y_pred, sample_weight=None):
        # Not Loss.call: the mean runs over labelled pixels, not over all elements.
        logits = ops.cast(y_pred, "float32")
        labels = ops.cast(y_true, "int32")
        if len(labels.shape) == len(logits.shape):
            labels = ops.squeeze(labels, -1)
        num_classes = logits.shape[-1]
        known = all_known(labels, num_classes, self.ignore_label)
        valid = ops.not_equal(labels, self.ignore_label)
        weights = ops.cast(valid, "float32")
        # Indices that exist; their weight is zero, or else the loss is NaN.
        labels = ops.where(valid, ops.clip(labels, 0, num_classes - 1), 0)
        losses = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        if self.class_weights is not None:
            weights = weights * ops.take(ops.array(self.class_weights, "float32"), labels)
        if sample_weight is not None:
            sample_weight = ops.cast(sample_weight, "float32")
            if len(sample_weight.shape) == 1:  # one weight per image, as Keras's fit gives it
                sample_weight = sample_weight[:, None, None]
            weights = weights * sample_weight
        loss = ops.sum(losses * weights) / ops.maximum(sum_over_replicas(ops.sum(weights)), 1e-7)
        return ops.where(known, loss, float("nan"))

    def get_config(self):
        return {
            **super().get_config(),
            "ignore_label": self.ignore_label,
            "class_weights": self.class_weights,
        }
