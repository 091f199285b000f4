"""Predictions of image files, written as pictures."""

import itertools
from pathlib import Path

import keras
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gff_keras.evaluation.prediction import load_predictor
from gff_keras.evaluation.results import check_folder
from gff_keras.visualization import overlay_figure, save_palette_png

SUFFIXES = (".jpg", ".jpeg", ".png")


def predict_images(images, model, out, image_size=None, views=None):
    """Write `NAME_mask.png` (palette PNG) and `NAME_overlay.png` (with a legend) for every image.

    Args:
        images: image file or folder; folders are searched recursively and mirrored in `out`.
        model: .keras file.
        out: folder to write.
        image_size: (height, width) at which the network sees the images.
        views: `Views`.

    Raises:
        FileNotFoundError, ValueError: no image, an unreadable image, an unreadable model.
    """
    predictor, labels = load_predictor(model, image_size, views)
    for image, target in read_all(images, out):
        classes = predictor.classes(image)
        save_palette_png(f"{target}_mask.png", classes, labels.palette)
        overlay_figure(image, classes, labels).save(f"{target}_overlay.png")
    print(f"written to {out}")


def read_image(path):
    """Read an image file as RGB, upright: (H, W, 3) uint8.

    Raises:
        ValueError: the file is not a readable image; names it.
    """
    try:
        with Image.open(path) as file:
            image: Image.Image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # grey of 16 bits, which Pillow would clip, not scale
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # decoders of damaged files raise nearly anything
        if isinstance(error, UnidentifiedImageError):
            message = f"{path} is not a readable image: its format is unknown; give a JPEG or PNG."
        else:
            message = f"{path} is not a readable image: {error}; copy it again."
        raise ValueError(message) from error


def read_all(images, out):
    """Yield every image with the path, less suffix, that its results get; show a progress bar."""
    images, out = Path(images), Path(out)
    paths = image_paths(images, out)
    check_folder(out)
    bar = keras.utils.Progbar(len(paths), unit_name="image", verbose=int(len(paths) > 1))
    for path in paths:
        image = read_image(path)
        target = out / (path.relative_to(images) if images.is_dir() else Path(path.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        yield image, target.with_suffix("")
        bar.add(1)


def image_paths(images, out):
    """List the images of a folder, or the one that `images` is.

    Args:
        images: `Path` of an image or a folder, which is searched recursively.
        out: `Path` of the folder for results, which is left out.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: no image, `out` is no place for results, or
            two of them would have the same.
    """
    if out.is_file():
        raise FileExistsError(f"{out} is a file; give --out the path of a folder.")
    if images.is_file():
        return [images]
    if not images.is_dir():
        raise FileNotFoundError(f"{images} does not exist; give an image or a folder of images.")
    if out.resolve() == images.resolve():
        raise ValueError(f"{out} holds the images; choose another --out for the results.")
    paths = sorted(
        path
        for path in images.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and out.resolve() not in path.resolve().parents  # results of an earlier run
    )
    if not paths:
        listed = ", ".join(SUFFIXES)
        raise FileNotFoundError(f"{images} holds no image ({listed}); give a folder that does.")
    for path, following in itertools.pairwise(sorted(paths, key=lambda p: p.with_suffix(""))):
        if path.with_suffix("") == following.with_suffix(""):
            raise ValueError(f"{path} and {following} would have one result; rename one of them.")
    return paths
