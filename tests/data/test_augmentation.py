"""Augmentation: pixels that tell where they come from show what happened to them."""

import numpy as np
import pytest
import tensorflow as tf

from gff_keras.data import IGNORE_LABEL, Augmentation, augment, resize_pair
from gff_keras.data.augmentation import draw_crop
from gff_keras.data.resampling import resize_window, source_window
from gff_keras.data.transforms import jitter

PLAIN = dict(scale=(1.0, 1.0), color_jitter=0.0)


def coordinates(height, width):
    """An image whose pixels hold (row, column, something above 0), and a mask that fits."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, 1 + (rows * 7 + columns * 13) % 255], -1).astype(np.uint8)
    return image, ((rows * 3 + columns * 5) % 19).astype(np.uint8)


def draw(image, label, augmentation, count, first_seed=0):
    """`count` augmented pairs under different seeds, through tf.data."""
    seeds = tf.data.Dataset.range(first_seed, first_seed + count)
    pairs = seeds.map(
        lambda i: augment(
            tf.constant(image),
            tf.constant(label),
            tf.stack([7, tf.cast(i, tf.int32)]),
            augmentation,
        )
    )
    return [(x.numpy(), y.numpy()) for x, y in pairs]


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


def bilinear(old, new):
    """Resizing matrix (new, old): triangle of half-pixel centres, widened where it shrinks."""
    centre = (np.arange(new) + 0.5) * old / new - 0.5
    weight = np.maximum(0, 1 - np.abs(np.arange(old) - centre[:, None]) / max(1, old / new))
    return weight / weight.sum(1, keepdims=True)


def nearest(old, new):
    return np.floor((np.arange(new) + 0.5) * old / new).astype(int)


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


@pytest.mark.parametrize("numerator, denominator", [(3, 4), (3, 2), (2, 1)])
def test_a_resized_window_is_a_crop_of_the_resized_pair(numerator, denominator):
    """Scaling after cropping: the same pixels, but for the outermost half pixel of the source."""
    rng = np.random.default_rng(5)
    factor = numerator / denominator
    image = rng.integers(0, 256, (40, 52, 3), np.uint8)
    label = rng.integers(0, 200, (40, 52), np.uint8)
    size = tuple(int(n * factor) for n in label.shape)
    whole = tf.image.resize(image, size).numpy()  # bilinear without antialias
    whole_label = label[nearest(40, size[0])][:, nearest(52, size[1])]
    augmentation = Augmentation((24, 30), scale=(factor, factor), flip=False, color_jitter=0.0)
    edge = int(np.ceil(factor / 2))
    inner = np.s_[edge:-edge, edge:-edge]
    compared = 0
    for number, (got, got_label) in enumerate(draw(image, label, augmentation, 40)):
        window = draw_crop(label, tf.constant([7, number]), augmentation).window.numpy()
        assert (window[2:] * factor == (24, 30)).all()
        top, left = window[:2] * factor
        if top % 1 or left % 1:  # between two pixels of the whole scaled image
            continue
        part = np.s_[int(top) : int(top) + 24, int(left) : int(left) + 30]
        np.testing.assert_array_equal(got_label, whole_label[part])
        np.testing.assert_allclose(got[inner], whole[part][inner], atol=0.51)
        compared += 1
    assert compared >= 2


def scale_then_crop(rng, size, crop, scale):
    """Window (top, height) of the source, in pixels, of a crop drawn after scaling."""
    factor = rng.uniform(*scale)
    scaled = round(size * factor)
    if scaled <= crop:
        return 0.0, float(size)
    return rng.integers(scaled - crop + 1) / factor, crop / factor


def largest_gap(a, b):
    """Kolmogorov's distance of two samples."""
    at = np.sort(np.concatenate([a, b]))
    shares = [np.searchsorted(np.sort(x), at, side="right") / len(x) for x in (a, b)]
    return np.abs(shares[0] - shares[1]).max()


