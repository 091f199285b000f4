"""Feature extractors: Keras models from images to a list of features, finest level first."""

from gff_keras.backbones.densenet import densenet121
from gff_keras.backbones.features import as_backbone, strides_of
from gff_keras.backbones.resnet import OUTPUT_STRIDES, RESNETS, resnet
from gff_keras.backbones.wider_resnet import wider_resnet38

# How names of layers begin, from the stem to the stage that ends in C5.
_STAGES = {
    "resnet": ("conv1_", "v2_stack_0_", "v2_stack_1_", "v2_stack_2_", "v2_stack_3_"),
    "densenet": (
        "conv1",
        ("conv2", "pool2"),
        ("conv3", "pool3"),
        ("conv4", "pool4"),
        ("conv5", "bn"),
    ),
    "wider_resnet": ("mod1", ("mod2", "mod3"), "mod4", "mod5", ("mod6", "mod7", "bn_out")),
}
_OTHERS = {"densenet121": densenet121, "wider_resnet38": wider_resnet38}
BACKBONES = (*RESNETS, *_OTHERS)

__all__ = [
    "BACKBONES",
    "OUTPUT_STRIDES",
    "RESNETS",
    "as_backbone",
    "build",
    "resnet",
    "stages",
    "strides_of",
]


def build(name, output_stride=8, input_shape=(None, None, 3), dtype=None):
    """Build a backbone by its name, with random weights.

    Args:
        name: one of `BACKBONES`.
        output_stride: stride of the last feature map: 8, 16 or 32.
        input_shape: `(height, width, 3)`; None where unknown.
        dtype: name of the layers' dtype policy; the global policy if None.

    Returns:
        `keras.Model` of that name from normalised images (B, H, W, 3) to the features
        `[C2, C3, C4, C5]`, strides 4, 8, 16, 32 but none above `output_stride`.

    Raises:
        ValueError: unknown name or output stride.
    """
    if name not in BACKBONES:
        raise ValueError(f"backbone={name!r} is unknown; choose one of {', '.join(BACKBONES)}.")
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride={output_stride!r} is not one of {OUTPUT_STRIDES}.")
    if name in _OTHERS:
        return _OTHERS[name](output_stride, input_shape, dtype)
    return resnet(name, output_stride, input_shape, dtype)


def stages(backbone):
    """Return how names of layers begin: (stem, stage that ends in C2, ..., in C5).

    Each is a string or a tuple of strings, as `str.startswith` takes it. None for a backbone that
    is not of `build`.
    """
    if backbone.name not in BACKBONES:
        return None
    return next(names for family, names in _STAGES.items() if backbone.name.startswith(family))
