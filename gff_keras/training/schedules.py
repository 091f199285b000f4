"""Learning-rate schedules."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gff_keras")
class PolynomialDecay(keras.optimizers.schedules.LearningRateSchedule):
    """The paper's "poly" policy, per iteration: `initial * (1 - step / total_steps) ** power`.

    With a warm-up the first `warmup_steps` steps take `(step + 1) / (warmup_steps + 1)` of that;
    the steps after them are as without it.

    Args:
        initial_learning_rate: rate of the first step (without warm-up).
        total_steps: steps after which the rate is zero (and stays there).
        power: 0.9 in the paper.
        warmup_steps: steps of the linear warm-up, fewer than `total_steps`.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(self, initial_learning_rate, total_steps, power=0.9, warmup_steps=0):
        if total_steps < 1:
            raise ValueError(f"total_steps={total_steps} must be at least 1.")
        for name, value in (("initial_learning_rate", initial_learning_rate), ("power", power)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}={value} must be finite and at least 0.")
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                f"warmup_steps={warmup_steps} must be at least 0 and less than the run's "
                f"{total_steps} steps."
            )
        self.initial_learning_rate = initial_learning_rate
        self.total_steps = total_steps
        self.power = power
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        warm = ops.minimum((step + 1) / (self.warmup_steps + 1), 1.0)
        left = 1 - ops.minimum(step / self.total_steps, 1.0)
        return self.initial_learning_rate * warm * left**self.power

    def get_config(self):
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "total_steps": self.total_steps,
            "power": self.power,
            "warmup_steps": self.warmup_steps,
        }
