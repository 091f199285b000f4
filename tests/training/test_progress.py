"""What is shown while training, and the line at the end."""

import io
import re
import sys
from types import SimpleNamespace

import keras
import pytest
import tensorflow as tf

from gff_keras.training import progress, train
from gff_keras.training.measurements import peak_memory_gib
from gff_keras.training.progress import Progress
from gff_keras.training.schedules import PolynomialDecay


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    return clock


def started(steps=4, epochs=3, **arguments):
    shown = Progress(**{"verbose": 0, **arguments})
    shown.set_params({"steps": steps, "epochs": epochs, "verbose": 0})
    optimizer = keras.optimizers.SGD(PolynomialDecay(0.5, 100))
    shown.set_model(SimpleNamespace(optimizer=optimizer))
    shown.on_train_begin()
    return shown


def step(shown, clock, batch, seconds, logs=None):
    shown.on_train_batch_begin(batch)
    clock.now += seconds
    shown.on_train_batch_end(batch, logs)


def run_epoch(shown, clock, epoch, steps, seconds, validation=0.0, logs=None):
    """Let `steps` of `seconds` each pass, and a validation."""
    shown.on_epoch_begin(epoch)
    for batch in range(steps):
        step(shown, clock, batch, seconds, {"loss": 1.0})
    if validation:
        shown.on_test_begin()
        clock.now += validation
        shown.on_test_end()
    clock.now += 100.0  # what other callbacks take is no step's time
    shown.on_epoch_end(epoch, {} if logs is None else logs)


def test_speed_and_time_left(clock):
    shown = started(batch_size=6)
    shown.on_epoch_begin(0)
    step(shown, clock, 0, 30.0)  # the first step traces the graph
    assert shown.seconds_left() is None
    assert "step_seconds" not in shown.measurements()
    for batch, seconds in ((1, 0.4), (2, 0.8), (3, 0.3)):
        step(shown, clock, batch, seconds)
    assert shown.measurements()["step_seconds"] == pytest.approx(0.5)
    assert shown.measurements()["images_per_second"] == pytest.approx(12)
    assert shown.seconds_left() == pytest.approx(8 * 0.5)  # no validation has been measured
    shown.on_test_begin()
    for batch, seconds in enumerate((60.0, 3.0, 4.0)):  # the first traces the graph
        shown.on_test_batch_begin(batch)
        clock.now += seconds
    shown.on_test_end()
    assert shown.seconds_left() == pytest.approx(8 * 0.5 + 2 * 7.0)
    shown.on_epoch_end(0, {})
    run_epoch(shown, clock, 1, 4, 0.5, validation=9.0)
    assert shown.measurements()["step_seconds"] == pytest.approx(0.5)
    assert shown.seconds_left() == pytest.approx(4 * 0.5 + 1 * 9.0)


def test_step_time_is_that_of_the_last_steps(clock):
    shown = started(steps=200, epochs=1)
    run_epoch(shown, clock, 0, 100, 2.0)
    assert shown.measurements()["step_seconds"] == pytest.approx(2.0)
    run_epoch(shown, clock, 0, progress.WINDOW, 0.25)
    assert shown.measurements()["step_seconds"] == pytest.approx(0.25)
    assert "images_per_second" not in shown.measurements()  # the batch size is not known


def test_several_steps_per_execution(clock):
    shown = started(steps=8, epochs=1, batch_size=3)
    shown.on_epoch_begin(0)
    for first, last in ((0, 3), (4, 7)):  # Keras names the last of the steps at their end
        shown.on_train_batch_begin(first)
        clock.now += 2.0
        shown.on_train_batch_end(last)
    assert shown.step == 8
    assert shown.measurements()["step_seconds"] == pytest.approx(0.5)
    assert "training at 6.0 images/s" in shown.summary()


def test_the_last_line_of_a_whole_run(clock, tmp_path):
    (tmp_path / "last.keras").touch()
    saved = tmp_path / "best.keras", tmp_path / "last.keras"
    shown = started(batch_size=8, saved=saved)
    for epoch, mean_iou in enumerate((0.41, 0.625, 0.5)):
        run_epoch(shown, clock, epoch, 4, 10.0, 20.0, {"val_mean_iou": mean_iou})
    assert shown.summary() == (
        "3 epochs, 12 steps in 8.0 min, training at 0.8 images/s; "
        f"best val mIoU 0.625 (epoch 2); {tmp_path / 'last.keras'}"
    )


def test_the_last_line_of_a_run_that_was_cut(clock):
    """And that went on within an epoch."""
    shown = started(start_step=6, total_steps=12, earlier=[0.3, 0.35], batch_size=4)
    shown.on_epoch_begin(1)
    step(shown, clock, 2, 40.0)
    step(shown, clock, 3, 2.0)
    assert shown.summary() == (
        "stopped at step 8 of 12, in epoch 2 of 3, after 42 s since step 6, "
        "training at 2.0 images/s; best val mIoU 0.350 (epoch 2)"
    )


