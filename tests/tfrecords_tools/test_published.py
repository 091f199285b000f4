"""The published data sets, in trees as their owners lay them out, with random masks."""

import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from scipy.io import savemat

from gff_keras.data.label_tables import PASCAL_CONTEXT_CATEGORIES, VOC
from gff_keras.data.labels import LabelSet
from tests.tfrecords_tools.trees import (
    SHAPE,
    assert_same_masks,
    write_image,
    write_list,
    write_mask,
)
from tfrecords_tools import build


def test_ade20k(read_records, read_masks, tmp_path):
    source, rng, raw = tmp_path / "ADEChallengeData2016", np.random.default_rng(1), {}
    for folder, mode in (("training", "RGB"), ("training", "L"), ("validation", "CMYK")):
        key = f"ADE_{mode}_00000001"
        write_image(source / f"images/{folder}/{key}.jpg", rng, mode)
        raw[key] = rng.integers(0, 151, SHAPE, np.uint8)
        write_mask(source / f"annotations/{folder}/{key}.png", raw[key])
    out = build("ade20k", source=source, out=tmp_path / "out")
    expected = {key: (mask.astype(int) - 1) % 256 for key, mask in raw.items()}
    found = read_masks(out, "train") | read_masks(out, "val")
    assert_same_masks(found, expected)
    same = read_records(out)["ADE_RGB_00000001"][0]
    assert same == (source / "images/training/ADE_RGB_00000001.jpg").read_bytes()
    for split, folder, key in (
        ("train", "training", "ADE_L_00000001"),
        ("val", "validation", "ADE_CMYK_00000001"),
    ):
        assert read_records(out, split)[key][0].startswith(b"\x89PNG")
        data = tfds.as_numpy(tfds.builder_from_directory(out).as_dataset(split=split))
        image = next(e["image"] for e in data if e["id"] == key.encode())
        shown = Image.open(source / f"images/{folder}/{key}.jpg").convert("RGB")
        np.testing.assert_array_equal(image, np.asarray(shown))
    Image.fromarray(np.full(SHAPE, 151, np.uint8)).save(
        source / "annotations/training/ADE_L_00000001.png"
    )
    with pytest.raises(ValueError, match=r"ADE_L_00000001\.png: values 151 are outside"):
        build("ade20k", source=source, out=tmp_path / "no")
    with pytest.raises(FileNotFoundError, match="neither training/ nor validation/"):
        build("ade20k", source=tmp_path, out=tmp_path / "no")


def test_coco_stuff_mat_files_and_pngs_agree(read_masks, tmp_path):
    rng = np.random.default_rng(2)
    unused = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
    values = sorted(set(range(182)) - unused)
    assert len(values) == 171
    small, large, expected = tmp_path / "10k", tmp_path / "164k", {"train": {}, "other": {}}
    for index, (split, key) in enumerate((("train", "a"), ("train", "b"), ("other", "c"))):
        classes = rng.permuted(np.arange(SHAPE[0] * SHAPE[1]) % 172).reshape(SHAPE)
        raw = np.array([*values, 255], np.uint8)[classes]
        expected[split][key] = np.where(classes == 171, 255, classes)
        year = "train2017" if split == "train" else "val2017"
        write_image(large / f"images/{year}/{key}.jpg", rng, "L" if index else "RGB")
        write_mask(large / f"annotations/{year}/{key}.png", raw)
        write_image(small / f"images/{key}.jpg", rng)
        write_mask(small / f"annotations/{key}.mat", np.where(raw == 255, 0, raw + 1).astype("u1"))
    write_list(small / "imageLists/train.txt", "ab")
    write_list(small / "imageLists/test.txt", "c")
    for source, other in ((small, "test"), (large, "val")):
        out = build("coco_stuff", source=source, out=tmp_path / f"out_{other}")
        assert_same_masks(read_masks(out), expected["train"])
        assert_same_masks(read_masks(out, other), expected["other"])
        assert LabelSet.from_records(out).num_classes == 171
    write_mask(large / "annotations/train2017/a.png", np.full(SHAPE, 11, np.uint8))
    with pytest.raises(ValueError, match=r"a\.png: values 11 are outside the label table"):
        build("coco_stuff", source=large, out=tmp_path / "no")
    whole = (small / "annotations/b.mat").read_bytes()
    for damaged in (b"MATLAB 5.0 MAT-file and no more", whole[:-30], whole[:200], b"\x89PNG" * 99):
        (small / "annotations/b.mat").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"b\.mat (is no readable MATLAB|has no matrix)"):
            build("coco_stuff", source=small, out=tmp_path / "no")
    savemat(small / "annotations/b.mat", {"T": np.zeros(SHAPE)})
    with pytest.raises(ValueError, match=r"b\.mat has no matrix 'S'"):
        build("coco_stuff", source=small, out=tmp_path / "no")


