"""What a GFFNet refuses, in sentences that name value and remedy."""

import math
import numbers

import keras
import numpy as np

from gff_keras.layers.gates import checked_levels
from gff_keras.models.parts import CONTEXTS, FUSIONS


def check_arguments(num_classes, context, fusion, dfp, filters, input_shape, weights):
    """Raise ValueError unless the constructor's arguments describe a network."""
    for name, value, known in (("context", context, CONTEXTS), ("fusion", fusion, FUSIONS)):
        if value not in known:
            raise ValueError(f"{name}={value!r} is unknown; choose one of {_listed(known)}.")
    if dfp and fusion is None:
        raise ValueError(
            "dfp=True needs fused features; set fusion='gff', or dfp=False for the plain network."
        )
    if weights not in (None, "imagenet"):
        raise ValueError(
            f"weights={weights!r} is not 'imagenet' or None; load files with "
            "gff_keras.load_weights(model, path)."
        )
    for name, value in (("num_classes", num_classes), ("filters", filters)):
        if not _is_positive(value):
            raise ValueError(f"{name}={value!r} must be a positive whole number.")
    is_shape = isinstance(input_shape, (list, tuple)) and len(input_shape) == 3
    if not is_shape or input_shape[-1] != 3 or not all(map(_is_side, input_shape[:2])):
        raise ValueError(
            f"input_shape={input_shape!r} is not (height, width, 3), sides positive whole numbers "
            "or None."
        )


def check_settings(dropout, aux_loss_weight, **switches):
    """Raise ValueError unless the numbers are in their range and switches are True or False."""
    for name, value in switches.items():
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{name}={value!r} must be True or False.")
    for name, value, end in (
        ("dropout", dropout, 1),
        ("aux_loss_weight", aux_loss_weight, math.inf),
    ):
        is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not is_number or not 0 <= float(value) < end:
            raise ValueError(f"{name}={value!r} must be a number of at least 0, less than {end}.")


def joint_shape(input_shape, backbone):
    """Return the images' shape for a backbone given as a model: its own sides where it has some.

    Raises:
        ValueError: others are asked for.
    """
    own = backbone.inputs[0].shape[1:3]
    pairs = list(zip(input_shape[:2], own, strict=True))
    if any(side and fixed and side != fixed for side, fixed in pairs):
        raise ValueError(
            f"input_shape={tuple(input_shape)}: backbone {backbone.name!r} takes images of "
            f"{own[0]}x{own[1]}; leave input_shape out, or build the backbone for other sizes."
        )
    return (*(side or fixed for side, fixed in pairs), 3)


def check_output_stride(output_stride, name, stride):
    """Raise ValueError if another output stride is asked for than that of a backbone given.

    Args:
        output_stride: the constructor's argument; its default, 8, asks for nothing.
        name: of the backbone.
        stride: of its last features.
    """
    if output_stride not in (8, stride):
        raise ValueError(
            f"output_stride={output_stride}: the features of backbone {name!r} end at stride "
            f"{stride}; output_stride is for backbones given by name."
        )


def check_gated(fusion):
    """Raise ValueError unless the network has gates."""
    if fusion != "gff":
        raise ValueError(
            f"fusion={fusion!r} has no gates of Eq. 5; build GFFNet with fusion='gff'."
        )


def checked_gates(zero, fusion, levels):
    """Return `checked_levels` of the gates that shall be zero.

    Raises:
        ValueError: one is no gate of a network of so many levels, or it has none at all.
    """
    gates = checked_levels(zero, levels)
    if gates:
        check_gated(fusion)
    return gates


def check_loss(loss, uses_aux_head):
    """Raise ValueError if a network that gives logits cannot be trained with `loss`."""
    # Keras's cross-entropies expect probabilities unless told: on logits they train to nonsense.
    if isinstance(loss, str) or not getattr(loss, "from_logits", True):
        shown = repr(loss) if isinstance(loss, str) else f"{type(loss).__name__}(from_logits=False)"
        raise ValueError(
            f"loss={shown} takes probabilities, but a GFFNet gives logits; compile with "
            "gff_keras.losses.SegmentationCrossEntropy(), or with a Keras loss object with "
            "from_logits=True, ignore_class=255."
        )
    if uses_aux_head and not isinstance(loss, keras.losses.Loss):
        raise ValueError(
            f"loss={loss!r} cannot serve the auxiliary head; compile with a loss "
            "object such as SegmentationCrossEntropy(), or build with aux_head=False."
        )


def _is_positive(value):
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_whole and int(value) > 0


def _is_side(value):
    return value is None or _is_positive(value)


def _listed(choices):
    return ", ".join(repr(choice) for choice in choices)
