"""The published data sets, in trees as their owners lay them out, with random masks."""

import shutil
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from scipy.io import savemat

from gff_keras.data.label_tables import PASCAL_CONTEXT_CATEGORIES, VOC
from gff_keras.data.labels import LabelSet
from tfrecords_tools import build

SHAPE = (14, 19)
TRAIN_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
ARCHIVES = {
    "leftImg8bit_trainvaltest.zip": [f"leftImg8bit/{s}" for s in ("train", "val", "test")],
    "leftImg8bit_trainextra.zip": ["leftImg8bit/train_extra"],
    "gtFine_trainvaltest.zip": [f"gtFine/{s}" for s in ("train", "val", "test")],
    "gtCoarse.zip": [f"gtCoarse/{s}" for s in ("train", "val", "train_extra")],
}


def write_image(path, rng, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (*SHAPE, 3), np.uint8)).convert(mode).save(path)


def write_mask(path, raw):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mat":
        savemat(path, {"LabelMap" if raw.dtype == np.uint16 else "S": raw})
    else:
        Image.fromarray(raw).save(path)


def write_list(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key}\n" for key in ids))


def assert_same_masks(found, expected):
    assert sorted(found) == sorted(expected)
    for key, mask in found.items():
        np.testing.assert_array_equal(mask, expected[key], err_msg=key)


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
