"""One training run: a recipe in, a folder of checkpoints, logs and figures out.

OUT/recipe.json  labels.json     what was run, and the classes
OUT/best.keras   last.keras      highest validation mean IoU, and the end
OUT/average.keras                with `ema`: the averaged weights at the end
OUT/history.csv                  loss, metrics and learning rate per epoch
OUT/tensorboard/                 the same, curves per step and pictures of validation images
OUT/learning_curves.png
OUT/report.html                  one page on best.keras: numbers, curves, images, gates
OUT/checkpoints/                 what `resume` goes on from
OUT/nonfinite_step_N.npz  .png   the batch at which the loss was no longer finite, if there was one
OUT/skipped.txt                  with on_error="skip": the damaged records, where there were any
"""

import contextlib
import math

import keras

from gff_keras.data import evaluation_dataset, open_records, training_dataset
from gff_keras.evaluation.metrics import SegmentationMetrics
from gff_keras.sharing import metadata
from gff_keras.training import checkpoints, multi_worker, run_folder, strategy
from gff_keras.training.averaging import ValidateAverage
from gff_keras.training.checkpointing import Checkpoints
from gff_keras.training.interruptions import (
    ResumableCallbacks,
    StopSignals,
    cut_history,
    history_until,
)
from gff_keras.training.plan import plan_run
from gff_keras.training.progress import Progress
from gff_keras.training.run_report import write_report
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
            print(line, flush=True)
        return _train(plan_run(recipe, devices, writes), verbose if writes else 0)


def _train(run, verbose):
    recipe, out = run.recipe, run.recipe.out
    if run.checkpoint and run.checkpoint.header["finished"]:
        return _finished(run, verbose)
    keras.utils.set_random_seed(recipe.seed)
    data = run.training_data(run.first_step, skipped=run.skipped[0])
    batches = strategy.training_batches(run.devices, **data)
    validation, validation_steps = _validation_batches(run)
    model = _model(run)
    if run.writes:
        run_folder.clear_unfinished(out)
        # Checkpoints; best, last and average.keras; one that is being written.
        files = recipe.keep + 3 + (recipe.ema is not None)
        run_folder.check_space(out, checkpoints.nbytes(model), files)
        if run.checkpoint:
            run_folder.save_recipe(out, recipe.fields())
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
        write_report(run.recipe, verbose)
    return model, history.history


def _finished(run, verbose):
    """What the run returned when it ended."""
    out = run.recipe.out
    if run.writes:
        run_folder.save_recipe(out, run.checkpoint.header["recipe"])
        learning_curves(out / "history.csv", out / "learning_curves.png")  # a kill may have cost it
        if not (out / "report.html").is_file():
            write_report(run.recipe, verbose)
    name = "last.keras" if run.recipe.ema is None else "average.keras"
    return keras.saving.load_model(out / name), history_until(out / "history.csv")


def _begin_folder(run):
    run_folder.remove_run(run.recipe.out)
    run_folder.save_recipe(run.recipe.out, run.recipe.fields())
    run.labels.save(run.recipe.out / "labels.json")


def _model(run):
    """The recipe's network, compiled, with the weights and the state that the run begins with."""
    recipe = run.recipe
    with run.devices.scope():
        model = recipe.model(run.labels.num_classes)
    model.metadata = metadata(run.labels, recipe.fields())
    if recipe.weights is not None and not run.checkpoint:
        batches = training_dataset(**run.training_data(0, cache=False))
        report = load_weights(model, recipe.weights, batches, partial=recipe.partial)
        multi_worker.from_chief(run.devices, model.weights)
        if run.writes:
            print(f"Weights from {recipe.weights}:\n{report}", flush=True)
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


def _validation_batches(run):
    """Whole images; one at a time where sizes may differ: padding would change the context."""
    recipe = run.recipe
    if recipe.val_split not in open_records(recipe.data).info.splits:
        if run.writes:
            print(
                f"{recipe.data} has no split {recipe.val_split!r}: no validation, no best.keras.",
                flush=True,
            )
        return None, None
    return strategy.validation_batches(
        run.devices,
        batch_size=recipe.batch_size if recipe.image_size else 1,
        **run.validation_data(skipped=run.skipped[1]),
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
        data = run.training_data(step, cache=False, with_ids=True)
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
        Checkpoints(out, state, every, keep, signals, run.checkpoint, writes),
    ]


def _tensorboard(run, progress, validates):
    examples = []
    if validates and run.recipe.tensorboard_images:
        images = evaluation_dataset(**run.validation_data()).unbatch()
        examples = list(images.take(run.recipe.tensorboard_images).as_numpy_iterator())
    return TensorBoard(
        run.recipe.out / "tensorboard",
        progress,
        examples=examples,
        labels=run.labels,
        pictures_every=math.ceil(run.epochs / MAX_PICTURES),
    )
