"""Label tables of the known data sets: names, colours, raw values, thin classes."""

from gff_keras.data.label_tables.ade20k import ADE20K
from gff_keras.data.label_tables.coco_stuff import COCO_STUFF, COCO_STUFF_10K
from gff_keras.data.label_tables.pascal import (
    PASCAL_CONTEXT,
    PASCAL_CONTEXT_CATEGORIES,
    VOC,
    pascal_context,
)
from gff_keras.data.label_tables.pets import OXFORD_PETS
from gff_keras.data.label_tables.street import CAMVID, CITYSCAPES, STREET_SCENES

TABLES = {
    table.name: table
    for table in (
        ADE20K,
        CAMVID,
        CITYSCAPES,
        COCO_STUFF,
        OXFORD_PETS,
        PASCAL_CONTEXT,
        STREET_SCENES,
        VOC,
    )
}

__all__ = [
    "ADE20K",
    "CAMVID",
    "CITYSCAPES",
    "COCO_STUFF",
    "COCO_STUFF_10K",
    "OXFORD_PETS",
    "PASCAL_CONTEXT",
    "PASCAL_CONTEXT_CATEGORIES",
    "STREET_SCENES",
    "TABLES",
    "VOC",
    "pascal_context",
]
