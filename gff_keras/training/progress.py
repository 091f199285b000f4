"""What people look at while a network trains, and the line that is left at the end.

On a terminal one bar stands for the whole run. Elsewhere (the log of a batch job, a notebook) there
is one line a minute and one for every epoch: no carriage returns, no control characters.
"""

import collections
import math
import sys
import time
from pathlib import Path

import keras
from tqdm import tqdm

from gff_keras.training.measurements import gpus, peak_memory_gib, used_learning_rate

WINDOW = 50  # steps that the step time is averaged over
REFRESH = {1: 0.2, 2: 60.0}  # seconds between two looks: at a bar, at a line
FIRST_STEP = "building the graph for the first step"  # minutes, for a deep network
BAR = "{desc} |{bar:12}| {n_fmt}/{total_fmt}{postfix}"


class Progress(keras.callbacks.Callback):
    """Show step time, images per second, time left, loss, mean IoU, learning rate and memory.

    Put it first among the callbacks: it adds to the logs of an epoch the learning rate of its last
    step. It takes the place of Keras's bar (`fit(..., verbose=0)`); as a context manager around
    `fit` it leaves its last line also when training is interrupted or fails.

    Args:
        total_steps: steps of the whole run; None: all that `fit` was asked for, where it knows.
        batch_size: images of a step; None: no images per second.
        start_step: steps that were done before `fit`, where it goes on with an earlier run.
        earlier: validation mean IoU of every epoch that was done before.
        verbose: 0 shows nothing, 1 a bar, 2 lines; "auto": a bar on a terminal, else lines.
        saved: paths of models; the last line names the first that exists.

    Attributes:
        step: steps done, of the whole run.
        epoch: the current epoch, from 1.
        best: `(highest validation mean IoU, its epoch)`, None before there is one.
    """

    def __init__(
        self,
        total_steps=None,
        batch_size=None,
        *,
        start_step=0,
        earlier=(),
        verbose="auto",
        saved=(),
    ):
        super().__init__()
        self.total_steps = total_steps
        self.batch_size = batch_size
        self.step = self.start_step = start_step
        self.verbose = verbose
        self.saved = [Path(path) for path in saved]
        self.epoch, self.epochs = 0, 1
        self.best: tuple[float, int] | None = None
        for epoch, mean_iou in enumerate(earlier, start=1):
            self._compare(mean_iou, epoch)
        self._step_seconds: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._timed_steps, self._timed_seconds = 0, 0.0  # all but the first, which traces the graph
        self._validation_seconds, self._validations_left = 0.0, 0
        self._validated = {}  # logs of the last validation
        self._started = self._shown = 0.0
        self._running = False
        self._bar = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._finish()

    def measurements(self):
        """Return what is known now: learning_rate, step_seconds, images_per_second, memory_gib.

        Step time is the mean of the last steps, with the time that they waited for data.
        """
        values = {"learning_rate": used_learning_rate(self.model.optimizer)}
        if self._step_seconds:
            values["step_seconds"] = sum(self._step_seconds) / len(self._step_seconds)
            if self.batch_size:
                values["images_per_second"] = self.batch_size / values["step_seconds"]
        return {**values, "memory_gib": peak_memory_gib()}

    def seconds_left(self):
        """Seconds to the end of the run, with the validations to come; None where unknown.

        The first validation counts when it has been measured.
        """
        if not self._step_seconds or not self.total_steps:
            return None
        step_seconds = sum(self._step_seconds) / len(self._step_seconds)
        validation = self._validations_left * self._validation_seconds
        return max(self.total_steps - self.step, 0) * step_seconds + validation

    def summary(self):
        """Return the run in one line."""
        done = self.step - self.start_step
        took = _duration(time.monotonic() - self._started)
        if self.total_steps and self.step < self.total_steps:
            text = (
                f"stopped at step {self.step} of {self.total_steps}, "
                f"in epoch {self.epoch} of {self.epochs}, after {took}"
            )
        else:
            text = f"{_count(self.epoch, 'epoch')}, {_count(done, 'step')} in {took}"
        if self.start_step:
            text += f" since step {self.start_step}"
        if self.batch_size and self._timed_seconds:
            speed = self._timed_steps * self.batch_size / self._timed_seconds
            text += f", training at {speed:.1f} images/s"
        if self.best:
            text += f"; best val mIoU {self.best[0]:.3f} (epoch {self.best[1]})"
        saved = next((path for path in self.saved if path.exists()), None)
        return f"{text}; {saved}" if saved else text

    # === What Keras calls ===

    def on_train_begin(self, logs=None):
        self.epochs = self.params.get("epochs", 1)
        steps = self.params.get("steps")
        if self.total_steps is None and steps:
            self.total_steps = self.start_step + steps * self.epochs
        if self.verbose == "auto":
            self.verbose = 1 if sys.stdout.isatty() else 2
        if self.verbose == 1:
            self._bar = tqdm(
                total=self.total_steps,
                initial=self.start_step,
                bar_format=BAR,
                dynamic_ncols=True,
                leave=False,
                file=sys.stdout,
                postfix=FIRST_STEP,
            )
        elif self.verbose:
            self._print(FIRST_STEP)
        self._started = self._shown = time.monotonic()
        self._running = True

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1
        self._validations_left = self.epochs - epoch
        self._last_end = time.monotonic()

    def on_train_batch_begin(self, batch, logs=None):
        self._first_batch = batch  # `on_train_batch_end` is told the last of `steps_per_execution`

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        steps, seconds = batch - self._first_batch + 1, now - self._last_end
        self._last_end = now
        if self.step > self.start_step:
            self._step_seconds.append(seconds / steps)
            self._timed_steps += steps
            self._timed_seconds += seconds
        self.step += steps
        if self.verbose and now - self._shown >= REFRESH[self.verbose]:
            self._show_step(logs or {})

    def on_test_begin(self, logs=None):
        self._validation_began = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str("validating")

    def on_test_batch_begin(self, batch, logs=None):
        if batch == 1 and not self._validation_seconds:  # the first one ever traces the graph
            self._validation_began = time.monotonic()

    def on_test_end(self, logs=None):
        self._validation_seconds = time.monotonic() - self._validation_began
        self._validations_left -= 1

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        logs["learning_rate"] = used_learning_rate(self.model.optimizer)
        self._validated = {name: v for name, v in logs.items() if name.startswith("val_")}
        mark = " (best)" * self._compare(logs.get("val_mean_iou", math.nan), self.epoch)
        if self.verbose:
            self._print(f"{self._place()}: {self._text(logs, mark)}")

    def on_train_end(self, logs=None):
        self._finish()

    def _compare(self, mean_iou, epoch):
        improved = mean_iou > (self.best[0] if self.best else -math.inf)  # never where it is NaN
        if improved:
            self.best = mean_iou, epoch
        return improved

    # === Text ===

    def _show_step(self, logs):
        self._shown = time.monotonic()
        text = self._text({**logs, **self._validated})
        if self._bar is None:
            total = f"/{self.total_steps}" if self.total_steps else ""
            self._print(f"{self._place()}, step {self.step}{total}: {text}")
            return
        self._bar.n = self.step
        self._bar.set_description_str(self._place(), refresh=False)
        self._bar.set_postfix_str(text)

    def _place(self):
        return f"epoch {self.epoch:{len(str(self.epochs))}}/{self.epochs}"

    def _text(self, logs, mark=""):
        """Most important first: a narrow terminal cuts the end."""
        now, left = self.measurements(), self.seconds_left()
        device = "GPU" if gpus() else "RAM"
        parts = [
            ("ETA {}", tqdm.format_interval(left) if left else None),
            ("loss {:.3f}", logs.get("loss")),
            ("mIoU {:.3f}", logs.get("mean_iou")),
            ("val mIoU {:.3f}" + mark, logs.get("val_mean_iou")),
            ("{:.3g} s/step", now.get("step_seconds")),
            ("{:.1f} images/s", now.get("images_per_second")),
            ("lr {:.2g}", now["learning_rate"]),
            (device + " {:.1f} GiB", now["memory_gib"]),
            ("val loss {:.3f}", logs.get("val_loss")),
        ]
        return ", ".join(form.format(value) for form, value in parts if value is not None)

    def _print(self, text):
        if self._bar is None:
            print(text, flush=True)
        else:
            self._bar.write(text, file=sys.stdout)

    def _finish(self):
        if not self._running:  # never begun, or this has been done
            return
        self._running = False
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self.verbose:
            print(self.summary(), flush=True)


def _count(number, noun):
    return f"{number} {noun}{'s' * (number != 1)}"


def _duration(seconds):
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
