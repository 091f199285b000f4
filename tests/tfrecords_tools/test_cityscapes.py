"""Cityscapes, in a tree and in archives as their owners lay them out, with random masks."""

import shutil
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.tfrecords_tools.trees import (
    SHAPE,
    assert_same_masks,
    write_image,
    write_mask,
)
from tfrecords_tools import build

TRAIN_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
ARCHIVES = {
    "leftImg8bit_trainvaltest.zip": [f"leftImg8bit/{s}" for s in ("train", "val", "test")],
    "leftImg8bit_trainextra.zip": ["leftImg8bit/train_extra"],
    "gtFine_trainvaltest.zip": [f"gtFine/{s}" for s in ("train", "val", "test")],
    "gtCoarse.zip": [f"gtCoarse/{s}" for s in ("train", "val", "train_extra")],
}


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory):
    """`(folder, {(annotations, split, id): labelIds})` with two cities in each split."""
    source, rng, raw = tmp_path_factory.mktemp("cityscapes"), np.random.default_rng(0), {}
    for split in ("train", "val", "test", "train_extra"):
        for city in ("ulm", "bonn"):
            for number in range(2):
                key = f"{city}_{number:06d}_000019_{split}"
                write_image(source / f"leftImg8bit/{split}/{city}/{key}_leftImg8bit.png", rng)
                for kind, without in (("gtFine", "train_extra"), ("gtCoarse", "test")):
                    if split == without:
                        continue
                    mask = rng.integers(0, 34, SHAPE, np.uint8)
                    raw[kind, split, key] = mask
                    place = source / kind / split / city
                    write_mask(place / f"{key}_{kind}_labelIds.png", mask)
                    write_mask(place / f"{key}_{kind}_instanceIds.png", mask)
                    (place / f"{key}_{kind}_polygons.json").write_text("{}")
    return source, raw


@pytest.fixture(scope="module")
def zipped_cityscapes(cityscapes, tmp_path_factory):
    source, packed = cityscapes[0], tmp_path_factory.mktemp("zipped")
    for name, folders in ARCHIVES.items():
        with zipfile.ZipFile(packed / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("license.txt", "terms")
            for folder in folders:
                for path in sorted((source / folder).rglob("*.*")):
                    archive.write(path, path.relative_to(source))
    return packed


@pytest.mark.parametrize("annotations", ["fine", "coarse"])
def test_cityscapes(annotations, cityscapes, zipped_cityscapes, read_records, read_masks, tmp_path):
    source, raw = cityscapes
    out = build("cityscapes", source=source, annotations=annotations, out=tmp_path / "folders")
    splits = {"train", "val", "test" if annotations == "fine" else "train_extra"}
    assert set(tfds.builder_from_directory(out).info.splits) == splits
    kind = "gtFine" if annotations == "fine" else "gtCoarse"
    table = np.full(34, 255)
    table[TRAIN_IDS] = range(19)
    for split in splits:
        expected = {
            key: table[mask] for (k, s, key), mask in raw.items() if (k, s) == (kind, split)
        }
        if split == "test":
            expected = {key: np.full(SHAPE, 255) for key in expected}
        assert len(expected) == 4
        assert_same_masks(read_masks(out, split), expected)
        for key, (image, _) in read_records(out, split).items():
            city = key.split("_")[0]
            path = source / f"leftImg8bit/{split}/{city}/{key}_leftImg8bit.png"
            assert image == path.read_bytes()
    zipped = build(
        "cityscapes",
        source=zipped_cityscapes,
        annotations=annotations,
        out=tmp_path / "zip",
        workers=2,
    )
    for split in splits:
        assert read_records(zipped, split) == read_records(out, split)


def test_cityscapes_splits_by_name(cityscapes, read_records, tmp_path):
    source, _ = cityscapes
    out = build("cityscapes", source=source, splits=("trainval", "val"), out=tmp_path / "out")
    assert set(tfds.builder_from_directory(out).info.splits) == {"trainval", "val"}
    both, val = read_records(out, "trainval"), read_records(out, "val")
    assert len(both) == 8 and val.items() < both.items()
    with pytest.raises(ValueError, match="fine annotations have no split 'train_extra'; choose"):
        build("cityscapes", source=source, splits=("train_extra",), out=tmp_path / "no")
    shutil.copytree(source / "leftImg8bit/val", tmp_path / "part/leftImg8bit/val")
    shutil.copytree(source / "gtFine", tmp_path / "part/gtFine")  # as the archive of masks does
    with pytest.raises(FileNotFoundError, match="holds no images of trainval; add them"):
        build("cityscapes", source=tmp_path / "part", splits=("trainval",), out=tmp_path / "no")
    assert (
        len(read_records(build("cityscapes", source=tmp_path / "part", out=tmp_path / "v"), "val"))
        == 4
    )
    with pytest.raises(
        FileNotFoundError, match="neither leftImg8bit/ nor leftImg8bit_trainvaltest"
    ):
        build("cityscapes", source=tmp_path / "v", out=tmp_path / "no")


def test_equal_ids_in_two_cities_are_refused(cityscapes, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(cityscapes[0], source)
    images = source / "leftImg8bit/train"
    name = sorted(path.name for path in (images / "ulm").iterdir())[0]
    shutil.copy(images / "ulm" / name, images / "bonn" / name)
    with pytest.raises(ValueError, match=rf"bonn/{name} and .*ulm/{name} have the same id"):
        build("cityscapes", source=source, out=tmp_path / "out")


def test_damaged_archives_are_named(zipped_cityscapes, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(zipped_cityscapes, source)
    path = source / "gtFine_trainvaltest.zip"
    with zipfile.ZipFile(path) as archive:
        member = next(m for m in archive.infolist() if m.filename.endswith("_labelIds.png"))
    data = bytearray(path.read_bytes())
    middle = member.header_offset + 30 + len(member.filename) + member.compress_size // 2
    data[middle] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"gtFine_trainvaltest\.zip/{member.filename} is damaged"):
        build("cityscapes", source=source, out=tmp_path / "out")
    path.write_bytes(data[:1000])
    with pytest.raises(ValueError, match=r"gtFine_trainvaltest\.zip is no readable zip archive"):
        build("cityscapes", source=source, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_counts_are_compared_with_the_published_ones(cityscapes, tmp_path, capsys):
    build("cityscapes", source=cityscapes[0], splits=("train", "val"), out=tmp_path / "out")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert said == [
        f"warning: cityscapes: split {split} has 4 examples, its owners publish {size}; "
        "complete the files unless you mean a part"
        for split, size in (("train", 2975), ("val", 500))
    ]
