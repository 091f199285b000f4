"""Augmentation: pixels that tell where they come from show what happened to them."""

import numpy as np
import pytest
import tensorflow as tf

from gff_keras.data import IGNORE_LABEL, Augmentation, augment
from tests.data.draws import coordinates, draw

PLAIN = dict(scale=(1.0, 1.0), color_jitter=0.0)


def inside_box(image):
    """(top, left, height, width) of the pixels that are not padding, which must be a rectangle."""
    inside = image[..., 2] > 0
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    box = rows[0], columns[0], len(rows), len(columns)
    assert inside.sum() == box[2] * box[3]
    assert rows[-1] - rows[0] + 1 == box[2] and columns[-1] - columns[0] + 1 == box[3]
    return box


def blocks(rng, height, width, low=3, high=9):
    """Edges of random stripes: (height, width) of 0/1, constant in stripes along the columns."""
    widths = rng.integers(low, high, width)
    return np.broadcast_to(np.repeat(np.arange(width) % 2, widths)[:width], (height, width))


@pytest.mark.parametrize("case", range(8))
def test_flip_crop_and_padding_are_those_of_numpy(case):
    rng = np.random.default_rng(case)
    height, width, h, w = rng.integers(1, 150, 4)
    image, label = coordinates(height, width)
    for got, got_label in draw(image, label, Augmentation((int(h), int(w)), **PLAIN), 6):
        top, left, rows, columns = inside_box(got)
        assert (rows, columns) == (min(h, height), min(w, width))
        corner, across = got[top, left], got[top, left + columns - 1]
        flipped = across[1] < corner[1]
        if columns == 1 and width > 1:
            flipped = None  # a single column does not tell
        row, column = int(corner[0]), int(min(corner[1], across[1]))
        part = np.s_[row : row + rows, column : column + columns]
        step = -1 if flipped else 1
        pad = ((top, h - top - rows), (left, w - left - columns))
        expected = np.pad(image[part][:, ::step], (*pad, (0, 0)))
        expected_label = np.pad(label[part][:, ::step], pad, constant_values=IGNORE_LABEL)
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(got_label, expected_label)


def test_every_position_is_equally_likely_and_half_is_flipped():
    image, label = coordinates(6, 4)
    seen, flips = {}, 0
    pairs = draw(image, label, Augmentation((4, 6), **PLAIN), 900)
    for got, _ in pairs:
        top, left, *_ = inside_box(got)
        flips += got[top, left, 1] > got[top, left + 1, 1]
        position = int(got[top, left, 0]), int(left)  # source row, room on the left
        seen[position] = seen.get(position, 0) + 1
    assert sorted(seen) == [(row, left) for row in range(3) for left in range(3)]
    assert all(60 < count < 140 for count in seen.values())  # 100 expected, deviation 9.4
    assert 390 < flips < 510  # deviation 15


def test_without_flip_nothing_is_flipped():
    image, label = coordinates(5, 9)
    for got, _ in draw(image, label, Augmentation((5, 9), flip=False, **PLAIN), 20):
        np.testing.assert_array_equal(got, image)


def test_scale_is_uniform_and_keeps_the_aspect():
    image, label = coordinates(100, 200)
    augmentation = Augmentation((210, 410), color_jitter=0.0)
    boxes = np.array([inside_box(x)[2:] for x, _ in draw(image, label, augmentation, 300)])
    factors = boxes[:, 0] / 100
    assert factors.min() >= 0.75 and factors.max() <= 2.0
    assert np.abs(boxes[:, 1] - 2 * boxes[:, 0]).max() <= 1
    counts, _ = np.histogram(factors, np.linspace(0.745, 2.005, 6))
    assert counts.min() > 35 and counts.max() < 90  # 60 expected, deviation 7


@pytest.mark.parametrize("transpose", [False, True])
def test_image_and_mask_share_their_edges_to_the_pixel(transpose):
    rng = np.random.default_rng(3)
    label = blocks(rng, 97, 131).astype(np.uint8)
    label = label.T if transpose else label
    image = np.repeat(label[..., None] * 255, 3, -1).astype(np.uint8)
    for got, got_label in draw(image, label, Augmentation((120, 110), color_jitter=0.0), 25):
        inside = got_label != IGNORE_LABEL
        clear = inside & (np.abs(got[..., 0] - 127.5) > 1)  # without exact ties
        np.testing.assert_array_equal(got[..., 0][clear] > 127, got_label[clear] == 1)
        assert clear.sum() > 0.8 * inside.sum() > 0


