"""What a network carries about itself in its configuration."""

import json

from gff_keras.data import LabelSet


def checked_metadata(metadata, num_classes):
    """Return a dictionary as a file will give it back: lists for tuples, text for other keys.

    Args:
        metadata: dictionary; under `labels` a label table (`LabelSet.to_dict()`), under `recipe` a
            dictionary, both optional.
        num_classes: of the network.

    Raises:
        ValueError: it is no dictionary, JSON cannot hold it, or the label table is none or has
            another number of classes.
    """
    metadata = as_json(metadata, "metadata")
    if metadata.get("labels") is not None:
        labels = LabelSet.from_dict(as_json(metadata["labels"], "metadata['labels']"))
        if labels.num_classes != num_classes:
            raise ValueError(
                f"metadata['labels'] names {labels.num_classes} classes, but the network predicts "
                f"{num_classes}; give the label table that it is trained with."
            )
    if metadata.get("recipe") is not None:
        as_json(metadata["recipe"], "metadata['recipe']")
    return metadata


def as_json(dictionary, name):
    """Return a copy of a dictionary as JSON keeps it.

    Args:
        dictionary: what shall be one.
        name: what messages call it.

    Raises:
        ValueError: it is no dictionary, or JSON cannot hold it.
    """
    if not isinstance(dictionary, dict):
        raise ValueError(f"{name}={dictionary!r} is no dictionary; give one that JSON can hold.")
    try:
        return json.loads(json.dumps(dictionary))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be kept in a file as JSON: {error}.") from None
