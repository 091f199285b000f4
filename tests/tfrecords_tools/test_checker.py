"""The checker: clean data pass with the right numbers, each kind of damage is named where it is."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from gff_keras.data.label_tables import STREET_SCENES
from tfrecords_tools import build, check
from tfrecords_tools.__main__ import main
from tfrecords_tools.checker import _report_duplicates
from tfrecords_tools.examine import Finding
from tfrecords_tools.fit import CELLS, compare_fits, sketch
from tfrecords_tools.images import encode_png
from tfrecords_tools.report import JSON_FILE, SHEET_FILE, Report
from tfrecords_tools.scene_painter import paint_scene
from tfrecords_tools.shards import read_shard

ROOT = Path(__file__).parents[2]
HEIGHT, WIDTH = 64, 96
SHARD = "street_scenes-{}.tfrecord-00000-of-00001"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Clean records of drawn scenes: 24 train, 6 val."""
    out = tmp_path_factory.mktemp("scenes") / "scenes"
    return build("street_scenes", out=out, train=24, val=6, height=HEIGHT, width=WIDTH)


@pytest.fixture
def copy(scenes, tmp_path):
    return Path(shutil.copytree(scenes, tmp_path / "copy"))


def places(findings):
    """What is said, as sets of (kind, file, record, id)."""
    return sorted((f.kind, f.file, f.record, f.id) for f in findings)


