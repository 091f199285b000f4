"""On two replicas every switch means what it means on one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import gff_keras as gff


def sgd():
    return gff.optimizers.SGD(
        gff.schedules.PolynomialDecay(0.2, 6, warmup_steps=2),
        global_clipnorm=0.1,  # of about 0.5
        gradient_accumulation_steps=2,
        use_ema=True,
        ema_momentum=0.5,
    )


def run(strategy, x, y):
    """Return losses, and values of weights and optimizer, after six steps with all switches."""
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([gff.layers.ConvBNReLU(6, 3), gff.layers.Conv2D(5, 3)])
        model.build((None, 9, 11, 3))
        loss = gff.losses.SegmentationCrossEntropy(
            class_weights=[1, 5, 2, 0.5, 1], label_smoothing=0.1, ohem=0.1, ohem_min_kept=0.3
        )
        model.compile(gff.optimizers.LossScaleOptimizer(sgd()), loss, jit_compile=False)
        losses = model.fit(
            tf.data.Dataset.from_tensors((x, y)).repeat(6),
            epochs=1,
            validation_data=tf.data.Dataset.from_tensors((x, y)),
            callbacks=[gff.averaging.ValidateAverage()],
            verbose=0,
        ).history
    return losses, [np.asarray(v) for v in model.weights + model.optimizer.variables]


@pytest.mark.slow
def test_two_replicas_train_as_one_with_all_switches(two_replicas, rng):
    x = rng.normal(size=(4, 9, 11, 3)).astype("float32")
    y = rng.integers(0, 5, (4, 9, 11))
    y[:2][rng.random((2, 9, 11)) < 0.9] = 255  # the first replica has few labelled pixels
    expected = run(tf.distribute.get_strategy(), x, y)
    result = run(two_replicas, x, y)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(result[0][name], expected[0][name], rtol=1e-5)
    assert abs(expected[0]["loss"][0] - expected[0]["val_loss"][0]) > 1e-2
    for a, b in zip(result[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-5)


def test_xla_on_two_replicas_is_refused(two_replicas):
    with two_replicas.scope():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="this run has 2 replicas"):
        gff.xla.compile_train_step(model)


def test_an_overflow_on_one_replica_leaves_the_step_out_on_both(two_replicas):
    with two_replicas.scope():
        weight = keras.Variable(np.float32([1, 2]))
        optimizer = gff.optimizers.LossScaleOptimizer(gff.optimizers.SGD(0.1), initial_scale=8.0)
        optimizer.build([weight])

    @tf.function
    def step(overflow):
        def apply():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            gradient = tf.where(overflow & (replica == 1), np.inf, 1.0) * tf.ones(2)
            optimizer.apply([gradient], [weight])

        two_replicas.run(apply)

    step(True)
    np.testing.assert_array_equal(weight, [1, 2])
    assert np.asarray(optimizer.dynamic_scale) == 4
    step(False)
    l2 = 1e-4 * np.float32([1, 2])
    np.testing.assert_allclose(weight, [1, 2] - 0.1 * (2 / 4 + l2), rtol=1e-6)
