"""Learning curves and training time of a run's folder."""

import numpy as np
import pytest
import tensorflow as tf

from gff_keras.report import run


def write_history(folder, **columns):
    count = len(next(iter(columns.values())))
    rows = zip(range(count), *columns.values(), strict=True)
    lines = [",".join(("epoch", *columns)), *(",".join(map(str, row)) for row in rows)]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")


def test_curves_lie_where_the_axes_say(rng, tmp_path):
    columns = {"loss": rng.random(9) * 3, "val_loss": rng.random(9), "val_mean_iou": rng.random(9)}
    columns["val_mean_iou"][4] = np.nan  # an epoch without validation
    write_history(tmp_path, **columns)
    drawn = run.curves(tmp_path)
    assert [plot["title"] for plot in drawn["plots"]] == ["Loss", "Mean IoU (%)"]
    found = {}
    for plot in drawn["plots"]:
        to_epoch, to_value = (
            np.polyfit(*np.array([(place, float(text)) for place, text in plot[ticks]]).T, 1)
            for ticks in ("x_ticks", "y_ticks")
        )
        for line in plot["lines"]:
            x, y, _ = zip(*line["points"], strict=True)
            assert min(x) >= 0 and max(x) <= drawn["width"] and max(y) <= drawn["height"]
            points = np.polyval(to_epoch, x), np.polyval(to_value, y)
            found[plot["title"], line["name"], line["dashed"]] = np.array(points)
    epochs = np.arange(1, 10)
    expected = {
        ("Loss", "Training", True): (epochs, columns["loss"]),
        ("Loss", "Validation", False): (epochs, columns["val_loss"]),
        ("Mean IoU (%)", "Validation", False): (
            np.delete(epochs, 4),
            100 * np.delete(columns["val_mean_iou"], 4),
        ),
    }
    assert found.keys() == expected.keys()
    for name, points in expected.items():
        np.testing.assert_allclose(found[name][0], points[0], atol=0.02)
        np.testing.assert_allclose(found[name][1], points[1], atol=np.ptp(points[1]) / 150)


def test_one_epoch_is_a_point(tmp_path):
    write_history(tmp_path, loss=[0.7])
    (plot,) = run.curves(tmp_path)["plots"]
    ((x, y, text),) = plot["lines"][0]["dots"]
    assert text == "epoch 1: 0.7" and 0 <= x <= run.WIDTH and 0 <= y <= run.HEIGHT


def test_no_curves_for_a_reason(tmp_path):
    assert "no history.csv" in run.curves(tmp_path)["missing"]
    (tmp_path / "history.csv").write_text("epoch,loss\n0,much\n")
    assert "'much', not a number" in run.curves(tmp_path)["missing"]
    write_history(tmp_path, learning_rate=[0.1])
    assert "neither losses" in run.curves(tmp_path)["missing"]
    write_history(tmp_path, loss=["nan"])
    assert "neither losses" in run.curves(tmp_path)["missing"]


def test_training_time_leaves_out_the_pauses(tmp_path):
    folder = tmp_path / "tensorboard" / "train"
    folder.mkdir(parents=True)
    parts = {"1.host": (100.0, 130.5, 190.0), "2.host": (5000.0, 5012.0)}
    for name, times in parts.items():
        with tf.io.TFRecordWriter(str(folder / f"events.out.tfevents.{name}")) as writer:
            for time in times:
                writer.write(tf.compat.v1.Event(wall_time=time).SerializeToString())
    assert run.training_seconds(tmp_path) == pytest.approx(90 + 12)
    file = folder / "events.out.tfevents.1.host"
    file.write_bytes(file.read_bytes()[:-3])  # killed while it wrote
    assert run.training_seconds(tmp_path) == pytest.approx(30.5 + 12)
    assert run.training_seconds(tmp_path / "nowhere") is None
