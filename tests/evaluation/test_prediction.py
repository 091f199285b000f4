"""Predictions at the size of the image, and what lies beside a saved model."""

import json
import shutil

import keras
import numpy as np
import pytest

from gff_keras.data import LabelSet
from gff_keras.evaluation.prediction import Predictor, load_predictor
from gff_keras.evaluation.views import Views

pytestmark = pytest.mark.usefixtures("eager")

COLOURS = ((1, 2, 3), (40, 50, 60), (70, 80, 90))


@pytest.fixture
def run_folder(trained, tmp_path):
    """A copy of a run's folder, to change."""
    shutil.copytree(trained[0].out, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("size", [(33, 47), (8, 9), (50, 31)])
def test_results_have_the_size_of_the_image(rng, trained, size):
    image, model = rng.integers(0, 256, (*size, 3), "uint8"), trained[1]
    predictor = Predictor(model)
    logits = predictor.logits(image)
    assert (logits.shape, logits.dtype) == ((*size, 3), np.float32)
    expected = model(image[None], training=False)["logits"][0]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    classes = predictor.classes(image)
    assert classes.dtype == np.uint8
    np.testing.assert_array_equal(classes, logits.argmax(-1))
    for gate, expected in zip(predictor.gates(image), model.gates(image[None]), strict=True):
        np.testing.assert_allclose(gate, expected[0, :, :, 0], rtol=1e-4, atol=1e-5)


def test_image_size_is_that_of_the_network_only(rng, trained):
    """An image constant in 2x2 blocks, seen at half its size, is the small image itself."""
    small, model = rng.integers(0, 256, (20, 26, 3), "uint8"), trained[1]
    image = np.kron(small, np.ones((2, 2, 1), "uint8"))
    predictor = Predictor(model, (20, 26))
    logits = predictor.logits(image)
    assert logits.shape == (40, 52, 3)
    small_image = keras.ops.image.resize(
        image.astype("float32"), (20, 26), interpolation="bilinear", antialias=True
    )
    seen = model(small_image[None], training=False)["logits"]
    expected = keras.ops.image.resize(seen, (40, 52), interpolation="bilinear")[0]
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)
    assert [gate.shape for gate in predictor.gates(image)] == [(5, 7), (3, 4), (3, 4)]


def test_a_run_folder_tells_labels_and_size(run_folder, records):
    predictor, labels = load_predictor(run_folder / "last.keras")
    assert labels == LabelSet.from_records(records)
    assert predictor.image_size is None
    recipe = json.loads((run_folder / "recipe.json").read_text())
    (run_folder / "recipe.json").write_text(json.dumps({**recipe, "image_size": [20, 30]}))
    assert load_predictor(run_folder / "last.keras")[0].image_size == (20, 30)
    assert load_predictor(run_folder / "last.keras", (9, 8))[0].image_size == (9, 8)


def test_a_model_alone_tells_what_its_run_did(run_folder, tmp_path):
    shutil.copy(run_folder / "last.keras", tmp_path / "alone.keras")
    predictor, labels = load_predictor(tmp_path / "alone.keras", views=Views("sliding"))
    beside, expected = load_predictor(run_folder, views=Views("sliding"))
    assert labels == expected == LabelSet.load(run_folder / "labels.json")
    assert predictor.settings == beside.settings
    assert predictor.views.crop_size == (33, 41)
    predictor.model.metadata["recipe"]["image_size"] = [20, 30]
    predictor.model.save(tmp_path / "alone.keras")
    assert load_predictor(tmp_path / "alone.keras")[0].image_size == (20, 30)
    predictor.model.metadata["recipe"]["image_size"] = "wide"
    predictor.model.save(tmp_path / "alone.keras")
    with pytest.raises(ValueError, match=r"The recipe in \S+alone.keras does not tell the image_s"):
        load_predictor(tmp_path / "alone.keras")


def test_a_model_that_carries_nothing_gets_generic_names(tiny_model, tmp_path):
    tiny_model().save(tmp_path / "alone.keras")
    predictor, labels = load_predictor(tmp_path / "alone.keras")
    assert labels.classes == ("class 0", "class 1", "class 2")
    assert len(set(labels.palette)) == 3
    assert predictor.image_size is None


def test_windows_have_the_size_of_training(run_folder):
    sliding = Views("sliding", scales=(1, 2))
    views = load_predictor(run_folder / "last.keras", views=sliding)[0].views
    assert views == Views("sliding", (33, 41), scales=(1, 2))
    other = Views("sliding", (9, 8))
    assert load_predictor(run_folder / "last.keras", views=other)[0].views == other
    (run_folder / "recipe.json").write_text('{"image_size": null}')
    with pytest.raises(ValueError, match=r"recipe\.json does not tell the crop_size"):
        load_predictor(run_folder / "last.keras", views=sliding)


def test_windows_of_an_unknown_size(tiny_model, tmp_path):
    tiny_model().save(tmp_path / "alone.keras")
    with pytest.raises(ValueError, match=r"no recipe\.json beside .*; give --crop_size"):
        load_predictor(tmp_path / "alone.keras", views=Views("sliding"))


@pytest.mark.parametrize("views", [Views("sliding"), Views(flip=True), Views(scales=(2,))])
def test_tflite_files_have_one_view(views):
    with pytest.raises(ValueError, match=r"a\.tflite sees whole .* need the \.keras file"):
        load_predictor("a.tflite", views=views)


def test_labels_of_another_model_are_refused(run_folder):
    LabelSet("two", ("a", "b"), COLOURS[:2]).save(run_folder / "labels.json")
    with pytest.raises(ValueError, match=r"labels.json names 2 classes.*last.keras predicts 3"):
        load_predictor(run_folder / "last.keras")


@pytest.mark.parametrize("name", ["labels.json", "recipe.json"])
@pytest.mark.parametrize("text", ["{", "[1]", '{"image_size": "wide"}'])
def test_damaged_files_beside_the_model_are_named(run_folder, name, text):
    (run_folder / name).write_text(text)
    with pytest.raises(ValueError, match=name):
        load_predictor(run_folder / "last.keras")
