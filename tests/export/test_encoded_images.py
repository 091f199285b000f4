"""Files are read as `gff-keras predict` reads them, and what is none is refused."""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gff_keras.evaluation.images import read_image
from gff_keras.export.encoded_images import decode, read_headers
from tests.export.conftest import MAX_PIXELS, compare

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import fuzz_serving_bytes as fuzzing  # noqa: E402
import hostile_images  # noqa: E402


@pytest.fixture(scope="module")
def read():
    """Function from bytes to the upright image."""

    @tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    def traced(data):
        sizes, orientations = read_headers(data[None], MAX_PIXELS)
        image = decode(data, orientations[0])
        with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(image)[:2], sizes[0])]):
            return tf.identity(image)

    return lambda data: traced(data).numpy()


def test_every_kind_of_image(read, rng, tmp_path):
    for name, data in hostile_images.valid_images(rng).items():
        (tmp_path / "image").write_bytes(data)
        error = read(data).astype(int) - read_image(tmp_path / "image")
        assert np.abs(error).max() <= (name == "cmyk jpeg"), name  # that rounds otherwise


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("order", ["little", "big"])
def test_images_are_turned_upright(read, rng, tmp_path, kind, order):
    pixels = rng.integers(0, 256, (20, 31, 3), "uint8")
    for orientation in range(10):
        exif = Image.Exif()
        exif.endian = {"little": "<", "big": ">"}[order]
        exif[0x010F] = "a camera"
        exif[0x0112] = orientation
        path = tmp_path / "image"
        Image.fromarray(pixels).save(path, kind, exif=exif)
        np.testing.assert_array_equal(read(path.read_bytes()), read_image(path))


@pytest.mark.parametrize("between", [b"\1\0\0", b"\xff\0", b"\xff\xd3", b"\xff\xff"])
def test_bytes_between_segments_are_passed_over(read, rng, tmp_path, between):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "image"
    Image.fromarray(rng.integers(0, 256, (9, 11, 3), "uint8")).save(path, "JPEG", exif=exif)
    start, segment, rest = path.read_bytes().partition(b"\xff\xe1")
    path.write_bytes(start + between + segment + rest)
    image = read(path.read_bytes())
    assert image.shape == (11, 9, 3)
    np.testing.assert_array_equal(image, read_image(path))


def test_damaged_orientation_is_none(read):
    """Whatever stands in an EXIF block, the pixels are read."""
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (9, 11, 3), "uint8")
    exif = Image.Exif()
    exif[0x0112] = 1
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", exif=exif)
    data = file.getvalue()
    expected, at = read(data), data.index(b"Exif\0\0") + 6
    for _ in range(60):
        damaged = bytearray(data)
        damaged[at + rng.integers(0, 26)] = rng.integers(0, 256)
        image = read(bytes(damaged))
        assert {image.shape, expected.shape} <= {(9, 11, 3), (11, 9, 3)}
        np.testing.assert_array_equal(np.sort(image.ravel()), np.sort(expected.ravel()))


def short(value, kind=3, count=1, tag=0x0112):
    """An entry of an EXIF directory in big-endian order."""
    return struct.pack(">HHIHH", tag, kind, count, value, 0)


def directory(*entries):
    return struct.pack(">2sHIH", b"MM", 42, 8, len(entries)) + b"".join(entries) + bytes(4)


LONG = struct.pack(">HHII", 0x0112, 4, 1, 6)
SIX, EIGHT = directory(short(6)), directory(short(8))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((directory(LONG),), ()),
        ((directory(struct.pack(">HHIi", 0x0112, 9, 1, 6)),), ()),
        ((directory(struct.pack(">HHIi", 0x0112, 9, 1, -6)),), ()),
        ((directory(short(6, kind=8)),), ()),
        ((directory(short(6, count=2)),), ()),
        ((directory(short(6, kind=1)),), ()),
        ((directory(short(6), short(8)),), ()),
        ((b"Exif\0\0" + SIX,), ()),
        ((SIX, EIGHT), ()),
        ((), (SIX,)),
    ],
)
def test_orientation_as_pillow_reads_it(read, rng, tmp_path, before, after):
    """Other types of integers, two entries, two chunks, a chunk behind the end."""
    rows = rng.integers(0, 256, (9, 34), "uint8")
    rows[:, 0] = 0  # no filter
    extra = b"".join(hostile_images.chunk(b"eXIf", exif) for exif in before)
    data = hostile_images.png(11, 9, 8, 2, rows.tobytes(), extra=extra)
    data += b"".join(hostile_images.chunk(b"eXIf", exif) for exif in after)
    (tmp_path / "image").write_bytes(data)
    np.testing.assert_array_equal(read(data), read_image(tmp_path / "image"))


