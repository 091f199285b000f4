"""Stochastic gradient descent as PyTorch, and so the paper, defines it."""

import contextlib
import math

import keras
from keras import ops

from gff_keras.layers.replicas import sum_over_replicas


@keras.saving.register_keras_serializable(package="gff_keras")
class SGD(keras.optimizers.Optimizer):
    """SGD with momentum and L2 regularisation coupled to the gradient.

        v <- momentum * v + (gradient + weight_decay * w);    w <- w - learning_rate * v

    Keras's own SGD keeps the learning rate inside the velocity and decouples weight decay: under a
    changing learning rate, another trajectory.

    Keras's options for every optimizer follow as keywords. On several replicas they mean what they
    mean on one (Keras's own optimizers clip the gradient of each replica, and cannot accumulate
    there):

    - `global_clipnorm`, `clipnorm`, `clipvalue`: clip the gradient, of all replicas, before L2.
    - `gradient_accumulation_steps=k`: move the weights at every k-th step, by the mean of the k
      gradients. The learning rate is that of the step; `iterations` counts updates.
    - `use_ema=True, ema_momentum=m`: keep `average <- m * average + (1 - m) * w`, once per update;
      the first update starts it with w. See `gff_keras.training.averaging`.

    Args:
        learning_rate: number or `LearningRateSchedule`.
        momentum: decay of the velocity.
        weight_decay: L2 coefficient, applied to every trainable weight as in the paper.

    Raises:
        ValueError: `momentum` or `weight_decay` is out of its range, or `ema_overwrite_frequency`,
            which is not supported, is given.
    """

    def __init__(self, learning_rate=1e-3, momentum=0.9, weight_decay=1e-4, name="SGD", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        if self.ema_overwrite_frequency is not None:
            raise ValueError("ema_overwrite_frequency is not supported by this SGD; leave it out.")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum} must be at least 0 and less than 1.")
        if not 0 <= weight_decay < math.inf:
            raise ValueError(f"weight_decay={weight_decay} must be finite and at least 0.")
        self.momentum = momentum
        self.l2 = weight_decay  # not `weight_decay`: with that name Keras would decay a second time

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")

    def _backend_apply_gradients(self, gradients, variables):
        # Summed here, once: clipping needs the norm of the sum, and from here on all replicas
        # compute the same, so that nothing waits for another replica inside.
        gradients = sum_over_replicas(list(gradients))
        due = True
        if self.gradient_accumulation_steps:
            due = (self._iterations + 1) % self.gradient_accumulation_steps == 0
            gradients = self._accumulate(gradients, variables, due)
        learning_rate = self.learning_rate
        gradients = self._clip_gradients(gradients)
        for gradient, variable in zip(gradients, variables, strict=True):
            self.update_step(gradient, variable, learning_rate, due)
        if self.use_ema:
            self._update_averages(due)

    def update_step(self, gradient, variable, learning_rate, due=True):
        velocity = self.velocities[self._get_variable_index(variable)]
        with _after(gradient):
            gradient = ops.cast(gradient, variable.dtype) + self.l2 * variable
            v = self.momentum * velocity + gradient
            self.assign(velocity, _where(due, v, velocity))
            self.assign_sub(variable, _where(due, ops.cast(learning_rate, variable.dtype) * v, 0))

    def _accumulate(self, gradients, variables, due):
        """Return the mean of the gradients since the last update, of use where one is `due`."""
        means = []
        for gradient, variable in zip(gradients, variables, strict=True):
            accumulator = self._accumulated_gradients[self._get_variable_index(variable)]
            total = accumulator + ops.cast(gradient, accumulator.dtype)
            means.append(total / self.gradient_accumulation_steps)
            self.assign(accumulator, _where(due, 0, total))
        return means

    def _update_averages(self, due):
        momentum = _where(due, self.ema_momentum, 1.0)
        momentum = ops.where(self.iterations == 0, 0.0, momentum)
        for variable, average in zip(
            self._trainable_variables, self._model_variables_moving_average, strict=True
        ):
            m = ops.cast(momentum, variable.dtype)
            self.assign(average, m * average + (1 - m) * variable)

    def get_config(self):
        config = super().get_config()
        config.update(momentum=self.momentum, weight_decay=self.l2)
        return config


@keras.saving.register_keras_serializable(package="gff_keras")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Keras's loss scaling for float16, which skips a step where *any* replica overflows.

    Keras asks the first replica alone; an overflow on another would reach the weights of all.
    """

    def check_finite(self, gradients):
        overflow = ops.cast(ops.logical_not(super().check_finite(gradients)), "float32")
        return ops.equal(sum_over_replicas(overflow), 0)


def _after(gradient):
    """Context of what shall wait for `gradient`.

    TensorFlow computes as soon as it can: products of weights and velocities, which need no
    gradient, at the start of the step, to lie in memory until its end. XLA sees to that itself.
    """
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.control_dependencies([gradient])


def _where(condition, x, y):
    if condition is True:
        return x
    return ops.where(condition, x, ops.convert_to_tensor(y))  # JAX takes no variables here
