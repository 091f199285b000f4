"""Keras on JAX: what TensorFlow saved computes and learns the same there, and recipes run.

JAX runs in processes of its own, since KERAS_BACKEND is read once.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import gff_keras as gff
from gff_keras.data import evaluation_dataset
from gff_keras.sharing import load_model
from tests.models.test_contract import COMBINATIONS, randomized
from tests.tiny import tiny_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed"),
]

# Runs here on TensorFlow and there on JAX: a saved model predicts and takes one more step.
STEP = """
import keras, numpy as np
import gff_keras

def run(model_file, batch_file):
    model, batch = keras.saving.load_model(model_file), np.load(batch_file)
    results = {}
    results["logits"] = model.predict_on_batch(batch["others"])["logits"]
    for level, gate in enumerate(model.gates(batch["others"])):
        results[f"gate {level}"] = keras.ops.convert_to_numpy(gate)
    brought = model.get_layer("gff").contributions(model.features(batch["others"]))
    results["gate contributions"] = keras.ops.convert_to_numpy(brought)
    ablated = model.with_gates(zero=[1])
    results["logits without G1"] = ablated.predict_on_batch(batch["others"])["logits"]
    logs = model.train_on_batch(batch["images"], batch["labels"], return_dict=True)
    results.update({f"log {name}": np.array(value) for name, value in logs.items()})
    results["iterations"] = np.array(model.optimizer.iterations)
    for variable in (*model.weights, *model.optimizer.velocities):
        results[variable.path] = np.array(variable)
    half = gff_keras.GFFNet.from_config({**model.get_config(), "dtype": "mixed_bfloat16"})
    half.set_weights(model.get_weights())
    half.compile(gff_keras.optimizers.SGD(0.01), gff_keras.losses.SegmentationCrossEntropy())
    results["half logits"] = half.predict_on_batch(batch["others"])["logits"]
    results["full logits"] = model.predict_on_batch(batch["others"])["logits"]
    results["half loss"] = np.array(half.train_on_batch(batch["images"], batch["labels"]))
    return results
"""

ON_JAX = "\nimport sys\nnp.savez(sys.argv[3], **run(*sys.argv[1:3]))\n"

COMBINATIONS_ON_JAX = """
import sys
from pathlib import Path
import keras, numpy as np
import gff_keras

folder = Path(sys.argv[1])
images = np.load(folder / "images.npy")
logits = {
    path.stem: keras.saving.load_model(path)(images)["logits"] for path in folder.glob("*.keras")
}
np.savez(folder / "found.npz", **logits)
"""

METRICS = """
import numpy as np
from gff_keras.evaluation.metrics import SegmentationMetrics

metrics = SegmentationMetrics(3)
start = np.array([[2**30 - 2, 2**30 - 1, 0], [0, 2**30 - 5, 0], [0, 0, 7]])
metrics.confusion.assign(start)
for _ in range(3):  # each time as many again as 30 bits hold
    metrics.update_state(np.array([[[0, 0, 1, 255]]]), np.array([[[0, 1, 1, 1]]]))
    metrics.confusion.assign_add(start)
expected = 4 * start + 3 * np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]])
np.testing.assert_array_equal(metrics.confusion_matrix(), expected)
accuracy = expected.trace() / expected.sum()
np.testing.assert_allclose(metrics.result()["pixel_accuracy"], accuracy, rtol=1e-6)
metrics.reset_state()
assert not metrics.confusion_matrix().any()
print("exact")
"""

COMMANDS = """
import sys
from gff_keras.cli import main

recipe, data, out, photo = sys.argv[1:]
best = f"{out}/best.keras"
assert main(["train", recipe, "--data", data, "--out", out]) == 0
assert main(["evaluate", best, "--data", data]) == 0
assert main(["predict", photo, "--model", best, "--out", f"{out}/pictures"]) == 0
assert main(["gates", photo, "--model", best, "--out", f"{out}/pictures"]) == 0
analysis = ["--max_images", "1", "--sheets", "0", "--out", f"{out}/analysis"]
assert main(["gates", "--data", data, "--model", best, *analysis]) == 0
assert main(["info", best]) == 2
"""

RUNS = """
import os, signal, sys
from pathlib import Path

