"""Semantic segmentation with Gated Fully Fusion networks, for Keras 3."""

from gff_keras import data, layers
from gff_keras.evaluation import metrics
from gff_keras.models import GFFNet
from gff_keras.training import averaging, freezing, losses, optimizers, schedules, xla

__version__ = "0.1.0"
__all__ = [
    "GFFNet",
    "averaging",
    "data",
    "freezing",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "schedules",
    "xla",
]
