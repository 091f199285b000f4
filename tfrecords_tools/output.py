"""Where and how records are written.

A build is written into `incomplete.NAME` beside the wanted folder NAME and renamed at the very end,
so a folder under its wanted name is always complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MARKER = ".tfrecords_tools"  # says that a folder incomplete.NAME is a leftover of ours
REPLACED = "replaced"  # name, in there, of the records that a build with --overwrite replaces


@dataclass(frozen=True)
class Output:
    """Where and how records are written."""

    out: Path
    """Folder to write; it then directly holds the records."""
    overwrite: bool = False
    """Replace records that the folder holds already."""
    workers: int | None = None
    """Processes that read and encode; default: all cores that have enough to do."""
    shard_size_mb: int = 256
    """A split gets the fewest shards that hold this many MiB each on average at most."""
    beam_workers: int = 0
    """Build with Apache Beam in so many processes of this machine."""
    beam_options: str = ""
    """Or: flags of a Beam pipeline, e.g. "--runner=FlinkRunner --flink_master=HOST:8081"."""

    def check(self) -> None:
        """Raise ValueError if a number cannot be."""
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"--workers {self.workers} cannot work; give 1 or more")
        if self.beam_workers < 0:
            raise ValueError(f"--beam_workers {self.beam_workers} cannot work; give 1 or more")
        if self.workers is not None and (self.beam_workers or self.beam_options):
            raise ValueError("--workers means nothing to Beam; leave it out")
        if self.shard_size_mb < 1:
            raise ValueError(f"--shard_size_mb {self.shard_size_mb} is too small; give 1 or more")


@contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """Give the folder `incomplete.NAME` beside `out`; it is gone at the end."""
    staging = out.with_name(f"incomplete.{out.name}")
    if (staging / MARKER).is_file():  # what a killed run left
        if (staging / REPLACED).exists() and not out.exists():
            (staging / REPLACED).rename(out)  # killed between the two renames of `put_in_place`
        shutil.rmtree(staging)
    elif staging.exists() and (not staging.is_dir() or any(staging.iterdir())):
        raise FileExistsError(
            f"{staging} is needed for the build but is not ours; move it away or give another --out"
        )
    try:
        staging.mkdir(parents=True, exist_ok=True)
        (staging / MARKER).touch()
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def put_in_place(new: Path, out: Path, staging: Path) -> None:
    """Rename a finished folder to `out`; what was there stays in `staging`, or comes back."""
    replaced = staging / REPLACED
    if out.exists():
        out.rename(replaced)
    try:
        new.rename(out)
    except OSError:
        if replaced.exists():
            replaced.rename(out)
        raise


def refuse_existing(out: Path, overwrite: bool) -> None:
    """Raise FileExistsError if `out` holds what must not be replaced."""
    if not out.exists():
        return
    if not out.is_dir():
        raise FileExistsError(f"{out} is a file; give --out the path of a folder")
    entries = sorted(path.name for path in out.iterdir())
    known = ("dataset_info.json", "features.json", "metadata.json")
    foreign = [name for name in entries if name not in known and ".tfrecord" not in name]
    if foreign:  # never delete what no build wrote
        raise FileExistsError(
            f"{out} holds other files ({foreign[0]}, ...); give --out a new or empty folder"
        )
    if entries and not overwrite:
        raise FileExistsError(
            f"{out} already holds records; add --overwrite to replace them or give another --out"
        )
