"""Boundary F-score against distances from every pixel to every other, class by class."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from gff_keras.evaluation.boundary import boundary_f1


def boundary(classes, c):
    """Pixels of class c with a neighbour of another class, one pixel at a time."""
    result = np.zeros(classes.shape, bool)
    height, width = classes.shape
    for y, x in np.argwhere(classes == c):
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < height and 0 <= u < width and classes[v, u] not in (c, 255):
                result[y, x] = True
    return result


def reference(truth, prediction, classes, tolerance):
    """The definition, literally, with Euclidean distance transforms."""
    prediction = np.where(truth == 255, 255, prediction)
    values = []
    for c in range(classes):
        there, found = boundary(truth, c), boundary(prediction, c)
        if not there.any() and not found.any():
            continue
        if not there.any() or not found.any():
            values.append(0.0)
            continue
        precision = (distance_transform_edt(~there)[found] <= tolerance).mean()
        recall = (distance_transform_edt(~found)[there] <= tolerance).mean()
        both = precision + recall
        values.append(2 * precision * recall / both if both else 0.0)
    return np.mean(values) if values else None


def blocks(rng, size, classes):
    coarse = rng.integers(0, classes, (size[0] // 8 + 1, size[1] // 8 + 1))
    return np.kron(coarse, np.ones((8, 8), int))[: size[0], : size[1]]


@pytest.mark.parametrize("shift", [0, 1, 2, 4])
@pytest.mark.parametrize("ignored", [0.0, 0.1])
def test_definition(rng, shift, ignored):
    truth = blocks(rng, (41, 55), 4)
    prediction = np.roll(truth, shift, axis=(0, 1))
    prediction[:9] = 3
    truth[rng.random(truth.shape) < ignored] = 255
    truth[20:26, 10:30] = 255
    found = boundary_f1(truth.astype("uint8"), prediction.astype("uint8"), 5)
    expected = [reference(truth, prediction, 5, t) for t in (1, 3, 5)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert 0 < found[0] <= found[1] <= found[2] <= 1


def test_a_line_beside_its_place():
    """A horizontal line two pixels too low: found with a tolerance of 3, not of 1."""
    truth, prediction = np.zeros((2, 20, 30), "uint8")
    truth[8:], prediction[10:] = 1, 1
    assert boundary_f1(truth, prediction, 2) == [0.0, 1.0, 1.0]
    assert boundary_f1(truth, truth, 2) == [1.0, 1.0, 1.0]


def test_ignored_pixels_make_no_boundary():
    truth = np.zeros((9, 9), "uint8")
    truth[4] = 255  # a line of nothing through one class
    assert boundary_f1(truth, np.zeros_like(truth), 2) == [None] * 3
    prediction = np.zeros_like(truth)
    prediction[4] = 1  # wrong where nobody knows
    assert boundary_f1(truth, prediction, 2) == [None] * 3
    prediction[2] = 1  # and where one does
    assert boundary_f1(truth, prediction, 2) == [0.0] * 3
    assert boundary_f1(np.full_like(truth, 255), prediction, 2) == [None] * 3
