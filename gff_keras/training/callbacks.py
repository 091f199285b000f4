"""Callbacks for `model.fit`, the command line's own."""

from gff_keras.training.safeguards import LogLearningRate, NonFiniteLoss, StopAtNonFiniteLoss

__all__ = ["LogLearningRate", "NonFiniteLoss", "StopAtNonFiniteLoss"]
