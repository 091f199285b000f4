"""Data: label sets, augmentation and the way from TFRecords to batches."""

from gff_keras.data.augmentation import Augmentation, augment
from gff_keras.data.crops import CACHE_LIMIT
from gff_keras.data.labels import IGNORE_LABEL, LabelSet
from gff_keras.data.pipeline import evaluation_dataset, training_dataset
from gff_keras.data.reading import num_examples, open_records
from gff_keras.data.resampling import resize_pair
from gff_keras.data.skipping import SkippedRecords

__all__ = [
    "CACHE_LIMIT",
    "IGNORE_LABEL",
    "Augmentation",
    "LabelSet",
    "SkippedRecords",
    "augment",
    "evaluation_dataset",
    "num_examples",
    "open_records",
    "resize_pair",
    "training_dataset",
]
