"""Sparse maps against the layers that they stand for."""

import keras
import numpy as np
import pytest
from scipy import sparse

from gff_keras.evaluation.linear_maps import BandedMap, averaging, resizing, upsampling
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
        np.testing.assert_allclose(resizing(n, samples, antialias) @ x, expected, atol=2e-6)


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


@pytest.mark.parametrize("m, n", [(200, 50), (64, 64), (65, 300)])
def test_blocks_are_the_matrix(rng, m, n):
    matrix = resizing(m, n, antialias=True)
    banded, x = BandedMap(matrix), rng.standard_normal((2, n, 5)).astype("float32")
    expected = np.einsum("mn,bnc->bmc", matrix.toarray(), x)
    np.testing.assert_allclose(banded.along_rows(x, 0, m), expected, atol=1e-5)
    np.testing.assert_allclose(banded.along_rows(x, 3, m - 1), expected[:, 3 : m - 1], atol=1e-5)
    turned = banded.along_columns(np.moveaxis(x, 1, 2))
    np.testing.assert_allclose(turned, np.moveaxis(expected, 1, 2), atol=1e-5)


def test_rows_without_an_entry_are_zero():
    matrix = sparse.csr_matrix(np.pad(np.eye(3), ((0, 80), (0, 0))))
    result = BandedMap(matrix).along_rows(np.ones((1, 3, 2)), 0, 83)
    np.testing.assert_array_equal(result[0, :, 0], [1, 1, 1] + [0] * 80)
