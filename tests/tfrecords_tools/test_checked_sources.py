"""The checker on sources: all that is wrong is told before anything is written."""

import shutil
from pathlib import Path

import pytest

from tests.tfrecords_tools.damage import HEIGHT, WIDTH, decode, folder_options, jpeg
from tfrecords_tools import build, check
from tfrecords_tools.images import encode_png
from tfrecords_tools.scene_painter import paint_scene


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
