"""From record files to batches, on data sets whose pixels tell which example they are."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from gff_keras import data
from gff_keras.data import Augmentation, evaluation_dataset, num_examples, training_dataset

FEATURES = tfds.features.FeaturesDict(
    {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
        "id": tfds.features.Text(),
    }
)
SIZE = (97, 131)
WHOLE = Augmentation(SIZE, scale=(1.0, 1.0), flip=False, color_jitter=0.0)
RANDOM = Augmentation((48, 40))
COUNT = 11


class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, splits, features=FEATURES, **kwargs):
        self.splits, self.features = splits, features
        super().__init__(**kwargs)

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=self.features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {name: enumerate(examples) for name, examples in self.splits.items()}

    def _generate_examples(self):
        """Unused: the splits are generators already."""


def write(folder, splits, features=FEATURES, shards=1):
    builder = Tiny(splits, features, data_dir=folder)
    config = tfds.download.DownloadConfig(num_shards=shards)
    builder.download_and_prepare(download_config=config)
    return str(builder.data_dir)


def encode(array, kind="PNG"):
    file = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(file, kind, **({"quality": 98, "subsampling": 0} if kind == "JPEG" else {}))
    return io.BytesIO(file.getvalue())


def example(index, size=SIZE):
    """Image and mask: channel 0 is the index times 10, the others and the mask are gradients."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = np.stack([np.full(size, index * 10 + 5), rows + 20, columns + 30], -1)
    label = np.where(rows < 2, 255, (rows // 3 + columns // 5 + index) % 12).astype(np.uint8)
    return image.astype(np.uint8), label


def record(index, size=SIZE, kind="PNG"):
    image, label = example(index, size)
    return {"image": encode(image, kind), "label": encode(label), "id": f"name {index}"}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    splits = {
        "train": [record(i) for i in range(COUNT)],
        "val": [record(i, (40 + 9 * i, 60 - 7 * i), "JPEG" if i == 2 else "PNG") for i in range(5)],
    }
    return write(tmp_path_factory.mktemp("tiny"), splits, shards=3)


def indices(batch):
    """Which example each image of an unjittered batch is."""
    return [int(image[..., 0].max()) // 10 for image in batch[0].numpy()]


def digest(batches):
    state = hashlib.sha256()
    for image, label in batches:
        state.update(image.numpy().tobytes() + label.numpy().tobytes())
    return state.hexdigest()


def test_examples_are_counted(records):
    assert num_examples(records, "train") == COUNT and num_examples(records, "val") == 5
    assert list(data.open_records(records).info.splits) == ["train", "val"]


@pytest.mark.parametrize("buffer", [1, 3, 1000])
def test_every_epoch_holds_every_example_once_in_an_order_of_its_own(records, buffer):
    options = dict(batch_size=1, augmentation=WHOLE, shuffle_buffer=buffer)
    endless = training_dataset(records, **options)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    seen = sum(map(indices, endless.take(4 * COUNT)), [])
    epochs = [seen[i : i + COUNT] for i in range(0, 4 * COUNT, COUNT)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(COUNT))
    assert len(set(map(tuple, epochs))) > 1
    once = training_dataset(records, **options, repeat=False)
    assert len(once) == COUNT
    passes = [sum(map(indices, once), []) for _ in range(5)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in passes)
    assert len(set(map(tuple, passes))) > 1


def test_batches_have_static_shapes_and_true_pixels(records):
    batches = training_dataset(records, batch_size=4, augmentation=WHOLE, repeat=False)
    assert batches.element_spec == (
        tf.TensorSpec((4, *SIZE, 3), tf.uint8),
        tf.TensorSpec((4, *SIZE), tf.uint8),
    )
    taken = list(batches)
    assert len(taken) == len(batches) == COUNT // 4
    for batch in taken:
        for index, image, label in zip(indices(batch), *batch, strict=True):
            np.testing.assert_array_equal(image, example(index)[0])
            np.testing.assert_array_equal(label, example(index)[1])


def test_each_epoch_augments_anew(records):
    for options in ({}, {"repeat": False}):
        batches = training_dataset(
            records, batch_size=1, augmentation=Augmentation((48, 40), color_jitter=0), **options
        )
        crops = {}
        for _ in range(2):
            for batch in batches.take(2 * COUNT):
                crops.setdefault(indices(batch)[0], set()).add(digest([batch]))
        assert sorted(crops) == list(range(COUNT))
        assert all(len(digests) == 2 for digests in crops.values())


def run(folder, seed, threads=0):
    batches = training_dataset(folder, batch_size=4, augmentation=RANDOM, seed=seed)
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    return digest(batches.with_options(options).take(7))


def test_the_seed_alone_decides(records):
    first = run(records, 3)
    assert run(records, 3) == run(records, 3, threads=1) == run(records, 3, threads=7) == first
    assert run(records, 4) != first
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, records]
    other = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == first


def test_evaluation_keeps_order_sizes_and_values(records):
    taken = list(evaluation_dataset(records, with_ids=True))
    assert [name.numpy()[0].decode() for *_, name in taken] == [f"name {i}" for i in range(5)]
    for index, (image, label, _) in enumerate(taken):
        expected, expected_label = example(index, (40 + 9 * index, 60 - 7 * index))
        tolerance = 4 if index == 2 else 0  # example 2 is a JPEG
        assert np.abs(image[0].numpy().astype(int) - expected).max() <= tolerance
        np.testing.assert_array_equal(label[0], expected_label)


def test_evaluation_pads_what_is_smaller_in_a_batch(records):
    batches = list(evaluation_dataset(records, batch_size=2))
    assert [len(image) for image, _ in batches] == [2, 2, 1]
    image, label = batches[0]
    assert image.shape == (2, 49, 60, 3) and label.shape == (2, 49, 60)
    for index, size in enumerate([(40, 60), (49, 53)]):
        pad = ((0, 49 - size[0]), (0, 60 - size[1]))
        expected, expected_label = example(index, size)
        np.testing.assert_array_equal(image[index], np.pad(expected, (*pad, (0, 0))))
        padded = np.pad(expected_label, pad, constant_values=255)
        np.testing.assert_array_equal(label[index], padded)


def test_image_size_resizes_image_and_mask(records):
    half = Augmentation((48, 65), scale=(1.0, 1.0), flip=False, color_jitter=0.0)
    options = dict(batch_size=1, image_size=(48, 65))
    for batches in (
        training_dataset(records, augmentation=half, repeat=False, **options),
        evaluation_dataset(records, "train", **options),
    ):
        assert batches.element_spec[0].shape[1:] == (48, 65, 3)
        for batch in batches:
            image, label = data.resize_pair(*example(indices(batch)[0]), (48, 65))
            assert np.abs(batch[0][0].numpy().astype(int) - image.numpy()).max() <= 1
            np.testing.assert_array_equal(batch[1][0], label)


def broken_records():
    image, label = example(1)
    cut = encode(image).getvalue()[:-900]
    palette = Image.fromarray(label).convert("P")
    palette.putpalette(bytes(range(256)) * 3)
    return {
        "image": {"image": io.BytesIO(cut)},
        "jpeg": {"image": io.BytesIO(encode(image, "JPEG").getvalue()[:800])},
        "label": {"label": io.BytesIO(b"no image at all")},
        "size": {"label": encode(label[1:])},
        "palette": {"label": encode(palette)},
    }


@pytest.mark.parametrize("kind", list(broken_records()))
def test_a_damaged_record_stops_with_its_id(tmp_path, kind):
    broken = record(1) | broken_records()[kind] | {"id": "street 7"}
    folder = write(tmp_path, {"train": [record(0), broken, record(2)]})
    message = "street 7.*" + ("grey" if kind in ("size", "palette") else "decoded")
    batches = iter(evaluation_dataset(folder, "train"))
    next(batches)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        next(batches)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        list(training_dataset(folder, batch_size=1, augmentation=RANDOM).take(3))


def test_folders_that_are_no_data_set_are_refused(records, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent is no folder.*build"):
        data.open_records(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="no dataset_info.json.*build"):
        evaluation_dataset(tmp_path)
    folder = tmp_path / "copy"
    shutil.copytree(records, folder)
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


def test_splits_that_are_not_there_are_refused(records, tmp_path):
    for call in (num_examples, evaluation_dataset):
        with pytest.raises(ValueError, match="no split 'test'; choose from: train, val"):
            call(records, "test")
    folder = tmp_path / "copy"
    shutil.copytree(records, folder)
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][1] |= {"shardLengths": ["0"] * len(info["splits"][1]["shardLengths"])}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match="split 'val' in .*copy is empty"):
        evaluation_dataset(folder)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": COUNT + 1, "repeat": False}, "batch_size=12 exceeds the 11 examples"),
        ({"shuffle_buffer": 0}, "shuffle_buffer=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_arguments_out_of_range_are_refused(records, arguments, message):
    with pytest.raises(ValueError, match=message):
        training_dataset(records, **{"batch_size": 1, "augmentation": RANDOM} | arguments)


if __name__ == "__main__":  # the second process of test_the_seed_alone_decides
    print(run(sys.argv[1], 3))
