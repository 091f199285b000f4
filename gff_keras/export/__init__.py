"""Files to serve and to ship: SavedModel for TF Serving, TFLite for devices."""

from gff_keras.export.saved_model import saved_model

__all__ = ["saved_model"]
