"""A loss that is no number stops at its step, with its batch, before anything is saved."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import gff_keras as gff
from gff_keras.data import Augmentation, LabelSet, training_dataset
from gff_keras.training import train
from gff_keras.training.callbacks import NonFiniteLoss, StopAtNonFiniteLoss
from gff_keras.training.checkpointing import Checkpoints
from gff_keras.training.saving import SaveBest, SaveLast
from gff_keras.training.schedules import PolynomialDecay

STEPS, BAD = 5, 3
LABELS = LabelSet("three", ("a", "b", "c"), ((200, 0, 0), (0, 200, 0), (0, 0, 200)))


@pytest.fixture
def batches(rng):
    """Batches of float images and labels; the images of one of them are not finite."""
    images = rng.uniform(0, 255, (STEPS, 2, 9, 11, 3)).astype("float32")
    labels = rng.integers(0, 3, (STEPS, 2, 9, 11))
    images[BAD, 1, 4, 5] = np.nan
    return images, labels


def network(optimizer=None, **compiled):
    """A convolution behind a normalisation: the smallest network that has running statistics."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((9, 11, 3)), gff.layers.BatchNormalization(name="norm")]
    model = keras.Sequential([*layers, gff.layers.Conv2D(3, 3, name="classifier")])
    optimizer = optimizer or gff.optimizers.SGD(PolynomialDecay(0.1, STEPS))
    model.compile(optimizer, gff.losses.SegmentationCrossEntropy(), **compiled)
    return model


def fit(model, batches, *callbacks, **arguments):
    dataset = tf.data.Dataset.from_tensor_slices(batches)
    return model.fit(dataset, callbacks=list(callbacks), verbose=0, **arguments)


def first(batches, steps):
    return tuple(part[:steps] for part in batches)


def test_it_stops_at_the_step_before_anything_is_saved(batches, tmp_path):
    def batch(step):
        return *(part[step] for part in batches), np.array([b"one", b"two"])

    stop = StopAtNonFiniteLoss(tmp_path / "out", batch, LABELS)
    save = keras.callbacks.ModelCheckpoint(tmp_path / "{batch}.keras", save_freq=1)
    with pytest.raises(NonFiniteLoss) as error:
        fit(network(), batches, stop, save)
    rate = 0.1 * (1 - BAD / STEPS) ** 0.9
    files = f"{tmp_path / 'out' / 'nonfinite_step_3.npz'} and .png"
    assert str(error.value) == (
        f"the loss is nan at step {BAD} (the first step is 0; learning rate {rate:.4g}); its batch "
        f"holds 'one', 'two' and is written to {files}; a lower learning rate or clipped gradients "
        "may help."
    )
    assert len(list(tmp_path.glob("*.keras"))) == BAD  # of the steps before it
    for path in tmp_path.glob("*.keras"):
        weights = keras.saving.load_model(path).get_weights()
        assert all(np.isfinite(w).all() for w in weights)
    with np.load(tmp_path / "out" / "nonfinite_step_3.npz") as written:
        np.testing.assert_array_equal(written["images"], batches[0][BAD])
        np.testing.assert_array_equal(written["labels"], batches[1][BAD])
        assert written["ids"].tolist() == ["one", "two"]
    with Image.open(tmp_path / "out" / "nonfinite_step_3.png") as sheet:
        assert sheet.size[0] > 2 * 480 and sheet.size[1] > 4 * 9 * 44 / 2
        assert len(sheet.getcolors(2**20)) > 50


def test_alone_under_plain_keras(batches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NonFiniteLoss, match="the loss is nan at step 3 "):
        fit(network(), batches, gff.callbacks.StopAtNonFiniteLoss())
    assert not list(tmp_path.iterdir())
    pair = StopAtNonFiniteLoss("here", lambda step: [part[step] for part in batches])
    with pytest.raises(NonFiniteLoss, match="'image 0', 'image 1' and is written to here"):
        fit(network(), batches, pair)
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["nonfinite_step_3.npz"]
    fit(network(), first(batches, BAD), StopAtNonFiniteLoss())  # nothing is wrong


