"""Semantic segmentation with Gated Fully Fusion networks, for Keras 3."""

import os
import sys

if os.environ.get("KERAS_BACKEND") not in (None, "", "tensorflow", "jax"):
    _sentence = f"KERAS_BACKEND={os.environ['KERAS_BACKEND']} must be tensorflow or jax."
    if os.path.basename(sys.argv[0]) not in ("gff-keras", "-m"):
        raise ImportError(_sentence)
    print(f"gff-keras: error: {_sentence}", file=sys.stderr)  # the command line: no traceback
    sys.exit(2)

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
