"""What do windows, scales and flip cost beside the network itself? Prints two Markdown tables.

    python benchmarks/sliding_evaluation.py

*Time*: one image of --size is predicted in sliding windows at all scales, with flip. Beside the
whole time stands what was spent inside the network, and what plain forward passes of one whole
image would take for as many pixels.

*Memory*: an image of 4096x8192 pixels and 150 classes with a network of four small convolutions, so
that what is measured is what lies around the network.

Every row is measured in a process of its own; memory is the peak above what the process held before
it predicted. `--scales 1 --no_flip` shortens it; `--part memory` measures memory alone.
docs/evaluation.md shows what it prints.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from gff_keras.evaluation.views import PAPER_SCALES, Views

LARGE, LARGE_CLASSES, LARGE_CROP = (4096, 8192), 150, (512, 512)


def main(
    backbones: tuple[str, ...] = ("resnet18", "resnet101"),
    size: tuple[int, int] = (1024, 2048),
    crop_size: tuple[int, int] = (864, 864),
    scales: tuple[float, ...] = PAPER_SCALES,
    flip: bool = True,
    part: Literal["time", "memory", "all"] = "all",
):
    """Measure.

    Args:
        backbones: of the networks that are timed, random weights, 19 classes.
        size: height and width of the image that is timed.
        crop_size: of its windows.
        scales: of both parts.
        flip: in both parts.
        part: what to measure.
    """
    if part != "memory":
        views = Views("sliding", crop_size, scales=scales, flip=flip)
        print(f"\n{size[0]}x{size[1]}, 19 classes, {describe(views)}\n")
        print(
            "| backbone | Mpixels seen | s | s in the network | ratio | plain passes, s | ratio | "
            "peak, GB | of a plain pass |"
        )
        print("|" + "---|" * 9)
        for backbone in backbones:
            _, plain_peak, _, plain = apart(predict, backbone, 19, size, Views())
            pixels, peak, seconds, inside = apart(predict, backbone, 19, size, views)
            plain *= pixels / np.prod(size)
            print(
                f"| {backbone} | {pixels / 1e6:.1f} | {seconds:.1f} | {inside:.1f} "
                f"| {seconds / inside:.3f} | {plain:.1f} | {seconds / plain:.3f} "
                f"| {peak:.2f} | {plain_peak:.2f} |",
                flush=True,
            )
    if part != "time":
        canvas = np.prod([*LARGE, LARGE_CLASSES]) * 4 / 1e9
        print(f"\n{LARGE[0]}x{LARGE[1]}, {LARGE_CLASSES} classes, windows of {LARGE_CROP[0]}\n")
        print("| views | peak, GB | of a float canvas | s | s in the network |")
        print("|---|---|---|---|---|")
        for views in (
            Views("sliding", LARGE_CROP),
            Views("sliding", LARGE_CROP, scales=scales, flip=flip),
        ):
            _, peak, seconds, inside = apart(predict, None, LARGE_CLASSES, LARGE, views)
            print(
                f"| {describe(views)} | {peak:.2f} | {peak / canvas:.3f} | {seconds:.0f} "
                f"| {inside:.0f} |",
                flush=True,
            )
        print(f"\nThe float canvas of one prediction takes {canvas:.1f} GB.")


def describe(views):
    flip = ", flip" if views.flip else ""
    return f"scales {', '.join(f'{s:g}' for s in views.scales)}{flip}, windows of {views.crop_size}"


def predict(backbone, classes, size, views):
    """Return `(pixels seen, peak GB, seconds, seconds in the network)` of one image."""
    from gff_keras import GFFNet
    from gff_keras.evaluation.prediction import Predictor

    network = GFFNet(backbone or small_backbone(), classes, filters=256 if backbone else 8)
    predictor = Predictor(network, views=views)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), "uint8")
    forward, seen, inside = predictor._forward, [], []
    crop = views.crop_size or size
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak counts from here
    before = memory("VmRSS")
    forward(np.zeros((1, *crop, 3), "float32"))  # traces, which is not timed

    def timed(images):
        started = time.perf_counter()
        logits = forward(images)
        inside.append(time.perf_counter() - started)
        seen.append(np.prod(images.shape[:3]))
        return logits

    predictor._forward = timed
    started = time.perf_counter()
    predictor.classes(image)
    seconds = time.perf_counter() - started
    return sum(seen), (memory("VmHWM") - before) / 1e9, seconds, sum(inside)


def memory(name):
    """Bytes that this process holds (VmRSS) or has held at most (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def small_backbone():
    import keras

    from gff_keras import layers

    images = x = keras.Input((None, None, 3))
    features = []
    for filters, strides in ((8, 2), (8, 2), (8, 2), (8, 1)):
        x = keras.layers.ReLU()(layers.Conv2D(filters, 3, strides=strides)(x))
        features.append(x)
    return keras.Model(images, features[1:])


def apart(function, *arguments):
    """Call in a process of its own, whose memory nothing else has used."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


if __name__ == "__main__":
    tyro.cli(main, use_underscores=True)