def test_colours_away_from_borders_tell_the_class():
    rng = np.random.default_rng(4)
    label = np.kron(rng.integers(0, 8, (12, 14)), np.ones((9, 9))).astype(np.uint8)
    palette = np.array([(r, g, b) for r in (20, 230) for g in (20, 230) for b in (20, 230)])
    image = palette[label].astype(np.uint8)
    for got, got_label in draw(image, label, Augmentation((90, 100)), 15):
        windows = np.lib.stride_tricks.sliding_window_view(got_label, (5, 5))
        uniform = (windows.max((2, 3)) == windows.min((2, 3))) & (windows[..., 2, 2] < 8)
        distance = np.abs(got[2:-2, 2:-2, None].astype(int) - palette).sum(-1)
        assert uniform.sum() > 500
        np.testing.assert_array_equal(distance.argmin(-1)[uniform], got_label[2:-2, 2:-2][uniform])


def test_jitter_shifts_each_channel_within_its_range():
    image = np.random.default_rng(7).integers(60, 190, (9, 11, 3), np.uint8)
    label = np.zeros((9, 11), np.uint8)
    augmentation = Augmentation((9, 11), scale=(1.0, 1.0), flip=False)
    pairs = draw(image, label, augmentation, 200)
    shifts = np.stack([x.astype(int) - image for x, _ in pairs])  # (200, 9, 11, 3)
    np.testing.assert_array_equal(shifts, np.broadcast_to(shifts[:, :1, :1], shifts.shape))
    shifts = shifts[:, 0, 0]
    assert shifts.min() in (-10, -9) and shifts.max() in (9, 10)
    assert np.abs(shifts.mean(0)).max() < 2  # deviation 0.4
    assert np.abs(np.corrcoef(shifts.T) - np.eye(3)).max() < 0.3  # channels are independent


def test_jitter_clips_and_leaves_the_padding_black():
    image = np.random.default_rng(8).choice(np.array([0, 255], np.uint8), (9, 11, 3))
    label = np.full((9, 11), 4, np.uint8)
    augmentation = Augmentation((20, 15), scale=(1.0, 1.0), flip=False, color_jitter=100.0)
    for got, got_label in draw(image, label, augmentation, 30):
        inside = got_label == 4
        assert inside.sum() == 99 and (got_label[~inside] == IGNORE_LABEL).all()
        assert (got[~inside] == 0).all()
        values = got[inside].astype(int).reshape(image.shape)
        assert (np.minimum(values, 255 - values) <= 100).all()
        assert (np.abs(values - image) <= 100).all()  # a wrapped value would jump by 155 or more


def test_no_label_is_invented():
    label = np.random.default_rng(9).choice(np.array([0, 7, 18, 200], np.uint8), (30, 41))
    image = np.repeat(label[..., None], 3, -1)
    seen = [np.unique(y) for _, y in draw(image, label, Augmentation((50, 60)), 30)]
    assert set(np.concatenate(seen)) == {0, 7, 18, 200, IGNORE_LABEL}


@pytest.mark.parametrize("shape", [(1, 1), (97, 131), (1, 40)])
def test_odd_sizes_give_the_crop_size(shape):
    image, label = coordinates(*shape)
    for got, got_label in draw(image, label, Augmentation((33, 29), scale=(0.1, 2.0)), 20):
        assert got.shape == (33, 29, 3) and got_label.shape == (33, 29)
        assert (got_label != IGNORE_LABEL).any()


def test_the_seed_decides():
    image, label = coordinates(60, 70)
    augmentation = Augmentation((32, 40))
    first = augment(image, label, tf.constant([1, 2]), augmentation)
    graph = tf.function(lambda *pair: augment(*pair, tf.constant([1, 2]), augmentation))
    for again in (augment(image, label, tf.constant([1, 2]), augmentation), graph(image, label)):
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
    other = augment(image, label, tf.constant([1, 3]), augmentation)
    assert (first[0].numpy() != other[0].numpy()).any()


def test_one_number_means_both_sides_of_a_crop():
    assert Augmentation(24) == Augmentation((24, 24))


@pytest.mark.parametrize(
    "arguments",
    [
        dict(crop_size=(0, 5)),
        dict(crop_size=0),
        dict(scale=(2.0, 1.0)),
        dict(scale=(0.0, 1.0)),
        dict(color_jitter=-1),
        dict(max_class_fraction=0.0),
        dict(max_class_fraction=1.1),
        dict(rotation=-3),
        dict(blur=21),
    ],
)
def test_values_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Augmentation(**{"crop_size": (4, 4)} | arguments)
