"""One training run: a recipe in, a folder of checkpoints, logs and figures out.

OUT/recipe.json  labels.json     what was run, and the classes
OUT/best.keras   last.keras      highest validation mean IoU, and the end
OUT/average.keras                with `ema`: the averaged weights at the end
OUT/history.csv  tensorboard/    loss, metrics and learning rate per epoch
OUT/learning_curves.png
OUT/checkpoints/         what `resume` goes on from
OUT/nonfinite_step_N.npz  .png  the batch at which the loss was no longer finite, if it came to that
OUT/skipped.txt          with on_error="skip": the damaged records, where there were any
"""

import contextlib
import math

import keras

from gff_keras.data import (
    LabelSet,
    SkippedRecords,
    num_examples,
    open_records,
    training_dataset,
)
from gff_keras.evaluation.metrics import SegmentationMetrics
from gff_keras.training import checkpoints, multi_worker, run_folder, strategy
from gff_keras.training.averaging import ValidateAverage
from gff_keras.training.interruptions import ResumableCallbacks, StopSignals, history_until
from gff_keras.training.safeguards import LogLearningRate, StopAtNonFiniteLoss
from gff_keras.training.weights import load_weights
from gff_keras.training.xla import compile_train_step
from gff_keras.visualization import learning_curves



def train(recipe, verbose="auto"):
    """Train the network of a `Recipe` and write its folder.

    Args:
        recipe: `gff_keras.training.Recipe`.
        verbose: as in `keras.Model.fit`.

    Returns:
        `(model, history)`: the trained network (last epoch) and Keras's history dictionary, of all
        epochs also where the run was resumed.

    Raises:
        FileNotFoundError, ValueError: records or weights are missing or do not fit; with `resume`,
            the recipe or the records are not those that the run was begun with.
        FileExistsError: `out` already holds a run, or another process is writing it.
        OSError: `out` cannot be written or has too little space.
        ConnectionError: another worker has stopped.
        Stopped: SIGTERM or SIGINT arrived; a checkpoint was saved.
    """
    devices = strategy.choose(recipe.cpu_replicas)  # before TensorFlow starts its devices
    line, writes = strategy.describe(devices, recipe.batch_size), multi_worker.is_chief(devices)
    lock = run_folder.locked(recipe.out) if writes else contextlib.nullcontext()
    with multi_worker.together(devices), lock:
        if writes:
            print(line)
        return _train(recipe, devices, _checkpoint(recipe, writes), verbose if writes else 0)


def _train(recipe, devices, checkpoint, verbose):
    writes = multi_worker.is_chief(devices)
    step = checkpoint.step if checkpoint else 0
    multi_worker.agree(devices, step, recipe.out)
    keras.utils.set_random_seed(recipe.seed)
    labels = LabelSet.from_records(recipe.data)
    steps, epochs, total_steps = _length(recipe)
    records = _description(recipe)
    if checkpoint:
        checkpoint.check(recipe.fields(), records)
        if checkpoint.header["finished"]:
            return _finished(recipe)
    skipped = [SkippedRecords(), SkippedRecords()]  # in training and validation
    batches = strategy.training_batches(devices, **_training_data(recipe, step, skipped[0]))
    validation, validation_steps = _validation_batches(recipe, devices, skipped[1])
    with devices.scope():
        model = recipe.model(labels.num_classes)
    if recipe.weights is not None and not checkpoint:
        batches_once = training_dataset(**_training_data(recipe, 0) | {"cache": False})
        report = load_weights(model, recipe.weights, batches_once, partial=recipe.partial)
        multi_worker.from_chief(devices, model.weights)
        if writes:
            print(f"Weights from {recipe.weights}:\n{report}")
    with devices.scope():
        _compile(model, recipe, labels, total_steps)
    if checkpoint:
        checkpoint.restore(model)
    multi_worker.draw_apart(model)
    if writes:
        run_folder.clear_unfinished(recipe.out)
        # Checkpoints, best.keras and last.keras, and one that is being written.
        run_folder.check_space(recipe.out, checkpoints.nbytes(model), recipe.keep + 3)
        if checkpoint is None:
            _begin_folder(recipe, labels)
    with StopSignals() as signals:
        if multi_worker.num_workers(devices) > 1:
            signals = multi_worker.AgreedSignals(signals, devices)
        callbacks = ResumableCallbacks(
            _callbacks(recipe, records, steps, checkpoint, skipped, signals, writes),
            step,
            steps,
            total_steps,
            epochs=epochs,
            add_history=True,
            add_progbar=verbose != 0,
            verbose=verbose,
            model=model,
        )
        history = model.fit(
            batches,
            initial_epoch=step // steps,
            steps_per_epoch=steps,
            epochs=epochs,
            validation_data=validation,
            validation_steps=validation_steps,
            callbacks=callbacks,
            shuffle=False,  # the data set shuffles
            verbose=verbose,
        )
    if writes:
        if recipe.ema is not None:  # `fit` ends with the average in the model
            checkpoints.save_model(model, recipe.out / "average.keras")
        learning_curves(recipe.out / "history.csv", recipe.out / "learning_curves.png")
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
    if checkpoint:
        print(f"{out}: going on after step {checkpoint.step}.")
    elif any((out / name).exists() for name in run_folder.MODELS):
        raise FileExistsError(
            f"{out} holds a trained model but no checkpoint to go on from; choose another --out, "
            "or replace it by --overwrite instead of --resume."
        )
    else:
        print(f"{out} holds no checkpoint to resume: the run begins.")
    return checkpoint


