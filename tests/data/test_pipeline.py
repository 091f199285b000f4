"""From record files to batches, on data sets whose pixels tell which example they are."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from gff_keras import data
from gff_keras.data import Augmentation, evaluation_dataset, training_dataset
from tests.data.examples import (
    COUNT,
    RANDOM,
    SIZE,
    VAL_SIZES,
    WHOLE,
    digest,
    example,
    in_order,
    indices,
    record,
    write,
    write_tiny,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


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


@pytest.mark.slow
def test_the_seed_decides_in_another_process(tiny):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, tiny]
    other = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == run(tiny, 3)


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


@pytest.mark.parametrize("step", [1, 2, 7])
def test_a_run_goes_on_where_another_stopped(tiny, step):
    options = dict(batch_size=4, augmentation=RANDOM, seed=5)
    batches = list(training_dataset(tiny, **options).take(9))
    assert digest(training_dataset(tiny, **options, start_step=step).take(2)) == digest(
        batches[step : step + 2]
    )


@pytest.mark.parametrize("cache", [True, False])
def test_ids_are_those_of_the_images(tiny, cache):
    options = dict(batch_size=4, augmentation=RANDOM, seed=5, cache=cache, image_size=SIZE)
    plain = list(training_dataset(tiny, **options).take(4))
    for step in (0, 3):  # as a batch is asked for again
        again = training_dataset(tiny, **options, start_step=step, with_ids=True)
        assert again.element_spec[2] == tf.TensorSpec((4,), tf.string)
        assert digest([next(iter(again))[:2]]) == digest([plain[step]])
    whole = dict(batch_size=1, augmentation=WHOLE, cache=cache, with_ids=True, repeat=False)
    for *pair, ids in training_dataset(tiny, **whole):
        assert ids.numpy()[0].decode() == f"name {indices(pair)[0]}"


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


def test_arguments_out_of_range_are_refused(tiny):
    good = dict(batch_size=1, augmentation=RANDOM)
    for name, value in {"batch_size": 0, "start_step": -1, "seed": -1}.items():
        with pytest.raises(ValueError, match=f"{name}={value}: give"):
            training_dataset(tiny, **good | {name: value})
    for name, value in dict(on_error="go on", cache="yes", shard=(2, 2)).items():
        with pytest.raises(ValueError, match=f"{name}=.*: give"):
            training_dataset(tiny, **good | {name: value})
    with pytest.raises(ValueError, match="augmentation=None: give an Augmentation; a batch needs"):
        training_dataset(tiny, batch_size=1, augmentation=None)
    with pytest.raises(ValueError, match="start_step=3 .* repeat=True"):
        training_dataset(tiny, **good, start_step=3, repeat=False)
    with pytest.raises(ValueError, match="batch_size=12 exceeds the 11 examples"):
        training_dataset(tiny, **good | {"batch_size": 12}, repeat=False)


if __name__ == "__main__":  # the second process of test_the_seed_alone_decides
    print(run(sys.argv[1], 3))
