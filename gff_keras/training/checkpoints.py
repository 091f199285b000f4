"""Checkpoints: all that a run needs to go on as if nothing had happened, in one file.

OUT/checkpoints/step_00000500.npz    values of all variables after 500 steps, and a header

The rest of a run is a function of the recipe, the records, the number of steps done, and the
variables of the model (with running statistics and the states of its random numbers), of the
optimiser (velocities, counters, averages) and of the metrics (sums of the running epoch): which
example comes next, and how it is augmented, depends on seed and step alone.
"""

import json
import math
import zipfile
import zlib
from typing import Any, NamedTuple

import keras
import numpy as np

from gff_keras.training.multi_worker import is_chief, strategy_of
from gff_keras.training.run_folder import CHECKPOINTS, checkpoints_by_step, replacing

# Fields of a recipe that change nothing in what a run computes (`cache`, with `image_size`, the
# rounding of a pixel in thousands). Records may have moved: the header tells whether they are the
# same. What was damaged in them has stopped the run, or it is known.
MAY_CHANGE = {
    "data",
    "out",
    "weights",
    "partial",
    "tensorboard_images",
    "report",
    "cache",
    "on_error",
    "checkpoint_every",
    "keep",
    "overwrite",
    "resume",
    "cpu_replicas",
}
_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Checkpoint(NamedTuple):
    """A checkpoint in memory; `values` has a list of arrays for model, optimizer and metrics."""

    path: Any
    header: dict
    values: dict

    @property
    def step(self):
        """Steps done when it was written."""
        return self.header["step"]

    def check(self, recipe, records):
        """Raise ValueError if a recipe or its records would not continue this run.

        Args:
            recipe: dictionary of all fields, as `Recipe.fields` returns it.
            records: what `header["records"]` holds: a description of the records.
        """
        out, saved = self.path.parents[1], self.header["recipe"]
        if changed := changes(saved, recipe):
            remedy = "Go on with its values, or choose another --out."
            if self.header["finished"]:
                remedy = (
                    "It is finished; to train its network further, give --weights "
                    f"{out / 'last.keras'} and another --out."
                )
            listed = ", ".join(f"{name}={recipe[name]} (was {saved[name]})" for name in changed)
            raise ValueError(f"the run in {out} was begun with another recipe: {listed}. {remedy}")
        if self.header["records"] != records:
            here, there = (
                f"{found['examples']} examples in {found['bytes']} bytes"
                for found in (records, self.header["records"])
            )
            raise ValueError(
                f"{recipe['data']} holds other records than the run in {out} was begun with: "
                f"{here}, not {there}."
            )

    def restore(self, model, groups=("model", "optimizer", "metrics")):
        """Give the variables of a model, made ready by `make_variables`, the saved values.

        Raises:
            ValueError: they do not fit the model.
        """
        for group in groups:
            variables, values = _variables(model)[group], self.values[group]
            shapes = [tuple(v.shape) for v in variables]
            if shapes != [value.shape for value in values]:
                raise ValueError(
                    f"{self.path} does not fit the network: {len(values)} variables of its "
                    f"{group}, not these {len(shapes)}, or of other shapes. Was it written by "
                    "another version of this package?"
                )
            for variable, value in zip(variables, values, strict=True):
                _assign(variable, value, is_chief(strategy_of(model)))


def changes(saved, recipe):
    """Return the fields in which a recipe would not continue the run of another one."""
    return [
        name
        for name in recipe
        if name not in MAY_CHANGE and saved.get(name, recipe[name]) != recipe[name]
    ]


def values(model):
    """Return the values of all variables: lists of arrays for model, optimizer and metrics.

    Under tf.distribute a metric's value is the sum over replicas, so all workers must take part.
    """
    return {name: [v.numpy() for v in group] for name, group in _variables(model).items()}


def write(path, header, values):
    """Write a checkpoint, whole or not at all.

    Args:
        path: file step_NNNNNNNN.npz.
        header: dictionary for JSON; `Checkpoint` reads step, finished, recipe and records.
        values: what `values` returned.

    Raises:
        OSError: it cannot be written; what lay there before is untouched.
    """
    arrays = {f"{name}_{i}": v for name, group in values.items() for i, v in enumerate(group)}
    header = {**header, "variables": {name: len(group) for name, group in values.items()}}
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, header=json.dumps(header), **arrays)


def newest(out):
    """Return the newest whole `Checkpoint` of a run's folder, or None where there are none.

    Damaged ones are named on the way.

    Raises:
        ValueError: there are checkpoints, but all of them are damaged.
    """
    paths = list(checkpoints_by_step(out).values())
    for path in reversed(paths):
        try:
            return _read(path)
        except _DAMAGE as error:
            print(f"{path} is damaged ({error}); taking the one before.", flush=True)
    if paths:
        raise ValueError(
            f"none of the {len(paths)} checkpoints in {out / CHECKPOINTS} can be read; "
            "--overwrite instead of --resume starts the run again."
        )
    return None


def path_of(out, step):
    """Return the path of the checkpoint after a step in a run's folder."""
    return out / CHECKPOINTS / f"step_{step:08}.npz"


def remove_old(out, step, keep):
    """Keep the newest checkpoints up to a step; later ones are damaged, or had been resumed."""
    paths = checkpoints_by_step(out)
    damaged = [path for saved, path in paths.items() if saved > step]
    whole = [path for saved, path in paths.items() if saved <= step]
    for path in damaged + whole[:-keep]:
        path.unlink()


def make_variables(model):
    """Make all variables of a compiled GFFNet; Keras makes some of them at the first step only."""

    def see_a_pixel():
        labels = np.zeros((1, 1, 1), "int32")
        logits = np.zeros((1, 1, 1, model.num_classes), "float32")
        model.compute_metrics(None, labels, {"logits": logits})

    model.optimizer.build(model.trainable_variables)
    if keras.backend.backend() == "tensorflow":
        model.distribute_strategy.run(see_a_pixel)
    else:
        see_a_pixel()
    model.reset_metrics()


def nbytes(model):
    """Return the size of a checkpoint: its values, and 5 % for names, header and file system."""
    values = sum(
        math.prod(variable.shape) * np.dtype(variable.dtype).itemsize
        for group in _variables(model).values()
        for variable in group
    )
    return math.ceil(1.05 * values)


def _variables(model):
    return {
        "model": model.variables,  # unlike `weights`, with the states of random numbers
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
    }


def _assign(variable, value, on_chief):
    replicas = getattr(variable.value, "values", ())  # of tf.distribute
    if not replicas or variable.synchronization != "on_read":
        variable.assign(value)
        return
    # The value is a sum over replicas. TensorFlow would give each an equal part, rounded.
    for i, replica in enumerate(replicas):
        replica.assign(value if on_chief and i == 0 else np.zeros_like(value))


def _read(path):
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}  # checks their CRCs
    header = json.loads(str(arrays["header"]))
    values = {
        name: [arrays[f"{name}_{i}"] for i in range(count)]
        for name, count in header["variables"].items()
    }
    return Checkpoint(path, header, values)
