"""The switches that are off by default: balanced crops, rotation, blur; and jitter in uint8."""

import numpy as np
import pytest
import tensorflow as tf

from gff_keras.data import IGNORE_LABEL, Augmentation
from gff_keras.data.transforms import jitter
from tests.data.draws import coordinates, draw


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


def test_a_crop_without_a_label_is_drawn_again():
    label = np.full((40, 90), IGNORE_LABEL, np.uint8)
    label[:, 60:] = np.random.default_rng(3).integers(0, 4, (40, 30))
    image = np.repeat(label[..., None], 3, -1)

    def unlabelled(share):
        augmentation = Augmentation((20, 20), (1.0, 1.0), max_class_fraction=share)
        return np.mean(
            [(mask == IGNORE_LABEL).all() for _, mask in draw(image, label, augmentation, 60)]
        )

    assert unlabelled(1.0) > 0.4
    assert unlabelled(0.9) < 0.05


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
