"""Records: what goes in comes out, and what cannot go in says why."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from gff_keras.data.label_tables import STREET_SCENES
from gff_keras.data.labels import LabelSet
from tests.tfrecords_tools.pairs import (
    COLOURS,
    IMAGE,
    MASK,
    RAW,
    assert_nothing_written,
    build_folder,
    corrupt,
    decode,
    random_image,
    read,
    truncate,
    write_labels,
    write_pair,
)
from tfrecords_tools import build
from tfrecords_tools.folder import split_by_hash
from tfrecords_tools.pairs import Pair
from tfrecords_tools.scene_painter import paint_scene


def test_images_keep_their_bytes_and_masks_are_mapped(source):
    out = build_folder(source)
    found = read(out)
    assert sorted(found) == ["deep/er/three", "one", "two"]
    for key, (image, label) in found.items():
        assert image == (source / f"images/{key}.jpg").read_bytes()
        raw = decode((source / f"masks/{key}.png").read_bytes())
        assert decode(label).ravel().tolist() == [RAW[value] for value in raw.ravel().tolist()]
    assert LabelSet.from_records(out) == LabelSet.load(source / "labels.json")
    assert sorted(path.name for path in out.iterdir()) == [
        "dataset_info.json",
        "features.json",
        "folder-train.tfrecord-00000-of-00001",
        "metadata.json",
    ]
    decoded = next(iter(tfds.as_numpy(tfds.builder_from_directory(out).as_dataset(split="train"))))
    assert decoded["label"].dtype == np.uint8 and decoded["label"].shape == (16, 24, 1)
    assert decoded["image"].shape == (16, 24, 3)
    np.testing.assert_array_equal(
        decoded["label"][..., 0], decode(found[decoded["id"].decode()][1])
    )


def test_masks_of_training_indices_keep_their_bytes(tmp_path):
    rng = np.random.default_rng(1)
    write_pair(tmp_path, "a", rng, (0, 1, 2, 255))
    write_labels(tmp_path / "labels.json", None)
    found = read(build_folder(tmp_path))
    assert found["a"][1] == (tmp_path / "masks/a.png").read_bytes()


def test_every_kind_of_image_and_mask(tmp_path):
    rng = np.random.default_rng(2)
    write_labels(tmp_path / "labels.json", None)
    expected = {}
    for key in ("palette", "colour", "alpha", "one_bit", "two_bits", "sixteen_bits"):
        _, mask, raw = write_pair(tmp_path, key, rng, (0, 1), ".PNG")
        expected[key] = raw
        if key in ("palette", "two_bits"):
            indexed = Image.fromarray(raw, "P")
            indexed.putpalette([9, 9, 9, 9, 9, 9])  # both colours alike: only indices tell
            indexed.save(mask, bits=2 if key == "two_bits" else 8)
        if key in ("colour", "alpha"):
            coloured = Image.fromarray(np.array(COLOURS, np.uint8)[raw])
            coloured.convert("RGBA" if key == "alpha" else "RGB").save(mask)
        if key == "one_bit":
            Image.fromarray(raw.astype(bool)).save(mask)
        if key == "sixteen_bits":
            Image.fromarray(raw.astype(np.uint16)).save(mask)
    for mode in ("L", "P", "RGBA", "LA"):
        write_pair(tmp_path, f"image_{mode}", rng, (0, 1))
        (tmp_path / f"images/image_{mode}.jpg").unlink()
        random_image(rng, mode).save(tmp_path / f"images/image_{mode}.png")
    out = build_folder(tmp_path)
    data = tfds.as_numpy(tfds.builder_from_directory(out).as_dataset(split="train"))
    for example in data:
        key = example["id"].decode()
        if key in expected:
            np.testing.assert_array_equal(example["label"][..., 0], expected[key], err_msg=key)
        else:
            shown = Image.open(tmp_path / f"images/{key}.png").convert("RGB")
            np.testing.assert_array_equal(example["image"], np.asarray(shown), err_msg=key)


def test_mask_suffix_and_validation_folders(tmp_path):
    rng = np.random.default_rng(3)
    for part, keys in (("t", "ab"), ("v", "c")):
        for key in keys:
            image, mask, _ = write_pair(tmp_path / part, key, rng)
            mask.rename(image.with_name(f"{key}_mask.png"))  # beside its image
    write_labels(tmp_path / "labels.json")
    train, val = tmp_path / "t/images", tmp_path / "v/images"
    options = {"val_images": val, "val_masks": val, "mask_suffix": "_mask"}
    out = build_folder(tmp_path, images=train, masks=train, **options)
    assert sorted(read(out)) == ["a", "b"] and sorted(read(out, "val")) == ["c"]


def test_val_fraction_depends_on_the_id_alone():
    pairs = [Pair(f"id{index}", Path(), Path()) for index in range(2000)]
    splits = split_by_hash(pairs, 0.1)
    chosen = set(splits["val"])
    assert chosen | set(splits["train"]) == set(pairs) and not chosen & set(splits["train"])
    assert 150 < len(chosen) < 250
    half = split_by_hash(pairs[::2], 0.1)
    assert half["val"] == [pair for pair in pairs[::2] if pair in chosen]
    for fraction, val in ((1e-9, 1), (1 - 1e-9, 19)):  # few images: one at least on each side
        few = split_by_hash(pairs[:20], fraction)
        assert (len(few["val"]), len(few["train"])) == (val, 20 - val)
    with pytest.raises(ValueError, match="one image cannot be split"):
        split_by_hash(pairs[:1], 0.5)


RNG = np.random.default_rng(4)
BAD_INPUTS = {
    "value outside the table": (
        MASK,
        "values 7, 8 ",
        lambda p: Image.new("L", (24, 16), 7).save(p),
    ),
    "missing mask": (IMAGE, "has no mask", lambda p: (p.parents[1] / MASK).unlink()),
    "mask without image": (MASK, "has no image", lambda p: (p.parents[1] / IMAGE).unlink()),
    "size": (MASK, "16x24", lambda p: Image.new("L", (16, 24)).save(p)),
    "empty image": (IMAGE, "empty", lambda p: p.write_bytes(b"")),
    "empty mask": (MASK, "empty", lambda p: p.write_bytes(b"")),
    "truncated image": (IMAGE, "damaged or cut short", truncate),
    "truncated mask": (MASK, "damaged or cut short", truncate),
    "corrupt mask": (MASK, "damaged or cut short", corrupt),
    "text": (IMAGE, "not a JPEG image", lambda p: p.write_text("hello")),
    "gif": (IMAGE, "holds GIF data", lambda p: random_image(RNG, "P").save(p, "GIF")),
    "png as jpg": (IMAGE, "holds PNG data.*rename", lambda p: random_image(RNG).save(p, "PNG")),
    "cmyk": (IMAGE, "CMYK.*8-bit RGB", lambda p: random_image(RNG, "CMYK").save(p)),
    "unknown colour": (
        MASK,
        r"\(1, 2, 3\)",
        lambda p: Image.new("RGB", (24, 16), (1, 2, 3)).save(p),
    ),
    "grey and alpha": (MASK, "mode LA", lambda p: Image.new("LA", (24, 16)).save(p)),
    "same id": ("images/two.png", "same id 'two'", lambda p: random_image(RNG).save(p)),
    "no labels": ("labels.json", "cannot be read", lambda p: p.unlink()),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_names_the_file_and_leaves_nothing(case, source):
    name, message, spoil = BAD_INPUTS[case]
    kept = {p: p.read_bytes() for p in source.rglob("*") if p.is_file()}
    if case == "value outside the table":  # two wrong values among right ones
        raw = decode(kept[source / MASK]).copy()
        raw[0, :2] = 8, 7
        Image.fromarray(raw).save(source / MASK)
    else:
        spoil(source / name)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        build_folder(source)
    assert str(source / name) in str(caught.value)
    assert "\n" not in str(caught.value) and "Failed" not in str(caught.value)
    assert_nothing_written(source / "out")
    for path in source.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)
    assert len(read(build_folder(source))) == 3


def test_sixteen_bit_images_are_refused(source):
    (source / IMAGE).unlink()
    Image.fromarray(np.zeros((16, 24), np.uint16)).save(source / "images/two.png")
    with pytest.raises(ValueError, match=r"two\.png is not an 8-bit image.*save it as 8-bit"):
        build_folder(source)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"val_images": Path("x")}, "belong together"),
        ({"val_fraction": 1.5}, "1.5 is not a share"),
        ({"val_fraction": 0.1, "val_images": Path("x"), "val_masks": Path("y")}, "exclude"),
        ({"images": Path("nowhere")}, "nowhere is not a folder"),
        ({"mask_suffix": "_m"}, "has no mask"),
    ],
)
def test_bad_options(options, message, source):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build_folder(source, **options)
    assert_nothing_written(source / "out")


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_writes_the_same_bytes(workers, tmp_path):
    options = {"train": 21, "val": 3, "height": 32, "width": 48}
    build("street_scenes", out=tmp_path / "one", workers=1, **options)
    build("street_scenes", out=tmp_path / "many", workers=workers, **options)
    assert read(tmp_path / "one") == read(tmp_path / "many")
    assert list(read(tmp_path / "one")) == list(read(tmp_path / "many"))
    assert read(tmp_path / "one", "val") == read(tmp_path / "many", "val")


def test_an_error_in_a_worker_is_told_as_without_workers(source):
    truncate(source / MASK)
    said = []
    for workers in (1, 2):
        with pytest.raises(ValueError, match=r"two\.png is damaged") as caught:
            build_folder(source, workers=workers)
        said.append(str(caught.value))
        assert_nothing_written(source / "out")
    assert said[0] == said[1]


def test_shards_have_the_size_asked_for(tmp_path):
    options = {"train": 90, "val": 1, "height": 128, "width": 192}
    out = build("street_scenes", out=tmp_path / "out", shard_size_mb=1, **options)
    sizes = [path.stat().st_size for path in out.glob("*train.tfrecord*")]
    assert len(sizes) == -(-sum(sizes) // 2**20) > 2  # as few as can be
    assert 0.5 * 2**20 < min(sizes) and max(sizes) < 1.2 * 2**20
    assert len(read(out)) == 90
    with pytest.raises(ValueError, match="--shard_size_mb 0 is too small"):
        build("street_scenes", out=tmp_path / "no", shard_size_mb=0)
    with pytest.raises(ValueError, match="--workers 0 cannot work"):
        build("street_scenes", out=tmp_path / "no", workers=0)


def test_street_scenes_are_the_painted_ones(tmp_path):
    sizes = {"height": 40, "width": 64}
    first = build("street_scenes", out=tmp_path / "a", train=3, val=2, seed=9, **sizes)
    found = read(first)
    assert sorted(found) == ["train_000000", "train_000001", "train_000002"]
    for key, (image, label) in found.items():
        expected = paint_scene(9, int(key[-6:]), 40, 64)
        np.testing.assert_array_equal(decode(image), expected[0])
        np.testing.assert_array_equal(decode(label), expected[1])
    assert len(read(first, "val")) == 2
    assert LabelSet.from_records(first) == STREET_SCENES
    again = build("street_scenes", out=tmp_path / "b", train=3, val=2, seed=9, **sizes)
    assert read(again) == found and read(again, "val") == read(first, "val")
    for options, message in (({"train": 0, "val": 0}, "train=0"), ({"height": 8}, "height=8")):
        with pytest.raises(ValueError, match=message):
            build("street_scenes", out=tmp_path / "c", **options)
    assert_nothing_written(tmp_path / "c")


def test_arguments_of_build(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'x'; choose one of ade20k, camvid"):
        build("x", out=tmp_path / "out")
    with pytest.raises(ValueError, match="camvid needs a source"):
        build("camvid", out=tmp_path / "out")
    with pytest.raises(ValueError, match="takes no source"):
        build("street_scenes", source=tmp_path, out=tmp_path / "out")
