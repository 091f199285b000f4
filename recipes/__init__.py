"""Experiments, one file each: `gff-keras train NAME` or `python recipes/NAME.py`."""
