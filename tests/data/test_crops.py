"""Crops from memory are crops from files."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from gff_keras.data import Augmentation, SkippedRecords, crops, training_dataset
from tests.data.examples import VAL_SIZES, example, record, write

CROP = Augmentation((40, 56), scale=(0.75, 2.0))
IMAGE_SIZE = (60, 83)
COUNT = 6
SIZES = ((50, 90), (97, 131))


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Records of noise, of sizes of their own: rounding differs where it can."""
    examples = []
    for i in range(COUNT):
        size = SIZES[i % 2]
        rng = np.random.default_rng(i)
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        examples.append(dict(image=image, label=example(i, size)[1][..., None], id=str(i)))
    return write(tmp_path_factory.mktemp("noisy"), {"train": examples})


@pytest.mark.parametrize("image_size", [None, IMAGE_SIZE])
def test_crops_from_memory_are_those_from_files(noisy, image_size):
    options = dict(batch_size=4, augmentation=CROP, image_size=image_size)
    files = training_dataset(noisy, **options, cache=False).take(9)
    memory = training_dataset(noisy, **options, cache=True).take(9)
    for (image, label), (kept, kept_label) in zip(files, memory, strict=True):
        np.testing.assert_array_equal(label, kept_label)
        difference = np.abs(image.numpy().astype(int) - kept.numpy())
        # Windows of what is resized start their sums elsewhere: 32 bits round a few otherwise.
        assert difference.max() <= (image_size is not None)
        assert np.mean(difference > 0) < 1e-3


@pytest.mark.parametrize(
    "image_size, kept",
    [(None, "pixels"), (None, "files"), (None, "nothing"), (IMAGE_SIZE, "pixels")]
    + [(IMAGE_SIZE, "nothing")],  # resized, all pixels take less room than the files
)
def test_auto_keeps_what_fits_the_limit(noisy, tmp_path, monkeypatch, image_size, kept):
    """What lies in memory goes on when the files are gone; windows are decoded of files alone."""
    encoded = sum(path.stat().st_size for path in Path(noisy).glob("*.tfrecord*"))
    pixels = 4 * sum(math.prod(image_size or SIZES[i % 2]) for i in range(COUNT))
    limits = {"pixels": pixels, "files": pixels - 1, "nothing": min(encoded, pixels) - 1}
    monkeypatch.setattr(crops, "CACHE_LIMIT", limits[kept])
    windows = []
    decode_window = crops.decode_window
    monkeypatch.setattr(
        crops, "decode_window", lambda *window: windows.append(1) or decode_window(*window)
    )
    folder = shutil.copytree(noisy, tmp_path / "records")
    batches = training_dataset(folder, batch_size=1, augmentation=CROP, image_size=image_size)
    for path in folder.glob("*.tfrecord*"):
        path.unlink()
    if kept == "nothing":
        with pytest.raises(tf.errors.OpError):
            list(batches.take(1))
        return
    assert len(list(batches.take(2 * COUNT))) == 2 * COUNT
    assert bool(windows) == (kept == "files")


def test_a_damaged_record_fails_from_memory_as_it_does_from_files(tmp_path):
    examples = [record(i) for i in range(5)]
    examples[3] |= {"label": record(3, VAL_SIZES[3])["label"], "id": "street 7"}
    folder = write(tmp_path, {"train": examples})
    options = dict(batch_size=1, augmentation=CROP, image_size=IMAGE_SIZE, cache=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="street 7.*record 3.*its label is"):
        list(training_dataset(folder, **options).take(5))
    skipped = SkippedRecords()
    rest = training_dataset(folder, **options, repeat=False, on_error="skip", skipped=skipped)
    assert len(list(rest)) >= 4 and (sorted(skipped.reasons), skipped.count) == ([3], 1)
