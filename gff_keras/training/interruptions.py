"""What a run needs to be stopped at any step and to go on there, apart from its checkpoints."""

import csv
import math
import os
import signal
import threading

import keras

from gff_keras.training.run_folder import replacing


class ResumableCallbacks(keras.callbacks.CallbackList):
    """The callbacks of a run that may begin within an epoch, or end in one.

    `fit` only knows whole epochs. It leaves an epoch when `stop_training` is set, validates, and
    begins the next one if it is no longer set. Callbacks see the batch numbers of a run that was
    never interrupted, in `params` also `total_steps`.

    Args:
        callbacks: list of callbacks, called in this order.
        step: steps done before.
        steps: steps of an epoch.
        total_steps: steps in all.
        **arguments: those of `keras.callbacks.CallbackList`.
    """

    def __init__(self, callbacks, step, steps, total_steps, **arguments):
        super().__init__(callbacks, steps=steps, total_steps=total_steps, **arguments)
        self.step = step

    def on_train_batch_begin(self, batch, logs=None):
        super().on_train_batch_begin(self.step % self.params["steps"], logs)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(self.step % self.params["steps"], logs)
        self.step += 1
        if self.step % self.params["steps"] == 0 or self.step == self.params["total_steps"]:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = self.step >= self.params["total_steps"]
        super().on_epoch_end(epoch, logs)  # a callback may stop the run, too


class Stopped(Exception):
    """A signal ended the run, after a checkpoint. `status` is what the process should return."""

    def __init__(self, number, step, out):
        super().__init__(
            f"stopped by {signal.Signals(number).name} after step {step}, saved in {out}; "
            "the same command with --resume goes on there"
        )
        self.status = 128 + number


class StopSignals:
    """Context in which SIGTERM and SIGINT do not end the process, but are kept in `received`.

    A second SIGINT (Control-C) interrupts as ever.
    """

    def __init__(self):
        self.received = None
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # others may not
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number, frame):
        if number == signal.SIGINT and self.received:
            raise KeyboardInterrupt
        self.received = number
        os.write(2, b"\nstopping after this step\n")  # print is not for signal handlers


def history_until(path, epoch=math.inf):
    """Read a file of `keras.callbacks.CSVLogger`.

    Args:
        path: the file; a missing one is an empty one.
        epoch: the first epoch that is left out, from 0.

    Returns:
        Dictionary like `keras.callbacks.History.history`.
    """
    header, rows = _rows(path, epoch)
    columns = zip(header, *rows, strict=True)
    return {
        name: [float(value) for value in values]
        for name, *values in columns
        if name != "epoch" and values and "NA" not in values
    }


def cut_history(path, epoch):
    """Cut a file of `keras.callbacks.CSVLogger` before an epoch, which will be run again."""
    if path.is_file():
        header, rows = _rows(path, epoch)
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows] if rows else [])


def _rows(path, epoch):
    if not path.is_file():
        return [], []
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    return header, [row for row in rows if len(row) == len(header) and int(row[0]) < epoch]
