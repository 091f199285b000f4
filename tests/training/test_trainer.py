"""A whole training run: its folder, its determinism, its end."""

import csv
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gff_keras.data import LabelSet, evaluation_dataset
from gff_keras.evaluation.metrics import SegmentationMetrics
from gff_keras.sharing import load_model
from gff_keras.training import train
from gff_keras.training.losses import SegmentationCrossEntropy


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_files_of_a_run(trained, records):
    recipe, _, history = trained
    names = {path.name for path in recipe.out.iterdir()}
    files = {"recipe.json", "labels.json", "last.keras", "best.keras", "history.csv"}
    assert files | {"tensorboard", "learning_curves.png"} <= names
    saved = json.loads((recipe.out / "recipe.json").read_text())
    assert (saved["crop_size"], saved["data"]) == ([33, 41], str(records))
    assert LabelSet.load(recipe.out / "labels.json") == LabelSet.from_records(records)
    assert list((recipe.out / "tensorboard").rglob("events*"))
    with Image.open(recipe.out / "learning_curves.png") as picture:
        assert min(picture.size) > 300
    rows = list(csv.DictReader((recipe.out / "history.csv").open()))
    for name in ("loss", "val_loss", "mean_iou", "val_mean_iou", "learning_rate"):
        assert [float(row[name]) for row in rows] == pytest.approx(history[name], rel=1e-6)


def test_learning_rate_is_that_of_an_epochs_last_step(trained):
    _, model, history = trained  # 5 images, batches of 2: 3 steps per epoch, 6 in all
    assert int(model.optimizer.iterations) == 6
    expected = 0.02 * (1 - np.array([2, 5]) / 6) ** 0.9
    assert history["learning_rate"] == pytest.approx(expected, rel=1e-5)


def test_validation_is_the_mean_over_the_split(trained, records):
    _, model, history = trained
    metrics, losses = SegmentationMetrics(3), []
    for images, labels in evaluation_dataset(records, "val"):
        logits = model(images, training=False)["logits"]
        metrics.update_state(labels, logits)
        losses.append(float(SegmentationCrossEntropy()(labels, logits)))
    for name in ("mean_iou", "pixel_accuracy", "mean_accuracy"):
        assert history[f"val_{name}"][-1] == pytest.approx(float(metrics.result()[name]), abs=2e-3)
    assert history["val_loss"][-1] == pytest.approx(np.mean(losses), rel=1e-4)


def test_saved_models_are_those_of_the_run(rng, trained, records):
    recipe, model, history = trained
    images = rng.integers(0, 256, (1, 37, 45, 3), "uint8")
    last = load_model(recipe.out / "last.keras")
    np.testing.assert_allclose(last(images)["logits"], model(images)["logits"], atol=1e-5)
    best, metrics = load_model(recipe.out / "best.keras"), SegmentationMetrics(3)
    for image, label in evaluation_dataset(records, "val"):
        metrics.update_state(label, best(image, training=False)["logits"])
    best_of_history = max(history["val_mean_iou"])
    assert float(metrics.result()["mean_iou"]) == pytest.approx(best_of_history, abs=2e-3)


def test_a_saved_run_holds_the_optimizer(trained):
    recipe, model, _ = trained
    loaded = keras.saving.load_model(recipe.out / "last.keras")
    assert int(loaded.optimizer.iterations) == 6
    for a, b in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_folder_with_a_run_is_refused_and_kept(trained, tiny_recipe):
    recipe, _, _ = trained
    before = contents(recipe.out)
    with pytest.raises(FileExistsError, match=f"{recipe.out} already holds a run"):
        train(tiny_recipe(recipe.out, seed=1), verbose=0)
    assert contents(recipe.out) == before


@pytest.mark.slow
def test_the_seed_decides_and_overwrite_replaces(trained, tiny_recipe, tmp_path):
    recipe, _, history = trained
    out = tmp_path / "run"
    shutil.copytree(recipe.out, out)
    (out / "notes.txt").write_text("mine")
    _, again = train(tiny_recipe(out, overwrite=True), verbose=0)
    assert again == history
    assert (out / "notes.txt").read_text() == "mine"
    assert len((out / "history.csv").read_text().splitlines()) == 3


def test_a_skipped_record_is_listed(without_val, tiny_recipe, tmp_path, capsys, eager):
    (shard,) = without_val.glob("*train.tfrecord*")
    content = bytearray(shard.read_bytes())
    content[-40] ^= 255  # within the last record
    shard.write_bytes(content)
    place = f"{without_val}: {shard.name}, record 4: it cannot be read"
    recipe = tiny_recipe(tmp_path / "run", data=without_val, on_error="skip", epochs=1)
    train(recipe, verbose=0)
    listed = (recipe.out / "skipped.txt").read_text()
    assert listed.startswith("damaged records skipped: 1, ") and place in listed
    assert listed in capsys.readouterr().out


@pytest.fixture
def without_val(records, tmp_path):
    """The same records, without their split val."""
    folder = tmp_path / "train_only"
    shutil.copytree(records, folder)
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"] = [split for split in info["splits"] if split["name"] == "train"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def test_total_steps_and_no_validation_split(without_val, tiny_recipe, trained, tmp_path):
    """Five steps where an epoch has three: the second epoch ends early."""
    recipe = tiny_recipe(tmp_path / "run", data=without_val, total_steps=5, seed=1)
    model, history = train(recipe, verbose=0)
    assert int(model.optimizer.iterations) == 5
    expected = 0.02 * (1 - np.array([2, 4]) / 5) ** 0.9
    assert history["learning_rate"] == pytest.approx(expected, rel=1e-5)
    assert abs(history["loss"][0] - trained[2]["loss"][0]) > 1e-3  # another seed
    assert (recipe.out / "last.keras").is_file()
    assert not (recipe.out / "best.keras").exists()
    assert not any(name.startswith("val_") for name in history)


@pytest.mark.slow
def test_loss_scaling_of_float16_keeps_the_learning_rate(tiny_recipe, tmp_path, eager):
    class Scaled(type(tiny_recipe(tmp_path))):
        def model(self, num_classes):
            model = super().model(num_classes)
            model.dtype_policy = keras.dtype_policies.get(
                "mixed_float16"
            )  # what `compile` looks at
            return model

    fields = vars(tiny_recipe(tmp_path / "run", epochs=1))
    model, history = train(Scaled(**fields), verbose=0)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert 0 < history["learning_rate"][0] <= 0.02


@pytest.mark.parametrize("field, name", [("data", "nowhere"), ("weights", "none.npz")])
def test_what_is_missing_is_named_and_nothing_written(tiny_recipe, tmp_path, field, name):
    recipe = tiny_recipe(tmp_path / "run", **{field: tmp_path / name})
    with pytest.raises((FileNotFoundError, ValueError), match=name):
        train(recipe, verbose=0)
    assert not (tmp_path / "run").exists()


def test_learning_lowers_the_loss(trained, records):
    recipe, _, _ = trained
    keras.utils.set_random_seed(recipe.seed)
    untrained, model = recipe.model(3), load_model(recipe.out / "last.keras")
    losses = {"before": [], "after": []}
    for images, labels in evaluation_dataset(records, "train"):
        for name, network in (("before", untrained), ("after", model)):
            logits = network(images, training=True)["logits"]  # BN of two epochs is no average yet
            losses[name].append(float(SegmentationCrossEntropy()(labels, logits)))
    assert tf.reduce_mean(losses["after"]) < tf.reduce_mean(losses["before"]) - 0.05
