"""What a network weighs and how long it takes."""

import os
import platform
import time

import keras
import tensorflow as tf

from gff_keras.evaluation.complexity import Block, complexity
from gff_keras.report.run import training_seconds

REPEATS = 3


def measure(predictor, path, image):
    """Count parameters and operations, and time the prediction of an image (H, W, 3)."""
    model = getattr(predictor, "model", None)
    size = predictor.image_size or image.shape[:2]
    blocks, missing = [], ""
    if model is None:
        missing = "A TFLite file does not tell its blocks."
    else:
        try:
            blocks = complexity(model, size)
        except ValueError as error:  # Keras runs on another backend than TensorFlow
            missing = str(error)
    return {
        "blocks": blocks,
        "missing": missing,
        "parameters": model.count_params() if model is not None else None,
        "operations": sum(block.operations for block in blocks),
        "bytes": path.stat().st_size,
        "seconds": _seconds(predictor, image),
        "size": size,
        "image": image.shape[:2],
    }


def _seconds(predictor, image):
    """The shortest of some predictions, after one that builds the graph."""
    predictor.classes(image)
    durations = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        predictor.classes(image)
        durations.append(time.perf_counter() - start)
    return min(durations)


def tiles(measured):
    """Headline numbers: (name, value)."""
    found = [("Time of an image", duration(measured["seconds"]))]
    if measured["parameters"]:
        found.insert(0, ("Parameters", f"{measured['parameters'] / 1e6:.1f} M"))
    return found


def section(measured, results, folder):
    """Rows (name, value, remark), and the table of blocks with their sum."""
    at = "{}×{}".format(*measured["size"])
    rows = [("File", f"{measured['bytes'] / 1e6:,.1f} MB", "")]
    if measured["parameters"]:
        rows.append(("Parameters", f"{measured['parameters']:,}", "with all heads and statistics"))
    if measured["operations"]:
        giga = f"{measured['operations'] / 1e9:,.1f} GFLOPs"
        rows.append(("Operations", giga, f"at {at}; multiplication and addition count as two"))
    remark = "{}×{} pixels, on {}".format(*measured["image"], machine())
    rows.append(("Prediction of an image", duration(measured["seconds"]), remark))
    if seconds := results.get("seconds"):
        remark = f"{results['images']} images, with reading and counting"
        rows.append(("Evaluation", duration(seconds), remark))
    if seconds := training_seconds(folder):
        rows.append(("Training", duration(seconds), "by its log, with validation"))
    rows.append(("Software", f"Keras {keras.__version__}, TensorFlow {tf.__version__}", ""))
    total = sum(measured["blocks"], Block("total"))
    blocks = [*measured["blocks"], total] if measured["blocks"] else []
    return {"rows": rows, "blocks": blocks, "size": at, "without_blocks": measured["missing"]}


def machine():
    """What computes: the GPUs by name, or the number of CPU cores."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
        return f"{len(gpus)} × {name}" if len(gpus) > 1 else name
    return f"{os.cpu_count()} CPU cores ({platform.machine()})"


def duration(seconds):
    """A length of time in the unit that reads best."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 90:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
