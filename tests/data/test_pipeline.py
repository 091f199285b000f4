"""From record files to batches, on data sets whose pixels tell which example they are."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from gff_keras import data
from gff_keras.data import (
    Augmentation,
    SkippedRecords,
    evaluation_dataset,
    num_examples,
    training_dataset,
)

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
VAL_SIZES = [(40 + 9 * i, 60 - 7 * i) for i in range(5)]


def write(folder, splits, features=FEATURES, shards=1):
    keyed = {name: enumerate(examples) for name, examples in splits.items()}
    options = dict(name="tiny", version="1.0.0", data_dir=folder, disable_shuffling=True)
    builder = tfds.dataset_builders.AdhocBuilder(features=features, split_datasets=keyed, **options)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=shards))
    return str(builder.data_dir)


def encode(array, kind="PNG"):
    file = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(file, kind, quality=98, subsampling=0)  # PNG ignores both
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
def tiny(tmp_path_factory):
    splits = {
        "train": [record(i) for i in range(COUNT)],
        "val": [record(i, VAL_SIZES[i], "JPEG" if i == 2 else "PNG") for i in range(5)],
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


@pytest.mark.parametrize("cache", [True, False])
def test_every_epoch_holds_every_example_once_in_an_order_of_its_own(tiny, cache):
    options = dict(batch_size=1, augmentation=WHOLE, cache=cache)
    endless = training_dataset(tiny, **options)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    seen = sum(map(indices, endless.take(4 * COUNT)), [])
    epochs = [seen[i : i + COUNT] for i in range(0, 4 * COUNT, COUNT)]
    once = training_dataset(tiny, **options, repeat=False)
    assert len(once) == COUNT
    passes = [sum(map(indices, once), []) for _ in range(4)]
    for orders in (epochs, passes):
        assert all(sorted(order) == list(range(COUNT)) for order in orders)
        assert len(set(map(tuple, orders))) > 1


def test_batches_have_static_shapes_and_true_pixels(tiny):
    batches = training_dataset(tiny, batch_size=4, augmentation=WHOLE, repeat=False)
    image, label = batches.element_spec
    assert image == tf.TensorSpec((4, *SIZE, 3), tf.uint8)
    assert label == tf.TensorSpec((4, *SIZE), tf.uint8)
    assert len(list(batches)) == len(batches) == COUNT // 4
    for batch in batches:
        for index, *pair in zip(indices(batch), *batch, strict=True):
            for got, expected in zip(pair, example(index), strict=True):
                np.testing.assert_array_equal(got, expected)


def test_each_epoch_augments_anew(tiny):
    crop = Augmentation((48, 40), color_jitter=0)
    for repeat in (True, False):
        batches = training_dataset(tiny, batch_size=1, augmentation=crop, repeat=repeat)
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


def test_the_seed_alone_decides(tiny):
    first = run(tiny, 3)
    assert run(tiny, 3, threads=1) == run(tiny, 3, threads=7) == first
    assert run(tiny, 4) != first
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, tiny]
    other = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == first


def test_evaluation_keeps_order_sizes_and_values(tiny):
    taken = list(evaluation_dataset(tiny, with_ids=True))
    assert [name.numpy()[0].decode() for *_, name in taken] == [f"name {i}" for i in range(5)]
    for index, (image, label, _) in enumerate(taken):
        expected, expected_label = example(index, VAL_SIZES[index])
        tolerance = 4 if index == 2 else 0  # example 2 is a JPEG
        assert np.abs(image[0].numpy().astype(int) - expected).max() <= tolerance
        np.testing.assert_array_equal(label[0], expected_label)


def test_evaluation_keeps_the_order_of_long_shards(tmp_path):
    splits = {"val": [record(i, (3, 4)) for i in [*range(24)] * 2]}
    taken = evaluation_dataset(write(tmp_path, splits, shards=2), with_ids=True)
    assert [int(name.numpy()[0].split()[1]) for *_, name in taken] == [*range(24)] * 2


def test_evaluation_pads_what_is_smaller_in_a_batch(tiny):
    batches = list(evaluation_dataset(tiny, batch_size=2))
    assert [len(image) for image, _ in batches] == [2, 2, 1]
    image, label = batches[0]
    assert image.shape == (2, 49, 60, 3) and label.shape == (2, 49, 60)
    for index, (height, width) in enumerate(VAL_SIZES[:2]):
        pad = ((0, 49 - height), (0, 60 - width))
        expected, mask = example(index, (height, width))
        np.testing.assert_array_equal(image[index], np.pad(expected, (*pad, (0, 0))))
        np.testing.assert_array_equal(label[index], np.pad(mask, pad, constant_values=255))


def test_image_size_resizes_image_and_mask(tiny):
    half = Augmentation((48, 65), scale=(1.0, 1.0), flip=False, color_jitter=0.0)
    options = dict(batch_size=1, image_size=(48, 65))
    for batches in (
        training_dataset(tiny, augmentation=half, repeat=False, **options),
        evaluation_dataset(tiny, "train", **options),
    ):
        assert batches.element_spec[0].shape[1:] == (48, 65, 3)
        for batch in batches:
            image, label = data.resize_pair(*example(indices(batch)[0]), (48, 65))
            assert np.abs(batch[0][0].numpy().astype(int) - image.numpy()).max() <= 1
            np.testing.assert_array_equal(batch[1][0], label)


def broken_records():
    image, label = example(1)
    cut = encode(image).getvalue()[:-900]
    palette = Image.fromarray(image).quantize(9)
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
    problem = "grey" if kind in ("size", "palette") else "decoded"
    place = r"tiny-train\.tfrecord-00000-of-00001, record 1"
    message = rf"{folder}: record \S+street 7\S+ \({place}\): its .*{problem}"
    batches = iter(evaluation_dataset(folder, "train"))
    next(batches)
    training = training_dataset(folder, batch_size=1, augmentation=RANDOM)
    for rest in (batches, training.take(3)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            list(rest)


def in_order(batches):
    return sum(map(indices, batches), [])


@pytest.mark.parametrize("repeat, kind", [(True, "size"), (False, "image")])
def test_skipping_counts_lists_and_keeps_positions(tmp_path, caplog, kind, repeat):
    examples = [record(i) for i in range(9)]
    for i in (1, 3):
        examples[i] |= broken_records()[kind] | {"id": "street 7"}
    folder = write(tmp_path, {"train": examples})
    options = dict(batch_size=1, augmentation=WHOLE, repeat=repeat)
    whole = write(tmp_path / "whole", {"train": [*map(record, range(9))]})
    expected = in_order(training_dataset(whole, **options).take(27))
    skipped = SkippedRecords()
    assert not skipped
    batches = training_dataset(folder, **options, on_error="skip", skipped=skipped)
    if repeat:
        for i in reversed(range(26)):  # the next whole one takes the place
            expected[i] = expected[i + 1] if expected[i] in (1, 3) else expected[i]
        assert in_order(batches.take(26)) == expected[:26]
        assert skipped.count >= 4
    else:
        for epoch in (1, 2):
            assert set(in_order(batches)) == {0, 2, 4, 5, 6, 7, 8}
            assert skipped.count == 2 * epoch
    assert sorted(skipped.reasons) == [1, 3]
    problem = "grey" if kind == "size" else "decoded"
    for number, reason in skipped.reasons.items():
        assert f"{folder}: record 'street 7'" in reason and problem in reason
        assert f"tiny-train.tfrecord-00000-of-00001, record {number})" in reason
    listed = str(skipped).splitlines()
    assert listed[0] == f"damaged records skipped: 2, {skipped.count} times in all"
    assert len(listed) == 3 and len(caplog.records) == 2


def test_nothing_but_damage_stops_even_where_damage_is_skipped(tmp_path):
    folder = write(tmp_path, {"train": [record(1) | broken_records()["image"] for _ in range(3)]})
    batches = training_dataset(folder, batch_size=1, augmentation=WHOLE, on_error="skip")
    with pytest.raises(tf.errors.InvalidArgumentError, match="cannot be decoded"):
        list(batches.take(1))


@pytest.mark.parametrize("cache", [True, False])
def test_a_shard_that_was_cut_off_is_named(tmp_path, cache):
    folder = write(tmp_path, {"train": [record(i) for i in range(9)]}, shards=3)
    shard = sorted(Path(folder).glob("*train.tfrecord*"))[1]
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) * 2 // 3 - 50])  # within the second of its three
    place = r"tiny-train\.tfrecord-00001-of-00003, record [12]: it cannot be read"
    options = dict(batch_size=1, augmentation=WHOLE, cache=cache)
    for batches in (training_dataset(folder, **options), evaluation_dataset(folder, "train")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{folder}: {place}"):
            list(batches.take(9))
    skipped = SkippedRecords()
    rest = training_dataset(folder, **options, on_error="skip", skipped=skipped, repeat=False)
    assert len(set(in_order(rest))) == 7
    assert sorted(skipped.reasons) == [4, 5]
    lost = bytearray(content)
    lost[len(content) // 6] ^= 255  # one wrong bit in the first record: its checksum tells
    shard.write_bytes(lost)
    with pytest.raises(tf.errors.InvalidArgumentError, match="00001-of-00003, record 0: it"):
        list(evaluation_dataset(folder, "train"))


@pytest.mark.parametrize("step", [1, 2, 7])
def test_a_run_goes_on_where_another_stopped(tiny, step):
    options = dict(batch_size=4, augmentation=RANDOM, seed=5)
    batches = list(training_dataset(tiny, **options).take(9))
    assert digest(training_dataset(tiny, **options, start_step=step).take(2)) == digest(
        batches[step : step + 2]
    )


def test_workers_share_out_every_epoch(tiny):
    options = dict(augmentation=WHOLE, batch_size=1)
    alone = in_order(training_dataset(tiny, **options).take(4 * COUNT))
    shards = [tf.distribute.InputContext(3, index, 3) for index in range(2)] + [(2, 3)]
    shares = [in_order(training_dataset(tiny, **options, shard=x).take(COUNT)) for x in shards]
    for index, share in enumerate(shares):  # disjoint, and together the same epochs
        assert share == alone[index : 3 * COUNT : 3]
    resumed = training_dataset(tiny, **options, shard=(1, 3), start_step=3)
    assert in_order(resumed.take(5)) == shares[1][3:8]
    once = training_dataset(tiny, **options, shard=(2, 3), repeat=False)
    assert len(once) == len(set(in_order(once))) == 3  # of 11: 4, 4 and 3


def test_orders_are_spread_over_all_permutations(tmp_path):
    folder = write(tmp_path, {"train": [record(i, (4, 5)) for i in range(20)]})
    whole = Augmentation((4, 5), scale=(1.0, 1.0), flip=False, color_jitter=0.0)
    batches = training_dataset(folder, batch_size=20, augmentation=whole).take(120)
    orders = np.array([batch[0][:, 0, 0, 0] // 10 for batch in batches])  # (120, 20)
    assert len(set(map(tuple, orders))) == 120
    counts = np.array([np.bincount(column, minlength=20) for column in orders.T])
    assert counts.max() < 20 and 1.8 < counts.std() < 3  # 6 expected, deviation 2.4
    neighbours = (np.diff(orders.astype(int)) == 1).mean()
    assert neighbours < 0.1  # 0.05 by chance


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


def test_arguments_out_of_range_are_refused(tiny):
    good = dict(batch_size=1, augmentation=RANDOM)
    for name, value in {"batch_size": 0, "start_step": -1, "seed": -1}.items():
        with pytest.raises(ValueError, match=f"{name}={value}: give"):
            training_dataset(tiny, **good | {name: value})
    for name, value in dict(on_error="go on", cache="yes", shard=(2, 2)).items():
        with pytest.raises(ValueError, match=f"{name}=.*: give"):
            training_dataset(tiny, **good | {name: value})
    with pytest.raises(ValueError, match="start_step=3 .* repeat=True"):
        training_dataset(tiny, **good, start_step=3, repeat=False)
    with pytest.raises(ValueError, match="batch_size=12 exceeds the 11 examples"):
        training_dataset(tiny, **good | {"batch_size": 12}, repeat=False)


if __name__ == "__main__":  # the second process of test_the_seed_alone_decides
    print(run(sys.argv[1], 3))
