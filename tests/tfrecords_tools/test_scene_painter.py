"""Drawn street scenes: exact, of any size, and with every class.

That two processes draw the same bytes is tested with the command line.
"""

import numpy as np
import pytest

from gff_keras.data.label_tables import STREET_SCENES
from tfrecords_tools.scene_canvas import SUPERSAMPLE, Camera, Canvas, Light
from tfrecords_tools.scene_painter import paint_scene

LIGHT = Light("plain", (1, 1, 1), (0, 0, 0), (0, 1, 0), (0, 0, 0), (0, 0, 0), 0.0, (1, 1, 1))


def test_every_class_is_common_and_every_scene_differs():
    scenes = [paint_scene(0, index, 128, 256) for index in range(80)]
    occurs = np.zeros(STREET_SCENES.num_classes)
    for image, mask in scenes:
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == (128, 256, 3) and mask.shape == (128, 256)
        occurs += np.bincount(mask.ravel(), minlength=STREET_SCENES.num_classes) > 0
    assert occurs.min() >= 0.4 * len(scenes), dict(zip(STREET_SCENES.classes, occurs, strict=True))
    assert len({image.tobytes() for image, _ in scenes}) == len(scenes)
    assert not np.array_equal(paint_scene(1, 0, 128, 256)[0], scenes[0][0])


@pytest.mark.parametrize("height, width", [(32, 32), (97, 131), (160, 80)])
def test_any_size(height, width):
    image, mask = paint_scene(0, 3, height, width)
    assert image.shape == (height, width, 3) and mask.shape == (height, width)


def test_too_small_raises():
    with pytest.raises(ValueError, match="at least 32 pixels a side, not 31x64"):
        paint_scene(0, 0, 31, 64)


def test_mask_is_what_the_centre_of_each_pixel_shows():
    rng = np.random.default_rng(0)
    canvas = Canvas(Camera(200.0, 60.0, 50.0, 1.5), LIGHT, 40, 60)
    for label in range(1, 40):
        corners = rng.uniform([-4, -2, 0.1], [4, 4, 9], (4, 3)).tolist()
        canvas.face(corners, (label / 255, 0.5, 1 - label / 255), label)
        x, z = rng.uniform(-3, 3), rng.uniform(1, 9)
        canvas.ball((x, 1.0, z), (0.3, 0.2), (label / 255, 0.5, 0), label)
        canvas.bar((x, 0.0, z), (0.0, 2.0, z), 0.02, (label / 255, 0, 0), label)
    centres = np.asarray(canvas.colours)[1::SUPERSAMPLE, 1::SUPERSAMPLE, 0]
    assert len(np.unique(centres)) >= 10
    np.testing.assert_array_equal(canvas.mask(), centres)
    full = np.asarray(canvas.colours, np.float64).reshape(40, 3, 60, 3, 3).mean(axis=(1, 3))
    assert np.abs(canvas.picture() - full).max() <= 0.6  # Pillow rounds in fixed point


@pytest.mark.parametrize("z", [5.0, 30.0, 300.0])
def test_a_far_pole_stays_one_unbroken_line(z):
    for x in np.linspace(-0.05, 0.05, 7) * z:
        canvas = Canvas(Camera(120.0, 96.0, 48.0, 1.5), LIGHT, 32, 64)
        canvas.bar((x, -9 * z, z), (x, 9 * z, z), 0.01, (1, 1, 1), 7)
        per_row = (canvas.mask() == 7).sum(axis=1)
        assert per_row.min() >= 1 and per_row.max() <= 2


def test_outline_is_the_projection():
    rng = np.random.default_rng(1)
    canvas = Canvas(Camera(210.0, 90.0, 44.0, 1.7), LIGHT, 32, 64)
    corners = rng.uniform([-4, 0, 1], [4, 4, 9], (6, 3))
    expected = canvas.camera.project(corners)
    found = np.reshape(canvas.outline(corners.tolist()), (-1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(expected[:, 1], 44 + 210 * (1.7 - corners[:, 1]) / corners[:, 2])
    assert canvas.outline([(0, 0, -1), (1, 0, -2), (1, 1, -1)]) == []
