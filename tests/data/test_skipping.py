"""What a damaged record does."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gff_keras.data import (
    Augmentation,
    SkippedRecords,
    crops,
    evaluation_dataset,
    training_dataset,
)
from tests.data.examples import RANDOM, WHOLE, encode, example, in_order, record, write


def broken_records():
    image, label = example(1)
    cut = encode(image).getvalue()[:-900]
    palette = Image.fromarray(image).quantize(9)
    return {
        "image": {"image": io.BytesIO(cut)},
        "jpeg": {"image": io.BytesIO(encode(image, "JPEG").getvalue()[:800])},
        "label": {"label": io.BytesIO(b"no image at all")},
        "size": {"label": encode(label[1:])},
        "palette": {"label": encode(palette)},
    }


@pytest.mark.parametrize("kind", list(broken_records()))
def test_a_damaged_record_stops_with_its_id(tmp_path, kind):
    broken = record(1) | broken_records()[kind] | {"id": "street 7"}
    folder = write(tmp_path, {"train": [record(0), broken, record(2)]})
    problem = "grey" if kind in ("size", "palette") else "decoded"
    place = r"tiny-train\.tfrecord-00000-of-00001, record 1"
    message = rf"{folder}: record \S+street 7\S+ \({place}\): its .*{problem}"
    batches = iter(evaluation_dataset(folder, "train"))
    next(batches)
    training = training_dataset(folder, batch_size=1, augmentation=RANDOM)
    for rest in (batches, training.take(3)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            list(rest)


@pytest.mark.parametrize("repeat, kind", [(True, "size"), (False, "image")])
def test_skipping_counts_lists_and_keeps_positions(tmp_path, caplog, kind, repeat):
    examples = [record(i) for i in range(9)]
    for i in (1, 3):
        examples[i] |= broken_records()[kind] | {"id": "street 7"}
    folder = write(tmp_path, {"train": examples})
    options = dict(batch_size=1, augmentation=WHOLE, repeat=repeat)
    whole = write(tmp_path / "whole", {"train": [*map(record, range(9))]})
    expected = in_order(training_dataset(whole, **options).take(27))
    skipped = SkippedRecords()
    assert not skipped
    batches = training_dataset(folder, **options, on_error="skip", skipped=skipped)
    if repeat:
        for i in reversed(range(26)):  # the next whole one takes the place
            expected[i] = expected[i + 1] if expected[i] in (1, 3) else expected[i]
        assert in_order(batches.take(26)) == expected[:26]
        assert skipped.count >= 4
    else:
        for epoch in (1, 2):
            assert set(in_order(batches)) == {0, 2, 4, 5, 6, 7, 8}
            assert skipped.count == 2 * epoch
    assert sorted(skipped.reasons) == [1, 3]
    problem = "grey" if kind == "size" else "decoded"
    for number, reason in skipped.reasons.items():
        assert f"{folder}: record 'street 7'" in reason and problem in reason
        assert f"tiny-train.tfrecord-00000-of-00001, record {number})" in reason
    listed = str(skipped).splitlines()
    assert listed[0] == f"damaged records skipped: 2, {skipped.count} times in all"
    assert len(listed) == 3 and len(caplog.records) == 2


def test_nothing_but_damage_stops_even_where_damage_is_skipped(tmp_path):
    folder = write(tmp_path, {"train": [record(1) | broken_records()["image"] for _ in range(3)]})
    batches = training_dataset(folder, batch_size=1, augmentation=WHOLE, on_error="skip")
    with pytest.raises(tf.errors.InvalidArgumentError, match="cannot be decoded"):
        list(batches.take(1))


@pytest.mark.parametrize("cache, limit", [(True, 2**20), (True, 0), (False, 0)])
def test_a_shard_that_was_cut_off_is_named(tmp_path, monkeypatch, cache, limit):
    monkeypatch.setattr(crops, "CACHE_LIMIT", limit)  # in memory: pixels, files, nothing
    folder = write(tmp_path, {"train": [record(i) for i in range(9)]}, shards=3)
    shard = sorted(Path(folder).glob("*train.tfrecord*"))[1]
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) * 2 // 3 - 50])  # within the second of its three
    place = r"tiny-train\.tfrecord-00001-of-00003, record [12]: it cannot be read"
    options = dict(batch_size=1, augmentation=WHOLE, cache=cache)
    for batches in (training_dataset(folder, **options), evaluation_dataset(folder, "train")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{folder}: {place}"):
            list(batches.take(9))
    skipped = SkippedRecords()
    rest = training_dataset(folder, **options, on_error="skip", skipped=skipped, repeat=False)
    assert len(set(in_order(rest))) == 7
    assert sorted(skipped.reasons) == [4, 5]
    lost = bytearray(content)
    lost[len(content) // 6] ^= 255  # one wrong bit in the first record: its checksum tells
    shard.write_bytes(lost)
    with pytest.raises(tf.errors.InvalidArgumentError, match="00001-of-00003, record 0: it"):
        list(evaluation_dataset(folder, "train"))


def test_evaluation_skips_without_counting_another_image_twice(tmp_path):
    examples = [record(i) for i in range(5)]
    for i in (0, 3):
        examples[i] |= broken_records()["image"]
    folder = write(tmp_path, {"val": examples})
    skipped = SkippedRecords()
    batches = evaluation_dataset(folder, batch_size=2, on_error="skip", skipped=skipped)
    labels = [label for _, batch in batches for label in batch.numpy()]
    expected = [example(i)[1] for i in (1, 2, 4)]
    assert len(labels) == 3
    for label, whole in zip(labels, expected, strict=True):
        height, width = whole.shape
        np.testing.assert_array_equal(label[:height, :width], whole)
    assert (sorted(skipped.reasons), skipped.count) == ([0, 3], 2)


def test_a_label_outside_the_table_stops_with_its_value(records, tmp_path):
    """The number of classes comes with the records: three here."""
    folder = tmp_path / "two"
    shutil.copytree(records, folder)
    metadata = json.loads((folder / "metadata.json").read_text())
    del metadata["label_set"]["classes"][2], metadata["label_set"]["palette"][2]
    (folder / "metadata.json").write_text(json.dumps(metadata))
    options = dict(batch_size=1, augmentation=Augmentation((20, 20)))
    message = "record 0.*its label holds 2, but there are 2 classes and 255"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        list(evaluation_dataset(folder))
    with pytest.raises(tf.errors.InvalidArgumentError, match="its label holds 2"):
        list(training_dataset(folder, **options).take(5))
    assert len(list(training_dataset(records, **options).take(5))) == 5


def test_what_was_skipped_survives_as_json():
    skipped, again = SkippedRecords(), SkippedRecords()
    for number in (11, 2, 11):
        skipped.add(number, f"record {number} is cut")
    again.restore(json.loads(json.dumps(skipped.state())))
    assert str(again) == str(skipped) and str(again).startswith("damaged records skipped: 2, 3 ")
    again.add(2, "record 2 is cut")
    assert (again.count, skipped.count, len(again.reasons)) == (4, 3, 2)
