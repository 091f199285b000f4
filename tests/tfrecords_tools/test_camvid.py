"""CamVid, in both layouts that are about."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from gff_keras.data.label_tables import CAMVID
from tests.tfrecords_tools.pairs import decode, random_image, read, write_pair
from tfrecords_tools import build
from tfrecords_tools.camvid import GROUPS


def test_camvid_in_segnets_layout(tmp_path):
    rng = np.random.default_rng(7)
    for split, suffix in (("train", ".png"), ("test", ".jpg")):
        image, mask, _ = write_pair(tmp_path, split, rng, range(12), suffix)
        for path, folder in ((image, split), (mask, f"{split}annot")):
            (tmp_path / folder).mkdir()
            path.rename(tmp_path / folder / f"x{path.suffix}")
    out = build("camvid", source=tmp_path, out=tmp_path / "out")
    assert set(tfds.builder_from_directory(out).info.splits) == {"train", "test"}
    for split, suffix in (("train", ".png"), ("test", ".jpg")):
        image, label = read(out, split)["x"]
        assert image == (tmp_path / split / f"x{suffix}").read_bytes()
        raw = decode((tmp_path / f"{split}annot/x.png").read_bytes())
        np.testing.assert_array_equal(decode(label), np.where(raw == 11, 255, raw))
    with pytest.raises(FileNotFoundError, match="none of the folders train, val, test"):
        build("camvid", source=tmp_path / "images", out=tmp_path / "no")


def test_camvid_as_cambridge_released_it(tmp_path, capsys):
    rng = np.random.default_rng(8)
    table = {(0, 0, 0): 255}
    for name, members in GROUPS.items():
        table |= {colour: CAMVID.classes.index(name) for colour in members.values()}
    assert len(table) == 32
    for folder in ("701_StillsRaw_full", "LabeledApproved_full"):
        (tmp_path / folder).mkdir()
    masks = {}
    for key in ("a", "b", "c"):
        random_image(rng).save(tmp_path / f"701_StillsRaw_full/{key}.png")
        masks[key] = np.array(list(table), np.uint8)[rng.integers(0, 32, (16, 24))]
        Image.fromarray(masks[key]).save(tmp_path / f"LabeledApproved_full/{key}_L.png")
    found = read(build("camvid", source=tmp_path, out=tmp_path / "all"))
    assert "all goes to train" in capsys.readouterr().err
    for key, (_, label) in found.items():
        expected = [table[tuple(colour)] for colour in masks[key].reshape(-1, 3).tolist()]
        assert decode(label).ravel().tolist() == expected
    (tmp_path / "train.txt").write_text("/CamVid/train/b.png /CamVid/trainannot/b.png\n\n")
    (tmp_path / "val.txt").write_text("a\n")
    out = build("camvid", source=tmp_path, out=tmp_path / "lists")
    assert list(read(out)) == ["b"] and list(read(out, "val")) == ["a"]
    assert "1 images are in no list" in capsys.readouterr().err
    (tmp_path / "val.txt").write_text("z\n")
    with pytest.raises(FileNotFoundError, match=r"val\.txt lists z, which has no pair"):
        build("camvid", source=tmp_path, out=tmp_path / "no")


@pytest.mark.skipif("GFF_DATA" not in os.environ, reason="GFF_DATA names no folder of real data")
def test_real_camvid(tmp_path):
    real = Path(os.environ["GFF_DATA"]) / "data" / "camvid"
    for folder in ("train", "trainannot", "val", "valannot"):
        (tmp_path / folder).mkdir()
        for path in sorted((real / folder).iterdir())[:6]:
            (tmp_path / folder / path.name).symlink_to(path)
    out = build("camvid", source=tmp_path, out=tmp_path / "out")
    for split in ("train", "val"):
        found = read(out, split)
        assert len(found) == 6
        for key, (image, label) in found.items():
            assert image == (real / split / f"{key}.jpg").read_bytes()
            raw = decode((real / f"{split}annot/{key}.png").read_bytes())
            np.testing.assert_array_equal(decode(label), np.where(raw == 11, 255, raw))
    assert json.loads((out / "metadata.json").read_text())["label_set"]["name"] == "camvid"
