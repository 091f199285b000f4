"""Files to serve and to ship: SavedModel for TF Serving, TFLite for devices."""
