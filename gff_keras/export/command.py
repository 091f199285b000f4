"""The command `gff-keras export FORMAT`: one function per format, its arguments are the flags."""

import re
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

from gff_keras.evaluation.prediction import load_predictor
from gff_keras.export.checks import check_backend
from gff_keras.export.precision import with_dtype
from gff_keras.export.saved_model import MAX_PIXELS, check_directory, saved_model
from gff_keras.export.tf_serving import docker_command
from gff_keras.export.tflite import tflite
from gff_keras.export.tflite_report import check_records, tflite_report
from gff_keras.sharing import locate


def export_saved_model(
    model: Positional[Path],
    out: Path,
    size: str | None = None,
    image_size: tuple[int, int] | None = None,
    dtype: str | None = None,
    flip: bool = False,
    max_pixels: int = MAX_PIXELS,
    overwrite: bool = False,
):
    """SavedModel for TF Serving, with class names, warm-up requests and configuration files.

    Args:
        model: .keras file, folder or hf://USER/NAME; what it carries tells classes and image size.
        out: folder to write, named by a version number: served/camvid/1.
        size: fixed size of all images, and of what the network sees, as HEIGHTxWIDTH: 360x480.
        image_size: height and width at which the network sees images of any size, as two numbers:
            360 480. Not together with --size; the run folder's if neither is given.
        dtype: float32, or mixed_bfloat16 (half the width); the model's own if not given.
        flip: average the probabilities with those of the mirrored image: twice the time. Best at
            a width of 8 k + 1, such as 360x481, where grids of images and mirror images are one.
        max_pixels: most pixels that an image may have.
        overwrite: replace this version.
    """
    check_backend("SavedModels")
    check_directory(out.resolve(), overwrite)  # before a large model is loaded
    frame = None if size is None else parse_size(size)
    predictor, labels = load_predictor(_keras_file(model), image_size)
    directory = saved_model(
        predictor.model,
        out,
        labels,
        image_size=predictor.image_size if frame is None else image_size,
        size=frame,
        dtype=dtype,
        flip=flip,
        max_pixels=max_pixels,
        overwrite=overwrite,
    )
    print(f"written to {directory}\n\nTo serve it:\n\n{docker_command(directory.parent)}")


def export_tflite(
    model: Positional[Path],
    out: Path,
    size: str | None = None,
    quantize: Literal["none", "float16", "dynamic", "int8"] = "none",
    calibration: Path | None = None,
    outputs: tuple[Literal["classes", "logits", "confidences"], ...] = ("classes",),
    evaluate: Path | None = None,
    evaluate_images: int | None = None,
    overwrite: bool = False,
):
    """Write a TFLite file with class names, and a report beside it.

    Args:
        model: .keras file, folder or hf://USER/NAME; what it carries tells classes and image size.
        out: .tflite file to write; its report goes beside it, NAME.report.json and NAME.report.md.
        size: HEIGHTxWIDTH of the images that the file takes; if not given, the image_size of the
            recipe, or 512x512 if it has none.
        quantize: arithmetic of the file; int8 needs --calibration.
        calibration: folder of records with images like those to come.
        outputs: what the file gives, in this order; MediaPipe needs confidences first.
        evaluate: folder of records on whose validation split the report compares file and model.
        evaluate_images: how many of its images to take; all if not given.
        overwrite: replace an existing file.
    """
    shape = None if size is None else parse_size(size)
    predictor, labels = load_predictor(_keras_file(model))
    if evaluate is not None:  # before the long part
        check_records(evaluate, predictor.num_classes, evaluate_images)
    network = with_dtype(predictor.model, "float32")
    tflite(
        network,
        out,
        shape or predictor.image_size or (512, 512),
        quantize=quantize,
        calibration=calibration,
        labels=labels,
        outputs=outputs,
        overwrite=overwrite,
    )
    unquantised = out if quantize == "none" else None
    tflite_report(out, network, float_file=unquantised, evaluate=evaluate, images=evaluate_images)
    print(f"\nwritten to {out}")


def _keras_file(source):
    path = locate(source)
    if path.suffix == ".tflite":
        raise ValueError(f"{path} is exported already; give the .keras file of the model.")
    return path


def parse_size(text):
    """Read "HEIGHTxWIDTH" as a pair of integers."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise ValueError(f"size={text!r} is not HEIGHTxWIDTH, such as 512x512.")
    return int(match[1]), int(match[2])


FORMATS: dict = {"saved_model": export_saved_model, "tflite": export_tflite}


def export(argv, prog):
    """Write a model for serving (SavedModel) or for devices (TFLite)."""
    name, *rest = argv or ["--help"]
    if name in ("-h", "--help"):
        print(f"usage: {prog} FORMAT MODEL [OPTIONS]; FORMAT --help lists them.")
        for name, command in FORMATS.items():
            print(f"  {name:<12}{(command.__doc__ or '').splitlines()[0]}")
    elif name in FORMATS:
        tyro.cli(FORMATS[name], args=rest, prog=f"{prog} {name}", use_underscores=True)
    else:
        raise ValueError(f"unknown format {name!r}; choose one of {', '.join(FORMATS)}.")
