"""What a GFFNet refuses, in sentences that name value and remedy."""

import math
import numbers

import keras
import numpy as np

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
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(f"{name}={value!r} must be a positive whole number.")
    if not _is_shape(input_shape):
        raise ValueError(
            f"input_shape={input_shape!r} is not (height, width, 3), sides positive whole numbers "
            "or None."
        )


def check_switches(**switches):
    """Raise ValueError unless all are True or False."""
    for name, value in switches.items():
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{name}={value!r} must be True or False.")


def check_rates(dropout, aux_loss_weight):
    """Raise ValueError unless the numbers are in their range."""
    if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout!r} must be at least 0 and less than 1.")
    if not isinstance(aux_loss_weight, (int, float)) or not 0 <= aux_loss_weight < math.inf:
        raise ValueError(f"aux_loss_weight={aux_loss_weight!r} must be finite and at least 0.")


def joint_shape(input_shape, backbone):
    """Return the images' shape for a backbone given as a model: its own sides where it has some.

    Raises:
        ValueError: another one is asked for, or the backbone does not take RGB.
    """
    own = tuple(backbone.inputs[0].shape[1:])
    if len(own) != 3 or own[-1] not in (None, 3):
        raise ValueError(f"backbone {backbone.name!r} takes {own}, not RGB (height, width, 3).")
    for side, fixed in zip(input_shape[:2], own[:2], strict=True):
        if None not in (side, fixed) and side != fixed:
            raise ValueError(
                f"input_shape={tuple(input_shape)}: backbone {backbone.name!r} takes {own}; leave "
                "input_shape out, or build the backbone for other sizes."
            )
    return (*(side or fixed for side, fixed in zip(input_shape[:2], own[:2], strict=True)), 3)


def _is_shape(shape):
    """Whether it is (height, width, 3), sides None or positive whole numbers."""
    if not isinstance(shape, (list, tuple)) or len(shape) != 3 or shape[-1] != 3:
        return False
    return all(x is None or (isinstance(x, numbers.Integral) and int(x) > 0) for x in shape[:2])


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


def _listed(choices):
    return ", ".join(repr(choice) for choice in choices)


def check_gated(fusion):
    """Raise ValueError unless the network has gates."""
    if fusion != "gff":
        raise ValueError(
            f"fusion={fusion!r} has no gates of Eq. 5; build GFFNet with fusion='gff'."
        )


def checked_gates(zero, fusion, levels):
    """Return the numbers of gates, from 1 for the finest level, as a sorted tuple without doubles.

    Raises:
        ValueError: one is no gate of a network of so many levels, or it has none at all.
    """
    gates = list(zero) if isinstance(zero, (list, tuple, set, frozenset, range)) else [zero]
    if gates:
        check_gated(fusion)
    for gate in gates:
        if (
            isinstance(gate, bool)
            or not isinstance(gate, numbers.Integral)
            or not 1 <= int(gate) <= levels
        ):
            raise ValueError(
                f"zero={zero!r}: {gate!r} is no gate; list numbers in 1..{levels}, 1 for G1, the "
                "gate of the finest level."
            )
    return tuple(sorted({int(gate) for gate in gates}))


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
