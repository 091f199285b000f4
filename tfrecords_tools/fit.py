"""Whether a mask belongs to its image: do its boundaries lie where the image has edges?

Image and mask are reduced to a grid. What counts is how much stronger than usual at that place the
image's edges are under the mask's boundaries, against what the other masks of the split reach.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

GRID = 64  # cells a side, whatever the image's shape
CELLS = 2 * GRID * GRID  # edges to the right and edges downwards
SKETCH_BYTES = CELLS + CELLS // 8

# On the 468 pairs of CamVid no mask is beaten by more than 0.72 (docs/checking.md).
SUSPICIOUS = 1.0  # standard deviations of the other masks' scores
LEAST_COMPARED = 5  # fewer masks tell nothing
MOST_COMPARED = 2000
_ROWS = 512  # images compared at a time


def sketch(image: np.ndarray, label: np.ndarray) -> bytes:
    """Reduce an image and its mask to what `find_misfits` compares.

    Args:
        image: uint8 (H, W, 3).
        label: uint8 (H, W).

    Returns:
        `SKETCH_BYTES` bytes: the rank of every edge's strength, and the mask's boundaries as bits.
    """
    size = (GRID, GRID)
    cells = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX), np.int16)
    classes = np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
    edges, boundaries = np.zeros((2, GRID, GRID), np.int16), np.zeros((2, GRID, GRID), bool)
    edges[0, :, 1:] = abs(np.diff(cells, axis=1)).max(-1)
    edges[1, 1:] = abs(np.diff(cells, axis=0)).max(-1)
    boundaries[0, :, 1:] = classes[:, 1:] != classes[:, :-1]
    boundaries[1, 1:] = classes[1:] != classes[:-1]
    ranks = [_ranks(direction) for direction in edges]
    return b"".join(rank.tobytes() for rank in ranks) + np.packbits(boundaries).tobytes()


def _ranks(strengths: np.ndarray) -> np.ndarray:
    """Mean rank of each value among all, 0..255, so that contrast and exposure do not count."""
    counts = np.bincount(strengths.ravel(), minlength=256)
    ranks = (counts.cumsum() - counts / 2) * (255 / strengths.size)
    return ranks.round().astype(np.uint8)[strengths]


def find_misfits(
    sketches: np.ndarray, sizes: Sequence[object], threshold: float = SUSPICIOUS
) -> list[tuple[int, int, float]]:
    """Find the images that another mask of the split fits clearly better than their own.

    Args:
        sketches: uint8 (N, `SKETCH_BYTES`) of one split; a memory map will do.
        sizes: N sizes; only a mask of the image's own size can have been exchanged with its mask.
        threshold: By how many standard deviations, over the scores of the split's masks on this
            image, another mask must fit better.

    Returns:
        (image, the best fitting mask, by how many standard deviations it fits better).
    """
    count = len(sketches)
    judged = np.array([bool(row[CELLS:].any() and np.ptp(row[:CELLS])) for row in sketches])
    compared = np.flatnonzero(judged)
    if len(compared) < LEAST_COMPARED:
        return []
    usual = np.zeros(CELLS)
    for start in range(0, count, _ROWS):
        usual += sketches[start : start + _ROWS, :CELLS].sum(0, dtype=np.int64)
    compared = compared[:: -(-len(compared) // MOST_COMPARED)]
    others = _unit_boundaries(sketches[compared])  # (M, CELLS)
    codes = np.unique([str(size) for size in sizes], return_inverse=True)[1]
    found = []
    for start in range(0, count, _ROWS):
        rows = np.arange(start, min(start + _ROWS, count))
        edges = sketches[rows, :CELLS] - (usual / count).astype(np.float32)  # (R, CELLS)
        scores = edges @ others.T  # (R, M)
        own = (edges * _unit_boundaries(sketches[rows])).sum(1)
        rivals = np.where(codes[rows][:, None] == codes[compared], scores, -np.inf)
        better = (rivals.max(1) - own) / np.maximum(scores.std(1), 1)  # 1: all masks alike
        for row in np.flatnonzero((better > threshold) & judged[rows]):
            rival = compared[rivals[row].argmax()]
            found.append((int(rows[row]), int(rival), float(better[row])))
    return found


def _unit_boundaries(sketches: np.ndarray) -> np.ndarray:
    """Boundaries of each mask, less their mean and of length 1, so that many do not count more."""
    bits = np.unpackbits(sketches[:, CELLS:], axis=1).astype(np.float32)
    bits -= bits.mean(1, keepdims=True)
    return bits / np.maximum(np.linalg.norm(bits, axis=1, keepdims=True), 1e-9)
