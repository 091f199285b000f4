"""Data: label sets, augmentation and the way from TFRecords to batches."""

from gff_keras.data.augmentation import Augmentation, augment, resize_pair
from gff_keras.data.labels import IGNORE_LABEL, LabelSet
from gff_keras.data.pipeline import (
    evaluation_dataset,
    num_examples,
    open_records,
    training_dataset,
)

__all__ = [
    "IGNORE_LABEL",
    "Augmentation",
    "LabelSet",
    "augment",
    "evaluation_dataset",
    "num_examples",
    "open_records",
    "resize_pair",
    "training_dataset",
]
