"""Semantic segmentation with Gated Fully Fusion networks, for Keras 3."""

import gff_keras.keras_backend  # noqa: F401  first, since all others import Keras
from gff_keras import data, export, layers
from gff_keras.evaluation import metrics
from gff_keras.models import GFFNet
from gff_keras.sharing import load
from gff_keras.training import averaging, callbacks, freezing, losses, optimizers, schedules, xla
from gff_keras.training.weights import load_weights

__version__ = "0.1.0"
__all__ = [
    "GFFNet",
    "averaging",
    "callbacks",
    "data",
    "export",
    "freezing",
    "layers",
    "load",
    "load_weights",
    "losses",
    "metrics",
    "optimizers",
    "schedules",
    "xla",
]
