"""Which devices are chosen, and that their shares of the data are those of one device."""

import types

import numpy as np
import pytest
import tensorflow as tf

from gff_keras.cli import main
from gff_keras.data import evaluation_dataset, training_dataset
from gff_keras.training import strategy
from tests.data.examples import RANDOM, write_tiny


class Shares:
    """Stands for a strategy of several workers: gives the data set of each of them."""

    def __init__(self, workers, replicas):
        self.num_replicas_in_sync = replicas
        self.contexts = [tf.distribute.InputContext(workers, i, replicas) for i in range(workers)]

    def distribute_datasets_from_function(self, share):
        return [share(context) for context in self.contexts]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


def as_set(batches):
    """Images and labels of some batches, without their order."""
    return sorted(
        image.tobytes() + label.tobytes()
        for images, labels in batches
        for image, label in zip(np.asarray(images), np.asarray(labels), strict=True)
    )


@pytest.mark.parametrize("workers, replicas", [(1, 2), (2, 4)])
def test_replicas_see_at_each_step_what_one_device_sees(tiny, workers, replicas):
    options = dict(data_dir=tiny, split="train", batch_size=8, augmentation=RANDOM, start_step=1)
    alone = list(training_dataset(**options).take(2))
    shares = strategy.training_batches(Shares(workers, replicas), **options)
    per_worker = replicas // workers
    shares = [list(share.take(2 * per_worker)) for share in shares]
    for step, batch in enumerate(alone):
        turns = [share[step * per_worker : (step + 1) * per_worker] for share in shares]
        batches = sum(turns, [])
        assert all(len(images) == 8 // replicas for images, _ in batches)
        assert as_set(batches) == as_set([batch])


@pytest.mark.parametrize("workers, replicas, batch_size, steps", [(1, 2, 1, 3), (2, 4, 2, 1)])
def test_replicas_validate_on_the_same_batches_once(tiny, workers, replicas, batch_size, steps):
    options = dict(data_dir=tiny, split="val", batch_size=batch_size)
    shares, taken = strategy.validation_batches(Shares(workers, replicas), **options)
    assert taken == steps
    batches = [batch for share in shares for batch in share]
    expected = list(evaluation_dataset(**options))
    sizes = sorted(tuple(images.shape) for images, _ in batches)
    assert sizes == sorted(tuple(images.shape) for images, _ in expected)
    assert as_set(batches) == as_set(expected)
    assert all(share.cardinality() == tf.data.UNKNOWN_CARDINALITY for share in shares)


def test_one_device_is_the_default():
    assert strategy.choose() is tf.distribute.get_strategy()
    line = strategy.describe(strategy.choose(), 8)
    assert line in [f"1 replica on 1 machine ({name}:0), 8 images each" for name in ("CPU", "GPU")]


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="batch_size=8 cannot be split evenly among 3.* give 9,"):
        strategy.describe(types.SimpleNamespace(num_replicas_in_sync=3), 8)


def test_logical_cpus_that_come_too_late_are_refused(uneven_recipe, tmp_path, capsys):
    count = len(tf.config.list_logical_devices("CPU")) + 1  # TensorFlow has started them now
    arguments = [str(uneven_recipe), "--out", str(tmp_path / "run"), "--cpu_replicas", str(count)]
    assert main(["train", *arguments]) == 2
    assert f"cpu_replicas={count} comes too late: TensorFlow has started" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_logical_cpus_are_for_one_process(monkeypatch):
    workers = '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", workers)
    with pytest.raises(ValueError, match="cpu_replicas=2 is for one process"):
        strategy.choose(cpu_replicas=2)
