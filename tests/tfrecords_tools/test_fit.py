"""Whether masks fit their images, and whose they are where they do not."""

import numpy as np
import pytest
from PIL import Image

from tests.tfrecords_tools.damage import HEIGHT, WIDTH
from tfrecords_tools.fit import CELLS, compare_fits, sketch
from tfrecords_tools.scene_painter import paint_scene


def sketched(pairs):
    """Sketches (N, bytes) of images and masks."""
    return np.stack([np.frombuffer(sketch(image, mask), np.uint8) for image, mask in pairs])


def test_exchanged_masks_on_photographs(gff_data):
    """One video of a second between images: the hardest case that there is."""
    folder = gff_data / "data" / "camvid"
    pairs = [
        (
            np.asarray(Image.open(path).convert("RGB")),
            np.asarray(Image.open(folder / "valannot" / f"{path.stem}.png")),
        )
        for path in sorted((folder / "val").glob("*.jpg"))
    ]
    sizes = [image.shape for image, _ in pairs]
    sketches = sketched(pairs)
    assert not compare_fits(sketches, sizes).suspicious().size
    rng, hits = np.random.default_rng(0), 0
    for _ in range(20):
        one, other = rng.choice(len(pairs), 2, replace=False)
        changed = sketches.copy()
        changed[one, CELLS:], changed[other, CELLS:] = (
            sketches[other, CELLS:],
            sketches[one, CELLS:],
        )
        found = set(compare_fits(changed, sizes).suspicious())
        assert found <= {one, other}
        hits += len(found)
    assert hits >= 34  # of 40


def test_brightness_and_contrast_change_nothing_about_the_fit(rng):
    image, mask = paint_scene(2, 5, HEIGHT, WIDTH)
    faint = (image // 4 + 60).astype(np.uint8)
    ranks = [np.frombuffer(sketch(i, mask), np.uint8).astype(float) for i in (image, faint)]
    np.testing.assert_array_equal(ranks[0][CELLS:], ranks[1][CELLS:])
    assert np.corrcoef(ranks[0][:CELLS], ranks[1][:CELLS])[0, 1] > 0.9
    other = sketch(image, rng.permutation(mask))
    assert other[:CELLS] == sketch(image, mask)[:CELLS] and other != sketch(image, mask)


def test_the_fit_is_what_it_says():
    """By how many standard deviations another mask fits better, derived once more."""
    scenes = [paint_scene(5, index, HEIGHT, WIDTH) for index in range(9)]
    masks = [mask for _, mask in scenes]
    masks[3], masks[4] = masks[4], masks[3]
    rows = sketched([(image, mask) for (image, _), mask in zip(scenes, masks, strict=True)])
    edges = rows[:, :CELLS].astype(float)
    bounds = np.unpackbits(rows[:, CELLS:], axis=1).astype(float)
    edges -= edges.mean(0)
    bounds -= bounds.mean(1, keepdims=True)
    scores = edges @ (bounds / np.sqrt((bounds**2).sum(1, keepdims=True))).T
    own, spread = scores.diagonal(), scores.std(1)
    fits = compare_fits(rows, [0] * 9)
    assert fits.own == pytest.approx((own - scores.mean(1)) / spread, abs=1e-4)
    assert fits.excess == pytest.approx((scores.max(1) - own) / spread, abs=1e-4)
    assert fits.rival.tolist() == scores.argmax(1).tolist() == [0, 1, 2, 4, 3, 5, 6, 7, 8]
    assert fits.typical == np.median(fits.own) > 1
    assert fits.suspicious().tolist() == [3, 4]


def test_masks_of_other_sizes_are_no_rivals():
    scenes = [paint_scene(3, index, HEIGHT, WIDTH) for index in range(8)]
    masks = [mask for _, mask in scenes]
    masks[2], masks[6] = masks[6], masks[2]
    rows = sketched([(image, mask) for (image, _), mask in zip(scenes, masks, strict=True)])
    assert compare_fits(rows, [(WIDTH, HEIGHT)] * 8).suspicious().tolist() == [2, 6]
    assert not compare_fits(rows, list(range(8))).suspicious().size
    assert compare_fits(rows[:4], [0] * 4) is None  # too few to tell


def test_flat_images_and_masks_are_not_judged():
    pairs = [paint_scene(6, index, HEIGHT, WIDTH) for index in range(9)]
    pairs[2] = pairs[2][0], np.full((HEIGHT, WIDTH), 3, np.uint8)
    pairs[7] = np.full((HEIGHT, WIDTH, 3), 90, np.uint8), pairs[7][1]
    fits = compare_fits(sketched(pairs), [0] * 9)
    assert np.flatnonzero(np.isnan(fits.own)).tolist() == [2, 7] and fits.typical > 1
    assert not fits.suspicious().size
