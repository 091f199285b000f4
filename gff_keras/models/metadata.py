"""What a network carries about itself in its configuration."""

import json


def as_json(metadata):
    """Return a dictionary as a file will give it back: lists for tuples, text for other keys.

    Raises:
        ValueError: it is no dictionary, or JSON cannot hold it.
    """
    if not isinstance(metadata, dict):
        raise ValueError(f"metadata={metadata!r} is no dictionary; give one that JSON can hold.")
    try:
        return json.loads(json.dumps(metadata))
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata cannot be kept in a file as JSON: {error}.") from None
