"""Decode and check images, read the raw values of masks, encode PNG."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image

from .files import Readable

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
EIGHT_BIT_MODES = ("RGB", "L", "P", "RGBA", "LA", "1")  # TensorFlow decodes these to RGB
EXIF_ORIENTATION = 0x0112


def read_image(file: Readable) -> tuple[bytes, Image.Image]:
    """Read and fully decode a JPEG or PNG file.

    Returns:
        Its bytes and the decoded image, in the file's own mode.

    Raises:
        ValueError: The file is unreadable, damaged, or not what its name says.
    """
    data = file.read()
    wanted = FORMATS[file.suffix]  # MPO below: a JPEG with a second picture behind it
    try:
        image = Image.open(io.BytesIO(data))
    except (OSError, ValueError, Image.DecompressionBombError):
        raise ValueError(f"{file} is not a {wanted} image; replace it or remove the pair") from None
    if image.format != wanted and not (wanted == "JPEG" and image.format == "MPO"):
        remedy = "rename" if image.format in FORMATS.values() else "convert"
        raise ValueError(f"{file} holds {image.format} data, not {wanted}; {remedy} it")
    try:
        if wanted == "PNG":
            Image.open(io.BytesIO(data)).verify()  # checksums, which load() leaves out
        image.load()
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise ValueError(f"{file} is damaged or cut short ({error}); copy it again") from None
    return data, image


def read_upright(file: Readable) -> tuple[bytes, tuple[int, int]]:
    """Read an image of one's own: 8 bits and upright, or refused.

    Returns:
        Its bytes and its width and height in pixels.

    Raises:
        ValueError: The image is not usable; names it and the remedy.
    """
    data, image = read_image(file)
    if image.mode not in EIGHT_BIT_MODES or bit_depth(data) > 8:
        kind = "CMYK" if image.mode == "CMYK" else "not an 8-bit image"
        raise ValueError(f"{file} is {kind} (mode {image.mode}); save it as 8-bit RGB JPEG or PNG")
    if image.getexif().get(EXIF_ORIENTATION, 1) != 1:
        raise ValueError(
            f"{file} is stored rotated (its EXIF orientation is not 1), while masks know "
            "no orientation; save it upright"
        )
    return data, image.size


def read_published(file: Readable) -> tuple[bytes, tuple[int, int]]:
    """Read an image of a published data set, whose masks fit the pixels as they are stored.

    Greyscale and CMYK images become RGB (Pillow's conversion) and are stored as PNG, so that no
    second JPEG compression changes them. All others keep their bytes.

    Returns:
        Its bytes and its width and height in pixels.

    Raises:
        ValueError: The image is not usable; names it and the remedy.
    """
    data, image = read_image(file)
    if image.mode in ("L", "CMYK"):
        data = encode_png(np.asarray(image.convert("RGB")))
    elif image.mode not in EIGHT_BIT_MODES or bit_depth(data) > 8:
        raise ValueError(f"{file} is not an 8-bit image (mode {image.mode}); get it again")
    return data, image.size


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
