"""One training run: a recipe in, a folder of checkpoints, logs and figures out.

OUT/recipe.json  labels.json     what was run, and the classes
OUT/best.keras   last.keras      highest validation mean IoU, and the end
OUT/average.keras                with `ema`: the averaged weights at the end
OUT/history.csv                  loss, metrics and learning rate per epoch
OUT/tensorboard/                 the same, curves per step and pictures of validation images
OUT/learning_curves.png
OUT/checkpoints/                 what `resume` goes on from
OUT/nonfinite_step_N.npz  .png   the batch at which the loss was no longer finite, if there was one
OUT/skipped.txt                  with on_error="skip": the damaged records, where there were any
"""

import contextlib
import math
from typing import Any, NamedTuple

import keras

from gff_keras.data import (
    LabelSet,
    SkippedRecords,
    evaluation_dataset,
    num_examples,
    open_records,
    training_dataset,
)
from gff_keras.evaluation.metrics import SegmentationMetrics
from gff_keras.training import checkpoints, multi_worker, run_folder, strategy
from gff_keras.training.averaging import ValidateAverage
from gff_keras.training.interruptions import (
    ResumableCallbacks,
    StopSignals,
    cut_history,
    history_until,
)
from gff_keras.training.progress import Progress
from gff_keras.training.recipe import Recipe
from gff_keras.training.safeguards import StopAtNonFiniteLoss
from gff_keras.training.saving import ListSkipped, SaveAverage, SaveBest, SaveLast
from gff_keras.training.tensorboard import TensorBoard
from gff_keras.training.weights import load_weights
from gff_keras.training.xla import compile_train_step
from gff_keras.visualization import learning_curves

MAX_PICTURES = 10  # of one validation image over the run: they cost a second or two each time


def train(recipe, verbose="auto"):
    """Train the network of a `Recipe` and write its folder.

    Args:
        recipe: `gff_keras.training.Recipe`.
        verbose: as in `Progress`.

    Returns:
        `(model, history)`: the trained network (last epoch) and Keras's history dictionary, of all
        epochs also where the run was resumed.

    Raises:
        FileNotFoundError, ValueError: records or weights are missing or do not fit; with `resume`,
            the recipe or the records are not those that the run was begun with.
        FileExistsError: `out` already holds a run, or another process is writing it.
        OSError: `out` cannot be written or has too little space.
        NonFiniteLoss: loss or weights are no longer finite.
        ConnectionError: another worker has stopped.
        Stopped: SIGTERM or SIGINT arrived; a checkpoint was saved.
    """
    devices = strategy.choose(recipe.cpu_replicas)  # before TensorFlow starts its devices
    line, writes = strategy.describe(devices, recipe.batch_size), multi_worker.is_chief(devices)
    lock = run_folder.locked(recipe.out) if writes else contextlib.nullcontext()
    with multi_worker.together(devices), lock:
        if writes:
            print(line)
        return _train(_plan(recipe, devices, writes), verbose if writes else 0)


class _Run(NamedTuple):
    """What is known before the network is made."""

    recipe: Recipe
    devices: Any  # tf.distribute.Strategy
    writes: bool  # whether this process writes the files
    labels: LabelSet
    records: dict  # tells whether records are the same, wherever they lie
    steps: int  # of an epoch
    epochs: int
    total_steps: int
    checkpoint: Any  # to go on from, or None
    skipped: list  # `SkippedRecords` of training and of validation

    @property
    def first_step(self):
        return self.checkpoint.step if self.checkpoint else 0


def _plan(recipe, devices, writes):
    checkpoint = _checkpoint(recipe, writes)
    multi_worker.agree(devices, checkpoint.step if checkpoint else 0, recipe.out)
    labels = LabelSet.from_records(recipe.data)
    split = open_records(recipe.data).info.splits.get(recipe.train_split)
    steps, epochs, total_steps = _length(recipe)
    records = {"examples": split.num_examples, "bytes": split.num_bytes}
    if checkpoint:
        checkpoint.check(recipe.fields(), records)
    skipped = [SkippedRecords(), SkippedRecords()]
    return _Run(
        recipe, devices, writes, labels, records, steps, epochs, total_steps, checkpoint, skipped
    )


