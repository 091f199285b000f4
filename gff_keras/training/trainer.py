"""One training run: a recipe in, a folder of checkpoints, logs and figures out.

OUT/recipe.json  labels.json     what was run, and the classes
OUT/best.keras   last.keras      highest validation mean IoU, and the end
OUT/history.csv  tensorboard/    loss, metrics and learning rate per epoch
OUT/learning_curves.png
OUT/skipped.txt          with on_error="skip": the damaged records, where there were any
"""

import math
import shutil

import keras

from gff_keras.backbones.pretrained import calibrate, load_folded_resnet
from gff_keras.data import (
    LabelSet,
    SkippedRecords,
    evaluation_dataset,
    num_examples,
    open_records,
    training_dataset,
)
from gff_keras.evaluation.metrics import SegmentationMetrics
from gff_keras.training.losses import SegmentationCrossEntropy
from gff_keras.training.optimizers import SGD
from gff_keras.training.schedules import PolynomialDecay
from gff_keras.visualization import learning_curves

CALIBRATION_BATCHES = 32
FILES = (
    "recipe.json",
    "labels.json",
    "best.keras",
    "last.keras",
    "history.csv",
    "learning_curves.png",
    "skipped.txt",
)


def train(recipe, verbose="auto"):
    """Train the network of a `Recipe` and write its folder.

    Args:
        recipe: `gff_keras.training.Recipe`.
        verbose: as in `keras.Model.fit`.

    Returns:
        `(model, history)`: the trained network (last epoch) and Keras's history dictionary.

    Raises:
        FileNotFoundError, ValueError: records or weights are missing or do not fit.
        FileExistsError: `out` already holds a run.
    """
    _refuse_finished_run(recipe)
    keras.utils.set_random_seed(recipe.seed)
    labels = LabelSet.from_records(recipe.data)
    examples = num_examples(recipe.data, recipe.train_split)
    steps, epochs = _steps_and_epochs(recipe, examples)
    total_steps = recipe.total_steps or steps * epochs
    skipped, skipped_val = SkippedRecords(), SkippedRecords()
    batches = training_dataset(
        recipe.data,
        recipe.train_split,
        batch_size=recipe.batch_size,
        augmentation=recipe.augmentation(),
        image_size=recipe.image_size,
        seed=recipe.seed,
        cache=recipe.cache,
        on_error=recipe.on_error,
        skipped=skipped,
    )
    validation = _validation_batches(recipe, skipped_val)
    model = recipe.model(labels.num_classes)
    if recipe.weights is not None:
        load_weights(model, recipe.weights, batches)
        skipped.clear()  # of what calibration read
    model.compile(
        optimizer=SGD(
            PolynomialDecay(recipe.learning_rate, total_steps, recipe.power),
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        ),
        loss=SegmentationCrossEntropy(class_weights=_class_weights(recipe, labels)),
        metrics=[SegmentationMetrics(labels.num_classes)],
        # XLA compiles anew for every size of a validation image; JAX without it is slower still.
        jit_compile=keras.backend.backend() == "jax",
    )
    _prepare_folder(recipe, labels)
    history = model.fit(
        batches,
        steps_per_epoch=steps,
        epochs=epochs,
        validation_data=validation,
        callbacks=[
            StopAfter(total_steps),
            *_callbacks(recipe.out, validation is not None),
            ListSkipped([skipped, skipped_val], recipe.out / "skipped.txt"),
        ],
        shuffle=False,  # the data set shuffles
        verbose=verbose,
    )
    learning_curves(recipe.out / "history.csv", recipe.out / "learning_curves.png")
    return model, history.history


def load_weights(model, path, batches):
    """Load folded ImageNet weights, say what fitted, and calibrate the backbone on `batches`."""
    report = load_folded_resnet(model.backbone, path)
    print(f"Weights from {path}:\n{report}")
    normalize = model.get_layer("normalize")
    images = (normalize(images) for images, _ in batches.take(CALIBRATION_BATCHES))
    calibrate(model.backbone, images, report.loaded)


def _class_weights(recipe, labels):
    if recipe.thin_weight == 1:
        return None
    return [recipe.thin_weight if name in labels.thin else 1.0 for name in labels.classes]


def _steps_and_epochs(recipe, examples):
    steps = math.ceil(examples / recipe.batch_size)
    if recipe.total_steps is None:
        return steps, recipe.epochs
    steps = min(steps, recipe.total_steps)
    return steps, math.ceil(recipe.total_steps / steps)  # `StopAfter` ends the last epoch


def _validation_batches(recipe, skipped):
    """Whole images; one at a time where sizes may differ: padding would change the context."""
    if recipe.val_split not in open_records(recipe.data).info.splits:
        print(f"{recipe.data} has no split {recipe.val_split!r}: no validation, no best.keras.")
        return None
    return evaluation_dataset(
        recipe.data,
        recipe.val_split,
        batch_size=recipe.batch_size if recipe.image_size else 1,
        image_size=recipe.image_size,
        on_error=recipe.on_error,
        skipped=skipped,
    )


def _refuse_finished_run(recipe):
    if recipe.out.is_file():
        raise FileExistsError(f"{recipe.out} is a file; give --out the path of a folder.")
    if not recipe.overwrite and any((recipe.out / name).exists() for name in FILES):
        raise FileExistsError(
            f"{recipe.out} already holds a run; choose another --out, or add --overwrite."
        )


def _prepare_folder(recipe, labels):
    _remove_run(recipe.out)
    recipe.out.mkdir(parents=True, exist_ok=True)
    recipe.save(recipe.out / "recipe.json")
    labels.save(recipe.out / "labels.json")


def _remove_run(folder):
    """Remove what a run writes and nothing else: the user may keep other files there."""
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def _callbacks(out, validates):
    callbacks = [
        LogLearningRate(),
        keras.callbacks.CSVLogger(out / "history.csv"),
        keras.callbacks.TensorBoard(out / "tensorboard", write_graph=False),
        keras.callbacks.ModelCheckpoint(out / "last.keras"),
    ]
    if validates:
        callbacks.append(
            keras.callbacks.ModelCheckpoint(
                out / "best.keras", monitor="val_mean_iou", mode="max", save_best_only=True
            )
        )
    return callbacks


class StopAfter(keras.callbacks.Callback):
    """End training after `total_steps` steps, also in the middle of an epoch."""

    def __init__(self, total_steps):
        super().__init__()
        self.remaining = total_steps

    def on_train_batch_end(self, batch, logs=None):
        self.remaining -= 1
        if self.remaining <= 0:
            self.model.stop_training = True


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


class LogLearningRate(keras.callbacks.Callback):
    """Put the learning rate of an epoch's last step into the logs."""

    def on_epoch_end(self, epoch, logs=None):
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # float16 wraps it
        schedule = optimizer._learning_rate  # the property would give the rate of the next step
        logs["learning_rate"] = float(schedule(optimizer.iterations - 1))
