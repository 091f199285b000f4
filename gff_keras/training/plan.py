"""What is known of a run before its network is made: its data, its length, where it goes on."""

import json
import math
from typing import Any, NamedTuple

from gff_keras.data import LabelSet, SkippedRecords, num_examples, open_records
from gff_keras.training import checkpoints, multi_worker, run_folder
from gff_keras.training.recipe import Recipe


class Plan(NamedTuple):
    """A run, as `plan_run` finds it."""

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
        """Steps done before."""
        return self.checkpoint.step if self.checkpoint else 0

    def training_data(self, step, **changes):
        """Return arguments of `training_dataset`: the run's from a step on, but for `changes`."""
        recipe = self.recipe
        return (
            dict(
                data_dir=recipe.data,
                split=recipe.train_split,
                batch_size=recipe.batch_size,
                augmentation=recipe.augmentation(),
                image_size=recipe.image_size,
                seed=recipe.seed,
                start_step=step,
                cache=recipe.cache,
                on_error=recipe.on_error,
            )
            | changes
        )

    def validation_data(self, **changes):
        """Return arguments of `evaluation_dataset`: the run's, but for `changes`."""
        return (
            dict(
                data_dir=self.recipe.data,
                split=self.recipe.val_split,
                image_size=self.recipe.image_size,
                on_error=self.recipe.on_error,
            )
            | changes
        )


def plan_run(recipe, devices, writes):
    """Return the `Plan` of a recipe.

    Args:
        recipe: `gff_keras.training.Recipe`.
        devices: `tf.distribute.Strategy`.
        writes: whether this process writes the files, and tells what it found.

    Raises:
        FileNotFoundError, ValueError: records are missing, or with `resume` recipe or records are
            not those of the run.
        FileExistsError: `out` already holds a run, or files of the user that a run would replace.
    """
    checkpoint = checkpoints.newest(recipe.out) if recipe.resume else None
    if writes:
        _check_folder(recipe, checkpoint)
    multi_worker.agree(devices, checkpoint.step if checkpoint else 0, recipe.out)
    labels = LabelSet.from_records(recipe.data)
    split = open_records(recipe.data).info.splits.get(recipe.train_split)
    steps, epochs, total_steps = _length(recipe)
    records = {"examples": split.num_examples, "bytes": int(split.num_bytes)}
    if checkpoint:
        checkpoint.check(recipe.fields(), records)
    if writes and recipe.resume:
        print(f"{recipe.out}: {_where(checkpoint)}.", flush=True)
    skipped = [SkippedRecords(), SkippedRecords()]
    return Plan(
        recipe, devices, writes, labels, records, steps, epochs, total_steps, checkpoint, skipped
    )


def _check_folder(recipe, checkpoint):
    """Refuse to replace what another run, or the user, has in the run's folder."""
    out = recipe.out
    if (out / "dataset_info.json").exists():
        raise FileExistsError(f"{out} is a folder of records; choose another --out.")
    found = run_folder.contents(out)
    if not found or checkpoint or recipe.resume and _has_begun(recipe, found):
        return
    if run_folder.RECIPE not in found:
        raise FileExistsError(
            f"{out} holds {', '.join(found)}, but no {run_folder.RECIPE}, so they are not of a "
            "run; choose another --out."
        )
    if recipe.resume:
        raise FileExistsError(
            f"{out} holds a run, but no checkpoint to go on from; choose another --out, or replace "
            "it by --overwrite instead of --resume."
        )
    if not recipe.overwrite:
        raise FileExistsError(
            f"{out} already holds a run; choose another --out, go on with it by --resume, or "
            "replace it by --overwrite."
        )


def _has_begun(recipe, found):
    """Whether a folder holds this very run, killed before its first checkpoint."""
    if run_folder.RECIPE not in found or any(name in found for name in run_folder.MODELS):
        return False
    try:
        saved = json.loads((recipe.out / run_folder.RECIPE).read_text(encoding="utf-8"))
    except ValueError:
        return False
    fields = recipe.fields()
    return (
        isinstance(saved, dict)
        and saved.keys() == fields.keys()
        and not checkpoints.changes(saved, fields)
    )


def _where(checkpoint):
    if checkpoint is None:
        return "no checkpoint to resume: the run begins"
    if checkpoint.header["finished"]:
        return "the run is finished, there is nothing to resume"
    return f"going on after step {checkpoint.step}"


def _length(recipe):
    """Steps of an epoch, epochs, and steps in all: the last epoch may be a short one."""
    steps = math.ceil(num_examples(recipe.data, recipe.train_split) / recipe.batch_size)
    if recipe.total_steps is None:
        return steps, recipe.epochs, steps * recipe.epochs
    steps = min(steps, recipe.total_steps)
    return steps, math.ceil(recipe.total_steps / steps), recipe.total_steps
