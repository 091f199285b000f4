"""A recipe: every number of an experiment in one frozen dataclass."""

import dataclasses
import json
from pathlib import Path
from typing import Literal

from gff_keras.data import Augmentation
from gff_keras.models import GFFNet


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a training run is made of; the defaults are the paper's."""

    data: Path
    """Folder of records, written by `python -m tfrecords_tools build`."""
    out: Path
    """Folder for checkpoints, logs and figures."""

    train_split: str = "train"
    """Split of the records to train on."""
    val_split: str = "val"
    """Split to validate on after every epoch; training goes without where it is absent."""

    backbone: str = "resnet101"
    """resnet18, resnet34, resnet50, resnet101 or resnet152."""
    fusion: str | None = "gff"
    """gff, or None for PSPNet."""
    dfp: bool = True
    """Dense feature pyramid after the fusion."""
    aux_head: bool = True
    """Auxiliary prediction from stage 3, for training only."""
    output_stride: int = 8
    """Stride of the last backbone features: 8, 16 or 32."""
    filters: int = 256
    """Channels of the fused features."""
    dropout: float = 0.1
    """Rate after pyramid pooling and before the auxiliary classifier."""
    dtype: str = "float32"
    """Dtype policy: float32, mixed_bfloat16 or mixed_float16."""
    weights: Path | None = None
    """Folded ImageNet weights (.npz) for the backbone; random if None."""

    image_size: tuple[int, ...] | None = None
    """Resize every image and mask to (height, width) first; one number means both."""
    crop_size: tuple[int, ...] = (864,)
    """Training crop (height, width); one number means both."""
    scale: tuple[float, float] = (0.75, 2.0)
    """Range of the random scaling."""
    flip: bool = True
    """Mirror images at random."""
    color_jitter: float = 10.0
    """Largest random shift of a colour channel, of 255."""
    max_class_fraction: float = 1.0
    """Largest share of a crop that one class may have, where ten tries find such a crop."""
    rotation: float = 0.0
    """Largest random rotation in degrees; 0 rotates nothing."""
    blur: float = 0.0
    """Largest standard deviation in pixels of a random blur; 0 blurs nothing."""
    cache: bool | Literal["auto"] = "auto"
    """Keep the encoded images in memory; auto: where they take at most 512 MiB."""
    on_error: Literal["stop", "skip"] = "stop"
    """At a damaged record: stop, or skip it and list it in `skipped.txt`."""
    batch_size: int = 8
    """Images per step."""

    epochs: int = 1
    """Passes over the training images."""
    total_steps: int | None = None
    """Number of steps in all; takes the place of epochs."""
    learning_rate: float = 1e-3
    """Of the first step."""
    power: float = 0.9
    """Of the polynomial decay."""
    momentum: float = 0.9
    """Of SGD."""
    weight_decay: float = 1e-4
    """L2 coefficient, coupled with the gradient."""
    aux_loss_weight: float = 0.4
    """Weight of the auxiliary loss."""
    thin_weight: float = 1.0
    """Weight in the loss of the classes that the label set calls thin."""
    seed: int = 0
    """Of weights, data order, augmentation and dropout."""
    tensorboard_images: int = 4
    """Validation images to draw with prediction and gate maps for TensorBoard; 0 draws none."""
    overwrite: bool = False
    """Replace a run that `out` already holds."""

    def __post_init__(self):
        for name in ("image_size", "crop_size"):
            size = getattr(self, name)
            if size is None:
                continue
            if len(size) not in (1, 2) or min(size) < 1:
                raise ValueError(
                    f"{name}={size} is neither one size nor (height, width) in pixels."
                )
            if len(size) == 1:
                object.__setattr__(self, name, (*size, *size))
        for name in ("batch_size", "epochs", "learning_rate", "thin_weight"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive.")
        if self.tensorboard_images < 0:
            raise ValueError(f"tensorboard_images={self.tensorboard_images} must be at least 0.")
        if self.total_steps is not None and self.total_steps < 1:
            raise ValueError(f"total_steps={self.total_steps} must be at least 1.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} is not a rate: 0 <= dropout < 1.")
        self.augmentation()  # refuses what is out of range

    def augmentation(self):
        """Return the recipe's `Augmentation`."""
        height, width = self.crop_size
        return Augmentation(
            (height, width),
            self.scale,
            self.flip,
            self.color_jitter,
            self.max_class_fraction,
            self.rotation,
            self.blur,
        )

    def model(self, num_classes):
        """Build the recipe's network with random weights."""
        return GFFNet(
            self.backbone,
            num_classes,
            fusion=self.fusion,
            dfp=self.dfp,
            aux_head=self.aux_head,
            output_stride=self.output_stride,
            filters=self.filters,
            dropout=self.dropout,
            aux_loss_weight=self.aux_loss_weight,
            dtype=self.dtype,
        )

    def save(self, path):
        """Write all fields as JSON."""
        fields = dataclasses.asdict(self)
        Path(path).write_text(json.dumps(fields, indent=2, default=str) + "\n", encoding="utf-8")
