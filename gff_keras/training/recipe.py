"""A recipe: every number of an experiment in one frozen dataclass."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from gff_keras.data import Augmentation
from gff_keras.models import GFFNet
from gff_keras.training.freezing import freeze_batch_norm, freeze_stages
from gff_keras.training.losses import SegmentationCrossEntropy
from gff_keras.training.optimizers import SGD, LossScaleOptimizer
from gff_keras.training.schedules import PolynomialDecay

_POSITIVE = ("batch_size", "epochs", "total_steps", "learning_rate", "accumulate", "clip_norm")
_NOT_NEGATIVE = ("power", "weight_decay", "aux_loss_weight", "cpu_replicas", "tensorboard_images")
_DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")  # float16 alone loses small gradients
_RULES: tuple[tuple[str, Callable[[Any], bool], tuple[str, ...]], ...] = (
    ("positive", lambda x: x > 0, (*_POSITIVE, "thin_weight", "checkpoint_every", "keep")),
    ("at least 0", lambda x: x >= 0, _NOT_NEGATIVE),
    ("at least 0 and less than 1", lambda x: 0 <= x < 1, ("dropout", "momentum", "ema")),
    ("0 to 5", lambda x: 0 <= x <= 5, ("frozen_stages",)),
    ("0 to 4294967295", lambda x: 0 <= x < 2**32, ("seed",)),
    ("'backbone', 'all' or None", lambda x: x in ("backbone", "all"), ("freeze_bn",)),
    (" or ".join(_DTYPES), lambda x: x in _DTYPES, ("dtype",)),
)


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
    """A name in gff_keras.backbones.BACKBONES, such as resnet18, densenet121 or wider_resnet38."""
    context: str | None = "ppm"
    """ppm (pyramid pooling), aspp, dense_aspp or None."""
    fusion: str | None = "gff"
    """gff, concat, add, fpn or gated_fpn; None for PSPNet, DeepLabV3+ or DenseASPP alone."""
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
    weights: Literal["imagenet"] | Path | None = None
    """imagenet, for the backbone; a GFFNet (.keras, a run's folder, hf://USER/NAME); a network of
    PyTorch (.pth, .pt, .tar, .safetensors) or keras.applications (.h5); folded weights (.npz);
    random if None."""
    partial: bool = False
    """Let layers that the weights do not hold whole stay random, and list them."""
    frozen_stages: int = 0
    """Stages of the backbone that stay as they are: 1 is the stem, 5 the whole backbone."""
    freeze_bn: Literal["backbone", "all"] | None = None
    """Batch normalisation that uses its running statistics in training, too."""

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
    """Keep images in memory; auto: decoded or else encoded, where they take at most 512 MiB."""
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
    warmup_steps: int = 0
    """Steps at the start in which the learning rate rises linearly."""
    momentum: float = 0.9
    """Of SGD."""
    weight_decay: float = 1e-4
    """L2 coefficient, coupled with the gradient."""
    clip_norm: float | None = None
    """Largest norm of the gradient of all weights together; a longer one is shortened."""
    accumulate: int = 1
    """Steps (batches) whose mean gradient moves the weights once."""
    ema: float | None = None
    """Momentum of a moving average of the weights, for validation; below 1, such as 0.999."""
    jit_compile: bool = False
    """Compile the training step with XLA."""
    aux_loss_weight: float = 0.4
    """Weight of the auxiliary loss."""
    thin_weight: float = 1.0
    """Weight in the loss of the classes that the label set calls thin."""
    class_weights: tuple[float, ...] | None = None
    """Weight in the loss of every class, one number each; thin_weight multiplies it."""
    label_smoothing: float = 0.0
    """Share of a pixel's truth that is spread over all classes."""
    ohem: float | None = None
    """Hard examples only: pixels whose true class has at most this probability, such as 0.7."""
    ohem_min_kept: float = 1 / 16
    """Smallest share of the labelled pixels that ohem keeps."""
    cpu_replicas: int = 0
    """Train on so many logical CPUs in step, to try replicas; 0: on all GPUs, or on the CPU."""
    seed: int = 0
    """Of weights, data order, augmentation and dropout."""
    tensorboard_images: int = 4
    """Validation images to draw with prediction and gate maps for TensorBoard; 0 draws none."""
    report: bool = True
    """Write report.html at the end: one page on the best model, for one or two more validations."""
    overwrite: bool = False
    """Replace a run that `out` already holds."""
    resume: bool = False
    """Go on with the run in `out` where it was stopped; begin it if `out` holds none."""
    checkpoint_every: int = 500
    """Steps between two checkpoints; there is one before the end of each epoch as well."""
    keep: int = 3
    """Number of checkpoints to keep, the newest."""

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
        if self.out == Path():
            raise ValueError("out is empty, or the current folder; name a folder for the run.")
        for name, value in vars(self).items():
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(math.isfinite(x) for x in numbers if isinstance(x, float)):
                raise ValueError(f"{name}={value} is not a finite number.")
        for words, holds, names in _RULES:
            for name in names:
                value = getattr(self, name)
                if value is not None and not holds(value):
                    raise ValueError(f"{name}={value!r} must be {words}.")
        if self.overwrite and self.resume:
            raise ValueError("overwrite and resume exclude each other: give one of them.")
        self.augmentation()  # refuse what is out of range
        self._cross_entropy(self.class_weights)
        self.schedule(self.total_steps or max(self.warmup_steps, 0) + 1)

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
            context=self.context,
            fusion=self.fusion,
            dfp=self.dfp,
            aux_head=self.aux_head,
            output_stride=self.output_stride,
            filters=self.filters,
            dropout=self.dropout,
            aux_loss_weight=self.aux_loss_weight,
            dtype=self.dtype,
        )

    def fields(self):
        """Return all fields as JSON keeps them: paths as text, tuples as lists."""
        return json.loads(json.dumps(dataclasses.asdict(self), default=str))

    def freeze(self, model):
        """Freeze what the recipe says, before the model is compiled."""
        freeze_stages(model.backbone, self.frozen_stages)
        if self.freeze_bn:
            freeze_batch_norm(model if self.freeze_bn == "all" else model.backbone)

    def schedule(self, total_steps):
        """The learning rate of each step."""
        return PolynomialDecay(self.learning_rate, total_steps, self.power, self.warmup_steps)

    def optimizer(self, total_steps):
        """The optimizer of a run of `total_steps` batches."""
        if total_steps < self.accumulate:
            raise ValueError(
                f"accumulate={self.accumulate} never moves the weights in {total_steps} steps."
            )
        optimizer = SGD(
            self.schedule(total_steps),
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            global_clipnorm=self.clip_norm,
            gradient_accumulation_steps=self.accumulate if self.accumulate > 1 else None,
            use_ema=self.ema is not None,
            ema_momentum=self.ema or 0.0,
        )
        return LossScaleOptimizer(optimizer) if self.dtype == "mixed_float16" else optimizer

    def loss(self, labels):
        """The loss on the classes of a `LabelSet`."""
        weights = self.class_weights
        if weights is not None and len(weights) != labels.num_classes:
            raise ValueError(
                f"class_weights has {len(weights)} numbers for {labels.num_classes} classes: "
                f"{', '.join(labels.classes)}."
            )
        if self.thin_weight != 1:
            thin = [self.thin_weight if name in labels.thin else 1.0 for name in labels.classes]
            weights = tuple(w * t for w, t in zip(weights or [1.0] * len(thin), thin, strict=True))
        return self._cross_entropy(weights)

    def _cross_entropy(self, class_weights):
        return SegmentationCrossEntropy(
            class_weights=class_weights,
            label_smoothing=self.label_smoothing,
            ohem=self.ohem,
            ohem_min_kept=self.ohem_min_kept,
        )
