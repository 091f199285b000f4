"""Boundary F-score: are the outlines where they should be?

Csurka et al., "What is a good evaluation measure for semantic segmentation?" (BMVC 2013). A pixel
lies on the boundary of its class if one of its four neighbours belongs to another class; pixels
with the ignore label belong to none and are no neighbours, in the prediction either. For each class
of an image, precision is the share of predicted boundary pixels that have a true boundary pixel of
this class within the tolerance (Euclidean distance between pixel centres, at most that many
pixels), recall the same the other way round, F their harmonic mean; without any match it is 0.
"""

import numpy as np

from gff_keras.data import IGNORE_LABEL

TOLERANCES = (1, 3, 5)  # pixels


def boundary_f1(truth, prediction, num_classes, tolerances=TOLERANCES):
    """F-score of the boundaries in one image, the mean over classes that have any.

    Args:
        truth: (H, W) integers, classes and `IGNORE_LABEL`.
        prediction: (H, W) integers, classes.
        num_classes: number of classes.
        tolerances: in pixels, ascending.

    Returns:
        List of a number 0..1 for each tolerance; None if neither map has a boundary.
    """
    prediction = np.where(truth == IGNORE_LABEL, IGNORE_LABEL, prediction)
    there, found = _boundaries(truth), _boundaries(prediction)
    recall = _matched(there, found, num_classes, tolerances)
    precision = _matched(found, there, num_classes, tolerances)
    counts = [np.bincount(m[m != IGNORE_LABEL], minlength=num_classes) for m in (there, found)]
    present = counts[0] + counts[1] > 0
    if not present.any():
        return [None] * len(tolerances)
    recall, precision = (
        matched / np.maximum(count, 1)
        for matched, count in zip((recall, precision), counts, strict=True)
    )
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    return [float(values[present].mean()) for values in f1]


def _boundaries(classes):
    """Return the class on pixels of a boundary, `IGNORE_LABEL` elsewhere: (H, W) uint8."""
    on = np.zeros(classes.shape, bool)
    for a, b in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
    ):
        differ = (classes[a] != classes[b]) & (classes[a] != IGNORE_LABEL)
        differ &= classes[b] != IGNORE_LABEL
        on[a] |= differ
        on[b] |= differ
    return np.where(on, classes, IGNORE_LABEL).astype("uint8")


def _matched(boundary, other, num_classes, tolerances):
    """Count pixels of `boundary` with one of the same class in `other`: (tolerances, classes)."""
    reach = int(max(tolerances))
    padded = np.pad(other, reach, constant_values=IGNORE_LABEL)
    width = padded.shape[1]
    rows, columns = np.nonzero(boundary != IGNORE_LABEL)
    classes, at = boundary[rows, columns], (rows + reach) * width + columns + reach
    flat, matched, done = padded.ravel(), [np.zeros(num_classes, int)], -1
    for tolerance in tolerances:
        count = matched[-1]
        for y, x in _offsets(done, tolerance):
            hit = flat[at + (y * width + x)] == classes
            count = count + np.bincount(classes[hit], minlength=num_classes)
            at, classes = at[~hit], classes[~hit]  # what is left looks further away
        matched.append(count)
        done = tolerance
    return np.array(matched[1:])


def _offsets(inner, outer):
    """Whole offsets (y, x) whose length is above `inner` and at most `outer`."""
    reach = range(-int(outer), int(outer) + 1)
    return [(y, x) for y in reach for x in reach if inner < np.hypot(y, x) <= outer]
