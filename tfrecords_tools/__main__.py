"""Command line: `python -m tfrecords_tools build NAME --out DIR ...`, `check DIR|NAME ...`."""

from __future__ import annotations

import functools
import operator
import os
import signal
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from tfrecords_tools import DATASETS, build, check
from tfrecords_tools.dataset import Dataset


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
    """Size that shards have on average at most, in MiB."""


@dataclass(frozen=True)
class Records:
    """Check a folder of records; "records" may be left out."""

    folder: tyro.conf.Positional[Path]
    """What `build` wrote."""


@dataclass(frozen=True)
class Findings:
    """Where to."""

    out: Path | None = None
    """Folder for check.json and classes.png; by default what is checked with "-check" added."""
    workers: int | None = None
    """Number of processes that decode. By default all cores that have enough to do."""


# Any of the data sets, each a command with its own options.
if TYPE_CHECKING:
    AnyDataset = Dataset
    Checked = Dataset | Records
else:
    AnyDataset = functools.reduce(
        operator.or_,
        (Annotated[kind, tyro.conf.subcommand(name)] for name, kind in DATASETS.items()),
    )
    Checked = Annotated[Records, tyro.conf.subcommand("records")] | AnyDataset

app = tyro.extras.SubcommandApp()


@app.command(name="build")
def build_command(dataset: AnyDataset, output: Output) -> None:
    """Write a data set as records."""
    out = build(dataset.name, **_options(dataset), **_options(output))
    print(f"Records written to {out}")


@app.command(name="check")
def check_command(checked: Checked, findings: Findings) -> int:
    """Decode records, or a data set's files, and report all that is wrong; then the status is 1."""
    if isinstance(checked, Records):
        where = checked.folder.expanduser().resolve()
        report = check(checked.folder, workers=findings.workers)
    else:
        where = Path(checked.name)
        report = check(checked.name, workers=findings.workers, **_options(checked))
    out = findings.out or where.with_name(f"{where.name}-check")
    report.save(out)
    print(f"{report}\nReport written to {out}")
    return 1 if report.errors else 0


def _options(described: Any) -> dict[str, Any]:
    return {field.name: getattr(described, field.name) for field in fields(described)}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status, 2 for what the user can mend."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that leftovers are removed
    argv = sys.argv[1:] if argv is None else argv
    if len(argv) > 1 and argv[0] == "check" and argv[1] not in (*DATASETS, "records"):
        if not argv[1].startswith("-"):
            argv = ["check", "records", *argv[1:]]
    try:
        status = app.cli(
            args=argv,
            prog="python -m tfrecords_tools",
            use_underscores=True,
            config=(
                tyro.conf.OmitSubcommandPrefixes,
                tyro.conf.OmitArgPrefixes,
                tyro.conf.CascadeSubcommandArgs,
            ),
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: stopped; nothing was written", file=sys.stderr)
        return 130
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
