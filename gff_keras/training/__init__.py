"""Loss, optimiser, schedule and the training loop."""

from gff_keras.training.interruptions import Stopped
from gff_keras.training.recipe import Recipe
from gff_keras.training.trainer import train

__all__ = ["Recipe", "Stopped", "train"]