def _train(run, verbose):
    recipe, out = run.recipe, run.recipe.out
    if run.checkpoint and run.checkpoint.header["finished"]:
        return _finished(run)
    keras.utils.set_random_seed(recipe.seed)
    batches = strategy.training_batches(
        run.devices, **_training_data(recipe, run.first_step, run.skipped[0])
    )
    validation, validation_steps = _validation_batches(run)
    model = _model(run)
    if run.writes:
        run_folder.clear_unfinished(out)
        # Checkpoints, best.keras and last.keras, and one that is being written.
        run_folder.check_space(out, checkpoints.nbytes(model), recipe.keep + 3)
        if run.checkpoint:
            cut_history(out / "history.csv", run.first_step // run.steps)
        else:
            _begin_folder(run)
    earlier = keras.callbacks.History()
    if run.checkpoint:
        earlier.history = history_until(out / "history.csv", run.first_step // run.steps)
    progress = Progress(
        run.total_steps,
        recipe.batch_size,
        start_step=run.first_step,
        earlier=earlier.history.get("val_mean_iou", ()),
        verbose=verbose,
        saved=(out / "best.keras", out / "last.keras"),
    )
    with StopSignals() as own_signals, progress:
        signals = multi_worker.AgreedSignals(own_signals, run.devices)
        callbacks = ResumableCallbacks(
            _callbacks(run, progress, earlier, signals, validation is not None),
            run.first_step,
            run.steps,
            run.total_steps,
            epochs=run.epochs,
            add_history=True,
            model=model,
        )
        history = model.fit(
            batches,
            initial_epoch=run.first_step // run.steps,
            steps_per_epoch=run.steps,
            epochs=run.epochs,
            validation_data=validation,
            validation_steps=validation_steps,
            callbacks=callbacks,
            shuffle=False,  # the data set shuffles
            verbose=0,
        )
    if run.writes:
        learning_curves(out / "history.csv", out / "learning_curves.png")
    return model, history.history


def _checkpoint(recipe, writes):
    """The checkpoint to go on from, or None: the run begins."""
    out = recipe.out
    if not recipe.resume:
        if writes and run_folder.holds_run(out) and not recipe.overwrite:
            raise FileExistsError(
                f"{out} already holds a run; choose another --out, go on with it by --resume, or "
                "replace it by --overwrite."
            )
        return None
    checkpoint = checkpoints.newest(out)
    if checkpoint and checkpoint.header["finished"]:
        text = "the run is finished, there is nothing to resume"
    elif checkpoint:
        text = f"going on after step {checkpoint.step}"
    elif any((out / name).exists() for name in run_folder.MODELS):
        raise FileExistsError(
            f"{out} holds a trained model but no checkpoint to go on from; choose another --out, "
            "or replace it by --overwrite instead of --resume."
        )
    else:
        text = "no checkpoint to resume: the run begins"
    if writes:
        print(f"{out}: {text}.")
    return checkpoint


def _length(recipe):
    """Steps of an epoch, epochs, and steps in all: the last epoch may be a short one."""
    steps = math.ceil(num_examples(recipe.data, recipe.train_split) / recipe.batch_size)
    if recipe.total_steps is None:
        return steps, recipe.epochs, steps * recipe.epochs
    steps = min(steps, recipe.total_steps)
    return steps, math.ceil(recipe.total_steps / steps), recipe.total_steps


def _finished(run):
    """What the run returned when it ended."""
    out = run.recipe.out
    if run.writes:
        learning_curves(out / "history.csv", out / "learning_curves.png")  # a kill may have cost it
    name = "last.keras" if run.recipe.ema is None else "average.keras"
    return keras.saving.load_model(out / name), history_until(out / "history.csv")


def _begin_folder(run):
    run_folder.remove_run(run.recipe.out)
    run.recipe.save(run.recipe.out / "recipe.json")
    run.labels.save(run.recipe.out / "labels.json")


def _model(run):
    """The recipe's network, compiled, with the weights and the state that the run begins with."""
    recipe = run.recipe
    with run.devices.scope():
        model = recipe.model(run.labels.num_classes)
    if recipe.weights is not None and not run.checkpoint:
        batches = training_dataset(**_training_data(recipe, 0) | {"cache": False})
        report = load_weights(model, recipe.weights, batches, partial=recipe.partial)
        multi_worker.from_chief(run.devices, model.weights)
        if run.writes:
            print(f"Weights from {recipe.weights}:\n{report}")
    with run.devices.scope():
        recipe.freeze(model)
        model.compile(
            optimizer=recipe.optimizer(run.total_steps),
            loss=recipe.loss(run.labels),
            metrics=[SegmentationMetrics(run.labels.num_classes)],
            # XLA compiles anew for every size of a validation image; JAX is slower still without.
            jit_compile=keras.backend.backend() == "jax",
        )
        if recipe.jit_compile and not model.jit_compile:
            compile_train_step(model)
        checkpoints.make_variables(model)
        multi_worker.prepare_fit(model)
    if run.checkpoint:
        run.checkpoint.restore(model)
    multi_worker.draw_apart(model)
    return model


def _training_data(recipe, step, skipped=None):
    """Arguments of `training_dataset`."""
    return dict(
        data_dir=recipe.data,
        split=recipe.train_split,
        batch_size=recipe.batch_size,
        augmentation=recipe.augmentation(),
        image_size=recipe.image_size,
        seed=recipe.seed,
        start_step=step,
        cache=recipe.cache,
        on_error=recipe.on_error,
        skipped=skipped,
    )


def _validation_data(recipe, skipped=None):
    """Arguments of `evaluation_dataset`."""
    return dict(
        data_dir=recipe.data,
        split=recipe.val_split,
        image_size=recipe.image_size,
        on_error=recipe.on_error,
        skipped=skipped,
    )


def _validation_batches(run):
    """Whole images; one at a time where sizes may differ: padding would change the context."""
    recipe = run.recipe
    if recipe.val_split not in open_records(recipe.data).info.splits:
        if run.writes:
            print(f"{recipe.data} has no split {recipe.val_split!r}: no validation, no best.keras.")
        return None, None
    return strategy.validation_batches(
        run.devices,
        batch_size=recipe.batch_size if recipe.image_size else 1,
        **_validation_data(recipe, run.skipped[1]),
    )


def _callbacks(run, progress, earlier, signals, validates):
    """In the order in which they are called: nothing may come after what saves the others' work."""
    recipe, out, writes = run.recipe, run.recipe.out, run.writes
    header = run.checkpoint.header if run.checkpoint else {}
    if run.checkpoint:
        for split, saved in zip(run.skipped, header["skipped"], strict=True):
            split.restore(saved)
    best = SaveBest(out, header.get("best", -math.inf), writes)

    def state():
        return {
            "recipe": recipe.fields(),
            "records": run.records,
            "best": best.best,
            "skipped": [split.state() for split in run.skipped],
        }

    def batch(step):
        data = _training_data(recipe, step) | {"cache": False, "with_ids": True}
        return next(iter(training_dataset(**data)))

    callbacks = [
        StopAtNonFiniteLoss(out if writes else None, batch, run.labels, run.first_step),
        progress,
        earlier,
    ]
    if writes:
        append = run.checkpoint is not None
        callbacks += [
            keras.callbacks.CSVLogger(out / "history.csv", append=append),
            _tensorboard(run, progress, validates),
            ListSkipped(run.skipped, out / "skipped.txt"),
        ]
    callbacks.append(best)
    if recipe.ema is not None:
        callbacks.append(ValidateAverage())
    if writes:
        callbacks.append(SaveLast(out))
    if writes and recipe.ema is not None:
        callbacks.append(SaveAverage(out))
    every, keep = recipe.checkpoint_every, recipe.keep
    return callbacks + [
        signals,
        checkpoints.Checkpoints(out, state, every, keep, signals, run.checkpoint, writes),
    ]


def _tensorboard(run, progress, validates):
    examples = []
    if validates and run.recipe.tensorboard_images:
        images = evaluation_dataset(**_validation_data(run.recipe)).unbatch()
        examples = list(images.take(run.recipe.tensorboard_images).as_numpy_iterator())
    return TensorBoard(
        run.recipe.out / "tensorboard",
        progress,
        examples=examples,
        labels=run.labels,
        pictures_every=math.ceil(run.epochs / MAX_PICTURES),
    )