@pytest.fixture(scope="module")
def pascal_context(tmp_path_factory):
    """`(VOC2010, {id: PNG values})`; trainval/ holds the same masks in the 459 categories."""
    source, rng, raw = tmp_path_factory.mktemp("VOC2010"), np.random.default_rng(3), {}
    categories = np.array(list(PASCAL_CONTEXT_CATEGORIES))
    others = np.setdiff1d(np.arange(460), categories)
    for key in ("2008_000002", "2008_000003", "2008_000004"):
        write_image(source / f"JPEGImages/{key}.jpg", rng)
        raw[key] = rng.permuted(np.arange(SHAPE[0] * SHAPE[1]) % 60).reshape(SHAPE).astype("u1")
        write_mask(source / f"SegmentationClassContext/{key}.png", raw[key])
        mat = np.where(raw[key], categories[raw[key].astype(int) - 1], rng.choice(others, SHAPE))
        write_mask(source / f"trainval/{key}.mat", mat.astype(np.uint16))
    write_image(source / "JPEGImages/2007_000001.jpg", rng)  # of VOC, in no list
    write_list(source / "ImageSets/SegmentationContext/train.txt", list(raw)[:2])
    write_list(source / "ImageSets/SegmentationContext/val.txt", list(raw)[2:])
    return source, raw


@pytest.mark.parametrize("background", ["ignore", "class"])
@pytest.mark.parametrize("masks", ["SegmentationClassContext", "trainval"])
def test_pascal_context(masks, background, pascal_context, read_masks, tmp_path):
    source, raw = pascal_context
    options = {"masks": source / masks, "background": background}
    out = build("pascal_context", source=source, out=tmp_path / "out", **options)
    shift = 1 if background == "ignore" else 0
    expected = {key: (mask.astype(int) - shift) % 256 for key, mask in raw.items()}
    assert len(read_masks(out, "train")) == 2
    assert_same_masks(read_masks(out, "train") | read_masks(out, "val"), expected)
    labels = LabelSet.from_records(out)
    assert labels.num_classes == 60 - shift
    assert labels.classes[1 - shift] == "aeroplane" and labels.classes[-1] == "wood"


def test_pascal_contexts_own_list_of_categories_is_compared(pascal_context, tmp_path):
    source = tmp_path / "VOC2010"
    shutil.copytree(pascal_context[0], source)
    shutil.rmtree(source / "SegmentationClassContext")
    names = {number: f"thing {number}" for number in range(1, 460)} | PASCAL_CONTEXT_CATEGORIES
    (source / "labels.txt").write_text("".join(f"{n}: {name}\n" for n, name in names.items()))
    build("pascal_context", source=source, out=tmp_path / "out")
    (source / "labels.txt").write_text("1: aeroplane\n2: bag\n")
    with pytest.raises(ValueError, match=r"labels\.txt calls category 2 'bag', not 'aeroplane'"):
        build("pascal_context", source=source, out=tmp_path / "no")
    (source / "labels.txt").unlink()
    write_mask(source / "trainval/2008_000003.mat", np.full(SHAPE, 460, np.uint16))
    with pytest.raises(ValueError, match=r"2008_000003\.mat: values 460 are outside"):
        build("pascal_context", source=source, out=tmp_path / "no")
    shutil.rmtree(source / "trainval")
    with pytest.raises(FileNotFoundError, match="trainval is no folder; give --masks"):
        build("pascal_context", source=source, out=tmp_path / "no")