def test_nan_is_no_best_value(clock):
    shown = started()
    for epoch, mean_iou in enumerate((float("nan"), 0.2, float("nan"))):
        run_epoch(shown, clock, epoch, 4, 1.0, 1.0, {"val_mean_iou": mean_iou})
    assert shown.best == (0.2, 2)


def test_lines_in_a_file(tiny_recipe, tmp_path, capsys, eager):
    """One for the devices, one for the wait at the start, one for each epoch, one at the end."""
    recipe = tiny_recipe(tmp_path / "run")
    _, history = train(recipe)  # "auto": pytest's output is no terminal
    text = capsys.readouterr().out
    assert not set(text) & {"\r", "\b", "\x1b"}
    devices, first, *lines = text.splitlines()
    assert first == "building the graph for the first step"
    assert devices == "1 replica on 1 machine (CPU:0), 2 images each"
    assert len(lines) == 3
    for epoch in (0, 1):
        assert lines[epoch].startswith(f"epoch {epoch + 1}/2: ")
        for name, shown in (("loss", "loss"), ("mean_iou", "mIoU"), ("learning_rate", "lr")):
            number = float(re.search(rf" {shown} ([\d.e-]+)", lines[epoch])[1])
            assert number == pytest.approx(history[name][epoch], abs=6e-4)
        assert f"val mIoU {history['val_mean_iou'][epoch]:.3f}" in lines[epoch]
        assert re.search(r"[\d.]+ s/step, [\d.]+ images/s", lines[epoch])
    assert "ETA 0" in lines[0] and "ETA" not in lines[1]
    best = max(history["val_mean_iou"])
    epoch = history["val_mean_iou"].index(best) + 1
    assert lines[2].startswith("2 epochs, 6 steps in ")
    assert lines[2].endswith(f"best val mIoU {best:.3f} (epoch {epoch}); {recipe.out}/best.keras")


def test_a_line_a_minute(clock, capsys):
    """Where an epoch takes long; and nothing at all when nothing is asked for."""
    for verbose in (2, 0):
        run_epoch(started(steps=10, verbose=verbose, epochs=1), clock, 0, 10, 25.0)
        lines = capsys.readouterr().out.splitlines()[1:]
        places = [line.split(":")[0] for line in lines]
        expected = ["epoch 1/1, step 3/10", "epoch 1/1, step 6/10", "epoch 1/1, step 9/10"]
        assert places == ([*expected, "epoch 1/1"] if verbose else [])
        if verbose:
            assert "ETA 01:40, loss 1.000, 25 s/step" in lines[1]


def test_a_bar_on_a_terminal(clock, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", terminal)
    shown = started(batch_size=2, verbose="auto")
    for epoch in range(3):
        run_epoch(shown, clock, epoch, 4, 0.5, 1.0, {"val_mean_iou": 0.25, "loss": 0.75})
    shown.on_train_end()
    text = terminal.getvalue()
    assert re.search(r"\repoch 2/3 \|.*\| 6/12, ETA 00:05, loss 1.000, val mIoU 0.250, 0.5 s", text)
    assert "12/12, validating" in text
    kept = re.sub(r"[^\n]*\r", "", text).splitlines()  # what the terminal shows at the end
    assert [line[:11] for line in kept[:3]] == [f"epoch {i}/3: " for i in (1, 2, 3)]
    assert "val mIoU 0.250 (best)" in kept[0] and "(best)" not in kept[1]
    assert kept[3].startswith("3 epochs, 12 steps in 5.2 min, training at 4.0 images/s")
    assert len(kept) == 4


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            raise KeyboardInterrupt


def test_an_interrupted_run_has_its_last_line_too(tiny_model, rng, capsys, eager):
    model = tiny_model(3, aux_head=False)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = rng.integers(0, 256, (6, 17, 17, 3), "uint8"), rng.integers(0, 3, (6, 17, 17))
    shown = Progress(batch_size=2)
    with pytest.raises(KeyboardInterrupt), shown:
        model.fit(x, y, batch_size=2, epochs=2, callbacks=[shown, Interrupt()], verbose=0)
    (_, line) = capsys.readouterr().out.splitlines()
    assert line.startswith("stopped at step 2 of 6, in epoch 1 of 2, after ")


def test_memory_of_the_fullest_gpu(monkeypatch):
    peaks = {"GPU:0": 3 * 2**30, "GPU:1": 5 * 2**30}
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: list(peaks))
    monkeypatch.setattr(
        tf.config.experimental, "get_memory_info", lambda name: {"current": 7, "peak": peaks[name]}
    )
    assert peak_memory_gib() == 5.0
    assert "GPU 5.0 GiB" in started()._text({})