def test_what_fails_while_writing_does_not_hide_the_step(batches, tmp_path):
    (tmp_path / "file").write_text("")
    stop = StopAtNonFiniteLoss(tmp_path / "file", lambda step: [part[step] for part in batches])
    with pytest.raises(
        NonFiniteLoss, match="nan at step 3 .*; its batch cannot be written: .*file"
    ):
        fit(network(), batches, stop)


def test_steps_are_counted_on_in_later_epochs_and_runs(batches):
    order = [0, 1, 2, 4]
    good = tf.data.Dataset.from_tensor_slices(tuple(part[order] for part in batches))
    bad = tf.data.Dataset.from_tensor_slices(tuple(part[[BAD]] for part in batches))
    model = network()
    with pytest.raises(NonFiniteLoss, match="at step 106 "):  # the third of the second epoch
        model.fit(
            good.concatenate(good.take(2)).concatenate(bad).repeat(),
            callbacks=[StopAtNonFiniteLoss(start_step=100)],
            steps_per_epoch=4,
            epochs=3,
            verbose=0,
        )
    with pytest.raises(NonFiniteLoss, match="at step 3 "):  # the second group of two
        fit(network(steps_per_execution=2), batches, StopAtNonFiniteLoss())


def test_weights_that_break_while_the_loss_is_finite(batches, tmp_path):
    good = first(batches, BAD)
    model = network(keras.optimizers.SGD(np.inf))
    message = r"norm/gamma and 3 more weights are not finite after step 0, although .* mean loss is"
    save = keras.callbacks.ModelCheckpoint(tmp_path / "{batch}.keras", save_freq=1)
    with pytest.raises(NonFiniteLoss, match=message):
        fit(model, good, StopAtNonFiniteLoss(), save)
    assert not list(tmp_path.iterdir())


def test_a_running_statistic_that_is_infinite_stops(batches):
    """Training does not read it, so its loss stays as it was; everything else will."""
    model = network()
    variance = model.get_layer("norm").moving_variance
    variance.assign(np.full(variance.shape, np.inf))
    with pytest.raises(NonFiniteLoss, match="norm/moving_variance is not finite after step 0, "):
        fit(model, first(batches, BAD), StopAtNonFiniteLoss())


def test_a_sum_too_large_for_float32_is_no_reason_to_stop(batches):
    model = network()
    variance = model.get_layer("norm").moving_variance
    variance.assign(np.full(variance.shape, 3e38))
    fit(model, first(batches, 1), StopAtNonFiniteLoss())


