"""Whether a mask belongs to its image: do its boundaries lie where the image has edges?

Image and mask are reduced to a grid. What counts is how much stronger than usual at that place the
image's edges are under the mask's boundaries, against what the other masks of the split reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

GRID = 64  # cells a side, whatever the image's shape
CELLS = 2 * GRID * GRID  # edges to the right and edges downwards
SKETCH_BYTES = CELLS + CELLS // 8

# Chosen on CamVid's 468 pairs, whole masks and single classes: docs/checking.md.
SUSPICIOUS = 1.0  # another mask fits better by so many standard deviations of all masks' scores,
OUTLYING = 2.0  # and the own one worse than usual in the split by so many deviations
LEAST_TYPICAL = 0.5  # median of the own masks' scores in a split whose masks fit at all,
LEAST_MEDIAN = 20  # which fewer images cannot tell
LEAST_COMPARED, MOST_COMPARED = 5, 2000  # masks: fewer tell nothing, more cost time
_ROWS = 512  # images compared at a time


def sketch(image: np.ndarray, label: np.ndarray) -> bytes:
    """Reduce an image and its mask to what `compare_fits` compares.

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


@dataclass(frozen=True)
class Fits:
    """How well the masks of a split fit; nan for an image or mask without any edge.

    Attributes:
        own: Each image's score of its own mask, in standard deviations over the mean of the scores
            that the masks of the split have on this image, (N,).
        excess: By how many of these standard deviations another mask of the size fits better, (N,).
        rival: Which one that is, (N,).
    """

    own: np.ndarray
    excess: np.ndarray
    rival: np.ndarray

    @property
    def typical(self) -> float:
        """Median of `own`."""
        return float(np.nanmedian(self.own))

    @property
    def all_wrong(self) -> bool:
        """Whether masks in general fit their images no better than other images."""
        enough = np.isfinite(self.own).sum() >= LEAST_MEDIAN
        return bool(enough and self.typical < LEAST_TYPICAL)

    def suspicious(self) -> np.ndarray:
        """Indices of the images whose masks fit worse than usual and worse than another one."""
        spread = 1.4826 * np.nanmedian(abs(self.own - self.typical))  # a deviation, if normal
        outlying = self.own < self.typical - OUTLYING * spread
        return np.flatnonzero(outlying & (self.excess > SUSPICIOUS))


def compare_fits(sketches: np.ndarray, sizes: Sequence[object]) -> Fits | None:
    """Score every mask of a split on every image; None if there are too few to compare.

    Args:
        sketches: uint8 (N, `SKETCH_BYTES`) of one split; a memory map will do.
        sizes: N sizes; only a mask of the image's own size can have been exchanged with its mask.
    """
    count = len(sketches)
    judged = np.array([bool(row[CELLS:].any() and np.ptp(row[:CELLS])) for row in sketches])
    compared = np.flatnonzero(judged)
    if len(compared) < LEAST_COMPARED:
        return None
    usual = np.zeros(CELLS)
    for start in range(0, count, _ROWS):
        usual += sketches[start : start + _ROWS, :CELLS].sum(0, dtype=np.int64)
    compared = compared[:: -(-len(compared) // MOST_COMPARED)]
    masks = _unit_boundaries(sketches[compared])  # (M, CELLS)
    codes = np.unique([str(size) for size in sizes], return_inverse=True)[1]
    own, excess, rival = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count, int)
    for start in range(0, count, _ROWS):
        rows = start + np.flatnonzero(judged[start : start + _ROWS])
        edges = sketches[rows, :CELLS] - (usual / count).astype(np.float32)  # (R, CELLS)
        scores = edges @ masks.T  # (R, M)
        score = (edges * _unit_boundaries(sketches[rows])).sum(1)
        rivals = np.where(codes[rows][:, None] == codes[compared], scores, -np.inf)
        deviation = np.maximum(scores.std(1), 1)  # 1: where all masks are alike
        own[rows] = (score - scores.mean(1)) / deviation
        excess[rows] = (rivals.max(1, initial=-np.inf) - score) / deviation
        rival[rows] = compared[rivals.argmax(1)]
    return Fits(own, excess, rival)


def _unit_boundaries(sketches: np.ndarray) -> np.ndarray:
    """Boundaries of each mask, less their mean and of length 1, so that many do not count more."""
    bits = np.unpackbits(sketches[:, CELLS:], axis=1).astype(np.float32)
    bits -= bits.mean(1, keepdims=True)
    return bits / np.maximum(np.linalg.norm(bits, axis=1, keepdims=True), 1e-9)
