"""Command line: `python -m tfrecords_tools build NAME --out DIR ...`."""

from __future__ import annotations

import functools
import operator
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import tyro

from tfrecords_tools import DATASETS, build
from tfrecords_tools.dataset import Dataset
from tfrecords_tools.output import Output

# Any of the data sets, each a command with its own options.
if TYPE_CHECKING:
    AnyDataset = Dataset
else:
    AnyDataset = functools.reduce(
        operator.or_,
        (Annotated[kind, tyro.conf.subcommand(name)] for name, kind in DATASETS.items()),
    )

app = tyro.extras.SubcommandApp()


@app.command(name="build")
def build_command(dataset: AnyDataset, output: Output) -> None:
    """Write a data set as records."""
    out = build(dataset, **vars(output))
    print(f"Records written to {out}")


def _spelled_out(argv: list[str]) -> list[str]:
    """`build --tfds NAME ...` is short for `build tfds --dataset NAME ...`."""
    for place, word in enumerate(argv):
        if word == "--tfds":
            return [argv[0], "tfds", *argv[1:place], "--dataset", *argv[place + 1 :]]
        if word.startswith("--tfds="):
            name = word.removeprefix("--tfds=")
            return [argv[0], "tfds", *argv[1:place], "--dataset", name, *argv[place + 1 :]]
    return argv


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status, 2 for what the user can mend."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that leftovers are removed
    try:
        app.cli(
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
