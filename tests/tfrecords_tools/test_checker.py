"""The checker: clean data pass with the right numbers, each kind of damage is named where it is."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from gff_keras.data.label_tables import STREET_SCENES
from tests.tfrecords_tools.damage import (
    HEIGHT,
    SHARD,
    WIDTH,
    decode,
    flip,
    jpeg,
    offsets,
    places,
    read_examples,
    write_examples,
)
from tfrecords_tools import check
from tfrecords_tools.checker import _report_duplicates
from tfrecords_tools.examine import Finding
from tfrecords_tools.images import encode_png
from tfrecords_tools.report import Report
from tfrecords_tools.shards import read_shard


def test_numbers_of_clean_records(records):
    """Images of five sizes, a tenth of their pixels ignored: all counted again with NumPy."""
    report = check(records)
    assert not report.errors and not report.warnings
    sizes, ignored, total = Counter(), 0, 0
    pixels, images = np.zeros((2, 3), int), np.zeros((2, 3), int)
    largest = np.zeros(3)
    for s, split in enumerate(("train", "val")):
        for example in tfds.as_numpy(tfds.builder_from_directory(records).as_dataset(split)):
            mask = example["label"][..., 0]
            sizes[f"{mask.shape[1]}x{mask.shape[0]}"] += 1
            ignored, total = ignored + (mask == 255).sum(), total + mask.size
            counts = np.array([(mask == index).sum() for index in range(3)])
            pixels[s] += counts
            images[s] += counts > 0
            largest = np.maximum(largest, counts / mask.size)
    found = report.to_dict()
    assert found["sizes"] == dict(sizes)
    assert found["ignored"] == {"pixels": ignored, "share": pytest.approx(ignored / total)}
    assert found["splits"]["train"] == {"expected": 5, "read": 5, "intact": 5}
    assert found["splits"]["val"] == {"expected": 3, "read": 3, "intact": 3}
    for index, entry in enumerate(found["classes"]):
        assert entry["name"] == ("sky", "road", "car")[index]
        assert entry["pixels"] == pixels[:, index].sum()
        assert entry["share"] == pytest.approx(pixels[:, index].sum() / pixels.sum())
        assert list(entry["pixels_by_split"].values()) == pixels[:, index].tolist()
        assert list(entry["images_by_split"].values()) == images[:, index].tolist()
        assert report.largest[index].share == pytest.approx(largest[index])


def test_drawn_scenes_are_clean(scenes):
    report = check(scenes, workers=2)
    assert not report.errors
    assert {finding.kind for finding in report.warnings} <= {"absent class"}
    assert check(scenes, workers=1).to_dict() == report.to_dict()
    assert sum(split.pixels.sum() for split in report.splits.values()) == 30 * HEIGHT * WIDTH


def test_each_damage_to_an_example_is_located(copy):
    path = copy / SHARD.format("train")
    examples = list(read_examples(path))
    ids = [key.decode() for key, _, _ in examples]
    examples[1][1] = jpeg(decode(examples[1][1]))[:-300]
    wrong = decode(examples[3][2]).copy()
    wrong[5, 7:10] = 200
    examples[3][2] = encode_png(wrong)
    examples[4][2] = encode_png(decode(examples[4][2])[:-1])
    examples[6][1] = b""
    examples[7][2] = b""
    examples[8][2] = examples[8][2][:-40]
    examples[9][2] = encode_png(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    examples[11][2], examples[13][2] = examples[13][2], examples[11][2]
    examples[12][1], examples[12][2] = b"GIF89a", b"nothing"
    write_examples(path, examples)
    report = check(copy)
    said = {(f.kind, f.record): f.message for f in report.errors}
    assert all(f.id == ids[f.record] and f.file == path.name for f in report.errors)
    assert list(said) == [
        ("damaged image", 1),
        ("value outside the table", 3),
        ("size mismatch", 4),
        ("damaged image", 6),
        ("damaged mask", 7),
        ("damaged mask", 8),
        ("damaged mask", 9),
        ("damaged image", 12),
        ("damaged mask", 12),
    ]
    assert "cut short (image file is truncated" in said["damaged image", 1]
    assert said["value outside the table", 3] == (
        f"its mask holds 200 (3 of {HEIGHT * WIDTH} pixels), outside 0..11 and 255"
    )
    assert said["size mismatch", 4] == "its mask is 96x63, its image 96x64"
    assert said["damaged image", 6] == "its image is empty (0 bytes)"
    assert said["damaged image", 12] == "its image is no JPEG or PNG file"
    assert said["damaged mask", 9] == "its mask has mode RGB and 8 bits, not 8-bit grey"
    suspicious = [f for f in report.warnings if f.kind == "suspicious mask"]
    assert [f.record for f in suspicious] == [11, 13]
    assert suspicious[0].message.startswith(f"{ids[13]}'s mask fits its edges better")
    assert suspicious[1].message.startswith(f"{ids[11]}'s mask fits its edges better")
    train = report.splits["train"]
    assert (train.expected, train.read, train.intact) == (24, 24, 16)
    assert train.pixels[200] == 3


def test_damage_to_a_shard_is_located_and_the_rest_is_checked(copy):
    path = copy / SHARD.format("train")
    ids = [key.decode() for key, _, _ in read_examples(path)]
    begins = offsets(path)
    flip(path, begins[2] + 12 + 2000)  # within an image
    flip(path, begins[6] - 1)  # in the checksum that ends record 5
    flip(path, begins[9] + 2)  # in the length of record 9
    (copy / SHARD.format("val")).unlink()
    report = check(copy)
    assert places(report.errors) == [
        ("broken shard", path.name, 9, ""),
        ("corrupt record", path.name, 2, ids[2]),
        ("corrupt record", path.name, 5, ids[5]),
        ("missing shard", SHARD.format("val"), None, ""),
    ]
    broken = next(f for f in report.errors if f.kind == "broken shard")
    assert broken.message == ("its length field is damaged; records lost from here: 15")
    assert report.splits["train"].read == 7 and report.splits["val"].read == 0


@pytest.mark.parametrize("kept", [3, 40, -1])
def test_truncated_shards(kept, copy):
    """Cut in the header, in the data, in the last checksum."""
    path = copy / SHARD.format("val")
    begins = offsets(path)
    path.write_bytes(path.read_bytes()[: begins[4 if kept > 0 else 5] + kept])
    (error,) = check(copy).errors
    assert (error.kind, error.split, error.file, error.record) == (
        "broken shard",
        "val",
        path.name,
        4,
    )
    assert error.message == "the file ends within it; records lost from here: 2"


@pytest.mark.parametrize("kept", [0, 4])
def test_whole_records_that_are_missing(kept, copy):
    path = copy / SHARD.format("val")
    path.write_bytes(path.read_bytes()[: offsets(path)[kept]])
    (copy / SHARD.format("old")).write_bytes(b"")
    report = check(copy)
    assert places(report.errors) == [("wrong count", path.name, None, "")]
    assert f"holds {kept} records, but dataset_info.json says 6" in report.errors[0].message
    assert ("unknown shard", SHARD.format("old"), None, "") in places(report.warnings)


def test_shards_are_read_as_tensorflow_reads_them(tmp_path, rng):
    records = [rng.bytes(n) for n in (0, 1, 11, 70_000, 3)]
    with tf.io.TFRecordWriter(str(tmp_path / "shard")) as writer:
        for record in records:
            writer.write(record)
    assert list(read_shard(tmp_path / "shard")) == [(record, "") for record in records]
    (lost,) = read_shard(tmp_path / "nowhere")
    assert lost[0] is None and "cannot be read (No such file" in lost[1]


def test_duplicates(copy):
    train, val = copy / SHARD.format("train"), copy / SHARD.format("val")
    examples, others = list(read_examples(train)), list(read_examples(val))
    ids = [f"train/{e[0].decode()}" for e in examples], [f"val/{e[0].decode()}" for e in others]
    examples[2][1] = jpeg(decode(examples[8][1]))
    examples[8][1] = encode_png(decode(examples[2][1]))  # other bytes of the same pixels
    examples[4][1] = others[3][1] = examples[12][1]
    image = decode(examples[0][1]).copy()
    image[-1, -1, 2] ^= 1  # all but the same
    others[0][1] = encode_png(image)
    write_examples(train, examples)
    write_examples(val, others)
    report = check(copy)
    assert [(f.kind, f.message) for f in report.errors] == [
        (
            "duplicate across splits",
            f"the same image 3 times: {ids[0][4]}, {ids[0][12]}, {ids[1][3]}",
        )
    ]
    within = [f for f in report.warnings if f.kind == "duplicate within a split"]
    assert [(f.split, f.message) for f in within] == [
        ("train", f"the same image 2 times: {ids[0][2]}, {ids[0][8]}")
    ]


def test_splits_that_contain_each_other_share_images():
    def findings(*splits):
        report = Report("any", STREET_SCENES)
        _report_duplicates({b"x": [Finding(split=split, id="a") for split in splits]}, report)
        return [f.kind for f in report.errors], [f.kind for f in report.warnings]

    assert findings("trainval", "train") == findings("trainaug", "trainval", "train") == ([], [])
    assert findings("val") == ([], [])
    assert findings("trainval", "val", "val") == ([], ["duplicate within a split"])
    assert findings("train", "trainval", "val") == (["duplicate across splits"], [])
    assert findings("trainaug", "val") == (["duplicate across splits"], [])


def test_absent_classes_and_masks_without_labels(copy):
    train, val = copy / SHARD.format("train"), copy / SHARD.format("val")
    empty = encode_png(np.full((HEIGHT, WIDTH), 255, np.uint8))
    few = encode_png(np.tile(np.arange(4, dtype=np.uint8), (HEIGHT, WIDTH // 4)))
    write_examples(train, [(*e[:2], few) for e in read_examples(train)])
    others = [(*e[:2], few) for e in read_examples(val)]
    unlabelled = others[1][0].decode()
    others[1] = (*others[1][:2], empty)
    pole = np.full((HEIGHT, WIDTH), 7, np.uint8)
    pole[-1, -1] = 9  # a single pixel counts
    others[2] = (*others[2][:2], encode_png(pole))
    write_examples(val, others)
    report = check(copy)
    assert report.classes()[9]["images_by_split"] == {"train": 0, "val": 1}
    assert not report.errors
    said = [(f.kind, f.split, f.message) for f in report.warnings if "suspicious" not in f.kind]
    names = ", ".join(np.array(STREET_SCENES.classes)[[4, 5, 6, 8, 10]])
    assert said == [
        ("nothing labelled", "val", f"1 of 6 masks ignore every pixel: {unlabelled}"),
        ("absent class", "", f"6 of 12 classes occur nowhere: {names} and 1 more"),
        ("absent class", "train", "in other splits, but never in this one: pole, traffic sign"),
    ]
    assert report.ignored()["share"] == pytest.approx(1 / 30)


def test_masks_that_are_all_on_the_wrong_image(copy):
    path = copy / SHARD.format("train")
    examples = list(read_examples(path))
    masks = [mask for _, _, mask in examples]
    turned = zip(examples, masks[1:] + masks[:1], strict=True)
    write_examples(path, [(key, image, mask) for (key, image, _), mask in turned])
    said = [(f.kind, f.split) for f in check(copy).warnings if f.kind != "absent class"]
    assert ("suspicious split", "train") in said and ("suspicious split", "val") not in said
