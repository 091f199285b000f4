"""What a run leaves for TensorBoard, read back from its files."""

import io
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gff_keras.data import LabelSet, evaluation_dataset
from gff_keras.evaluation.gate_maps import gate_maps
from gff_keras.evaluation.prediction import Predictor
from gff_keras.training import train
from gff_keras.training.tensorboard import PICTURE_WIDTH, TensorBoard
from gff_keras.visualization import gate_sheet, prediction_sheet


def read_events(folder):
    """Return {tag: {step: number or picture}}."""
    found: dict = {}
    for path in sorted(folder.glob("events*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                content = tf.make_ndarray(value.tensor)
                if content.dtype == object:  # width, height, PNG
                    content = np.asarray(Image.open(io.BytesIO(content[2])))
                found.setdefault(value.tag, {})[event.step] = content
    return found


def examples(records):
    return list(evaluation_dataset(records).unbatch().as_numpy_iterator())


def shrunk(sheet):
    sheet.thumbnail((PICTURE_WIDTH, sheet.height))
    return np.asarray(sheet)


@pytest.mark.slow
def test_pictures_and_curves_of_a_run(tiny_recipe, records, tmp_path, eager):
    """Images of different sizes, through a run: the last pictures are the trained network's."""
    model, history = train(tiny_recipe(tmp_path, tensorboard_images=2), verbose=0)
    predictor, labels = Predictor(model), LabelSet.from_records(records)
    found = read_events(tmp_path / "tensorboard" / "validation")
    assert set(found) == {
        *("predictions", "gates_1", "gates_2"),
        *("epoch/loss", "epoch/mean_iou", "epoch/mean_accuracy", "epoch/pixel_accuracy"),
    }
    rows = []
    for i, (image, truth) in enumerate(examples(records)[:2], start=1):
        classes = predictor.classes(image)
        rows.append((image, classes, truth))
        gates = gate_maps(predictor, image)
        expected = shrunk(gate_sheet(image, gates, classes, labels))
        np.testing.assert_array_equal(found[f"gates_{i}"][2], expected)
    assert rows[0][0].shape != rows[1][0].shape
    expected = shrunk(prediction_sheet(rows, labels))
    np.testing.assert_array_equal(found["predictions"][2], expected)
    assert (found["predictions"][1] != found["predictions"][2]).any()
    values = {1: history["val_mean_iou"][0], 2: history["val_mean_iou"][1]}
    assert found["epoch/mean_iou"] == pytest.approx(values)

    found = read_events(tmp_path / "tensorboard" / "train")
    for name in ("loss", "mean_iou", "learning_rate"):
        values = dict(enumerate(history[name], start=1))
        assert found[f"epoch/{name}"] == pytest.approx(values, rel=1e-6)
    assert "step/loss" not in found  # six steps, and a point every tenth


def progress_of(steps):
    measured = {"learning_rate": 0.25, "step_seconds": 0.5, "memory_gib": 1.5}
    return SimpleNamespace(step=0, epochs=2, measurements=lambda: measured)


def test_step_curves_are_means_of_their_steps(rng, tmp_path):
    """Two epochs of 7 steps, a point every third: a point's loss is that of the epoch's steps."""
    losses = rng.uniform(0.5, 2.0, (2, 7))
    progress = progress_of(14)
    board = TensorBoard(tmp_path, progress, steps_every=3)
    board.on_train_begin()
    for epoch in range(2):
        board.on_epoch_begin(epoch)
        for batch in range(7):
            progress.step += 1
            board.on_train_batch_end(batch, {"loss": losses[epoch, : batch + 1].mean()})
        board.on_epoch_end(epoch, {"loss": losses[epoch].mean()})
    board.on_train_end()
    found = read_events(tmp_path / "train")
    expected = {
        3: losses[0, 0:3].mean(),
        6: losses[0, 3:6].mean(),
        9: losses[1, 0:2].mean(),  # step 7 belongs to the epoch before
        12: losses[1, 2:5].mean(),
    }
    assert found["step/loss"] == pytest.approx(expected, rel=1e-6)
    assert found["step/learning_rate"] == dict.fromkeys(expected, 0.25)
    assert found["step/memory_gib"] == dict.fromkeys(expected, 1.5)
    assert not (tmp_path / "validation").exists()


@pytest.mark.parametrize("every, drawn", [(1, [1, 2, 3, 4, 5]), (2, [1, 3, 5]), (3, [2, 5])])
def test_pictures_every_few_epochs_and_of_the_last(tmp_path, monkeypatch, every, drawn):
    progress = SimpleNamespace(step=0, epochs=5)
    board = TensorBoard(tmp_path, progress, examples=[(None, None)], pictures_every=every)
    steps: list = []
    monkeypatch.setattr(board, "_write_pictures", steps.append)
    for epoch in range(5):
        board.on_epoch_end(epoch, {"loss": 1.0})
    assert steps == drawn


def test_a_network_without_gates(tiny_model, records, tmp_path, rng, eager):
    model = tiny_model(3, fusion=None, dfp=False, aux_head=False)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255))
    labels = LabelSet.from_records(records)
    board = TensorBoard(tmp_path, progress_of(1), examples=examples(records)[:1], labels=labels)
    x, y = rng.integers(0, 256, (2, 17, 17, 3), "uint8"), rng.integers(0, 3, (2, 17, 17))
    model.fit(x, y, epochs=2, callbacks=[board], verbose=0)
    found = read_events(tmp_path / "validation")
    assert set(found) == {"predictions"} and list(found["predictions"]) == [1, 2]