@pytest.mark.parametrize("at", [(0, 1), (2, 42), (16, 1), (17, 9), (13, 4)], ids=str)
def test_what_pillow_takes_for_no_orientation(read, rng, tmp_path, at):
    """Wrong byte order, magic number, count or type: the image stays as it is stored."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "image"
    pixels = rng.integers(0, 256, (9, 11, 3), "uint8")
    Image.fromarray(pixels).save(path, "JPEG", exif=exif)
    data = bytearray(path.read_bytes())
    data[data.index(b"Exif\0\0") + 6 + at[0]] = at[1]
    path.write_bytes(data)
    np.testing.assert_array_equal(read(bytes(data)), read_image(path))
    assert read(bytes(data)).shape == pixels.shape


def test_files_with_more_than_pixels_are_read(read, rng, tmp_path):
    """As many texts and scans as are allowed; a film behind the pixels."""
    images = hostile_images.valid_images(rng)
    text = hostile_images.chunk(b"zTXt", b"a\0\0" + zlib.compress(b"text"))
    film = b"\xff\xda".join([bytes(16384)] * 120)
    for data in (
        hostile_images.png(9, 9, 8, 2, bytes(9 * 28), extra=text * 32),
        hostile_images.many_scans(80),
        images["jpeg"] + film,
    ):
        (tmp_path / "image").write_bytes(data)
        np.testing.assert_array_equal(read(data), read_image(tmp_path / "image"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "image 1 of the batch is neither JPEG nor PNG"),
        (b"only text, no image", "neither JPEG nor PNG"),
        (b"GIF89a" + bytes(50), "neither JPEG nor PNG"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "image 1 of the batch is a PNG without a header"),
        (hostile_images.many_scans(100), "has 109 scans; the limit is 100"),
        (
            hostile_images.png(
                9, 9, 8, 2, bytes(9 * 28), extra=hostile_images.chunk(b"zTXt", b"a\0\0") * 33
            ),
            "has 33 compressed texts and profiles; the limit is 32",
        ),
        (
            hostile_images.png(65535, 65535, 8, 2, b""),
            "image 1 of the batch has 65535 x 65535 pixels; the limit is 40000",
        ),
        (hostile_images.png(0, 9, 8, 2, b""), "limit"),
        (hostile_images.png(20000, 1, 8, 2, bytes(60001)), "16384 for a side"),
        (hostile_images.png(9, 9, 8, 2, b""), "PNG"),
    ],
)
def test_what_is_no_image_is_refused(signatures, rng, data, message):
    good = hostile_images.valid_images(rng)["png"]
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        signatures("serving_bytes", images=[good, data])
    assert message in error.value.message


PADDED = rf"failed: \[the padded batch has 536870912 pixels; the limit is {8 * MAX_PIXELS}\]"


def test_padding_cannot_grow_without_bound(signatures):
    """Two slim images that are padded to a square of many pixels."""
    slim = [hostile_images.png(w, h, 8, 0, (bytes(w + 1)) * h) for w, h in ((16384, 2), (2, 16384))]
    for data in slim:
        signatures("serving_bytes", images=[data])
    with pytest.raises(tf.errors.InvalidArgumentError, match=PADDED):
        signatures("serving_bytes", images=slim)


def test_files_of_different_sizes_are_padded(signatures, predictor, rng, tmp_path):
    """Each seen at its own size: padding before the network would change its context."""
    files = list(hostile_images.valid_images(rng).values())[:3]
    files += list(hostile_images.valid_images(rng).values())[-3:]
    together = signatures("serving_bytes", images=files)
    height, width = together["sizes"].max(0)
    assert together["classes"].shape == together["confidence"].shape == (6, height, width)
    for i, data in enumerate(files):
        (tmp_path / "image").write_bytes(data)
        image = read_image(tmp_path / "image")
        h, w = together["sizes"][i]
        assert (h, w) == image.shape[:2]
        part = {key: together[key][i, :h, :w] for key in ("classes", "confidence")}
        compare(part, predictor.logits(image))
        assert (together["classes"][i, h:] == 255).all()
        assert not together["confidence"][i, :, w:].any()
        alone = signatures("serving_bytes", images=[data])  # and merged as apart
        np.testing.assert_array_equal(alone["classes"][0], part["classes"])


def test_what_the_fuzz_run_takes_for_damaged(rng):
    """The only excuses for another answer than Pillow's."""
    images = hostile_images.valid_images(rng)
    progressive, png = images["progressive"], images["png"]
    whole = (images["jpeg"], progressive, progressive + progressive[:-99], images["cmyk jpeg"])
    assert not any(hostile_images.lacks_scans(data) for data in whole)
    last_scan = progressive.rindex(b"\xff\xda")
    assert hostile_images.lacks_scans(progressive[:last_scan] + b"\xff\xd9")
    assert hostile_images.repaired(png) == (png, png)
    exif = png.index(b"eXIf") - 4
    length = 12 + int.from_bytes(png[exif : exif + 4])
    damaged = png[: exif + 8] + b"X" + png[exif + 9 :]
    corrected, reduced = hostile_images.repaired(damaged)
    assert reduced == png[:exif] + png[exif + length :]
    assert len(corrected) == len(png) and corrected not in (png, damaged)


def test_hostile_strings(signatures, predictor, rng):
    """A share of the fuzz run of docs/serving.md; its bounds are those of the whole."""
    good = list(hostile_images.valid_images(rng).values())
    serving_bytes = signatures.functions["serving_bytes"]
    before = fuzzing.answers(serving_bytes, good)
    start = fuzzing.megabytes()
    counts, wrong = fuzzing.fuzz(serving_bytes, predictor, 180, seed=1)
    assert not wrong
    assert counts.total() == 180
    assert sum(n for (kind, outcome), n in counts.items() if outcome.startswith("right")) >= 20
    assert fuzzing.megabytes() - start < 500
    assert fuzzing.answers(serving_bytes, good) == before
