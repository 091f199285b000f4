"""Two replicas on logical CPUs train as one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import gff_keras as gff
from gff_keras.evaluation.metrics import SegmentationMetrics
from gff_keras.pretrained.folded import calibrate
from gff_keras.training import checkpoints
from gff_keras.training.losses import SegmentationCrossEntropy
from gff_keras.training.multi_worker import draw_apart, prepare_fit

ONE = tf.distribute.get_strategy()


@pytest.fixture
def batch(rng):
    """Images and labels; the first replica has a tenth of the labelled pixels of the other."""
    x = rng.normal(size=(4, 9, 11, 3)).astype("float32")
    y = rng.integers(0, 5, (4, 9, 11))
    y[:2][rng.random((2, 9, 11)) < 0.9] = 255
    return x, y


def network(strategy):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([gff.layers.ConvBNReLU(6, 3), gff.layers.Conv2D(5, 3)])
        model.build((None, 9, 11, 3))
    return model


def test_two_replicas_take_the_steps_of_one(two_replicas, batch):
    results = []
    for strategy in (ONE, two_replicas):
        model = network(strategy)
        with strategy.scope():
            model.compile(gff.optimizers.SGD(0.1), SegmentationCrossEntropy())
        batches = tf.data.Dataset.from_tensors(batch).repeat(3)
        losses = model.fit(batches, epochs=1, verbose=0).history["loss"]
        results.append((losses, [w.numpy() for w in model.weights]))  # running statistics, too
    one, two = results
    np.testing.assert_allclose(two[0], one[0], rtol=1e-5)
    for a, b in zip(one[1], two[1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_calibration_is_that_of_one(two_replicas, batch):
    x, _ = batch

    def calibrated(strategy):
        with strategy.scope():
            keras.utils.set_random_seed(0)
            images = features = keras.Input((9, 11, 3))
            for name in "ab":
                features = gff.layers.Conv2D(4, 3, name=f"{name}_conv")(features)
                features = gff.layers.BatchNormalization(name=f"{name}_bn")(features)
            backbone = keras.Model(images, features)
        calibrate(backbone, [x, x[:3]], ["a_conv", "b_conv"])
        return [w.numpy() for w in backbone.weights]

    for a, b in zip(calibrated(ONE), calibrated(two_replicas), strict=True):
        np.testing.assert_array_equal(a, b)


def test_replicas_draw_masks_of_their_own(two_replicas):
    with two_replicas.scope():
        model = keras.Sequential([keras.Input((50,)), keras.layers.Dropout(0.5)])
    draw_apart(model)
    step = tf.function(lambda: model(tf.ones((1, 50)), training=True))
    masks = [two_replicas.run(step).values for _ in range(2)]
    assert len({mask.numpy().tobytes() for pair in masks for mask in pair}) == 4


def test_sums_over_replicas_are_saved_and_restored(two_replicas, tiny_model, rng):
    """TensorFlow would give each replica the half of an odd count, rounded down."""
    with two_replicas.scope():
        model = tiny_model(aux_head=False)
        # Its variables would be there twice, if built twice.
        optimizer = gff.optimizers.LossScaleOptimizer(gff.optimizers.SGD())
        model.compile(optimizer, SegmentationCrossEntropy(), metrics=[SegmentationMetrics(3)])
        checkpoints.make_variables(model)
        variables = len(optimizer.variables)
        prepare_fit(model)
        assert len(optimizer.variables) == variables
    labels = rng.integers(0, 3, (1, 5, 7))  # 35 pixels: no even number
    logits = rng.normal(size=(1, 5, 7, 3)).astype("float32")

    def count():
        for _ in range(1 + tf.distribute.get_replica_context().replica_id_in_sync_group):
            model.compute_metrics(None, labels, {"logits": logits})

    two_replicas.run(count)
    before = checkpoints.values(model)
    results = {name: float(value) for name, value in model.get_metrics_result().items()}
    assert before["metrics"][-2].sum() == 35 * 3, before["metrics"]
    for group in before.values():
        assert group
    model.reset_metrics()
    checkpoints.Checkpoint(None, {}, before).restore(model)
    for name, group in checkpoints.values(model).items():
        for a, b in zip(before[name], group, strict=True):
            np.testing.assert_array_equal(a, b)
    assert results == {name: float(value) for name, value in model.get_metrics_result().items()}


def test_a_label_that_is_no_class_on_one_replica_stops_all(two_replicas, batch):
    x, y = batch
    y[3, 2, 2] = 77  # on the second replica
    model = network(two_replicas)
    with two_replicas.scope():
        model.compile("sgd", SegmentationCrossEntropy())
    message = r"\[label\] \[77\] \[is outside the 5 classes 0..4"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.fit(tf.data.Dataset.from_tensors((x, y)), verbose=0)


@pytest.mark.slow  # one step of it is above, and two processes of one replica in test_multi_worker
def test_a_run_on_two_replicas_equals_one_on_one_device(
    uneven_recipe, start, assert_same_run, tmp_path
):
    """Weights, statistics, optimiser, losses and metrics, with three images to validate on.

    In a process of its own, which makes the devices itself.
    """
    process = start(uneven_recipe, "--out", tmp_path / "two", "--cpu_replicas", "2")
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    assert "2 replicas on 1 machine (CPU:0, CPU:1), 2 images each\n" in out
    assert_same_run(tmp_path / "two")
