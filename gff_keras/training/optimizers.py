"""Stochastic gradient descent as PyTorch, and so the paper, defines it."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gff_keras")
class SGD(keras.optimizers.Optimizer):
    """SGD with momentum and L2 regularisation coupled to the gradient.

        v <- momentum * v + (gradient + weight_decay * w);    w <- w - learning_rate * v

    Keras's own SGD keeps the learning rate inside the velocity and decouples weight decay: under a
    changing learning rate, another trajectory.

    Args:
        learning_rate: number or `LearningRateSchedule`.
        momentum: decay of the velocity.
        weight_decay: L2 coefficient, applied to every trainable weight as in the paper.
    """

    def __init__(self, learning_rate=1e-3, momentum=0.9, weight_decay=1e-4, name="SGD", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = momentum
        self.l2 = weight_decay  # not `weight_decay`: with that name Keras would decay a second time

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient, variable, learning_rate):
        velocity = self.velocities[self._get_variable_index(variable)]
        gradient = ops.cast(gradient, variable.dtype) + self.l2 * variable
        v = self.momentum * velocity + gradient
        self.assign(velocity, v)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * v)

    def get_config(self):
        config = super().get_config()
        config.update(momentum=self.momentum, weight_decay=self.l2)
        return config
