"""What the tests of records share."""

import pytest


@pytest.fixture(scope="session")
def read_records():
    """Function that reads a split without decoding: {id: (image bytes, mask bytes)}."""
    import tensorflow_datasets as tfds

    def read(out, split="train"):
        skip = {"image": tfds.decode.SkipDecoding(), "label": tfds.decode.SkipDecoding()}
        data = tfds.builder_from_directory(out).as_dataset(split=split, decoders=skip)
        return {e["id"].decode(): (e["image"], e["label"]) for e in tfds.as_numpy(data)}

    return read


@pytest.fixture(scope="session")
def read_masks(read_records):
    """Function that reads the masks of a split: {id: uint8 (H, W)}."""
    import io

    import numpy as np
    from PIL import Image

    def read(out, split="train"):
        found = read_records(out, split)
        return {key: np.asarray(Image.open(io.BytesIO(mask))) for key, (_, mask) in found.items()}

    return read
