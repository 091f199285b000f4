"""Apache Beam writes the records that the sequential build writes. Skipped without apache-beam."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from gff_keras.data.labels import LabelSet
from tfrecords_tools import build

ROOT = Path(__file__).parents[2]


def command(out, *options):
    module = [sys.executable, "-m", "tfrecords_tools", "build", "street_scenes"]
    scenes = ["--train", "7", "--val", "3", "--height", "32", "--width", "48"]
    return [*module, "--out", str(out), *scenes, *options]


@pytest.mark.slow
def test_two_beam_workers_write_the_same_records(read_records, tmp_path):
    pytest.importorskip("apache_beam")
    one, two = tmp_path / "one", tmp_path / "two"
    build("street_scenes", out=one, train=7, val=3, height=32, width=48, workers=1)
    subprocess.run(command(two, "--beam_workers", "2"), cwd=ROOT, check=True)
    for split in ("train", "val"):
        assert read_records(two, split) == read_records(one, split)
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}


def test_an_error_of_a_beam_worker_is_one_sentence(tmp_path):
    pytest.importorskip("apache_beam")
    LabelSet("two", ("a", "b"), ((0, 0, 0), (1, 1, 1))).save(tmp_path / "labels.json")
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.new("L", (9, 8), 7).save(tmp_path / folder / "a.png")
    with pytest.raises(ValueError, match=r"^\S+masks/a\.png: values 7 are outside the label table"):
        build(
            "folder",
            images=tmp_path / "images",
            masks=tmp_path / "masks",
            labels=tmp_path / "labels.json",
            out=tmp_path / "out",
            beam_options="--runner=FnApiRunner",
        )
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("incomplete*"))


def test_without_apache_beam_the_remedy_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    with pytest.raises(ValueError, match="Beam needs apache-beam, which is not installed"):
        build("street_scenes", out=tmp_path / "out", beam_workers=2)
    with pytest.raises(ValueError, match="--beam_workers -1 cannot work"):
        build("street_scenes", out=tmp_path / "out", beam_workers=-1)
    with pytest.raises(ValueError, match="--workers means nothing to Beam"):
        build("street_scenes", out=tmp_path / "out", workers=2, beam_workers=2)