def test_voc(read_masks, tmp_path):
    source, rng, raw = tmp_path / "VOC2012", np.random.default_rng(4), {}
    for key in ("2007_000001", "2007_000002", "2007_000003"):
        write_image(source / f"JPEGImages/{key}.jpg", rng)
        raw[key] = rng.choice([*range(21), 255], SHAPE).astype(np.uint8)
        indexed = Image.fromarray(raw[key], "P")
        indexed.putpalette(np.array(VOC.palette).ravel().tolist())
        (source / "SegmentationClass").mkdir(exist_ok=True)
        indexed.save(source / f"SegmentationClass/{key}.png")
    lists = source / "ImageSets/Segmentation"
    write_list(lists / "train.txt", list(raw)[:1])
    write_list(lists / "val.txt", list(raw)[1:])
    write_list(lists / "trainval.txt", raw)
    out = build("voc", source=source, out=tmp_path / "out")
    assert set(tfds.builder_from_directory(out).info.splits) == {"train", "val"}
    assert_same_masks(read_masks(out) | read_masks(out, "val"), raw)
    out = build("voc", source=source, splits=("trainval",), out=tmp_path / "trainval")
    assert_same_masks(read_masks(out, "trainval"), raw)
    with pytest.raises(FileNotFoundError, match=r"trainaug\.txt is missing; add it"):
        build("voc", source=source, splits=("trainaug",), out=tmp_path / "no")
    write_list(lists / "val.txt", ["2007_000002", "2007_000002"])
    with pytest.raises(ValueError, match=r"val\.txt lists 2007_000002 twice"):
        build("voc", source=source, out=tmp_path / "no")
    (source / "SegmentationClass/2007_000001.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"2007_000001\.png is missing, but .*train\.txt lists it"
    ):
        build("voc", source=source, out=tmp_path / "no")


@pytest.mark.parametrize("name", ["voc", "pascal_context"])
def test_a_wrong_source_is_named_with_its_option(name, tmp_path):
    message = f"{tmp_path}/devkit holds no JPEGImages/; give --source the folder VOCdevkit/VOC20"
    with pytest.raises(FileNotFoundError, match=message):
        build(name, source=tmp_path / "devkit", out=tmp_path / "out")


REAL = {
    "cityscapes": ("cityscapes", "gtFine/train/aachen", "_gtFine_labelIds.png"),
    "ade20k": ("ADEChallengeData2016", "annotations/validation", ".png"),
    "coco_stuff": ("coco_stuff164k", "annotations/train2017", ".png"),
    "pascal_context": ("pascal_context/VOC2010", "SegmentationClassContext", ".png"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_samples(name, gff_data, read_masks, tmp_path):
    """Value by value against the raw masks and a published table."""
    folder, masks, ending = REAL[name]
    source = gff_data / "data" / folder
    out = build(name, source=source, out=tmp_path / "out")
    published = LabelSet.load(gff_data / "labels" / f"{name}.json").raw_to_train
    found = read_masks(out, "val" if name == "ade20k" else "train")
    assert (
        len(found) == {"cityscapes": 5, "ade20k": 2, "coco_stuff": 13, "pascal_context": 63}[name]
    )
    for key, mask in found.items():
        raw = np.asarray(Image.open(source / masks / f"{key}{ending}"))
        expected = np.full(raw.shape, 255)
        for value, train in published.items():
            expected[raw == value] = train
        np.testing.assert_array_equal(mask, expected, err_msg=key)
        assert (mask != 255).any()
