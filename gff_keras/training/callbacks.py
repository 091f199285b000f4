"""Callbacks for `model.fit`, the command line's own."""

from gff_keras.training.averaging import ValidateAverage
from gff_keras.training.progress import Progress
from gff_keras.training.safeguards import NonFiniteLoss, StopAtNonFiniteLoss
from gff_keras.training.tensorboard import TensorBoard

__all__ = ["NonFiniteLoss", "Progress", "StopAtNonFiniteLoss", "TensorBoard", "ValidateAverage"]
