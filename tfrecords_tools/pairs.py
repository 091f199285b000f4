"""Pairs of image and mask files: find them, check them, read them.

Images keep their bytes. A mask that holds training indices already keeps its bytes too; any other
is mapped and encoded again. Every error names the file and what to do about it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gff_keras.data.labels import LabelSet

from .builder import Example

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
EIGHT_BIT_MODES = ("RGB", "L", "P", "RGBA", "LA", "1")  # TensorFlow decodes these to RGB
EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Pair:
    """One example on disk."""

    id: str
    image: Path
    mask: Path


def list_files(folder: Path, suffixes: Sequence[str], ending: str = "") -> dict[str, Path]:
    """Files below a folder by id: the path within it, with /, without `ending` and suffix.

    Raises:
        FileNotFoundError: The folder is missing.
        ValueError: Two files have the same id.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; correct its path")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        key = path.relative_to(folder).with_suffix("").as_posix()
        if not key.endswith(ending):
            continue
        key = key.removesuffix(ending)
        if key in found:
            raise ValueError(f"{path} and {found[key]} have the same id {key!r}; remove one")
        found[key] = path
    return found


def match_pairs(images: Path, masks: Path, mask_suffix: str = "") -> list[Pair]:
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
        pictures = {key: path for key, path in pictures.items() if not key.endswith(mask_suffix)}
    labels = list_files(masks, (".png",), mask_suffix)
    if not pictures:
        raise FileNotFoundError(f"{images} holds no .jpg, .jpeg or .png images; correct its path")
    for key, path in pictures.items():
        if key not in labels:
            wanted = masks / f"{key}{mask_suffix}.png"
            raise FileNotFoundError(f"{path} has no mask; add {wanted} or remove the image")
    for key, path in labels.items():
        if key not in pictures:
            raise FileNotFoundError(
                f"{path} has no image; add {images / key}.jpg (or .png) or remove the mask"
            )
    return [Pair(key, pictures[key], labels[key]) for key in pictures]


def read_pairs(
    pairs: Sequence[Pair],
    labels: LabelSet,
    to_train: Callable[[Image.Image], np.ndarray] | None = None,
) -> Iterator[Example]:
    """Check and read pairs one by one.

    Args:
        pairs: What to read.
        labels: Maps raw mask values to training indices.
        to_train: Instead, maps a whole mask, e.g. one of colours: PIL image -> uint8 (H, W).

    Raises:
        ValueError: An image or a mask is not usable; the message names it and the remedy.
    """
    for pair in pairs:
        image_bytes, image = read_image(pair.image)
        if image.mode not in EIGHT_BIT_MODES or bit_depth(image_bytes) > 8:
            kind = "CMYK" if image.mode == "CMYK" else "not an 8-bit image"
            raise ValueError(
                f"{pair.image} is {kind} (mode {image.mode}); save it as 8-bit RGB JPEG or PNG"
            )
        if image.getexif().get(EXIF_ORIENTATION, 1) != 1:
            raise ValueError(
                f"{pair.image} is stored rotated (its EXIF orientation is not 1), while masks know "
                "no orientation; save it upright"
            )
        mask_bytes, mask = read_image(pair.mask)
        if mask.size != image.size:
            raise ValueError(
                f"{pair.mask} is {mask.width}x{mask.height} but {pair.image} is "
                f"{image.width}x{image.height}; make them the same size (masks without smoothing)"
            )
        try:
            yield pair.id, image_bytes, _train_png(mask_bytes, mask, labels, to_train)
        except ValueError as error:
            raise ValueError(f"{pair.mask}: {error}") from None


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


def read_image(path: Path) -> tuple[bytes, Image.Image]:
    """Read and fully decode a JPEG or PNG file.

    Returns:
        Its bytes and the decoded image, in the file's own mode.

    Raises:
        ValueError: The file is unreadable, damaged, or not what its name says.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); make it readable") from None
    if not data:
        raise ValueError(f"{path} is empty (0 bytes); copy it again or remove it and its partner")
    wanted = FORMATS[path.suffix.lower()]  # MPO below: a JPEG with a second picture behind it
    try:
        image = Image.open(io.BytesIO(data))
    except (OSError, ValueError, Image.DecompressionBombError):
        raise ValueError(f"{path} is not a {wanted} image; replace it or remove the pair") from None
    if image.format != wanted and not (wanted == "JPEG" and image.format == "MPO"):
        remedy = "rename" if image.format in FORMATS.values() else "convert"
        raise ValueError(f"{path} holds {image.format} data, not {wanted}; {remedy} it")
    try:
        if wanted == "PNG":
            Image.open(io.BytesIO(data)).verify()  # checksums, which load() leaves out
        image.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{path} is damaged or cut short ({error}); copy it again") from None
    return data, image


def bit_depth(data: bytes) -> int:
    """Bits per sample: Pillow hides it, for it turns 16-bit colours and 2-bit greys into 8 bits."""
    return data[24] if data.startswith(b"\x89PNG") else 8


def raw_values(data: bytes, mask: Image.Image) -> np.ndarray:
    """The numbers stored in a mask: greys, or the indices of a palette image, never its colours."""
    values = np.asarray(mask)
    if mask.mode == "1":
        return values.astype(np.uint8)
    if mask.mode == "L":  # Pillow stretches greys of fewer bits to 0..255
        return values // {2: 85, 4: 17}.get(bit_depth(data), 1)
    if mask.mode == "P" or mask.mode.startswith("I"):
        return values
    raise ValueError(f"a mask of mode {mask.mode} holds no single values; save it as 8-bit grey")


def map_colours(
    mask: Image.Image, palette: Sequence[tuple[int, int, int]], indices: Sequence[int]
) -> np.ndarray:
    """Map a mask of colours, each of which must be in the palette.

    Args:
        mask: RGB or RGBA image.
        palette: Known colours, all different.
        indices: What each of them becomes, 0..255.

    Returns:
        uint8 (H, W).

    Raises:
        ValueError: A colour is not in the palette, or is there twice.
    """
    if len(set(palette)) != len(palette):
        raise ValueError("it is coloured but the palette has a colour twice; save it as 8-bit grey")
    weights = np.array([1 << 16, 1 << 8, 1])
    codes = np.asarray(mask)[..., :3] @ weights  # (H, W), one number per colour
    keys = np.array(palette) @ weights
    order = np.argsort(keys)
    place = np.searchsorted(keys[order], codes).clip(max=len(keys) - 1)
    wrong = keys[order][place] != codes
    if wrong.any():
        colours = [(code >> 16, code >> 8 & 255, code & 255) for code in np.unique(codes[wrong])]
        listed = ", ".join(str(tuple(map(int, colour))) for colour in colours[:5])
        raise ValueError(
            f"colours {listed}{', ...' if len(colours) > 5 else ''} are not in the palette; "
            "add them, or save the mask as 8-bit grey with raw values"
        )
    return np.array(indices, np.uint8)[order][place]


def encode_png(values: np.ndarray) -> bytes:
    """Encode uint8 (H, W) or (H, W, 3) as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()
