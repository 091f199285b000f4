"""Label sets: the mapping value by value, the checks, the files."""

import json

import numpy as np
import pytest

from gff_keras.data.labels import IGNORE_LABEL, LabelSet

THREE = {"classes": ("a", "b", "c"), "palette": ((0, 0, 0), (1, 2, 3), (255, 255, 255))}
MAPPED = LabelSet(name="mapped", **THREE, raw_to_train={7: 0, 300: 1, 2: 2, 9: IGNORE_LABEL})


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_to_train_maps_every_value(dtype):
    raw = np.random.default_rng(0).choice([7, 300, 2, 9, 255], (5, 17, 3)).astype(dtype)
    expected = [{**MAPPED.raw_to_train, 255: 255}[value] for value in raw.ravel().tolist()]
    train = MAPPED.to_train(raw)
    assert train.dtype == np.uint8 and train.shape == raw.shape
    assert train.ravel().tolist() == expected


def test_without_a_mapping_indices_stay():
    labels = LabelSet(name="plain", **THREE)
    raw = np.array([[0, 1], [2, 255]], np.uint8)
    np.testing.assert_array_equal(labels.to_train(raw), raw)
    np.testing.assert_array_equal(labels.to_train(raw == 1), [[0, 1], [0, 0]])
    with pytest.raises(ValueError, match=r"values 3, 254 are outside .*'plain'"):
        labels.to_train(np.array([0, 254, 3, 3], np.uint8))


def test_values_outside_the_table_are_listed():
    with pytest.raises(ValueError, match="values -4, 0, 70000 are outside"):
        MAPPED.to_train(np.array([7, 0, 70000, -4, 255]))
    with pytest.raises(ValueError, match=r"values 10, .*, 19, \.\.\. are outside"):
        MAPPED.to_train(np.arange(10, 200, dtype=np.uint8))
    with pytest.raises(ValueError, match="float32"):
        MAPPED.to_train(np.zeros((2, 2), np.float32))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"classes": ("a", "b")}, "2 classes but 3 palette"),
        ({"classes": ()}, "0 classes"),
        ({"classes": ("a", "b", "a")}, "twice"),
        ({"palette": ((0, 0, 0), (1, 2, 256), (1, 1, 1))}, "not a colour"),
        ({"palette": ((0, 0, 0), (1, 2), (1, 1, 1))}, "not a colour"),
        ({"raw_to_train": {0: 3}}, "maps raw value 0 to 3"),
        ({"raw_to_train": {-1: 0}}, "raw value -1 is outside"),
        ({"thin": ("d",)}, "thin"),
    ],
)
def test_contradictions_raise(change, message):
    with pytest.raises(ValueError, match=message):
        LabelSet(name="bad", **{**THREE, **change})


def test_most_classes_that_fit():
    names, colours = tuple(map(str, range(256))), ((0, 0, 0),) * 256
    assert LabelSet("255", names[:255], colours[:255]).num_classes == 255
    with pytest.raises(ValueError, match="256 classes"):
        LabelSet("256", names, colours)


def test_saved_is_loaded(tmp_path):
    MAPPED.save(tmp_path / "x.json")
    assert LabelSet.load(tmp_path / "x.json") == MAPPED
    (tmp_path / "metadata.json").write_text(json.dumps({"label_set": MAPPED.to_dict()}))
    assert LabelSet.from_records(tmp_path) == MAPPED


def test_load_needs_only_classes_and_palette(tmp_path):
    table = {"classes": ["a"], "palette": [[1, 2, 3]], "raw": "a remark", "raw_to_train": {"4": 0}}
    (tmp_path / "mine.json").write_text(json.dumps(table))
    assert LabelSet.load(tmp_path / "mine.json") == LabelSet("mine", ("a",), ((1, 2, 3),), {4: 0})


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "not valid JSON"),
        ("[1]", "JSON object"),
        ('{"classes": ["a"]}', "lacks the key 'palette'"),
        ('{"classes": "a", "palette": [[0, 0, 0]]}', "lists"),
        ('{"classes": ["a"], "palette": [[0, 0]]}', r"\(0, 0\)|values"),
        ('{"classes": ["a"], "palette": [1]}', "wrong kind"),
        ('{"classes": ["a"], "palette": [[0, 0, 0]], "raw_to_train": [1]}', "wrong kind"),
        ('{"classes": ["a"], "palette": [[0, 0, 0]], "raw_to_train": {"x": 1}}', "x"),
    ],
)
def test_malformed_files_are_named(text, message, tmp_path):
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        LabelSet.load(tmp_path / "broken.json")
    assert str(tmp_path / "broken.json") in str(caught.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.json cannot be read"):
        LabelSet.load(tmp_path / "none.json")
    with pytest.raises(ValueError, match=r"metadata\.json is missing.*tfrecords_tools build"):
        LabelSet.from_records(tmp_path)
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(ValueError, match=r"metadata\.json has no 'label_set'"):
        LabelSet.from_records(tmp_path)