@pytest.mark.parametrize("size, crop", [(200, 130), (120, 150)])
def test_windows_are_distributed_as_those_of_crops_drawn_after_scaling(size, crop):
    count, scale = 3000, (0.75, 2.0)
    rng = np.random.default_rng(11)
    expected = np.array([scale_then_crop(rng, size, crop, scale) for _ in range(count)])
    label = np.zeros((size, size), np.uint8)
    augmentation = Augmentation((crop, crop), scale)
    seeds = tf.data.Dataset.range(count).map(lambda i: tf.stack([5, tf.cast(i, tf.int32)]))
    drawn = seeds.map(lambda seed: draw_crop(label, seed, augmentation).window)
    drawn = np.array(list(drawn.as_numpy_iterator()))
    for axis in (0, 1):
        top, height = drawn[:, axis] + 0.0, drawn[:, 2 + axis] + 0.0
        shake = rng.uniform(-0.5, 0.5, (2, count))  # whole pixels against any numbers
        where = height < size
        assert abs(where.mean() - (expected[:, 1] < size).mean()) < 0.04
        # 1.63 * sqrt(2 / n) is exceeded once in a hundred samples
        bound = 1.63 * np.sqrt(2 / (0.9 * where.sum())) + 0.01
        other = expected[expected[:, 1] < size]
        assert largest_gap(height[where] + shake[0][where], other[:, 1]) < bound
        centre, other_centre = (top + height / 2)[where], other[:, 0] + other[:, 1] / 2
        assert largest_gap(centre + shake[1][where], other_centre) < bound


@pytest.mark.parametrize("size", [(33, 40), (97, 131), (150, 263), (194, 50)])
def test_resize_pair_is_that_of_numpy(size):
    rng = np.random.default_rng(6)
    image = rng.integers(0, 256, (97, 131, 3), np.uint8)
    label = rng.integers(0, 256, (97, 131), np.uint8)
    rows, columns = bilinear(97, size[0]), bilinear(131, size[1])
    expected = np.einsum("ih,hwc,jw->ijc", rows, image, columns, optimize=True)
    expected_label = label[nearest(97, size[0])][:, nearest(131, size[1])]
    graph = tf.function(resize_pair)
    for got, got_label in (
        resize_pair(image, label, size),
        graph(image, label, tf.constant(size)),
    ):
        assert got.dtype == tf.uint8
        assert np.abs(got.numpy() - expected).max() < 0.51  # half a step and float32's rounding
        np.testing.assert_array_equal(got_label, expected_label)


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