import keras, numpy as np, tensorflow as tf
from gff_keras.training import Stopped, checkpoints, strategy, train
from gff_keras.training.callbacks import NonFiniteLoss
from gff_keras.training.saving import ListSkipped
from tests.tiny import tiny_recipe

data, out = map(Path, sys.argv[1:])

def run(name, **changes):  # three steps; JAX would compile validation for each size of an image
    changes |= dict(epochs=1, ema=0.5, val_split="none")
    return train(tiny_recipe(data, out / name, **changes), verbose=0)

def stop(self, batch, logs=None):
    if batch == 0:
        os.kill(os.getpid(), signal.SIGTERM)

_, expected = run("straight")
ListSkipped.on_train_batch_end = stop
try:
    run("resumed")
except Stopped as stopped:
    assert "after step 1, saved in" in str(stopped), stopped
else:
    raise AssertionError("the signal was not heard")
del ListSkipped.on_train_batch_end
assert checkpoints.newest(out / "resumed").step == 1
_, history = run("resumed", resume=True)
for name, values in expected.items():
    np.testing.assert_allclose(history[name], values, atol=1e-6, err_msg=name)
ours, theirs = (checkpoints.newest(out / name) for name in ("resumed", "straight"))
assert ours.step == theirs.step == 3 and ours.header["finished"]
for name, group in theirs.values.items():
    for a, b in zip(ours.values[name], group, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
models = [
    keras.saving.load_model(out / name / f"{kind}.keras").get_weights()
    for kind in ("average", "last") for name in ("resumed", "straight")
]
for a, b in zip(*models[:2], strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
assert max(np.abs(a - b).max() for a, b in zip(*models[1::2], strict=True)) > 1e-3

batches = strategy.training_batches

def poisoned(*arguments, **options):
    def poison(step, batch):
        images, labels = batch
        return tf.where(step == 1, np.nan, tf.cast(images, tf.float32)), labels
    return batches(*arguments, **options).enumerate().map(poison)

strategy.training_batches = poisoned
try:
    run("poisoned", checkpoint_every=1)
except NonFiniteLoss as error:
    print(error)
assert checkpoints.newest(out / "poisoned").step == 1
"""

RECIPE = """
from pathlib import Path
from gff_keras.training import Recipe

RECIPE = Recipe(data=Path("d"), out=Path("o"), backbone="resnet18", output_stride=32, filters=8,
                crop_size=(33, 41), batch_size=2, epochs=2, learning_rate=0.02)
"""


def on_jax(code, *arguments):
    """Run Python code on JAX; return its standard output and error."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Results of `STEP` on TensorFlow and on JAX, from a model that TensorFlow saved."""
    folder, rng = tmp_path_factory.mktemp("jax"), np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    model = gff.GFFNet("resnet18", 5, filters=16, dropout=0.0)
    for weight in model.weights:  # no normalisation is the identity
        if "gamma" in weight.path or "variance" in weight.path:
            weight.assign(rng.uniform(0.7, 1.3, weight.shape))
        elif "kernel" not in weight.path and "normalize" not in weight.path:
            weight.assign(rng.normal(0, 0.1, weight.shape))
    model.compile(
        gff.optimizers.SGD(gff.schedules.PolynomialDecay(0.05, total_steps=10)),
        gff.losses.SegmentationCrossEntropy(),
        metrics=[gff.metrics.SegmentationMetrics(5)],
    )
    labels = rng.integers(0, 5, (4, 49, 65), "uint8")
    labels[:2][rng.random((2, 49, 65)) < 0.7] = 255
    shapes = {"images": (4, 49, 65), "others": (2, 41, 70)}
    batch = {name: rng.integers(0, 256, (*s, 3), "uint8") for name, s in shapes.items()}
    model.train_on_batch(batch["images"], labels)
    weights = model.get_weights()
    scores = np.sort(model(batch["images"], training=True)["logits"], axis=-1)
    model.set_weights(weights)  # the running statistics have moved
    labels[scores[..., -1] - scores[..., -2] < 1e-3] = 255  # undecided: counted either way
    files = folder / "model.keras", folder / "batch.npz"
    model.save(files[0])
    np.savez(files[1], labels=labels, **batch)
    on_jax(STEP + ON_JAX, *files, folder / "results.npz")
    scope = {}
    exec(STEP, scope)
    return scope["run"](*files), dict(np.load(folder / "results.npz"))


def test_a_model_of_tensorflow_predicts_the_same(both):
    expected, found = both
    for name in expected:
        if name.startswith(("logits", "gate ")):
            np.testing.assert_allclose(found[name], expected[name], atol=1e-4, err_msg=name)
    assert np.ptp(expected["logits"]) > 0.5  # the bound means something


def test_every_combination_predicts_the_same(rng, tmp_path):
    """Every context with every fusion, saved by TensorFlow."""
    images, expected = rng.integers(0, 256, (2, 41, 57, 3), "uint8"), {}
    np.save(tmp_path / "images.npy", images)
    for context, fusion, dfp in COMBINATIONS:
        model = randomized(tiny_model(4, context=context, fusion=fusion, dfp=dfp))
        model.save(tmp_path / f"{context}-{fusion}-{dfp}.keras")
        expected[f"{context}-{fusion}-{dfp}"] = model(images)["logits"].numpy()
    on_jax(COMBINATIONS_ON_JAX, tmp_path)
    found = dict(np.load(tmp_path / "found.npz"))
    assert found.keys() == expected.keys() and len(found) == 44
    for name, logits in expected.items():
        tolerance = 1e-5 * np.abs(logits).max()
        np.testing.assert_allclose(found[name], logits, rtol=0, atol=tolerance, err_msg=name)


def test_a_step_is_the_same(both):
    """Loss, metrics, weights, running statistics and velocities, from the saved optimiser's."""
    expected, found = both
    assert found.keys() == expected.keys()
    assert found["iterations"] == expected["iterations"] == 2
    for name in expected:
        if name.startswith("log "):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, err_msg=name)
        elif name.startswith("SGD"):  # of gradients: sums whose terms cancel in single entries
            error = np.linalg.norm(found[name] - expected[name])
            assert error < 1e-3 * np.linalg.norm(expected[name]), name
        elif "/" in name:
            np.testing.assert_allclose(
                found[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=name
            )


def test_bfloat16(both):
    expected, found = both
    for results in both:  # as far from float32 as eight bits of mantissa are
        error = np.abs(results["half logits"] - results["full logits"]).mean()
        assert 0 < error < 0.02 * np.ptp(results["full logits"])
    np.testing.assert_allclose(found["half loss"], expected["half loss"], rtol=0.01)


def test_pixels_beyond_31_bits_are_counted():
    assert on_jax(METRICS)[0].endswith("exact\n")


def test_a_recipe_trains_and_its_model_is_used(records, rng, tmp_path):
    """By the command line, on JAX; TensorFlow then evaluates what JAX saved."""
    out, photo, recipe = tmp_path / "run", tmp_path / "photo.png", tmp_path / "small.py"
    Image.fromarray(rng.integers(0, 256, (36, 36, 3), "uint8")).save(photo)
    recipe.write_text(RECIPE)
    _, errors = on_jax(COMMANDS, recipe, records, out, photo)
    assert "gff-keras info: error: Operations are counted on TensorFlow's graph" in errors
    assert len((out / "history.csv").read_text().splitlines()) == 3
    assert list((out / "tensorboard").rglob("events*"))
    names = {path.name for path in (out / "pictures").iterdir()}
    kinds = ("mask.png", "overlay.png", "gates.png", "gates.npy")
    assert names == {f"photo_{kind}" for kind in kinds}
    assert json.loads((out / "analysis" / "gates.json").read_text())["images"] == 1
    model, metrics = load_model(out / "best.keras"), gff.metrics.SegmentationMetrics(3)
    for image, label in evaluation_dataset(records, "val"):
        metrics.update_state(label, model(image, training=False)["logits"])
    results = json.loads((out / "best_val.json").read_text())
    expected = metrics.confusion_matrix()
    assert np.abs(np.array(results["confusion"]) - expected).sum() <= 0.002 * expected.sum()


def test_a_run_resumes_and_stops_at_a_loss_that_is_no_number(records, tmp_path):
    """Stopped after the first of three steps with averaged weights; then the second is poisoned."""
    printed, _ = on_jax(RUNS, records, tmp_path)
    assert "the loss is nan at step 1 (the first step is 0; " in printed
    assert (tmp_path / "poisoned" / "nonfinite_step_1.npz").is_file()
    assert not list((tmp_path / "poisoned").glob("*.keras"))
