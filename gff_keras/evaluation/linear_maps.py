"""Resizing, sampling and averaging along one axis, as sparse matrices.

Bilinear sampling, resizing and the mean of overlapping windows are linear, and act on rows and
columns apart. So whatever happens to logits between the classifier and the pixels of the image is
one matrix for the rows and one for the columns, whose entries lie near a diagonal: any few rows of
the result can be computed alone, from the few samples that they need.
"""

import numpy as np
from scipy import sparse

_BLOCK = 64  # rows that share one dense product


class BandedMap:
    """A linear map whose matrix has its entries near a diagonal, applied by dense blocks.

    Args:
        matrix: scipy sparse matrix (m, n).

    Attributes:
        shape: (m, n).
    """

    def __init__(self, matrix):
        self._matrix = matrix.tocsr().astype("float32")
        self.shape = self._matrix.shape
        starts = range(0, len(self), _BLOCK)
        self._blocks = [(start, *self.block(start, start + _BLOCK)) for start in starts]

    def __len__(self):
        return self.shape[0]

    def block(self, start, stop):
        """Return what rows start..stop-1 of the result need.

        Returns:
            `(first, last, dense)`: they are `dense` (rows, last - first) times the samples
            first..last-1.
        """
        rows = self._matrix[start:stop]
        if not rows.nnz:
            return 0, 0, np.zeros((rows.shape[0], 0), "float32")
        first, last = rows.indices.min(), rows.indices.max() + 1
        return first, last, rows[:, first:last].toarray()

    def along_columns(self, x):
        """Apply to the last axis: (..., n) -> (..., m) float32."""
        flat = np.ascontiguousarray(x, "float32").reshape(-1, x.shape[-1])
        y = np.empty((len(flat), len(self)), "float32")
        for start, first, last, dense in self._blocks:
            np.matmul(flat[:, first:last], dense.T, out=y[:, start : start + _BLOCK])
        return y.reshape(*x.shape[:-1], -1)

    def along_rows(self, x, start, stop):
        """Apply to the last axis but one, rows start..stop-1 of the result alone.

        Args:
            x: array (..., n, columns) of any dtype.
            start: first row.
            stop: row after the last.

        Returns:
            Array (..., stop - start, columns) float32.
        """
        y = np.empty((*x.shape[:-2], stop - start, x.shape[-1]), "float32")
        for a in range(start, stop, _BLOCK):
            b = min(a + _BLOCK, stop)
            first, last, dense = self.block(a, b)
            part = np.ascontiguousarray(x[..., first:last, :], "float32")
            np.matmul(dense, part, out=y[..., a - start : b - start, :])
        return y


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
    return sparse.diags_array(1 / count) @ sparse.hstack(placed)


def _from_taps(weights, taps, samples):
    rows, columns = np.nonzero(weights)
    entries = weights[rows, columns], (rows, taps[rows, columns])
    return sparse.csr_matrix(entries, shape=(len(weights), samples))