def _finished(recipe):
    print(f"{recipe.out}: the run is finished, there is nothing to resume.")
    model = keras.saving.load_model(recipe.out / "last.keras")
    return model, history_until(recipe.out / "history.csv", math.inf)


def _begin_folder(recipe, labels):
    run_folder.remove_run(recipe.out)
    recipe.save(recipe.out / "recipe.json")
    labels.save(recipe.out / "labels.json")


def _compile(model, recipe, labels, total_steps):
    """Freeze and compile the recipe's network, and make all variables that training needs."""
    recipe.freeze(model)
    model.compile(
        optimizer=recipe.optimizer(total_steps),
        loss=recipe.loss(labels),
        metrics=[SegmentationMetrics(labels.num_classes)],
        jit_compile=False,
    )
    if recipe.jit_compile:
        compile_train_step(model)
    checkpoints.make_variables(model)
    multi_worker.prepare_fit(model)


def _length(recipe):
    """Steps of an epoch, epochs, and steps in all: the last epoch may be a short one."""
    steps = math.ceil(num_examples(recipe.data, recipe.train_split) / recipe.batch_size)
    if recipe.total_steps is None:
        return steps, recipe.epochs, steps * recipe.epochs
    steps = min(steps, recipe.total_steps)
    return steps, math.ceil(recipe.total_steps / steps), recipe.total_steps


def _description(recipe):
    """What tells whether records are the same, wherever they lie."""
    split = open_records(recipe.data).info.splits[recipe.train_split]
    return {"examples": split.num_examples, "bytes": split.num_bytes}


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


def _validation_batches(recipe, devices, skipped):
    """Whole images; one at a time where sizes may differ: padding would change the context."""
    if recipe.val_split not in open_records(recipe.data).info.splits:
        print(f"{recipe.data} has no split {recipe.val_split!r}: no validation, no best.keras.")
        return None, None
    return strategy.validation_batches(
        devices,
        recipe.data,
        recipe.val_split,
        batch_size=recipe.batch_size if recipe.image_size else 1,
        image_size=recipe.image_size,
        on_error=recipe.on_error,
        skipped=skipped,
    )


def _callbacks(recipe, records, steps, checkpoint, skipped, signals, writes):
    """In the order in which they are called: nothing may come after what saves the others' work."""
    out, header, earlier = recipe.out, {}, keras.callbacks.History()
    if checkpoint:
        header = checkpoint.header
        if writes:
            earlier.history = history_until(out / "history.csv", checkpoint.step // steps)
        for split, saved in zip(skipped, header["skipped"], strict=True):
            split.restore(saved)
    best = checkpoints.SaveBest(out, header.get("best", -math.inf), writes)

    def state():
        return {
            "recipe": recipe.fields(),
            "records": records,
            "best": best.best,
            "skipped": [split.state() for split in skipped],
        }

    logs = [
        keras.callbacks.CSVLogger(out / "history.csv", append=checkpoint is not None),
        keras.callbacks.TensorBoard(out / "tensorboard", write_graph=False),
        ListSkipped(skipped, out / "skipped.txt"),
    ]
    return [
        *([signals] if isinstance(signals, keras.callbacks.Callback) else []),
        StopAtNonFiniteLoss(out if writes else None, _batch_of(recipe), labels, step),
        LogLearningRate(),
        earlier,
        *(logs if writes else []),
        best,
        *([] if recipe.ema is None else [ValidateAverage()]),
        checkpoints.SaveLast(out, writes),
        checkpoints.Checkpoints(
            out, state, recipe.checkpoint_every, recipe.keep, signals, checkpoint, writes
        ),
    ]


def _batch_of(recipe):
    """Return a function that gives the batch of any step, with ids."""

    def batch(step):
        return next(iter(training_dataset(**_training_data(recipe, step), with_ids=True)))

    return batch


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
