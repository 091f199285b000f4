"""Learning-rate schedules."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gff_keras")
class PolynomialDecay(keras.optimizers.schedules.LearningRateSchedule):
    """The paper's "poly" policy, per iteration: `initial * (1 - step / total_steps) ** power`.

    Args:
        initial_learning_rate: rate of the first step.
        total_steps: steps after which the rate is zero (and stays there).
        power: 0.9 in the paper.
    """

    def __init__(self, initial_learning_rate, total_steps, power=0.9):
        if total_steps < 1:
            raise ValueError(f"total_steps={total_steps} must be at least 1.")
        self.initial_learning_rate = initial_learning_rate
        self.total_steps = total_steps
        self.power = power

    def __call__(self, step):
        done = ops.cast(step, "float32") / self.total_steps
        return self.initial_learning_rate * (1 - ops.minimum(done, 1.0)) ** self.power

    def get_config(self):
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "total_steps": self.total_steps,
            "power": self.power,
        }