def test_a_step_that_loss_scaling_leaves_out_goes_on(batches):
    """Every step: gradients of a million times 2**127 are past float32, and halves of that are."""
    inner = gff.optimizers.SGD(0.1)
    scaling = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**127)
    model = network(scaling, loss_weights=1e6)
    before = [weight.numpy() for weight in model.trainable_weights]
    history = fit(model, first(batches, BAD), StopAtNonFiniteLoss()).history
    assert np.isfinite(history["loss"]).all()
    assert float(scaling.dynamic_scale) == 2.0 ** (127 - BAD)
    assert int(inner.iterations) == 0
    for weight, old in zip(model.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_a_validation_loss_that_is_not_finite_stops(batches, tmp_path):
    good = first(batches, BAD)
    bad = tf.data.Dataset.from_tensor_slices(tuple(part[[BAD]] for part in batches))
    save = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras")
    with pytest.raises(NonFiniteLoss, match="the validation loss is nan after step 2, although"):
        fit(network(), good, StopAtNonFiniteLoss(), save, validation_data=bad)
    assert not list(tmp_path.iterdir())


def test_a_label_that_is_no_class_is_found_where_no_assertion_is(batches, tmp_path):
    images, labels = np.nan_to_num(batches[0]), batches[1]
    labels[2, 1, 0, 0] = 3

    def batch(step):
        return images[step], labels[step], np.array(["one", "two"])

    model = network(jit_compile=True)
    model.num_classes = 3
    before = [w.numpy() for w in model.trainable_weights]
    with pytest.raises(NonFiniteLoss, match=r"step 2 .* label 3 of 'two' is no class: correct it"):
        fit(model, (images, labels), StopAtNonFiniteLoss(tmp_path, batch, LABELS))
    assert (tmp_path / "nonfinite_step_2.png").is_file()
    assert all(np.isfinite(w).all() for w in model.get_weights())  # such a batch teaches nothing
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert np.abs(weight.numpy() - old).max() > 1e-4  # the batches before it did


def test_a_training_run_writes_the_batch_it_stopped_at(tiny_recipe, records, tmp_path, eager):
    changes = dict(learning_rate=1e25, epochs=4, seed=3, overwrite=True)
    recipe = tiny_recipe(tmp_path / "run", **changes)
    recipe.out.mkdir()
    (recipe.out / "nonfinite_step_99.npz").write_text("of the run that is replaced")
    with pytest.raises(NonFiniteLoss) as error:
        train(recipe, verbose=0)
    (path,) = recipe.out.glob("nonfinite_step_*.npz")
    step = int(path.stem.split("_")[-1])
    assert f"at step {step} " in str(error.value) or f"after step {step}, " in str(error.value)
    options = dict(batch_size=2, augmentation=Augmentation((33, 41)), seed=3)
    images, labels = list(training_dataset(records, **options).take(step + 1))[-1]
    with np.load(path) as written:
        np.testing.assert_array_equal(written["images"], images)
        np.testing.assert_array_equal(written["labels"], labels)
        assert all(repr(name) in str(error.value) for name in written["ids"].tolist())
        assert all(name.startswith("scene_") for name in written["ids"].tolist())
    assert path.with_suffix(".png").is_file()
    for saved in recipe.out.glob("*.keras"):
        assert all(np.isfinite(w).all() for w in keras.saving.load_model(saved).get_weights())


def test_a_training_run_looks_before_it_saves(tiny_recipe, tmp_path, monkeypatch):
    class Reached(Exception):
        pass

    def fit(model, *arguments, callbacks, **options):
        kinds = [type(each) for each in callbacks.callbacks]
        for kind in (SaveBest, SaveLast, Checkpoints):
            assert kinds.index(StopAtNonFiniteLoss) < kinds.index(kind)
        raise Reached

    monkeypatch.setattr(keras.Model, "fit", fit)
    with pytest.raises(Reached):
        train(tiny_recipe(tmp_path / "run"), verbose=0)


RUN = """
import hashlib, pathlib, sys
import keras
import gff_keras as gff
from gff_keras.training import Recipe, train

class Small(Recipe):
    def model(self, num_classes):
        x = images = keras.Input((None, None, 3))
        features = []
        for filters, strides in ((16, 2), (32, 2), (48, 2), (64, 1)):
            x = gff.layers.Conv2D(filters, 3, strides=strides)(x)
            x = keras.layers.ReLU()(gff.layers.BatchNormalization()(x))
            features.append(x)
        return gff.GFFNet(keras.Model(images, features[1:]), num_classes, filters=32)

data, out = map(pathlib.Path, sys.argv[1:])
model, history = train(Small(data, out, crop_size=(65,), batch_size=4, total_steps=4), verbose=0)
weights = b"".join(weight.numpy().tobytes() for weight in model.weights)
print(hashlib.sha256(weights).hexdigest(), history)
"""


@pytest.mark.slow
def test_a_seed_gives_the_same_run_in_another_process(records, tmp_path):
    """Bit for bit: all weights, running statistics, losses and metrics."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", RUN, records, tmp_path / name],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    one, two = (run.communicate(timeout=900)[0].splitlines()[-1] for run in runs)
    assert "val_mean_iou" in one and one == two