@pytest.mark.parametrize(
    "arguments",
    [
        dict(crop_size=(0, 5)),
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


@pytest.mark.parametrize("size", [(20, 30), (97, 131), (150, 200)])
def test_a_part_of_the_image_gives_a_window_of_the_resized_image(size):
    rng = np.random.default_rng(12)
    image = rng.integers(0, 256, (97, 131, 3), np.uint8)
    whole = resize_pair(image, image[..., 0], size)[0].numpy()
    for _ in range(8):
        height, width = (int(rng.integers(1, n + 1)) for n in size)
        top, left = (
            int(rng.integers(n - k + 1)) for n, k in zip(size, (height, width), strict=True)
        )
        window = (top, left, height, width)
        y, x, h, w = source_window((97, 131), size, tf.constant(window)).numpy()
        part = resize_window(image[y : y + h, x : x + w], (y, x), (97, 131), size, window)
        expected = whole[top : top + height, left : left + width]
        assert np.abs(part.numpy().astype(int) - expected).max() <= 1  # rounding in float32
        assert h <= (height + 4) * max(1, 97 / size[0]) + 4  # the part is no more than it takes


def test_no_class_takes_more_than_its_share_where_that_is_possible():
    label = np.zeros((60, 80), np.uint8)
    label[:, 56:] = np.random.default_rng(13).integers(1, 5, (60, 24))
    label[:9] = IGNORE_LABEL
    image = np.repeat(label[..., None], 3, -1)

    def shares(limit, count=150):
        augmentation = Augmentation((20, 20), max_class_fraction=limit)
        for _, mask in draw(image, label, augmentation, count):
            counts = np.bincount(mask[mask != IGNORE_LABEL], minlength=5)
            yield counts.max() / max(counts.sum(), 1)

    free, bound = np.array(list(shares(1.0))), np.array(list(shares(0.75)))
    assert (free > 0.8).mean() > 0.5  # most crops hold little but class 0
    # Nearest neighbours shift shares a little; ten misses in a row happen to a few.
    assert (bound > 0.8).mean() < 0.12
    assert np.isfinite(list(shares(0.1, 5))).all()  # impossible: the last crop is taken


def test_where_all_crops_fit_balance_changes_nothing():
    image, label = coordinates(50, 60)
    some = [Augmentation((24, 24), max_class_fraction=share) for share in (1.0, 0.9)]
    for free, bound in zip(*(draw(image, label, each, 6) for each in some), strict=True):
        np.testing.assert_array_equal(free[0], bound[0])


@pytest.mark.parametrize("flip", [False, True])
def test_rotation_turns_image_and_mask_alike_about_the_centre(flip):
    rows, columns = np.mgrid[:120, :140]
    label = np.clip((columns - 69.5) // 8 + 9, 0, 18).astype(np.uint8)  # stripes
    image = np.stack([columns, rows, 255 - columns], -1).astype(np.uint8)
    augmentation = Augmentation((60, 50), (1.0, 1.0), flip, 0.0, rotation=30.0)
    angles = []
    for got, mask in draw(image, label, augmentation, 60):
        x, y = got[..., 0].astype(float), got[..., 1].astype(float)
        inside = mask != IGNORE_LABEL
        clear = np.abs((x - 69.5) / 8 - np.rint((x - 69.5) / 8)) > 0.2  # no edge of a stripe
        stripe = np.clip((x - 69.5) // 8 + 9, 0, 18)
        agree = (stripe == mask)[inside & clear]
        assert agree.mean() > 0.97 and agree.size > 500
        assert inside[20:-20, 20:-20].all()
        middle = np.s_[20:-20, 15:-15]
        gradient = np.gradient(x)  # of the source's column along rows and columns
        slope = gradient[0][middle].mean(), gradient[1][middle].mean()
        assert np.hypot(*slope) == pytest.approx(1, abs=0.03)  # a rotation keeps lengths
        angles.append(np.degrees(np.arctan2(slope[0], abs(slope[1]))))
        assert np.abs(np.gradient(y)[0][middle].mean() - np.cos(np.radians(angles[-1]))) < 0.03
    assert min(angles) < -20 and max(angles) > 20 and np.abs(angles).max() < 31


def test_rotation_takes_pixels_from_beyond_the_crop():
    image, label = coordinates(200, 220)
    augmentation = Augmentation((60, 60), (0.8, 1.6), rotation=45.0)
    padding = [(mask == IGNORE_LABEL).mean() for _, mask in draw(image, label, augmentation, 40)]
    assert np.median(padding) == 0  # only near the image's border corners come from outside


def test_blur_is_a_gaussian_of_the_drawn_width():
    image = np.zeros((41, 41, 3), np.uint8)
    image[:, 20] = 255
    label = np.zeros((41, 41), np.uint8)
    augmentation = Augmentation((41, 41), (1.0, 1.0), False, 0.0, blur=2.0)
    widths = []
    for got, mask in draw(image, label, augmentation, 60):
        profile = got[5, :, 1] / 255.0
        np.testing.assert_array_equal(mask, label)
        np.testing.assert_array_equal(got, np.broadcast_to(got[:1], got.shape))  # border goes on
        assert profile.sum() == pytest.approx(1, abs=0.03)
        widths.append(np.sqrt((profile * (np.arange(41) - 20) ** 2).sum()))
    assert min(widths) < 0.4 and 1.7 < max(widths) < 2.05
    assert 0.8 < np.mean(widths) < 1.2


def test_jitter_is_that_of_numpy():
    image = np.random.default_rng(14).integers(0, 256, (7, 9, 3), np.uint8)
    for offsets in ([0, 10, -10], [-255, 255, 1]):
        expected = np.clip(image.astype(int) + offsets, 0, 255)
        np.testing.assert_array_equal(jitter(tf.constant(image), tf.constant(offsets)), expected)
