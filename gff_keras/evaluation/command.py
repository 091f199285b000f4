"""The commands `gff-keras evaluate` and `gff-keras predict`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes, Positional

from gff_keras.data import open_records
from gff_keras.evaluation import results as files
from gff_keras.evaluation.cityscapes import write_submission
from gff_keras.evaluation.evaluate import evaluate as run_evaluation
from gff_keras.evaluation.images import predict_images
from gff_keras.evaluation.partial_results import PartialResults, key
from gff_keras.evaluation.prediction import UNNAMED, load_predictor
from gff_keras.evaluation.views import Views
from gff_keras.sharing import beside, locate


@dataclass(frozen=True)
class ViewFlags:
    """What the network is shown of an image."""

    image_size: tuple[str, ...] | None = None
    """Height and width at which the network sees the images."""
    mode: Literal["whole", "sliding"] = "whole"
    """Whole images, or sliding windows."""
    crop_size: tuple[str, ...] | None = None
    """Height and width of the windows; those of the model's training if not given."""
    stride: float = Views.stride
    """From one window to the next, as a share of the crop."""
    scales: str = "1"
    """Factors of the size at which the network sees an image, as in the paper
    0.75,1,1.25,1.5,1.75; probabilities are averaged."""
    flip: bool = False
    """Average with the prediction for the mirrored image."""
    window_batch: int = Views.window_batch
    """Windows that the network gets at once; more need more memory."""

    def parsed(self):
        """Return image_size, (height, width) or None, and `Views`.

        Raises:
            ValueError: a flag makes no sense.
        """
        crop, scales = parse_size("crop_size", self.crop_size), parse_scales(self.scales)
        views = Views(self.mode, crop, self.stride, scales, self.flip, self.window_batch)
        return parse_size("image_size", self.image_size), views


def evaluate(
    model: Positional[Path],
    data: Path,
    split: str = "val",
    out: Path | None = None,
    views: OmitArgPrefixes[ViewFlags] = ViewFlags(),
):
    """Print and save IoU per class, mean IoU and more at the resolution of the masks.

    An evaluation that was stopped goes on when the same command is given again.

    Args:
        model: .keras file, folder or hf://USER/NAME; its recipe tells the size it was trained at.
            Or a .tflite file.
        data: folder of records.
        split: split to evaluate.
        out: JSON file to write, and .csv and .md beside it; MODEL_SPLIT.json beside the model if
            not given.
        views: what the network is shown of an image.
    """
    source, model = model, locate(model)
    path = out or beside(model, source, f"{model.stem}_{split}.json")
    files.check_out(path)
    predictor, labels = load_predictor(model, *views.parsed())
    named = None if labels.name == UNNAMED else labels
    open_records(data)  # refuses what is none before anything is written
    partial_path = path.with_name(f"{path.stem}.partial.json")
    partial = PartialResults(partial_path, key(model, data, split, predictor.settings))
    results = run_evaluation(predictor, data, split, named, partial=partial)
    print(files.table(results, labels.thin))
    files.write(results, path, labels.thin)
    partial.remove()
    print(f"\nwritten to {path}, {path.with_suffix('.csv').name} and {path.stem}.md")


def predict(
    images: Positional[Path],
    model: Path,
    out: Path = Path("predictions"),
    cityscapes_submission: bool = False,
    views: OmitArgPrefixes[ViewFlags] = ViewFlags(),
):
    """Write palette masks and overlays with a legend for an image or a folder of images.

    NAME_mask.png is a palette PNG whose pixel values are classes; NAME_overlay.png is for the eye.

    Args:
        images: JPEG or PNG image, or a folder of them.
        model: .keras file, folder or hf://USER/NAME.
        out: folder to write.
        cityscapes_submission: write cityscapes_submission.zip for the test server instead: label
            ids of the images in a folder of leftImg8bit.
        views: what the network is shown of an image.
    """
    write = write_submission if cityscapes_submission else predict_images
    write(images, model, out, *views.parsed())


def parse_size(flag, words):
    """Parse the words after a flag, or None, to (height, width).

    Raises:
        ValueError: they are not two whole numbers.
    """
    if words is None:
        return None
    if len(words) != 2 or not all(word.lstrip("-").isdecimal() for word in words):
        given = " ".join(words)
        raise ValueError(f"--{flag} {given}: give height and width in pixels, as --{flag} 512 1024")
    return int(words[0]), int(words[1])


def parse_scales(text):
    """Parse "0.75,1,1.25" to a tuple of numbers.

    Raises:
        ValueError: it is no list of numbers.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"--scales {text} is no list of numbers; give for example 0.75,1,1.25,1.5,1.75."
        ) from None
