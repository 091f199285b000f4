"""One HTML page about a trained network, which needs neither a network nor other files."""

from gff_keras.report.report import page

__all__ = ["page"]
