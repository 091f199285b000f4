"""When a run writes its checkpoints.

An epoch's last checkpoint is written before its last step. Whatever kills a run between there and
the next checkpoint, that step, the validation and the epoch's row in the history are done again.
"""

import keras
import numpy as np

from gff_keras.training import checkpoints
from gff_keras.training.interruptions import Stopped
from gff_keras.training.safeguards import NonFiniteLoss


class Checkpoints(keras.callbacks.Callback):
    """Write checkpoints: at the start, every so many steps, before an epoch ends, at a signal.

    Args:
        out: the run's folder.
        header: function that returns what else to save, a dictionary for JSON.
        every: steps between two checkpoints.
        keep: how many to keep, the newest.
        signals: `StopSignals` that may ask for the end.
        resumed: the `Checkpoint` that the run goes on from; its metrics are restored here, since
            Keras sets them to zero when an epoch begins.
        writes: False on workers that must leave writing to another one. They take part all the
            same: reading metrics adds up what the workers counted.

    Raises:
        Stopped: in `fit`, after a signal.
        OSError: in `fit`: a checkpoint cannot be written; those before it are whole.
        NonFiniteLoss: in `fit`: a weight is NaN or infinite.
    """

    def __init__(self, out, header, every, keep, signals, resumed=None, writes=True):
        super().__init__()
        self.out = out
        self.header = header
        self.every = every
        self.keep = keep
        self.signals = signals
        self.resumed = resumed
        self.writes = writes
        self.saved = self.done = 0 if resumed is None else resumed.step  # steps

    def on_train_begin(self, logs=None):
        if self.resumed is None:
            self._save()  # shows that there is room before hours have gone by

    def on_epoch_begin(self, epoch, logs=None):
        if self.resumed is not None:
            self.resumed.restore(self.model, ["metrics"])
            self.resumed = None

    def on_train_batch_begin(self, batch, logs=None):
        if self._ends_epoch(self.done + 1) and self.done > self.saved:
            self._save()

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        due = self.done % self.every == 0 or self.signals.received
        if due and not self._ends_epoch(self.done):
            self._save()
        self._stop_if_asked()

    def on_test_batch_end(self, batch, logs=None):
        self._stop_if_asked()

    def on_train_end(self, logs=None):
        self._save(finished=True)

    def _ends_epoch(self, step):
        return step % self.params["steps"] == 0 or step == self.params["total_steps"]

    def _stop_if_asked(self):
        if self.signals.received:
            raise Stopped(self.signals.received, self.saved, self.out)

    def _save(self, finished=False):
        found = checkpoints.values(self.model)
        self._check(found)
        if self.writes:
            header = {**self.header(), "step": self.done, "finished": finished}
            checkpoints.write(checkpoints.path_of(self.out, self.done), header, found)
            checkpoints.remove_old(self.out, self.done, self.keep)
        self.saved = self.done

    def _check(self, found):
        # Others look for this earlier, but on JAX at the end of an epoch only.
        floats = (v for name in ("model", "optimizer") for v in found[name] if v.dtype.kind == "f")
        if not all(np.isfinite(value).all() for value in floats):
            raise NonFiniteLoss(
                f"weights are not finite after step {self.done - 1}: no checkpoint of them is "
                "written; a lower learning rate or clipped gradients may help."
            )
