"""Resizing, sampling and averaging along one axis, as sparse matrices.

Bilinear sampling, resizing and the mean of overlapping windows are linear, and act on rows and
columns apart. So whatever happens to logits between the classifier and the pixels of the image is
one matrix for the rows and one for the columns, whose entries lie near a diagonal: any few rows of
the result can be computed alone, from the few samples that they need.
"""

import math

import numpy as np
from scipy import sparse


def apply(matrix, x):
    """Apply a sparse matrix (m, n) to the first axis of an array: (n, ...) -> (m, ...)."""
    flat = np.ascontiguousarray(x).reshape(len(x), math.prod(x.shape[1:]))
    return (matrix @ flat).reshape(matrix.shape[0], *x.shape[1:])


def rows(matrix, start, stop):
    """Return what rows start..stop-1 of a product need.

    Returns:
        `(first, last, part)`: they are `part` (stop - start, last - first) times the samples
        first..last-1.
    """
    part = matrix[start:stop]
    first, last = (part.indices.min(), part.indices.max() + 1) if part.nnz else (0, 0)
    entries = part.data, part.indices - first, part.indptr
    return first, last, sparse.csr_matrix(entries, shape=(part.shape[0], last - first))


def resizing(n, samples, antialias):
    """Bilinear resizing from `samples` to `n` pixels, with half-pixel centres: sparse (n, samples).

    With `antialias`, a smaller image averages what it leaves out: the numbers are those of
    `gff_keras.layers.resizing.resize_antialiased`.
    """
    step = samples / n
    reach = max(step, 1.0) if antialias else 1.0
    centres = (np.arange(n) + 0.5) * step
    taps = np.floor(centres - reach - 0.5).astype(int)[:, None] + np.arange(2 * int(reach) + 4)
    weights = np.maximum(1 - np.abs(taps + 0.5 - centres[:, None]) / reach, 0)
    weights *= (taps >= 0) & (taps < samples)
    weights /= weights.sum(1, keepdims=True)
    return _from_taps(weights, taps, samples)


def upsampling(n, samples):
    """The network's way from samples to pixels (see `gff_keras.layers.resample`): (n, samples).

    Sample i lies on pixel i times the stride, which is the smallest power of two by which `samples`
    cover `n`; the last one is repeated.
    """
    stride = 1
    while samples * stride < n:
        stride *= 2
    at = np.minimum(np.arange(n) / stride, samples - 1)
    taps = np.floor(at).astype(int)[:, None] + np.arange(2)
    return _from_taps(1 - np.abs(taps - at[:, None]), taps, samples)


def averaging(origins, maps, n):
    """The mean over windows that overlap, of what each window's map gives: (n, sum of samples).

    Args:
        origins: first pixel of every window; together they cover all.
        maps: sparse matrix (pixels of a window, samples) of each.
        n: number of pixels.
    """
    placed = [
        sparse.vstack(
            [
                sparse.csr_matrix((origin, matrix.shape[1])),
                matrix,
                sparse.csr_matrix((n - origin - matrix.shape[0], matrix.shape[1])),
            ]
        )
        for origin, matrix in zip(origins, maps, strict=True)
    ]
    count = np.zeros(n)
    for origin, matrix in zip(origins, maps, strict=True):
        count[origin : origin + matrix.shape[0]] += 1
    return sparse.csr_matrix(sparse.diags_array(1 / count) @ sparse.hstack(placed))


def _from_taps(weights, taps, samples):
    rows, columns = np.nonzero(weights)
    entries = weights[rows, columns], (rows, taps[rows, columns])
    return sparse.csr_matrix(entries, shape=(len(weights), samples))
