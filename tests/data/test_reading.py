"""Folders of records: counted, or refused with a reason."""

import json
import shutil

import pytest
import tensorflow_datasets as tfds

from gff_keras import data
from gff_keras.data import evaluation_dataset, num_examples, training_dataset
from tests.data.examples import COUNT, FEATURES, RANDOM, encode, example, record, write, write_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


def test_folders_that_are_no_data_set_are_refused(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent is no folder.*build"):
        data.open_records(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="no dataset_info.json.*build"):
        evaluation_dataset(tmp_path)
    folder = tmp_path / "copy"
    shutil.copytree(tiny, folder)
    lost = sorted(folder.glob("*val*"))[1]
    lost.unlink()
    with pytest.raises(FileNotFoundError, match=f"incomplete: {lost.name} .* 1 of 6"):
        training_dataset(folder, batch_size=1, augmentation=RANDOM)
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(ValueError, match="copy is unreadable"):
        data.open_records(folder)


@pytest.mark.parametrize("change", [{"id": None}, {"label": tfds.features.Image()}])
def test_records_without_the_features_are_refused(tmp_path, change):
    features = {name: kind for name, kind in (dict(FEATURES) | change).items() if kind}
    one = {name: value for name, value in record(0).items() if name in features}
    one |= {name: encode(example(0)[0]) for name in change if name in features}
    folder = write(tmp_path, {"train": [one]}, tfds.features.FeaturesDict(features))
    with pytest.raises(ValueError, match=r"holds .*not 'image' .*'label' .*'id'"):
        data.open_records(folder)


def test_splits_are_counted_or_refused(tiny, tmp_path):
    assert num_examples(tiny, "train") == COUNT and num_examples(tiny, "val") == 5
    for call in (num_examples, evaluation_dataset):
        with pytest.raises(ValueError, match="no split 'test'; choose from: train, val"):
            call(tiny, "test")
    folder = tmp_path / "copy"
    shutil.copytree(tiny, folder)
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][1]["shardLengths"] = ["0"] * 3
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match="split 'val' in .*copy is empty"):
        evaluation_dataset(folder)
