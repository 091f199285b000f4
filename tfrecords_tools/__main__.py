"""Command line: `python -m tfrecords_tools build NAME --out DIR ...`, `check DIR|NAME ...`."""

from __future__ import annotations

import functools
import operator
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from tfrecords_tools import DATASETS, build, check
from tfrecords_tools.dataset import Dataset
from tfrecords_tools.output import Output


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

    def _one_of(commands: list[tuple[type, str, str | None]]) -> object:
        """Union of types, each a command with a name and, if not its own, a description."""
        named = (
            Annotated[kind, tyro.conf.subcommand(name, description=text)]
            for kind, name, text in commands
        )
        return functools.reduce(operator.or_, named)

    AnyDataset = _one_of([(kind, name, None) for name, kind in DATASETS.items()])
    Checked = _one_of(
        [(Records, "records", None)]
        + [(kind, name, f"Check the files of {name}.") for name, kind in DATASETS.items()]
    )

app = tyro.extras.SubcommandApp()


@app.command(name="build")
def build_command(dataset: AnyDataset, output: Output) -> None:
    """Write a data set as records."""
    out = build(dataset, **vars(output))
    print(f"Records written to {out}")


@app.command(name="check")
def check_command(checked: Checked, findings: Findings) -> int:
    """Decode records (`check DIR`) or a data set's files; report all errors, then status 1."""
    what = checked.folder if isinstance(checked, Records) else checked
    out = findings.out
    if out is None:
        where = Path(checked.name) if isinstance(checked, Dataset) else checked.folder.resolve()
        out = where.with_name(f"{where.name}-check")
    if out.is_file():
        raise FileExistsError(f"{out} is a file; give --out the path of a folder")
    report = check(what, workers=findings.workers)
    report.save(out)
    print(f"{report}\nReport written to {out}")
    return 1 if report.errors else 0


def _spelled_out(argv: list[str]) -> list[str]:
    """`--tfds NAME` is short for `tfds --dataset NAME`, `check DIR` for `check records DIR`."""
    for place, word in enumerate(argv):
        if word == "--tfds":
            return [argv[0], "tfds", *argv[1:place], "--dataset", *argv[place + 1 :]]
        if word.startswith("--tfds="):
            name = word.removeprefix("--tfds=")
            return [argv[0], "tfds", *argv[1:place], "--dataset", name, *argv[place + 1 :]]
    known = (*DATASETS, "records")
    if argv[:1] == ["check"] and argv[1:] and argv[1] not in known and argv[1][:1] != "-":
        return ["check", "records", *argv[1:]]
    return argv


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status, 2 for what the user can mend."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that leftovers are removed
    try:
        status = app.cli(
            args=_spelled_out(sys.argv[1:] if argv is None else argv),
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
