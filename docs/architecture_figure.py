"""Draw the architecture of a GFFNet from the model itself; docs/networks.md shows it.

    python docs/architecture_figure.py --backbone resnet101 --fusion gff --out architecture.png

Rows are levels, the finest at the bottom and the context map on top, as in the paper's Fig. 3;
columns are backbone, fusion, refinement, dense feature pyramid and head. Strides, channels and
convolutions are read from the network (architecture/graph.py).
"""

import sys
from pathlib import Path
from typing import Literal

import tyro
from architecture.drawing import Drawing

from gff_keras import GFFNet
from gff_keras.evaluation.results import check_folder

SUFFIXES = (".png", ".svg", ".pdf")


def main(
    out: Path,
    backbone: str = "resnet101",
    num_classes: int = 19,
    context: Literal["ppm", "aspp", "dense_aspp"] | None = "ppm",
    fusion: Literal["gff", "concat", "add", "fpn", "gated_fpn"] | None = "gff",
    dfp: bool = True,
    aux_head: bool = True,
    output_stride: int = 8,
    dpi: int = 200,
):
    """Draw the network that the options describe to a file, .png, .svg or .pdf."""
    check(out)  # first: building a large network takes a while
    model = GFFNet(
        backbone,
        num_classes,
        context=context,
        fusion=fusion,
        dfp=dfp and fusion is not None,
        aux_head=aux_head,
        output_stride=output_stride,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    Drawing(model).canvas.save(out, dpi)
    print(f"written to {out}")


def check(out):
    """Raise ValueError or OSError unless a figure can be written to the path `out`."""
    if out.suffix.lower() not in SUFFIXES:
        raise ValueError(f"--out {out} must end in one of {', '.join(SUFFIXES)}.")
    check_folder(out.parent)


def command():
    """Run the command; errors that a user can cause end in one sentence and exit status 2."""
    try:
        tyro.cli(main, use_underscores=True)
    except (ValueError, OSError) as error:
        print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(command())
