"""The sub-commands `gff-keras report` and `gff-keras card`."""

from pathlib import Path

from tyro.conf import Positional

from gff_keras.evaluation.resizing import parse_size
from gff_keras.evaluation.results import check_folder
from gff_keras.report.card import model_card
from gff_keras.report.report import GATE_IMAGES, page
from gff_keras.sharing import beside, check_repository, locate


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
        model: .keras or .tflite file, folder or hf://USER/NAME; what its run left beside it is
            shown where present.
        data: folder of records.
        split: split to show.
        out: HTML file to write; MODEL_SPLIT.html beside the model if not given.
        image_size: height and width at which the network sees the images.
        gate_images: images that the statistics of the gates and their ablation take.
    """
    if gate_images < 1:
        raise ValueError(f"gate_images={gate_images} must be positive.")
    source, model = model, locate(model)
    path = out or beside(model, source, f"{model.stem}_{split}.html")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give --out the path of an HTML file.")
    size = parse_size("image_size", image_size)
    check_folder(path.parent)
    html = page(model, data, split=split, image_size=size, gate_images=gate_images)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8")
    print(f"\nwritten to {path} ({path.stat().st_size / 1e6:.1f} MB)")


def card(
    model: Positional[Path],
    out: Path | None = None,
    results: Path | None = None,
    repository: str = "USER/NAME",
    overwrite: bool = False,
):
    """Write a model card, README.md, for a repository that shares a trained network.

    Args:
        model: .keras file, folder or hf://USER/NAME.
        out: Markdown file to write; README.md beside the model if not given.
        results: JSON file of `gff-keras evaluate`; MODEL_val.json or metrics.json beside the model
            if not given, and neither older than it.
        repository: where the card will lie on the Hugging Face hub, as USER/NAME.
        overwrite: replace an existing file.
    """
    check_repository(repository)
    source, model = model, locate(model)
    path = out or beside(model, source, "README.md")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give --out the path of a Markdown file.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another --out, or add --overwrite.")
    check_folder(path.parent)
    text = model_card(model, results, repository)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"written to {path}. Its first lines leave the license to you, and it marks by TODO what")
    print("only you know.")
