"""Batch normalisation with PyTorch's conventions, over all replicas, as one fused operation.

Keras's layer computes the same in a dozen passes over memory, and keeps the biased variance of the
batch; the difference is a third where a bin of pyramid pooling has one value per image and the
batch four images.
"""

import keras
from keras import ops

from gff_keras.layers.replicas import has_replicas, sum_over_replicas


@keras.saving.register_keras_serializable(package="gff_keras")
class BatchNormalization(keras.layers.BatchNormalization):
    """`torch.nn.BatchNorm2d` for (B, H, W, C), synchronised over replicas.

    Momentum 0.1 in PyTorch's counting is 0.9 in Keras's, epsilon is 1e-5, and the running variance
    is the unbiased one. Computed in float32 under any dtype policy.
    """

    def __init__(self, momentum=0.9, epsilon=1e-5, **kwargs):
        super().__init__(momentum=momentum, epsilon=epsilon, **kwargs)

    def call(self, x, training=None, mask=None):
        if mask is not None:
            raise ValueError("BatchNormalization takes no mask; feature maps have none.")
        if not (training and self.trainable):
            return self._normalize(x, self.moving_mean, self.moving_variance)
        y, mean, variance = self._normalize_batch(x)
        for running, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(self.momentum * running + (1 - self.momentum) * batch)
        return y

    def _normalize(self, x, mean, variance):
        if _has_fused_op(x):
            return self._fused(x, mean, variance, is_training=False)[0]
        return self._scale_and_shift(x, mean, variance)

    def _normalize_batch(self, x):
        """Return the normalised `x`, its mean and its unbiased variance, (C,) over all replicas."""
        # A map of 1x1 may have one value per channel, whose variance the fused op divides by zero.
        if _has_fused_op(x) and not has_replicas() and tuple(x.shape[1:3]) != (1, 1):
            return self._fused(x, is_training=True)
        x32 = ops.cast(x, "float32")
        batch, height, width, _ = ops.shape(x)
        count = sum_over_replicas(ops.cast(batch * height * width, "float32"))
        mean = sum_over_replicas(ops.sum(x32, (0, 1, 2))) / count
        squares = sum_over_replicas(ops.sum(ops.square(x32 - mean), (0, 1, 2)))
        y = self._scale_and_shift(x, mean, squares / count)
        return y, mean, squares / ops.maximum(count - 1, 1)

    def _scale_and_shift(self, x, mean, variance):
        scale = self.gamma * ops.rsqrt(variance + self.epsilon)
        return ops.cast((ops.cast(x, "float32") - mean) * scale + self.beta, x.dtype)

    def _fused(self, x, mean=None, variance=None, *, is_training):
        import tensorflow as tf

        return tf.compat.v1.nn.fused_batch_norm(
            x, self.gamma, self.beta, mean, variance, self.epsilon, is_training=is_training
        )


def _has_fused_op(x):
    return keras.backend.backend() == "tensorflow" and x.dtype != "float64"
