"""On two replicas every switch means what it means on one. A process of its own, as devices."""

import subprocess
import sys

CODE = """
import keras, numpy as np, tensorflow as tf
import gff_keras as gff

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
one = tf.distribute.get_strategy()
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
rng = np.random.default_rng(0)
x = rng.normal(size=(4, 9, 11, 3)).astype("float32")
y = rng.integers(0, 5, (4, 9, 11))
y[:2][rng.random((2, 9, 11)) < 0.9] = 255  # the first replica has few labelled pixels

def sgd():
    return gff.optimizers.SGD(
        gff.schedules.PolynomialDecay(0.2, 6, warmup_steps=2),
        global_clipnorm=0.1,  # of about 0.5
        gradient_accumulation_steps=2,
        use_ema=True,
        ema_momentum=0.5,
    )

def run(strategy):
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
    if strategy is two:
        try:
            gff.xla.compile_train_step(model)
        except ValueError as error:
            assert "this run has 2 replicas" in str(error)
        else:
            raise AssertionError("XLA on two replicas was not refused")
    return losses, [np.asarray(v) for v in model.weights + model.optimizer.variables]

expected, result = run(one), run(two)
for name in ("loss", "val_loss"):
    np.testing.assert_allclose(result[0][name], expected[0][name], rtol=1e-5)
assert abs(expected[0]["loss"][0] - expected[0]["val_loss"][0]) > 1e-2
for a, b in zip(result[1], expected[1], strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-5)

with two.scope():  # an overflow on the second replica alone
    weight = keras.Variable(np.float32([1, 2]))
    optimizer = gff.optimizers.LossScaleOptimizer(gff.optimizers.SGD(0.1), initial_scale=8.0)
    optimizer.build([weight])

@tf.function
def step(overflow):
    def apply():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        gradient = tf.where(overflow & (replica == 1), np.inf, 1.0) * tf.ones(2)
        optimizer.apply([gradient], [weight])
    two.run(apply)

step(True)
np.testing.assert_array_equal(weight, [1, 2])
assert np.asarray(optimizer.dynamic_scale) == 4
step(False)
l2 = 1e-4 * np.float32([1, 2])
np.testing.assert_allclose(weight, [1, 2] - 0.1 * (2 / 4 + l2), rtol=1e-6)
"""


def test_two_replicas_train_as_one_with_all_switches():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
