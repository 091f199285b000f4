"""What an unfinished evaluation has counted, in a file that the same command goes on from."""

import hashlib
import json
import os
import time
from pathlib import Path

SECONDS = 2.0  # that may pass, and be lost, between two versions of the file


class PartialResults:
    """The scores of the images evaluated so far.

    Args:
        path: file; it is replaced in one piece.
        key: dictionary that JSON can hold: what the scores depend on. A file with another key
            counts for nothing.
    """

    def __init__(self, path, key):
        self.path = Path(path)
        self.key = json.loads(json.dumps(key))
        self._saved = time.monotonic()

    def load(self):
        """Return `per_image`, `confusion` and `seconds` as a dictionary; None to begin anew.

        Says which it is where the file exists.
        """
        if not self.path.is_file():
            return None
        try:
            state = json.loads(self.path.read_text(encoding="utf-8"))
            key, done = state.pop("key"), len(state["per_image"])
            changed = [name for name in self.key if key.get(name) != self.key[name]]
        except (ValueError, LookupError, AttributeError, TypeError):
            print(f"{self.path} is unreadable; evaluating from the first image.")
            return None
        if changed:
            what = ", ".join(changed)
            print(f"{self.path} was made with another {what}; evaluating from the first image.")
            return None
        print(f"going on after {done} images that {self.path} holds")
        return state

    def save(self, per_image, confusion, seconds):
        """Write the file."""
        state = dict(key=self.key, per_image=per_image, confusion=confusion, seconds=seconds)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(json.dumps(state), encoding="utf-8")
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)
        self._saved = time.monotonic()

    def save_sometimes(self, per_image, confusion, seconds):
        """Write the file if it is older than `SECONDS`."""
        if time.monotonic() - self._saved >= SECONDS:
            self.save(per_image, confusion, seconds)

    def remove(self):
        """Delete the file, once the results are written."""
        self.path.unlink(missing_ok=True)


def key(model, data, split, settings):
    """What the scores of an evaluation depend on: the contents of model and records, and settings.

    Args:
        model: model file.
        data: folder of records; names, sizes and times of its files stand for their contents.
        split: name of the split.
        settings: `Predictor.settings`.
    """
    with Path(model).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    stats = [(path, path.stat()) for path in sorted(Path(data).iterdir()) if path.is_file()]
    records = [[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    return {"model": digest, "data": records, "split": split, **settings}
