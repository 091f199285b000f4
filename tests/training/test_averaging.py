"""Averaged weights in a run: what is validated, and which weights each file holds."""

import keras
import numpy as np
import pytest

from gff_keras.data import LabelSet, evaluation_dataset
from gff_keras.evaluation.metrics import SegmentationMetrics
from gff_keras.sharing import load_model
from gff_keras.training import train
from gff_keras.training.averaging import averaged_weights
from tests.tiny import eagerly


@pytest.fixture(scope="module")
def averaged(tiny_recipe, tmp_path_factory):
    """`(recipe, model, history)` of a run with an average of momentum 0.6."""
    recipe = tiny_recipe(tmp_path_factory.mktemp("runs") / "ema", ema=0.6)
    with eagerly():
        return recipe, *train(recipe, verbose=0)


def mean_iou(model, records):
    metrics = SegmentationMetrics(3)
    for image, label in evaluation_dataset(records, "val"):
        metrics.update_state(label, model(image, training=False)["logits"])
    return float(metrics.result()["mean_iou"])


def test_training_does_not_feel_it(averaged, trained):
    """Weights, loss and learning rate are those of the run without, validation is another."""
    _, with_average, history = averaged
    _, without, expected = trained
    raw = keras.saving.load_model(averaged[0].out / "last.keras")
    for a, b in zip(raw.weights, without.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)  # one ran eagerly
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-4)
    assert abs(history["val_loss"][-1] - expected["val_loss"][-1]) > 1e-4


def test_each_file_says_which_weights_it_holds(averaged, records):
    recipe, model, history = averaged
    raw = keras.saving.load_model(recipe.out / "last.keras")
    average = load_model(recipe.out / "average.keras")
    assert (
        max(np.abs(a - b).max() for a, b in zip(raw.weights, average.weights, strict=True)) > 1e-3
    )
    with averaged_weights(raw):  # the optimizer in last.keras has the average, too
        for a, b in zip(raw.trainable_weights, average.trainable_weights, strict=True):
            np.testing.assert_array_equal(a, b)
        assert mean_iou(raw, records) == pytest.approx(history["val_mean_iou"][-1], abs=1e-6)
    best = load_model(recipe.out / "best.keras")
    for network in (raw, average, best):
        assert network.labels == LabelSet.from_records(records) and network.recipe["ema"] == 0.6
    assert mean_iou(best, records) == pytest.approx(max(history["val_mean_iou"]), abs=1e-6)
    for a, b in zip(model.weights, average.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_come_back_to_the_last_bit(averaged, rng):
    model = keras.saving.load_model(averaged[0].out / "last.keras")
    before = model.get_weights()
    with pytest.raises(RuntimeError, match="stop"), averaged_weights(model):
        assert any((a != b).any() for a, b in zip(model.get_weights(), before, strict=True))
        raise RuntimeError("stop")
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_an_average_it_is_refused(trained):
    with pytest.raises(ValueError, match="use_ema=True"), averaged_weights(trained[1]):
        pass
