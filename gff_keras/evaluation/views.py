"""What the network is shown of an image."""

import math
from dataclasses import dataclass

from gff_keras.evaluation.resizing import check_size

MODES = ("whole", "sliding")
PAPER_SCALES = (0.75, 1.0, 1.25, 1.5, 1.75)


@dataclass(frozen=True)
class Views:
    """What the network is shown of an image; probabilities are averaged over scales and flip.

    Attributes:
        mode: "whole", or "sliding": windows of the crop size, logits averaged where they overlap.
            An axis shorter than the crop is padded on the right or at the bottom with zeros, that
            is black, as crops are in training.
        crop_size: (height, width) of the windows; None with mode "whole".
        stride: from one window to the next, as a share of the crop. The last window ends with the
            image.
        scales: factors of the size at which the network sees the image.
        flip: show the mirrored image as well.
        window_batch: windows that the network is given at once; memory, not numbers, depends on it.

    Raises:
        ValueError: a value is out of its range.
    """

    mode: str = "whole"
    crop_size: tuple[int, int] | None = None
    stride: float = 2 / 3
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window_batch: int = 4

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(f"mode={self.mode!r} is unknown; choose one of {', '.join(MODES)}.")
        if self.crop_size is not None:
            check_size("crop_size", self.crop_size)
            if self.mode == "whole":
                raise ValueError(
                    f"crop_size={self.crop_size} is for windows; set mode='sliding', or leave it."
                )
        if not 0 < self.stride <= 1:
            raise ValueError(f"stride={self.stride} must be in (0, 1], a share of the crop.")
        if not self.scales or not all(0 < s < math.inf for s in self.scales):
            raise ValueError(f"scales={self.scales} must be positive numbers, at least one.")
        if self.window_batch < 1:
            raise ValueError(f"window_batch={self.window_batch} must be at least 1.")

    @property
    def count(self):
        """Number of predictions that are averaged."""
        return len(self.scales) * (1 + self.flip)

    @property
    def settings(self):
        """What the numbers depend on, for JSON."""
        sliding = self.mode == "sliding"
        return {
            "mode": self.mode,
            "crop_size": self.crop_size and [*self.crop_size],
            "stride": self.stride if sliding else None,
            "scales": [*self.scales],
            "flip": self.flip,
        }
