"""Label tables of the known data sets: names, colours, raw values, thin classes."""

from gff_keras.data.label_tables.street import CAMVID, CITYSCAPES, STREET_SCENES

TABLES = {table.name: table for table in (CAMVID, CITYSCAPES, STREET_SCENES)}

__all__ = ["CAMVID", "CITYSCAPES", "STREET_SCENES", "TABLES"]
