"""Data sets of tensorflow-datasets: found features, class names, values; no network."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from gff_keras.data.labels import LabelSet
from tfrecords_tools import build
from tfrecords_tools.__main__ import main

SHAPE = (11, 15)


def as_png(values):
    data = io.BytesIO()
    Image.fromarray(values).save(data, "PNG")
    return data.getvalue()


def write_tfds(data_dir, name, features, examples, version="1.0.0"):
    """Prepare a data set called `name` below data_dir, as tfds does; {split: [example]}."""
    values = dict(name=name, VERSION=tfds.core.Version(version))

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = values["VERSION"]
        pkg_dir_path = None

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {split: enumerate(listed) for split, listed in examples.items()}

        def _generate_examples(self):
            raise NotImplementedError

    Tiny.name = name
    Tiny(data_dir=str(data_dir)).download_and_prepare()


def random_examples(rng, count, values, mask="mask", **more):
    examples = []
    for index in range(count):
        image = rng.integers(0, 256, (*SHAPE, 3), np.uint8)
        raw = rng.choice(values, SHAPE).astype(np.uint8)
        named = {key: value.format(index) for key, value in more.items()}
        examples.append({"image": as_png(image), mask: as_png(raw), **named})
    return examples


def images(mask="mask", **more):
    return {
        "image": tfds.features.Image(shape=(None, None, 3)),
        mask: tfds.features.Image(shape=(None, None, 1)),
        **more,
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_masks_counted_from_one(workers, read_records, read_masks, tmp_path):
    rng = np.random.default_rng(0)
    examples = {"train": random_examples(rng, 9, range(5)), "test": random_examples(rng, 2, [0, 4])}
    write_tfds(tmp_path / "data", "tiny_streets", images(), examples)
    out = build(
        "tfds",
        dataset="tiny_streets",
        data_dir=tmp_path / "data",
        num_classes=4,
        first_value=1,
        out=tmp_path / "out",
        workers=workers,
    )
    for split, listed in examples.items():
        given = {e["image"]: np.array(Image.open(io.BytesIO(e["mask"]))) for e in listed}
        masks = read_masks(out, split)
        assert len(masks) == len(given)
        for key, (image, _) in read_records(out, split).items():
            expected = (given.pop(image).astype(int) - 1) % 256
            np.testing.assert_array_equal(masks[key], expected)
    labels = LabelSet.from_records(out)
    assert labels.name == "tiny_streets"
    assert labels.classes == ("class 0", "class 1", "class 2", "class 3")
    assert len(set(labels.palette)) == 4


def test_names_and_ids_from_the_features(read_masks, tmp_path):
    rng = np.random.default_rng(1)
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "depth": tfds.features.Image(shape=(None, None, 1)),
        "parts": tfds.features.LabeledImage(labels=["sky", "sea"], shape=(None, None, 1)),
        "file_name": tfds.features.Text(),
    }
    examples = random_examples(rng, 3, [0, 1], mask="parts", file_name="beach.{}.jpg")
    for example in examples:
        example["depth"] = example["parts"]
    write_tfds(tmp_path, "tiny_beach", features, {"train": examples})
    options = {"dataset": "tiny_beach", "data_dir": tmp_path}
    with pytest.raises(
        ValueError, match="tiny_beach has 2 features that may be its mask; name one"
    ):
        build("tfds", **options, out=tmp_path / "no")
    out = build("tfds", **options, mask="parts", out=tmp_path / "out")
    assert sorted(read_masks(out)) == ["beach.0", "beach.1", "beach.2"]
    for key, mask in read_masks(out).items():
        raw = Image.open(io.BytesIO(examples[int(key[-1])]["parts"]))
        np.testing.assert_array_equal(mask, np.asarray(raw))
    assert LabelSet.from_records(out).classes == ("sky", "sea")
    examples[2]["file_name"] = "beach.0.jpg"
    write_tfds(tmp_path / "twice", "tiny_beach", features, {"train": examples})
    with pytest.raises(ValueError, match=r"tiny_beach/1\.0\.0, split train, .* has the file_name"):
        build(
            "tfds", dataset="tiny_beach", data_dir=tmp_path / "twice", mask="parts", out=out / "no"
        )
    with pytest.raises(ValueError, match="does not tell the classes of 'depth'; give their --num_"):
        build("tfds", **options, mask="depth", out=tmp_path / "no")


def test_a_known_data_set_in_one_line(read_masks, tmp_path, capsys):
    rng = np.random.default_rng(2)
    features = images("segmentation_mask", file_name=tfds.features.Text())
    examples = random_examples(rng, 2, [1, 2, 3], "segmentation_mask", file_name="Sphynx_{}.jpg")
    version = tfds.builder_cls("oxford_iiit_pet").VERSION
    write_tfds(tmp_path, "oxford_iiit_pet", features, {"train": examples}, str(version))
    out, data = str(tmp_path / "out"), str(tmp_path)
    typed = ["build", "--tfds", "oxford_iiit_pet", "--data_dir", data, "--out", out]
    assert main(typed) == 0
    for key, mask in read_masks(out).items():
        raw = np.asarray(Image.open(io.BytesIO(examples[int(key[-1])]["segmentation_mask"])))
        np.testing.assert_array_equal(mask, np.array([0, 1, 0, 255])[raw])
    assert LabelSet.from_records(out).classes == ("background", "pet")
    examples[1]["segmentation_mask"] = as_png(np.full(SHAPE, 7, np.uint8))
    (tmp_path / "bad").mkdir()
    write_tfds(tmp_path / "bad", "oxford_iiit_pet", features, {"train": examples}, str(version))
    typed = ["build", "--out", out + "2", f"--data_dir={tmp_path}/bad", "--tfds=oxford_iiit_pet"]
    assert main(typed) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "error: oxford_iiit_pet/4.0.0, split train, example" in said
    assert "mask: values 7 are outside the label table" in said


def test_unknown_names_and_failed_downloads_are_one_sentence(tmp_path, monkeypatch, capsys):
    out = str(tmp_path / "out")
    assert main(["build", "--tfds", "no_such_data", "--out", out]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: tensorflow-datasets cannot open 'no_such_data'")
    assert said.count("\n") == 1

    def fail(*_, **__):
        raise ConnectionError("no route to host\nand more lines")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    typed = ["build", "--tfds", "oxford_iiit_pet", "--data_dir", str(tmp_path / "x"), "--out", out]
    assert main(typed) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: oxford_iiit_pet could not be downloaded and prepared (no route")
    assert not (tmp_path / "out").exists()


def test_a_mistyped_feature_is_one_sentence(tmp_path, capsys):
    examples = {"train": random_examples(np.random.default_rng(0), 2, range(3))}
    write_tfds(tmp_path / "data", "tiny_typo", images(), examples)
    typed = ["build", "--tfds", "tiny_typo", "--data_dir", str(tmp_path / "data")]
    typed += ["--num_classes", "3", "--out", str(tmp_path / "out")]
    for option in ("--mask", "--image"):
        assert main([*typed, option, "msak"]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said == "error: tiny_typo has no feature 'msak'; choose from image, mask"
