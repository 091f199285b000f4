"""Pairs of image and mask files: match them by name, read them, check that they fit.

Images keep their bytes. A mask that holds training indices already keeps its bytes too; any other
is mapped and encoded again. Every error names the file and what to do about it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .dataset import Example
from .files import File, Readable, list_files, read_lines, tell_missing
from .images import (
    IMAGE_SUFFIXES,
    bit_depth,
    encode_png,
    map_colours,
    raw_values,
    read_image,
    read_published,
)

if TYPE_CHECKING:
    from gff_keras.data.labels import LabelSet

Size = tuple[int, int]  # width, height in pixels
ImageReader = Callable[[Readable], tuple[bytes, Size]]
MaskReader = Callable[[Readable], tuple[bytes, Size]]  # PNG of training indices


@dataclass(frozen=True)
class Pair:
    """One example in files; without a mask, all its pixels are ignored."""

    id: str
    image: Readable
    mask: Readable | None


def match_folders(images: Path, masks: Path, mask_suffix: str = "") -> list[Pair]:
    """Pair the images of a folder with the masks of another, by name.

    Args:
        images: Folder with .jpg, .jpeg or .png files, nested or not.
        masks: Folder with .png files of the same names.
        mask_suffix: What a mask's name has more than its image's, before ".png".

    Raises:
        FileNotFoundError: A folder is missing or holds nothing, or one of a pair is missing.
        ValueError: Two files have the same id.
    """
    pictures = list_files(images, IMAGE_SUFFIXES)
    if images.resolve() == masks.resolve() and mask_suffix:
        pictures = {key: file for key, file in pictures.items() if not key.endswith(mask_suffix)}
    labels = list_files(masks, (".png",), mask_suffix)
    if not pictures:
        raise FileNotFoundError(f"{images} holds no .jpg, .jpeg or .png images; correct its path")
    return match_files(pictures, labels, f"{images}/{{}}.jpg", f"{masks}/{{}}{mask_suffix}.png")


def match_files(
    images: Mapping[str, File], masks: Mapping[str, File], image_name: str, mask_name: str
) -> list[Pair]:
    """Pair files of the same ids.

    Args:
        images: Files by id.
        masks: Files by id.
        image_name: What an image would be called, {} being its id; for messages.
        mask_name: What a mask would be called.

    Raises:
        FileNotFoundError: One of a pair is missing.
    """
    missing = [
        f"{file} has no mask; add {mask_name.format(key)} or remove the image"
        for key, file in images.items()
        if key not in masks
    ]
    missing += [
        f"{file} has no image; add {image_name.format(key)} (or .png) or remove the mask"
        for key, file in masks.items()
        if key not in images
    ]
    tell_missing(missing)
    return [Pair(key, images[key], masks[key]) for key in images if key in masks]


def match_lists(
    lists: Path, splits: Sequence[str], images: Path, masks: Path, mask_suffix: str
) -> dict[str, list[Pair]]:
    """Pair the files whose ids are listed in text files, one for each split.

    Args:
        lists: Folder of the lists, one id a line.
        splits: Names of the lists, without ".txt"; those that are missing are left out.
        images: Folder of .jpg files.
        masks: Folder of masks.
        mask_suffix: Their suffix, e.g. ".mat".

    Raises:
        FileNotFoundError: A folder or all lists are missing, or an image or mask that one names.
        ValueError: A list is empty or names an id twice.
    """
    pictures, labels = list_files(images, (".jpg",)), list_files(masks, (mask_suffix,))
    present = [split for split in splits if (lists / f"{split}.txt").is_file()]
    if not present:
        names = " or ".join(f"{split}.txt" for split in splits)
        raise FileNotFoundError(f"{lists} has no {names}; put the owners' lists of ids there")
    found: dict[str, list[Pair]] = {}
    for split in present:
        path, pairs = lists / f"{split}.txt", dict[str, Pair]()
        for key in read_lines(path):
            if key not in pictures or key not in labels:
                wanted = f"{masks / key}{mask_suffix}" if key in pictures else f"{images / key}.jpg"
                tell_missing([f"{wanted} is missing, but {path} lists it; add the file"])
            elif key in pairs:
                raise ValueError(f"{path} lists {key} twice; remove one")
            else:
                pairs[key] = Pair(key, pictures[key], labels[key])
        found[split] = list(pairs.values())
    return found


def read_pair(
    pair: Pair, read_mask: MaskReader, read_picture: ImageReader = read_published
) -> Example:
    """Read and check a pair.

    Args:
        pair: What to read.
        read_mask: Reads a mask as PNG of training indices: `(bytes, size)`.
        read_picture: Reads an image: `(bytes, size)`.

    Raises:
        ValueError: The image or the mask is not usable; the message names it and the remedy.
    """
    image, (width, height) = read_picture(pair.image)
    if pair.mask is None:
        return pair.id, image, all_ignored(height, width)
    mask, size = read_mask(pair.mask)
    if size != (width, height):
        raise ValueError(
            f"{pair.mask} is {size[0]}x{size[1]} but {pair.image} is {width}x{height}; "
            "make them the same size (masks without smoothing)"
        )
    return pair.id, image, mask


def read_png_mask(
    file: Readable, labels: LabelSet, to_train: Callable[[Image.Image], np.ndarray] | None = None
) -> tuple[bytes, Size]:
    """Read a PNG mask and map it to training indices.

    Args:
        file: Grey, palette or 16-bit PNG of raw values, or RGB in the colours of `labels`.
        labels: Maps raw mask values to training indices.
        to_train: Instead, maps the whole mask, e.g. one of colours: PIL image -> uint8 (H, W).

    Returns:
        PNG bytes, width and height.

    Raises:
        ValueError: The mask is not usable; the message names it and the remedy.
    """
    data, mask = read_image(file)
    try:
        return _train_png(data, mask, labels, to_train), mask.size
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def read_mat_mask(file: Readable, labels: LabelSet, key: str) -> tuple[bytes, Size]:
    """Read the matrix `key` of a MATLAB file and map it: PNG of training indices, width, height.

    Raises:
        ValueError: The file is no such MATLAB file, or holds unknown values; names the file.
    """
    from scipy.io import loadmat  # here, for the others need no SciPy

    data = io.BytesIO(file.read())
    try:
        variables = loadmat(data, variable_names=[key])
    except Exception as error:  # damaged files fail in many ways
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{file} is no readable MATLAB file ({reason}); copy it again") from None
    if key not in variables:
        raise ValueError(f"{file} has no matrix {key!r}; get the owners' file")
    raw = variables[key]
    try:
        train = labels.to_train(raw)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    if train.ndim != 2:
        raise ValueError(f"{file}: {key!r} has shape {raw.shape}, not (height, width)")
    return encode_png(train), (train.shape[1], train.shape[0])


def _train_png(
    data: bytes,
    mask: Image.Image,
    labels: LabelSet,
    to_train: Callable[[Image.Image], np.ndarray] | None,
) -> bytes:
    if to_train is not None:
        return encode_png(to_train(mask))
    if mask.mode in ("RGB", "RGBA"):
        return encode_png(map_colours(mask, labels.palette, range(labels.num_classes)))
    raw = raw_values(data, mask)
    train = labels.to_train(raw)
    plain = mask.mode == "L" and bit_depth(data) == 8 and "transparency" not in mask.info
    return data if plain and np.array_equal(raw, train) else encode_png(train)


def all_ignored(height: int, width: int) -> bytes:
    """PNG mask of a picture without labels: every pixel is `IGNORE_LABEL`."""
    from gff_keras.data.labels import IGNORE_LABEL

    return encode_png(np.full((height, width), IGNORE_LABEL, np.uint8))
