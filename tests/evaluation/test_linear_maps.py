"""Sparse maps against the layers that they stand for."""

import keras
import numpy as np
import pytest
from scipy import sparse

from gff_keras.evaluation.linear_maps import apply, averaging, resizing, rows, upsampling
from gff_keras.layers import resample, resize_bilinear
from gff_keras.layers.resizing import resize_antialiased


def columns(x, n):
    """A row of pixels as an image (1, 1, n, 1), resized along its width."""
    return lambda resize: keras.ops.convert_to_numpy(resize(x[None, None, :, None], (1, n)))[0, 0]


@pytest.mark.parametrize("n, samples", [(7, 7), (5, 12), (12, 5), (1, 9), (9, 1), (31, 100)])
def test_resizing_is_that_of_the_layers(rng, n, samples):
    x = rng.standard_normal(samples).astype("float32")
    for antialias, resize in ((True, resize_antialiased), (False, resize_bilinear)):
        expected = columns(x, n)(resize)[:, 0]
        np.testing.assert_allclose(resizing(n, samples, antialias) @ x, expected, atol=1e-5)


@pytest.mark.parametrize("n, samples", [(33, 9), (32, 8), (31, 8), (47, 6), (5, 5), (1, 1), (3, 1)])
def test_upsampling_is_that_of_the_network(rng, n, samples):
    x = rng.standard_normal(samples).astype("float32")
    expected = columns(x, n)(resample)[:, 0]
    np.testing.assert_allclose(upsampling(n, samples) @ x, expected, atol=1e-6)


def test_averaging_of_overlapping_windows(rng):
    maps = [sparse.csr_matrix(rng.standard_normal((5, 2))) for _ in range(3)]
    samples = rng.standard_normal((3, 2))
    total, count = np.zeros(9), np.zeros(9)
    for origin, matrix, x in zip((0, 3, 4), maps, samples, strict=True):
        total[origin : origin + 5] += matrix @ x
        count[origin : origin + 5] += 1
    mean = averaging([0, 3, 4], maps, 9) @ samples.ravel()
    np.testing.assert_allclose(mean, total / count)


def test_a_part_of_a_product(rng):
    matrix = resizing(200, 50, antialias=False)
    x = rng.standard_normal((50, 3, 2)).astype("float32")
    expected = np.einsum("mn,nbc->mbc", matrix.toarray(), x)
    np.testing.assert_allclose(apply(matrix, x), expected, atol=1e-5)
    first, last, part = rows(matrix, 90, 110)
    assert (first, last) == (22, 28)  # of pixels 22.4 to 27.1
    np.testing.assert_allclose(apply(part, x[first:last]), expected[90:110], atol=1e-5)


def test_rows_without_an_entry_are_zero():
    matrix = sparse.csr_matrix(np.pad(np.eye(3), ((0, 5), (0, 0))))
    first, last, part = rows(matrix, 4, 7)
    assert (first, last) == (0, 0)
    np.testing.assert_array_equal(apply(part, np.ones((0, 2))), np.zeros((3, 2)))
