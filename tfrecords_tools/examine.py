"""Examine one example: decode image and mask, compare and measure them."""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from gff_keras.data.labels import IGNORE_LABEL

from .fit import sketch
from .images import EIGHT_BIT_MODES, bit_depth

THUMBNAIL = (360, 270)  # pixels, width and height at most


@dataclass(frozen=True)
class Finding:
    """Something wrong, and where it is; empty fields say that it is about more than one place.

    Attributes:
        kind: A few words to group by.
        message: One sentence.
        split: Name of the split.
        file: Shard or source file.
        record: Number of the record in its shard, from 0.
        id: Of the example, where readable.
    """

    kind: str = ""
    message: str = ""
    split: str = ""
    file: str = ""
    record: int | None = None
    id: str = ""


@dataclass
class Examined:
    """One example; what could not be read is missing.

    Attributes:
        place: Where it is.
        findings: What is wrong with it.
        size: Width and height of the image in pixels.
        values: Number of the mask's pixels of each value, (256,).
        digest: Hash of the decoded image.
        sketch: For `fit.compare_fits`; only of an example without findings.
        thumbnail: Likewise, a small image (h, w, 3) and its mask (h, w).
    """

    place: Finding
    findings: list[Finding] = field(default_factory=list)
    size: tuple[int, int] | None = None
    values: np.ndarray | None = None
    digest: bytes = b""
    sketch: bytes = b""
    thumbnail: tuple[np.ndarray, np.ndarray] | None = None

    def find(self, kind: str, message: str) -> None:
        """Add a finding at this place."""
        self.findings.append(replace(self.place, kind=kind, message=message))


def examine(place: Finding, image_data: bytes, mask_data: bytes, num_classes: int) -> Examined:
    """Decode, compare and measure an image and its mask of training indices.

    Args:
        place: Where they come from.
        image_data: JPEG or PNG file.
        mask_data: PNG file.
        num_classes: C; masks hold 0..C-1 and 255.
    """
    found, image, mask = Examined(place), None, None
    try:
        image = decode_image(image_data)  # (H, W, 3)
        found.size = image.shape[1], image.shape[0]
        found.digest = _digest(image)
    except ValueError as error:
        found.find("damaged image", f"its image {error}")
    try:
        mask = decode_mask(mask_data)  # (H, W)
        found.values = np.bincount(mask.ravel(), minlength=256)
    except ValueError as error:
        found.find("damaged mask", f"its mask {error}")
    if mask is not None and found.values is not None:
        outside = found.values[num_classes:IGNORE_LABEL]
        if outside.any():
            values = ", ".join(map(str, np.flatnonzero(outside) + num_classes))
            pixels = f"{outside.sum()} of {mask.size} pixels"
            message = f"its mask holds {values} ({pixels}), outside 0..{num_classes - 1} and 255"
            found.find("value outside the table", message)
    if image is not None and mask is not None:
        (height, width), shape = mask.shape, image.shape
        if mask.shape != shape[:2]:
            message = f"its mask is {width}x{height}, its image {shape[1]}x{shape[0]}"
            found.find("size mismatch", message)
        elif not found.findings:
            found.sketch, found.thumbnail = sketch(image, mask), _thumbnail(image, mask)
    return found


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.data, digest_size=16, key=repr(image.shape).encode()).digest()


def decode_image(data: bytes) -> np.ndarray:
    """Decode an image of a record as TensorFlow does: uint8 (H, W, 3).

    Raises:
        ValueError: It is damaged or no 8-bit image; completes "its image ...".
    """
    image = _decode(data)
    if image.mode not in EIGHT_BIT_MODES or bit_depth(data) > 8:
        raise ValueError(f"has mode {image.mode} and {bit_depth(data)} bits, not 8-bit RGB or grey")
    return np.asarray(image.convert("RGB"))


def decode_mask(data: bytes) -> np.ndarray:
    """Decode a mask of a record: uint8 (H, W).

    Raises:
        ValueError: It is damaged or not 8-bit grey; completes "its mask ...".
    """
    mask = _decode(data)
    if mask.mode != "L" or bit_depth(data) != 8 or "transparency" in mask.info:
        raise ValueError(f"has mode {mask.mode} and {bit_depth(data)} bits, not 8-bit grey")
    return np.asarray(mask)


def _decode(data: bytes) -> Image.Image:
    if not data:
        raise ValueError("is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        if image.format == "PNG":
            Image.open(io.BytesIO(data)).verify()  # checksums, which load() leaves out
        image.load()
    except Image.UnidentifiedImageError:
        raise ValueError("is no JPEG or PNG file") from None
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"is damaged or cut short ({error})") from None
    return image


def _thumbnail(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = mask.shape
    factor = min(1.0, THUMBNAIL[0] / width, THUMBNAIL[1] / height)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = Image.fromarray(image).resize(size, Image.Resampling.BOX)
    classes = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)
    return np.asarray(small), np.asarray(classes)
