"""Networks that travel: one file with label table and recipe inside, from a folder or a hub."""

from gff_keras.sharing.loading import load, load_model
from gff_keras.sharing.metadata import metadata
from gff_keras.sharing.source import beside, check_repository, locate

__all__ = ["beside", "check_repository", "load", "load_model", "locate", "metadata"]
