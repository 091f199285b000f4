"""Every network: parameters, operations and the time of a forward pass. Prints Markdown tables.

    python benchmarks/networks.py

The first table has every context and fusion on one backbone, the second the paper's networks on
every backbone: 19 classes, one image of --size, float32, no auxiliary head, in TensorFlow's graph.
Machines are noisy, so a network takes turns with the first of the table for --repeats times: "of
the first" is the median of the ratios and, in brackets, the middle half of them; ms is the median.
docs/networks.md shows what it prints.
"""

from __future__ import annotations

import itertools
import time

import numpy as np
import tensorflow as tf
import tyro

from gff_keras import GFFNet
from gff_keras.backbones import BACKBONES
from gff_keras.evaluation.complexity import Block, complexity
from gff_keras.evaluation.cost_table import CONTEXTS as PUBLISHED
from gff_keras.evaluation.cost_table import NETWORKS
from gff_keras.models.names import backbone_name
from gff_keras.models.parts import CONTEXTS, FUSIONS

HEAD = (
    "| {} | context | fusion | DFP | M parameters | GFLOPs | computed | ms | of the first |\n"
    "|---|---|---|---|---:|---:|---:|---:|---:|"
)


def main(backbone: str = "resnet18", size: tuple[int, int] = (256, 256), repeats: int = 9):
    """Measure.

    Args:
        backbone: of the first table.
        size: height and width of the image.
        repeats: passes of each network.
    """
    combinations = [
        (backbone, context, fusion, dfp)
        for context, fusion, dfp in itertools.product(CONTEXTS, reversed(FUSIONS), (False, True))
        if fusion or not dfp
    ]
    table(combinations, size, repeats)
    names = [name for name in BACKBONES if not name.endswith(("_v1.5", "_deep"))]
    table(
        [
            (name, PUBLISHED.get(name, "ppm"), fusion, dfp)
            for name, (_, fusion, dfp) in itertools.product(names, NETWORKS)
        ],
        size,
        repeats,
    )


def table(combinations, size, repeats):
    """Print a row for each (backbone, context, fusion, dfp)."""
    print("\n" + HEAD.format("backbone"), flush=True)
    first = None
    for name, context, fusion, dfp in combinations:
        model = GFFNet(name, 19, context=context, fusion=fusion, dfp=dfp, aux_head=False)
        total = sum(complexity(model, size), Block("total"))
        forward = passes(model, size)
        first = first or forward
        turns = np.array([[seconds(first), seconds(forward)] for _ in range(repeats)])
        low, ratio, high = np.quantile(turns[:, 1] / turns[:, 0], (0.25, 0.5, 0.75))
        parts = (backbone_name(name), context or "-", fusion or "-", "yes" if dfp else "-")
        print(
            f"| {' | '.join(parts)} | {total.parameters / 1e6:.2f} | {total.operations / 1e9:.1f}"
            f" | {total.computed / 1e9:.1f} | {np.median(turns[:, 1]) * 1e3:.0f}"
            f" | {ratio:.2f} ({low:.2f} - {high:.2f}) |",
            flush=True,
        )


def passes(model, size):
    """Return a function that runs the network on one image."""
    segmenter = model.segmenter()
    forward = tf.function(lambda x: segmenter(x, training=False))
    image = tf.random.uniform((1, *size, 3), 0, 255, seed=0)
    forward(image)  # traces
    return lambda: forward(image).numpy()


def seconds(function):
    """How long a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


if __name__ == "__main__":
    tyro.cli(main, use_underscores=True)
