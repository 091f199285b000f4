"""Two replicas on logical CPUs train as one, in a process of their own: devices are set once."""

import subprocess
import sys

CODE = """
import keras, numpy as np, tensorflow as tf
import gff_keras as gff
from gff_keras.backbones.pretrained import calibrate
from gff_keras.training.losses import SegmentationCrossEntropy
from gff_keras.training.multi_worker import draw_apart

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
rng = np.random.default_rng(0)
x = rng.normal(size=(4, 9, 11, 3)).astype("float32")
y = rng.integers(0, 5, (4, 9, 11))
y[:2][rng.random((2, 9, 11)) < 0.9] = 255  # the first replica has few labelled pixels

def run(strategy):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([gff.layers.ConvBNReLU(6, 3), gff.layers.Conv2D(5, 3)])
        model.build((None, 9, 11, 3))
        model.compile(gff.optimizers.SGD(0.1), SegmentationCrossEntropy())
    batches = tf.data.Dataset.from_tensors((x, y)).repeat(3)
    losses = model.fit(batches, epochs=1, verbose=0).history["loss"]
    return losses, [w.numpy() for w in model.weights]  # running statistics, too

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

one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for a, b in zip(calibrated(one), calibrated(two), strict=True):
    np.testing.assert_array_equal(a, b)
strategy = two
one, two = run(one), run(two)
np.testing.assert_allclose(two[0], one[0], rtol=1e-5)
for a, b in zip(one[1], two[1], strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)

with strategy.scope():
    model = keras.Sequential([keras.Input((50,)), keras.layers.Dropout(0.5)])
draw_apart(model)
masks = [
    strategy.run(tf.function(lambda: model(tf.ones((1, 50)), training=True))).values
    for _ in range(2)
]
masks = {mask.numpy().tobytes() for pair in masks for mask in pair}
assert len(masks) == 4, "masks are repeated"
print("equal")
"""


def test_two_replicas_take_the_steps_of_one():
    """Although one replica has a tenth of the labelled pixels of the other."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=200)
    assert done.stdout.strip().endswith("equal"), done.stderr[-2000:]


def test_a_run_on_two_replicas_equals_one_on_one_device(
    uneven_recipe, start, assert_same_run, tmp_path
):
    """Weights, statistics, optimiser, losses and metrics, with three images to validate on."""
    process = start(uneven_recipe, "--out", tmp_path / "two", "--cpu_replicas", "2")
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    assert "2 replicas on 1 machine (CPU:0, CPU:1), 2 images each\n" in out
    assert_same_run(tmp_path / "two")
