"""Encoded images that must be read, and what strangers may send in their place."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

KINDS = ("random", "text", "empty", "valid", "truncated", "flipped", "spliced", "bomb", "other")


def chunk(kind, data):
    """A PNG chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, interlaced=0, extra=b""):
    """A PNG from its parts, which Pillow does not write in every kind; lengths may lie."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b"")


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def valid_images(rng):
    """Encoded images of every kind that must be read: name -> bytes."""
    height, width = (int(n) for n in rng.integers(9, 60, 2))
    coarse = rng.integers(0, 256, (1 + height // 8, 1 + width // 8, 4), "uint8")
    pixels = np.kron(coarse, np.ones((8, 8, 1), "uint8"))[:height, :width]
    rgb = Image.fromarray(pixels[..., :3])
    grey = Image.fromarray(pixels[..., 0])
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(1, 9))
    wide = rng.integers(0, 65536, (height, width * 3)).astype(">u2")
    wide_rows = b"".join(b"\0" + row.tobytes() for row in wide)
    return {
        "jpeg": encode(rgb, "JPEG", quality=int(rng.integers(30, 100))),
        "progressive": encode(rgb, "JPEG", progressive=True, exif=exif),
        "grey jpeg": encode(grey, "JPEG", exif=exif),
        "cmyk jpeg": encode(Image.fromarray(pixels, mode="CMYK"), "JPEG"),
        "png": encode(rgb, "PNG", exif=exif),
        "grey png": encode(grey, "PNG"),
        "alpha png": encode(Image.fromarray(pixels), "PNG"),
        "palette png": encode(rgb.quantize(16), "PNG", transparency=1),
        "bits png": encode(grey.convert("1"), "PNG"),
        "16-bit grey png": encode(Image.fromarray(wide[:, :width].astype("uint16")), "PNG"),
        "16-bit png": png(width, height, 16, 2, wide_rows),
        "interlaced png": png(width, height, 8, 2, adam7(pixels[..., :3]), interlaced=1),
    }


def adam7(pixels):
    """Rows of an interlaced PNG: seven passes over the image."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    rows = b""
    for top, left, down, right in (*passes, (1, 0, 2, 1)):
        part = pixels[top::down, left::right]
        rows += b"".join(b"\0" + row.tobytes() for row in part if row.size)
    return rows


def bombs():
    """Small strings that promise or unfold to much."""
    big = zlib.compress(bytes(50_000_000), 9)
    jpeg = bytearray(encode(Image.new("RGB", (8, 8)), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(7_900_000), 9))  # each may be unfolded
    return [
        png(16, 16, 8, 2, bytes(49 * 16), extra=text * 300),
        many_scans(5000),
        png(65535, 65535, 8, 2, b""),
        png(65535, 65535, 16, 6, bytes(1_000_000)),
        png(2**31 - 1, 2**31 - 1, 8, 2, b""),
        png(0, 0, 8, 2, b""),
        png(65535, 1, 8, 2, bytes(200_000)),
        png(16, 16, 8, 2, bytes(50_000_000)),  # more pixels than announced
        png(16, 16, 8, 2, bytes(49 * 16), extra=chunk(b"zTXt", b"a\0\0" + big)),
        png(16, 16, 8, 2, bytes(49 * 16), extra=chunk(b"iCCP", b"a\0\0" + big)),
        png(16, 16, 8, 2, bytes(49 * 16), extra=chunk(b"tEXt", b"") * 20_000),
        bytes(jpeg),
    ]


def many_scans(count):
    """A progressive JPEG of few bytes whose last scan, a walk over all pixels, is repeated."""
    data = encode(Image.new("RGB", (200, 200)), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * count + data[-2:]


def repaired(data):
    """A PNG with wrong checksums as two whole ones: they are set right; such chunks left out."""
    corrected = reduced = data[:8]
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        whole = chunk(data[at + 4 : at + 8], data[at + 8 : end])
        corrected += whole
        reduced += whole if data[at : end + 4] == whole else b""
        at = end + 4
    return corrected, reduced


def lacks_scans(data):
    """Whether a progressive JPEG ends before all bits of all coefficients have come.

    What is missing is for the decoder to guess: each version of libjpeg smooths it its own way.
    """
    missing, at = {}, 2  # component -> which of its 64 coefficients
    while at + 4 <= len(data) and data[at : at + 2] != b"\xff\xd9":
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF, *range(0xD0, 0xD9)):
            at += 1  # pixels
            continue
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        content = data[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xC2:  # the frame
            missing = {name: np.ones(64, bool) for name in content[6::3]}
        if marker == 0xDA and missing:  # a scan
            first, last, bits = content[-3:]
            for name in content[1:-3:2]:
                missing[name][first : last + 1] = bits & 15 > 0
    return any(coefficients.any() for coefficients in missing.values())


def strings(count, seed):
    """Yield (kind, bytes, the valid file that it was made from or None), the same for a seed."""
    rng = np.random.default_rng(seed)
    hostile = bombs()
    for i in range(count):
        kind = KINDS[i % len(KINDS)]
        images = valid_images(rng)
        name = str(rng.choice(list(images)))
        data = images[name]
        if kind == "random":
            start = rng.choice([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
            yield kind, bytes(start) + rng.bytes(int(rng.integers(0, 2000))), None
        elif kind == "text":
            yield kind, b"an image, honestly " * int(rng.integers(1, 50)), None
        elif kind == "empty":
            yield kind, bytes(int(rng.integers(0, 3))), None
        elif kind == "valid":
            yield name, data, data
        elif kind == "truncated":
            yield kind, data[: int(rng.integers(0, len(data)))], data
        elif kind == "flipped":
            changed = bytearray(data)
            for at in rng.integers(0, len(data), int(rng.integers(1, 8))):
                changed[at] = rng.integers(0, 256)
            yield kind, bytes(changed), data
        elif kind == "spliced":
            other = images[str(rng.choice(list(images)))]
            cut, tail = rng.integers(0, len(data)), rng.integers(0, len(other))
            yield kind, data[:cut] + other[tail:], None
        elif kind == "bomb":
            yield kind, hostile[int(rng.integers(len(hostile)))], png(16, 16, 8, 2, bytes(49 * 16))
        else:
            image = Image.fromarray(rng.integers(0, 256, (9, 11, 3), "uint8"))
            yield kind, encode(image, str(rng.choice(["GIF", "BMP", "TIFF", "WEBP"]))), None