def decode(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def read_examples(path):
    """Id, image bytes and mask bytes of all records of an intact shard, by TensorFlow's reader."""
    for data in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        features = tf.train.Example.FromString(data).features.feature
        yield [features[name].bytes_list.value[0] for name in ("id", "image", "label")]


def write_examples(path, examples):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for values in examples:
            feature = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for name, value in zip(("id", "image", "label"), values, strict=True)
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


def offsets(path):
    """Where each record begins, and the file's end."""
    data, found = path.read_bytes(), [0]
    while found[-1] < len(data):
        found.append(found[-1] + 16 + int.from_bytes(data[found[-1] :][:8], "little"))
    return found


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(bytes(data))


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


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Drawn scenes as files: 12 train, 5 val, and their label table."""
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


def folder_options(folder):
    return {
        "images": folder / "train/images",
        "masks": folder / "train/masks",
        "val_images": folder / "val/images",
        "val_masks": folder / "val/masks",
        "labels": folder / "labels.json",
    }


def test_a_damaged_source_is_checked_to_the_end(drawn, tmp_path):
    folder = Path(shutil.copytree(drawn, tmp_path / "source"))
    images, masks = folder / "train/images", folder / "train/masks"
    (images / "01.jpg").write_bytes((images / "01.jpg").read_bytes()[:-200])
    wrong = decode((masks / "02.png").read_bytes()).copy()
    wrong[:3, :4] = 200
    (masks / "02.png").write_bytes(encode_png(wrong))
    (masks / "04.png").write_bytes(encode_png(wrong[4:, 10:]))
    (images / "05.jpg").write_bytes(b"")
    (masks / "06.png").write_bytes(b"")
    (masks / "07.png").unlink()
    (images / "09.jpg").unlink()
    (folder / "val/masks/03.png").unlink()
    first, second = (masks / f"{name}.png" for name in ("08", "11"))
    first.rename(folder / "spare")
    second.rename(first)
    (folder / "spare").rename(second)
    shutil.copy(images / "00.jpg", folder / "val/images/04.jpg")
    report = check("folder", **folder_options(folder))
    missing = [f.message for f in report.errors if f.kind == "missing file"]
    assert missing == [
        f"{images}/07.jpg has no mask; add {masks}/07.png or remove the image",
        f"{masks}/09.png has no image; add {images}/09.jpg (or .png) or remove the mask",
        f"{folder}/val/images/03.jpg has no mask; add {folder}/val/masks/03.png or "
        "remove the image",
    ]
    unusable = {f.id: f.message for f in report.errors if f.kind == "unusable source"}
    assert list(unusable) == ["01", "02", "04", "05", "06"]
    assert f"{images}/01.jpg is damaged or cut short" in unusable["01"]
    assert f"{masks}/02.png: values 200 are outside the label table" in unusable["02"]
    assert f"{masks}/04.png is 86x60 but {images}/04.jpg is 96x64" in unusable["04"]
    assert f"{images}/05.jpg is empty (0 bytes)" in unusable["05"]
    assert f"{masks}/06.png is empty (0 bytes)" in unusable["06"]
    (duplicate,) = (f for f in report.errors if f.kind == "duplicate across splits")
    assert duplicate.message == "the same image 2 times: train/00, val/04"
    assert len(report.errors) == 9
    suspicious = [(f.split, f.id) for f in report.warnings if f.kind == "suspicious mask"]
    assert suspicious[:2] == [("train", "08"), ("train", "11")]
    train, val = report.splits["train"], report.splits["val"]
    assert (train.expected, train.read, train.intact) == (10, 10, 5)
    assert (val.expected, val.read, val.intact) == (4, 4, 4)


def test_listed_files_that_are_missing_are_all_told(tmp_path):
    images, masks = tmp_path / "JPEGImages", tmp_path / "SegmentationClass"
    lists = tmp_path / "ImageSets/Segmentation"
    for folder in (images, masks, lists):
        folder.mkdir(parents=True)
    for index, key in enumerate("abcd"):
        image, mask = paint_scene(4, index, HEIGHT, WIDTH)
        (images / f"{key}.jpg").write_bytes(jpeg(image))
        (masks / f"{key}.png").write_bytes(encode_png(mask))
    (lists / "train.txt").write_text("a\nb\nc\nd\n")
    (masks / "b.png").unlink()
    (images / "d.jpg").unlink()
    report = check("voc", source=tmp_path)
    assert [f.kind for f in report.errors] == ["missing file"] * 2
    for error, path in zip(report.errors, (masks / "b.png", images / "d.jpg"), strict=True):
        assert error.message.startswith(f"{path} is missing, but {lists / 'train.txt'} lists it")
    assert report.splits["train"].read == 2
    assert [f.kind for f in report.warnings] == ["split size", "absent class"]
    with pytest.raises(FileNotFoundError, match=r"b\.png is missing"):
        build("voc", source=tmp_path, out=tmp_path / "out")


def test_source_and_records_give_the_same_numbers(drawn, tmp_path):
    source = check("folder", **folder_options(drawn)).to_dict()
    built = check(build("folder", out=tmp_path / "built", **folder_options(drawn))).to_dict()
    assert source.pop("checked") == "folder" and built.pop("checked") == str(tmp_path / "built")
    assert not source["errors"]
    for found in (source, built):
        for entry in found["classes"]:
            assert entry.pop("largest_in") or not entry["pixels"]  # ties depend on the order
    assert source == built


def sketched(pairs):
    """Sketches (N, bytes) of images and masks."""
    return np.stack([np.frombuffer(sketch(image, mask), np.uint8) for image, mask in pairs])


def test_exchanged_masks_on_photographs(gff_data):
    """One video of a second between images: the hardest case that there is."""
    folder = gff_data / "data" / "camvid"
    pairs = [
        (
            np.asarray(Image.open(path).convert("RGB")),
            np.asarray(Image.open(folder / "valannot" / f"{path.stem}.png")),
        )
        for path in sorted((folder / "val").glob("*.jpg"))
    ]
    sizes = [image.shape for image, _ in pairs]
    sketches = sketched(pairs)
    assert not compare_fits(sketches, sizes).suspicious().size
    rng, hits = np.random.default_rng(0), 0
    for _ in range(20):
        one, other = rng.choice(len(pairs), 2, replace=False)
        changed = sketches.copy()
        changed[one, CELLS:], changed[other, CELLS:] = (
            sketches[other, CELLS:],
            sketches[one, CELLS:],
        )
        found = set(compare_fits(changed, sizes).suspicious())
        assert found <= {one, other}
        hits += len(found)
    assert hits >= 34  # of 40


def test_brightness_and_contrast_change_nothing_about_the_fit(rng):
    image, mask = paint_scene(2, 5, HEIGHT, WIDTH)
    faint = (image // 4 + 60).astype(np.uint8)
    ranks = [np.frombuffer(sketch(i, mask), np.uint8).astype(float) for i in (image, faint)]
    np.testing.assert_array_equal(ranks[0][CELLS:], ranks[1][CELLS:])
    assert np.corrcoef(ranks[0][:CELLS], ranks[1][:CELLS])[0, 1] > 0.9
    other = sketch(image, rng.permutation(mask))
    assert other[:CELLS] == sketch(image, mask)[:CELLS] and other != sketch(image, mask)


def test_the_fit_is_what_it_says():
    """By how many standard deviations another mask fits better, derived once more."""
    scenes = [paint_scene(5, index, HEIGHT, WIDTH) for index in range(9)]
    masks = [mask for _, mask in scenes]
    masks[3], masks[4] = masks[4], masks[3]
    rows = sketched([(image, mask) for (image, _), mask in zip(scenes, masks, strict=True)])
    edges = rows[:, :CELLS].astype(float)
    bounds = np.unpackbits(rows[:, CELLS:], axis=1).astype(float)
    edges -= edges.mean(0)
    bounds -= bounds.mean(1, keepdims=True)
    scores = edges @ (bounds / np.sqrt((bounds**2).sum(1, keepdims=True))).T
    own, spread = scores.diagonal(), scores.std(1)
    fits = compare_fits(rows, [0] * 9)
    assert fits.own == pytest.approx((own - scores.mean(1)) / spread, abs=1e-4)
    assert fits.excess == pytest.approx((scores.max(1) - own) / spread, abs=1e-4)
    assert fits.rival.tolist() == scores.argmax(1).tolist() == [0, 1, 2, 4, 3, 5, 6, 7, 8]
    assert fits.typical == np.median(fits.own) > 1
    assert fits.suspicious().tolist() == [3, 4]


def test_masks_of_other_sizes_are_no_rivals():
    scenes = [paint_scene(3, index, HEIGHT, WIDTH) for index in range(8)]
    masks = [mask for _, mask in scenes]
    masks[2], masks[6] = masks[6], masks[2]
    rows = sketched([(image, mask) for (image, _), mask in zip(scenes, masks, strict=True)])
    assert compare_fits(rows, [(WIDTH, HEIGHT)] * 8).suspicious().tolist() == [2, 6]
    assert not compare_fits(rows, list(range(8))).suspicious().size
    assert compare_fits(rows[:4], [0] * 4) is None  # too few to tell


def test_flat_images_and_masks_are_not_judged():
    pairs = [paint_scene(6, index, HEIGHT, WIDTH) for index in range(9)]
    pairs[2] = pairs[2][0], np.full((HEIGHT, WIDTH), 3, np.uint8)
    pairs[7] = np.full((HEIGHT, WIDTH, 3), 90, np.uint8), pairs[7][1]
    fits = compare_fits(sketched(pairs), [0] * 9)
    assert np.flatnonzero(np.isnan(fits.own)).tolist() == [2, 7] and fits.typical > 1
    assert not fits.suspicious().size


def test_masks_that_are_all_on_the_wrong_image(copy):
    path = copy / SHARD.format("train")
    examples = list(read_examples(path))
    masks = [mask for _, _, mask in examples]
    turned = zip(examples, masks[1:] + masks[:1], strict=True)
    write_examples(path, [(key, image, mask) for (key, image, _), mask in turned])
    said = [(f.kind, f.split) for f in check(copy).warnings if f.kind != "absent class"]
    assert ("suspicious split", "train") in said and ("suspicious split", "val") not in said


def test_json_and_picture(scenes, tmp_path):
    report = check(scenes)
    (tmp_path / "out").mkdir()
    report.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / JSON_FILE).read_text()) == report.to_dict()
    sheet = np.asarray(Image.open(tmp_path / "out" / SHEET_FILE))
    for index, view in report.largest.items():
        colour = np.array(STREET_SCENES.palette[index])
        frame = (sheet == colour).all(-1).sum()
        assert frame >= 2 * 4 * (view.mask.shape[0] + view.mask.shape[1])
    text = str(report)
    assert text.startswith(f"{scenes}: 30 examples (train 24, val 6)\nsizes     96x64: 30\n")
    for entry in report.classes():
        line = next(line for line in text.splitlines() if f" {entry['name']} " in line)
        counts = [f"{entry['images_by_split'][split]}" for split in ("train", "val")]
        assert line.split()[-3:] == [f"{entry['share']:.3%}", *counts]


def test_check_as_typed(copy, capsys):
    typed = [sys.executable, "-m", "tfrecords_tools", "check", "copy"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    clean = subprocess.run(typed, cwd=copy.parent, env=env, capture_output=True, text=True)
    assert clean.returncode == 0, clean.stderr
    assert clean.stdout.splitlines()[-1] == f"Report written to {copy}-check"
    assert "Checking: 100%" in clean.stderr and "Traceback" not in clean.stderr
    assert sorted(p.name for p in Path(f"{copy}-check").iterdir()) == [JSON_FILE, SHEET_FILE]
    path = copy / SHARD.format("train")
    flip(path, offsets(path)[1] + 400)
    assert main(["check", str(copy), "--out", str(copy.parent / "new"), "--workers", "2"]) == 1
    said = capsys.readouterr().out
    assert "\n1 error\n  corrupt record (1)\n" in said
    assert f"    {path.name}, record 1, " in said
    (error,) = json.loads((copy.parent / "new" / JSON_FILE).read_text())["errors"]
    assert error["record"] == 1 and error["file"] == path.name


def test_wrong_usage_is_status_2(tmp_path, scenes, drawn, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["check", "nowhere"]) == 2
    assert "nowhere holds no records (no dataset_info.json)" in capsys.readouterr().err
    assert main(["check", "camvid", "--source", "nowhere"]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
    (tmp_path / "taken").write_text("")
    assert main(["check", str(scenes), "--out", "taken"]) == 2
    with pytest.raises(SystemExit) as caught:
        main(["check", "folder", "--images", "x"])
    assert caught.value.code == 2
    options = [f"--{key}={value}" for key, value in folder_options(drawn).items()]
    assert main(["check", "folder", *options]) == 0  # warnings alone
    assert (tmp_path / "folder-check" / JSON_FILE).is_file()
    assert main(["check", str(scenes), "--workers", "0"]) == 2
    assert "--workers 0 cannot work" in capsys.readouterr().err
    with pytest.raises(ValueError, match="scenes takes no source; leave it out"):
        check(scenes, source="x")


def test_help_does_not_wait_for_tensorflow():
    code = (
        "import sys\nfrom tfrecords_tools.__main__ import main\n"
        "try:\n    main(['check', '--help'])\nexcept SystemExit:\n"
        "    assert not {'tensorflow', 'gff_keras'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
