"""What a run writes beside its checkpoints: models, and the list of skipped records."""

import math

import keras

from gff_keras.training.run_folder import replacing


class SaveBest(keras.callbacks.Callback):
    """Write best.keras after each epoch whose validation was better than all before.

    Args:
        out: the run's folder.
        best: highest validation mean IoU so far.
        writes: False on workers that leave writing to another one.
    """

    def __init__(self, out, best=-math.inf, writes=True):
        super().__init__()
        self.out = out
        self.best = best
        self.writes = writes

    def on_epoch_end(self, epoch, logs=None):
        mean_iou = (logs or {}).get("val_mean_iou", -math.inf)
        if mean_iou > self.best:
            self.best = mean_iou
            if self.writes:
                _save(self.model, self.out / "best.keras")


class SaveLast(keras.callbacks.Callback):
    """Write last.keras after each epoch."""

    def __init__(self, out):
        super().__init__()
        self.out = out

    def on_epoch_end(self, epoch, logs=None):
        _save(self.model, self.out / "last.keras")


class SaveAverage(keras.callbacks.Callback):
    """Write average.keras at the end, where the optimizer keeps an average of the weights."""

    def __init__(self, out):
        super().__init__()
        self.out = out

    def on_train_end(self, logs=None):
        _save(self.model, self.out / "average.keras")  # `fit` has put the average into the model


class ListSkipped(keras.callbacks.Callback):
    """Write after each epoch, and print at the end, which damaged records were skipped."""

    def __init__(self, skipped, path):
        super().__init__()
        self.skipped = skipped  # one `SkippedRecords` for each split
        self.path = path

    def text(self):
        return "\n".join(str(skipped) for skipped in self.skipped if skipped)

    def on_epoch_end(self, epoch, logs=None):
        if any(self.skipped):
            self.path.write_text(f"{self.text()}\n", encoding="utf-8")

    def on_train_end(self, logs=None):
        if any(self.skipped):
            print(f"\n{self.text()}")


def _save(model, path):
    """Write a .keras file in one piece."""
    with replacing(path) as temporary:
        model.save(temporary)
