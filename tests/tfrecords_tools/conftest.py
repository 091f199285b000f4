"""What the tests of records share."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tfrecords_tools.damage import HEIGHT, WIDTH, jpeg
from tests.tfrecords_tools.pairs import read, write_labels, write_pair


@pytest.fixture(scope="session")
def read_records():
    """Function that reads a split without decoding: {id: (image bytes, mask bytes)}."""
    return read


@pytest.fixture(scope="session")
def read_masks():
    """Function that reads the masks of a split: {id: uint8 (H, W)}."""

    def read_masks(out, split="train"):
        found = read(out, split)
        return {key: np.asarray(Image.open(io.BytesIO(mask))) for key, (_, mask) in found.items()}

    return read_masks


@pytest.fixture
def source(tmp_path):
    """Three pairs and a label table."""
    rng = np.random.default_rng(0)
    for key in ("one", "two", "deep/er/three"):
        write_pair(tmp_path, key, rng)
    write_labels(tmp_path / "labels.json")
    return tmp_path


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Clean records of drawn scenes: 24 train, 6 val."""
    from tfrecords_tools import build

    out = tmp_path_factory.mktemp("scenes") / "scenes"
    return build("street_scenes", out=out, train=24, val=6, height=HEIGHT, width=WIDTH)


@pytest.fixture
def copy(scenes, tmp_path):
    """A copy of them to damage."""
    return Path(shutil.copytree(scenes, tmp_path / "copy"))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Drawn scenes as files: 12 train, 5 val, and their label table."""
    from gff_keras.data.label_tables import STREET_SCENES
    from tfrecords_tools.images import encode_png
    from tfrecords_tools.scene_painter import paint_scene

    folder = tmp_path_factory.mktemp("files") / "drawn"
    for split, count, first in (("train", 12, 100), ("val", 5, 200)):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(count):
            image, mask = paint_scene(1, first + index, HEIGHT, WIDTH)
            (folder / split / f"images/{index:02}.jpg").write_bytes(jpeg(image))
            (folder / split / f"masks/{index:02}.png").write_bytes(encode_png(mask))
    STREET_SCENES.save(folder / "labels.json")
    return folder
