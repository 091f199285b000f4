"""How an image is shown to the network: whole or in windows, at several scales, mirrored.

The classifier gives logits at a quarter of the image's height and width. All that follows up to
the softmax (sampling at every pixel of a window, the mean where windows overlap, resizing to the
image) is linear, so it is left for the end and done for a few rows of the image at a time (see
`linear_maps`). What is alive are the classifier's logits of the windows that reach into these rows,
never the scores of all pixels.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gff_keras.evaluation.linear_maps import apply, averaging, resizing, rows, upsampling

_BAND = 2**22  # scores (float32) of the rows that are computed together, if it takes 8 rows or more


def bands(forward, image, views, image_size=None, softmax=False):
    """Predict an image a few rows at a time.

    Args:
        forward: function from images (B, h, w, 3) float32, B at most `views.window_batch`, to the
            classifier's logits (B, h / stride, w / stride, classes), rounded up.
        image: RGB image (H, W, 3), 0..255.
        views: `Views`.
        image_size: (height, width) at which the network sees the image at scale 1; its own if None.
        softmax: give probabilities if there is one view alone, too.

    Yields:
        `(start, stop, scores)`: scores (stop - start, W, classes) float32 of the rows
        start..stop-1, from the top to the bottom: the mean of the views' probabilities, or the
        logits of the only one.
    """
    image = np.asarray(image)
    height, width, _ = image.shape
    size = image_size or (height, width)
    scaled = [
        _ScaledImage(forward, image, [max(1, round(n * scale)) for n in size], views)
        for scale in views.scales
    ]
    start, count = 0, 8
    while start < height:
        stop = min(start + count, height)
        total: Any = None
        for view in scaled:
            for scores in view.logits(start, stop):
                if softmax or views.count > 1:
                    _softmax(scores)
                total = scores if total is None else np.add(total, scores, out=total)
        if views.count > 1:
            total /= np.float32(views.count)
        yield start, stop, total.transpose(2, 0, 1)
        start, count = stop, min(64, max(8, _BAND // (total.shape[1] * width)))


def window_origins(size, crop, stride):
    """First pixels of the windows along an axis of `size` pixels, at least `crop`."""
    step = max(1, round(crop * stride))
    count = 1 + math.ceil((size - crop) / step)
    return [min(i * step, size - crop) for i in range(count)]


class _Axis(NamedTuple):
    """One axis of an image and of its scaled version."""

    pixels: int  # of the image
    seen: int  # of the scaled image
    crop: int
    stride: float

    @property
    def padded(self):
        return max(self.seen, self.crop)

    @property
    def origins(self):
        return window_origins(self.padded, self.crop, self.stride)


@lru_cache(maxsize=64)  # a data set has few sizes
def _to_network(axis):
    """From the pixels of the image to those of the scaled one, and zeros after them."""
    matrix = resizing(axis.seen, axis.pixels, antialias=True)
    matrix.resize(axis.padded, axis.pixels)
    return matrix.astype("float32")


@lru_cache(maxsize=64)
def _to_image(axis, samples, mirrored=False):
    """From the samples of all windows, one window after the other, to the pixels of the image."""
    maps = [upsampling(axis.crop, samples)] * len(axis.origins)
    matrix = averaging(axis.origins, maps, axis.padded)[: axis.seen]
    matrix = resizing(axis.pixels, axis.seen, antialias=False) @ matrix
    return (matrix[::-1] if mirrored else matrix).astype("float32")


class _ScaledImage:
    """One scale of an image and, if asked for, its mirror image, in rows of windows.

    Args:
        forward: as for `bands`.
        image: (H, W, 3).
        size: (height, width) of the scaled image.
        views: `Views`.
    """

    def __init__(self, forward, image, size, views):
        self.forward = forward
        self.image = image
        self.views = views
        self.crop = views.crop_size or tuple(size)
        self.rows, self.columns = (
            _Axis(*numbers, views.stride)
            for numbers in zip(image.shape[:2], size, self.crop, strict=True)
        )
        self.alive: dict = {}  # number of a row of windows -> (its first sample kept, their logits)
        self.to_rows: Any = None
        self.to_columns: list = []

    def logits(self, start, stop):
        """Yield logits (W, classes, stop - start) of rows of the image, then the mirrored ones.

        Rows have to be asked for from the top to the bottom.
        """
        if self.to_rows is None:  # the first logits tell the stride
            self._start(self._predict(0))
        first, last, to_rows = rows(self.to_rows, start, stop)
        self._keep(first, last)
        for flipped, to_columns in enumerate(self.to_columns):
            parts = [
                logits[flipped, max(first - begin, 0) : last - begin]
                for begin, logits in self.alive.values()
            ]
            band = apply(to_rows, np.concatenate(parts))  # (stop - start, columns, classes)
            yield apply(to_columns, band.transpose(1, 2, 0))

    def _start(self, logits):
        _, samples, columns, _ = logits.shape
        columns //= len(self.columns.origins)
        mirrored = (False, True)[: len(logits)]
        self.to_rows = _to_image(self.rows, samples)
        self.to_columns = [_to_image(self.columns, columns, m) for m in mirrored]
        self.samples = samples
        self.alive[0] = 0, logits

    def _keep(self, first, last):
        """Hold the logits of samples first..last-1, counted through the rows of windows."""
        for number, (begin, logits) in list(self.alive.items()):
            if begin + logits.shape[1] <= first:
                del self.alive[number]
        for number in range(first // self.samples, (last - 1) // self.samples + 1):
            if number in self.alive:
                continue
            for older, (begin, logits) in self.alive.items():  # what lies above is done with
                if begin < first:
                    self.alive[older] = first, logits[:, first - begin :].copy()
            self.alive[number] = number * self.samples, self._predict(number)

    def _predict(self, number):
        """Return the logits of a row of windows: (1 or 2 if flip, samples, columns, classes)."""
        strips = self._strips(self.rows.origins[number])
        left, width = self.columns.origins, self.crop[1]
        windows = [strip[:, x : x + width] for strip in strips for x in left]
        size = min(len(windows), self.views.window_batch)
        images = np.empty((size, *self.crop, 3), "float32")
        logits: Any = None
        for k in range(0, len(windows), size):
            batch = windows[k : k + size]
            y = self.forward(np.stack(batch, out=images[: len(batch)]))
            if logits is None:
                _, samples, columns, classes = y.shape
                logits = np.empty((len(strips), samples, len(left), columns, classes), "float32")
            for i, one in enumerate(y, start=k):
                logits[i // len(left), :, i % len(left)] = one
        return logits.reshape(*logits.shape[:2], -1, logits.shape[-1])

    def _strips(self, top):
        """Rows of the scaled, padded image, (crop height, width, 3) float32, and mirrored ones."""
        first, last, to_rows = rows(_to_network(self.rows), top, top + self.crop[0])
        strip = self.image[first:last].swapaxes(0, 1).astype("float32", order="C")
        strip = apply(to_rows, apply(_to_network(self.columns), strip).swapaxes(0, 1))
        if not self.views.flip:
            return [strip]
        width = self.columns.seen
        return [strip, np.concatenate([strip[:, :width][:, ::-1], strip[:, width:]], axis=1)]


def _softmax(scores):
    """Turn logits (columns, classes, rows) into probabilities, in place."""
    scores -= scores.max(1, keepdims=True)
    np.exp(scores, out=scores)
    scores *= 1 / scores.sum(1, keepdims=True)
