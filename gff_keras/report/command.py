"""The sub-command `gff-keras report`."""

from pathlib import Path

from tyro.conf import Positional

from gff_keras.evaluation.resizing import parse_size
from gff_keras.evaluation.results import check_folder
from gff_keras.report.report import GATE_IMAGES, page


def report(
    model: Positional[Path],
    data: Path,
    split: str = "val",
    out: Path | None = None,
    image_size: tuple[str, ...] | None = None,
    gate_images: int = GATE_IMAGES,
):
    """Write one HTML page on a trained network: configuration, curves, classes, errors, gates.

    Results of `gff-keras evaluate` beside the model are used where they fit.

    Args:
        model: .keras or .tflite file; what its run left beside it is shown where present.
        data: folder of records.
        split: split to show.
        out: HTML file to write; MODEL_SPLIT.html beside the model if not given.
        image_size: height and width at which the network sees the images.
        gate_images: images that the statistics of the gates and their ablation take.
    """
    if gate_images < 1:
        raise ValueError(f"gate_images={gate_images} must be positive.")
    path = out or model.with_name(f"{model.stem}_{split}.html")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give --out the path of an HTML file.")
    size = parse_size("image_size", image_size)
    check_folder(path.parent)
    html = page(model, data, split=split, image_size=size, gate_images=gate_images)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8")
    print(f"\nwritten to {path} ({path.stat().st_size / 1e6:.1f} MB)")
