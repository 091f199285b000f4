"""What a GFFNet refuses, in sentences that name value and remedy."""

import numbers

import keras

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
    if not isinstance(input_shape, (list, tuple)) or len(input_shape) != 3 or input_shape[-1] != 3:
        raise ValueError(f"input_shape={input_shape} is not (height, width, 3).")


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
        if not isinstance(gate, numbers.Integral) or not 1 <= int(gate) <= levels:
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
