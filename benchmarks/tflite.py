"""What does quantisation cost and gain? Prints a Markdown table of TFLite files of one model.

    python benchmarks/tflite.py runs/camvid_resnet18/best.keras records/camvid --size 360x480

Every kind of file is exported to `--out` with its report, int8 with the training split of the
records as calibration, and compared with the Keras model on the validation split. Times are
those of the fastest of ten runs. docs/tflite.md shows what it prints.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import tyro
from tyro.conf import Positional

from gff_keras.evaluation.prediction import load_predictor
from gff_keras.export import tflite, tflite_report
from gff_keras.export.command import parse_size
from gff_keras.export.precision import with_dtype
from gff_keras.export.tflite import CALIBRATION_IMAGES, QUANTIZATIONS

HEADER = (
    "| `--quantize` | MB | 1 thread, ms | 2 threads, ms | times as fast as float, 1 thread | "
    "logits differ by at most | "
    "labels as float, % | labels as Keras, % | mean IoU | left by XNNPACK, in parts |"
)


def main(
    model: Positional[Path],
    records: Positional[Path],
    size: str = "360x480",
    images: int | None = None,
    out: Path = Path("runs/tflite"),
):
    """Export and compare.

    Args:
        model: .keras file.
        records: folder of records, for calibration and comparison.
        size: HEIGHTxWIDTH of the files.
        images: how many validation images to compare on; all if not given.
        out: folder for files and reports.
    """
    predictor, labels = load_predictor(model)
    network = with_dtype(predictor.model, "float32")
    rows = [HEADER, "|" + "---|" * (HEADER.count("|") - 1)]
    for quantize in QUANTIZATIONS:
        calibration = records if quantize == "int8" else None
        path = tflite(
            network,
            out / f"{quantize}.tflite",
            parse_size(size),
            quantize=quantize,
            calibration=calibration,
            labels=labels,
            overwrite=True,
        )
        report = tflite_report(
            path, network, float_file=out / "none.tflite", evaluate=records, images=images
        )
        rows.append(row(quantize, report))
    keras_time = report["milliseconds"]["keras"]["all"]
    keras_iou = 100 * report["quality"]["mean_iou"]["keras"]
    rows.append(f"| Keras, all threads | | | {keras_time} | | | | | {keras_iou:.2f} | |")
    print("\n".join(["", *rows]))
    print(
        f"\n{Path(model).parent.name}/{Path(model).name} at {size}, {report['quality']['images']} "
        f"validation images; {os.cpu_count()} cores, {datetime.date.today()}; int8 calibrated on "
        f"{CALIBRATION_IMAGES} training images."
    )


def row(name, report):
    quality, times = report["quality"], report["milliseconds"]["file"]
    ratio = report["milliseconds"]["float"]["1"] / times["1"]
    left = ", ".join(f"{n} {op}" for op, n in report["not_delegated"].items())
    return (
        f"| `{name}` | {report['megabytes']} | {times['1']} | {times['2']} "
        f"| {ratio:.2f} | {quality['max_logit_difference']:.3g} "
        f"| {100 * quality['equal_labels']['file_float']:.3f} "
        f"| {100 * quality['equal_labels']['file_keras']:.3f} "
        f"| {100 * quality['mean_iou']['file']:.2f} | {left}; {report['partitions']} |"
    )


if __name__ == "__main__":
    tyro.cli(main, use_underscores=True)
