"""The tables of the known data sets, value by value against published ones."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gff_keras.data.label_tables import (
    COCO_STUFF,
    COCO_STUFF_10K,
    TABLES,
    VOC,
    pascal_context,
)
from gff_keras.data.labels import IGNORE_LABEL, LabelSet

SIZES = {
    "ade20k": 150,
    "camvid": 11,
    "cityscapes": 19,
    "coco_stuff": 171,
    "oxford_iiit_pet": 2,
    "pascal_context": 59,
    "street_scenes": 12,
    "voc": 21,
}
# values that masks hold besides those of the classes
VOID = {
    "ade20k": {0},
    "camvid": {11},
    "cityscapes": set(range(34)),
    "coco_stuff": set(),
    "pascal_context": {0},
}


def used(table):
    return {raw: train for raw, train in table.raw_to_train.items() if train != IGNORE_LABEL}


def test_every_table_is_there_with_its_size():
    assert {name: table.num_classes for name, table in TABLES.items()} == SIZES


@pytest.mark.parametrize("name", TABLES)
def test_tables_travel_with_records(name, tmp_path):
    metadata = json.dumps({"label_set": TABLES[name].to_dict()})
    (tmp_path / "metadata.json").write_text(metadata)
    assert LabelSet.from_records(tmp_path) == TABLES[name]


@pytest.mark.parametrize("name", VOID)
def test_tables_are_the_published_ones(name, gff_data):
    ours, published = TABLES[name], LabelSet.load(gff_data / "labels" / f"{name}.json")
    assert ours.classes == published.classes
    assert ours.palette == published.palette
    assert used(ours) == published.raw_to_train
    assert set(ours.raw_to_train) - set(used(ours)) == VOID[name] - set(used(ours))


@pytest.mark.parametrize(
    "name, table",
    [("coco_stuff", COCO_STUFF_10K), ("pascal_context", pascal_context(False, mat=True))],
)
def test_tables_of_the_mat_files_are_the_published_ones(name, table, gff_data):
    published = json.loads((gff_data / "labels" / f"{name}.json").read_text())["mat_to_train"]
    assert used(table) == {int(raw): train for raw, train in published.items()}
    assert replace(table, raw_to_train=None) == replace(TABLES[name], raw_to_train=None)


def test_cityscapes_raw_values_by_name(gff_data):
    published = json.loads((gff_data / "labels" / "cityscapes.json").read_text())["all_labels"]
    names = {raw: name for raw, name, _ in published}
    ours = TABLES["cityscapes"]
    assert {names[raw]: train for raw, train in used(ours).items()} == {
        name: index for index, name in enumerate(ours.classes)
    }


def test_both_kinds_of_coco_stuff_masks_mean_the_same():
    raw = np.array(list(COCO_STUFF.raw_to_train))
    np.testing.assert_array_equal(COCO_STUFF.to_train(raw), COCO_STUFF_10K.to_train(raw + 1))
    assert COCO_STUFF_10K.to_train(np.zeros(1, int)) == [IGNORE_LABEL]


@pytest.mark.parametrize("mat", [False, True])
def test_the_background_of_pascal_context(mat):
    without, with_it = pascal_context(False, mat), pascal_context(True, mat)
    assert with_it.classes == ("background", *without.classes)
    raw = np.array(list(without.raw_to_train))
    ignored, kept = without.to_train(raw).astype(int), with_it.to_train(raw)
    np.testing.assert_array_equal(kept, np.where(ignored == IGNORE_LABEL, 0, ignored + 1))
    assert len(raw) == (460 if mat else 60) and (kept == 0).sum() == len(raw) - 59


def test_voc_colours_follow_from_the_index():
    for index, colour in enumerate(VOC.palette):
        bits = f"{index:024b}"[::-1]  # lowest first; three of them give one bit of each colour
        assert colour == tuple(int(bits[channel::3], 2) for channel in range(3))
