"""Does `serving_bytes` survive what a stranger may send? Counts errors, right and wrong answers.

    python benchmarks/fuzz_serving_bytes.py [--count 10000] [--seed 0]

Every string goes through an exported SavedModel (a tiny network of random weights: its decoding is
that of any other). An answer is right when it is the Keras model's on the pixels that Pillow reads
(`gff_keras.evaluation.images.read_image`), and counted apart where Pillow refuses the file. After
the strings a fixed set of valid images must get the answers that it got before them, to the bit.
"""

import argparse
import collections
import io
import resource
import struct
import tempfile
import time
import zlib
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import gff_keras as gff
from gff_keras.evaluation.images import read_image
from gff_keras.evaluation.prediction import Predictor

MAX_PIXELS = 256 * 256
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


def fuzz(signature, predictor, count, seed, report=lambda *_: None):
    """Send strings to `serving_bytes`.

    Returns:
        (counts, wrong): a counter of (kind, outcome), and the strings with wrong answers.
    """
    counts: collections.Counter = collections.Counter()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        for i, (kind, data, origin) in enumerate(strings(count, seed)):
            outcome = judge(signature, predictor, data, origin, path)
            counts[kind, outcome] += 1
            if outcome == "wrong":
                wrong.append(data)
            report(i + 1)
    return counts, wrong


def judge(signature, predictor, data, origin, path):
    """Send one string; return what came of it."""
    try:
        answer = signature(images=tf.constant([data]))
    except tf.errors.InvalidArgumentError:
        return "error"
    image = pillow(data, path)
    if image is None:  # Pillow also checks what does not concern pixels
        image = pillow(origin or b"", path)
        same = image is not None and agrees(answer, predictor, image)
        return "right, Pillow refuses" if same else "other, Pillow refuses"
    if agrees(answer, predictor, image):
        return "right"
    if data[:2] == b"\xff\xd8":
        # CMYK becomes RGB with another rounding than Pillow's.
        near = tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE").numpy()
        close = near.shape == image.shape and np.abs(near.astype(int) - image).max() == 1
        if close and agrees(answer, predictor, near):
            return "right within a grey level"
    return "wrong"


class Timed:
    """A function that remembers the longest time that it took."""

    def __init__(self, function):
        self.function, self.seconds = function, 0.0

    def __call__(self, **inputs):
        start = time.perf_counter()
        try:
            return self.function(**inputs)
        finally:
            self.seconds = max(self.seconds, time.perf_counter() - start)


def pillow(data, path):
    """Pixels that Pillow reads, None if it refuses."""
    path.write_bytes(data)
    try:
        return read_image(path)
    except ValueError:
        return None


def agrees(answer, predictor, image):
    if tuple(answer["sizes"].numpy()[0]) != image.shape[:2]:
        return False
    logits = predictor.logits(image)
    different = (answer["classes"].numpy()[0] != logits.argmax(-1)).sum()
    confidence = 1 / np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)
    error = np.abs(answer["confidence"].numpy()[0] - confidence).max()
    return different <= max(1, 1e-4 * image.shape[0] * image.shape[1]) and error < 1e-4


def answers(signature, files):
    """Bytes of the answer to each file."""
    found = (signature(images=tf.constant([data])) for data in files)
    return [{name: x.numpy().tobytes() for name, x in answer.items()} for answer in found]


def tiny_network():
    """A network of four convolutions, small enough for ten thousand images."""
    keras.utils.set_random_seed(3)
    images = x = keras.Input((None, None, 3))
    features = []
    for filters, strides in ((8, 2), (12, 2), (16, 2), (20, 1)):
        x = keras.layers.ReLU()(gff.layers.Conv2D(filters, 3, strides=strides)(x))
        features.append(x)
    return gff.GFFNet(keras.Model(images, features[1:]), 3, filters=8, aux_head=False)


def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    network = tiny_network()
    with tempfile.TemporaryDirectory() as folder:
        version = gff.export.saved_model(network, Path(folder) / "1", max_pixels=MAX_PIXELS)
        served = tf.saved_model.load(str(version))
    signature, predictor = served.signatures["serving_bytes"], Predictor(network)
    probe = list(valid_images(np.random.default_rng(99)).values())
    before = answers(signature, probe)
    start = megabytes()
    bar = keras.utils.Progbar(options.count, unit_name="string", interval=10)
    timed = Timed(signature)
    counts, wrong = fuzz(timed, predictor, options.count, options.seed, bar.update)
    outcomes = sorted({outcome for _, outcome in counts})
    print("\n| kind | " + " | ".join(outcomes) + " |\n|" + "---|" * (len(outcomes) + 1))
    for kind in sorted({kind for kind, _ in counts}):
        print(f"| {kind} | " + " | ".join(str(counts[kind, x]) for x in outcomes) + " |")
    totals = [str(sum(n for (_, x), n in counts.items() if x == outcome)) for outcome in outcomes]
    print("| all | " + " | ".join(totals) + " |")
    same = answers(signature, probe) == before
    print(f"\nvalid images afterwards: {'the same answers' if same else 'OTHER ANSWERS'}")
    print(f"peak memory: {start:.0f} MB before, {megabytes():.0f} MB after")
    print(f"longest answer: {timed.seconds:.1f} s")
    for i, data in enumerate(wrong[:20]):
        Path(f"wrong_{i}.bin").write_bytes(data)
    return int(bool(wrong) or not same)


if __name__ == "__main__":
    raise SystemExit(main())
