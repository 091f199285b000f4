"""Files to serve and to ship: SavedModel for TF Serving, TFLite for devices."""

from gff_keras.export.saved_model import saved_model
from gff_keras.export.tflite import tflite
from gff_keras.export.tflite_report import tflite_report

__all__ = ["saved_model", "tflite", "tflite_report"]
