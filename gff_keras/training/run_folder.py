"""The folder of a training run: what lies in it, who may write it, and whether it has room.

A file is written beside its place and moved there when it is whole and on the disk: whatever
happens meanwhile, its name stands for the old content or for the new one.
"""

import contextlib
import fcntl
import json
import os
import shutil
import socket
from pathlib import Path

CHECKPOINTS = "checkpoints"
FOLDERS = (CHECKPOINTS, "tensorboard")
MODELS = ("best.keras", "last.keras", "average.keras")
RECIPE = "recipe.json"  # the first that a run writes: no folder is a run's without
_TEXTS = ("labels.json", "history.csv", "skipped.txt")
FILES = (*MODELS, RECIPE, *_TEXTS, "learning_curves.png", "report.html")
_OTHERS = ("nonfinite_step_*.npz", "nonfinite_step_*.png", "tensorboard/*/events.out.tfevents.*")
_LOCK = "run.lock"
_TEMPORARY = ".unfinished-"


@contextlib.contextmanager
def locked(folder):
    """Hold a folder, made if it is missing, for one run; one that stays empty is removed again.

    The lock is the operating system's: it ends with the process, however that ends.

    Raises:
        FileExistsError: another process holds the folder, or it is a file.
        OSError: the folder cannot be written.
    """
    if folder.is_file():
        raise FileExistsError(f"{folder} is a file; give --out the path of a folder.")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / _LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
    except BlockingIOError:
        raise FileExistsError(
            f"{folder} is in use by another run ({path.read_text()}); wait for its end, or choose "
            "another --out."
        ) from None
    except OSError as error:
        raise OSError(
            f"{folder} cannot be written ({error.strerror}); choose another --out."
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.close()
        with contextlib.suppress(OSError):
            for made_folder in made:
                made_folder.rmdir()  # if it is empty


def contents(folder):
    """Return the names of files and folders that a run would write and that are there already."""
    return [name for name in (*FOLDERS, *FILES) if (folder / name).exists()]


def checkpoints_by_step(folder):
    """Return the checkpoints of a run's folder: {steps done: path}, the oldest first."""
    paths = _saved(folder, "step_*.npz")  # and the user's step_best.npz
    named = ((path.stem.removeprefix("step_"), path) for path in paths)
    return dict(sorted((int(step), path) for step, path in named if step.isdecimal()))


def save_recipe(folder, fields):
    """Write recipe.json, also over what was edited in it: evaluation reads what the run was."""
    with replacing(folder / RECIPE) as path:
        path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def remove_run(folder):
    """Remove the files that a run wrote, and no others: the user may keep his own among them.

    The recipe stays, which the next run replaces: without it the folder would be no run's.
    """
    clear_unfinished(folder)
    others = (path for pattern in _OTHERS for path in folder.glob(pattern))
    files = (folder / name for name in FILES if name != RECIPE)
    for path in (*others, *files, *checkpoints_by_step(folder).values()):
        path.unlink(missing_ok=True)
    for emptied in (*folder.glob("tensorboard/*/"), *(folder / name for name in FOLDERS)):
        with contextlib.suppress(OSError):
            emptied.rmdir()  # if it is empty


@contextlib.contextmanager
def replacing(path):
    """Yield a path to write to; it takes the place of `path` when the block ends without error.

    Raises:
        OSError: it cannot be written; `path` is what it was.
    """
    temporary = path.with_name(f"{_TEMPORARY}{path.name}")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    except OSError as error:
        raise OSError(
            f"{path} cannot be written ({error.strerror or error}). What was saved before is "
            "whole: make room, then go on with --resume."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_space(folder, nbytes, files):
    """Refuse a run whose files will not fit on the disk.

    Args:
        folder: of the run; what a run left there counts as free, since it is written over.
        nbytes: size of a file.
        files: how many of them there will be at most.

    Raises:
        OSError: too little space.
    """
    old = [*(folder / name for name in MODELS), *checkpoints_by_step(folder).values()]
    free = shutil.disk_usage(folder).free + sum(p.stat().st_size for p in old if p.is_file())
    if free < nbytes * files:
        raise OSError(
            f"{folder} has {free / 1e9:.2f} GB of free space, but the run may need "
            f"{nbytes * files / 1e9:.2f} GB: {files} files of {nbytes / 1e9:.2f} GB. Make room, "
            "lower --keep, or choose another --out."
        )


def clear_unfinished(folder):
    """Remove what was being written when a run was killed."""
    for rest in (*folder.glob(f"{_TEMPORARY}*"), *_saved(folder, f"{_TEMPORARY}*")):
        rest.unlink()


def _saved(folder, pattern):
    return (folder / CHECKPOINTS).glob(pattern)


def _lock(path):
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise
        except OSError as error:  # some network file systems
            print(f"{path} cannot be locked ({error.strerror}): start no second run in its folder.")
        # The run before may have removed the file between our opening and our locking it.
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            return file
        file.close()


def _flush(path: Path):
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
