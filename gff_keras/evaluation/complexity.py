"""Layers, parameters and operations of a network, by block.

Operations are read off the TensorFlow graph of one forward pass at a given size: a multiplication
and an addition count as two. Convolutions and matrix products count; what works element by element
(normalisation, activation, resizing) does not, as is usual. Counted is what is computed: by exact
algebra (see `MultiLevelConv` and `PyramidPooling`) less than the formulas in the paper read
literally.
"""

import dataclasses
import math
import re

import keras
import tensorflow as tf

from gff_keras.layers import BatchNormalization


@dataclasses.dataclass
class Block:
    """One part of the network: weighted layers, trainable parameters, floating-point operations."""

    name: str
    layers: int = 0
    parameters: int = 0
    operations: int = 0


def complexity(model, size):
    """Count layers, trainable parameters and operations per block.

    Args:
        model: `GFFNet`; the auxiliary head's operations are zero, since only training runs it.
        size: (height, width) of one image.

    Returns:
        List of `Block` in the order of the forward pass.

    Raises:
        ValueError: Keras runs on another backend.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Operations are counted on TensorFlow's graph, but KERAS_BACKEND is "
            f"{keras.backend.backend()!r}; set KERAS_BACKEND=tensorflow."
        )
    blocks: dict[str, Block] = {}

    def block_of(path):
        return blocks.setdefault(name := block_name(path), Block(name))

    for layer in model._flatten_layers(include_self=False):
        if variables := layer._trainable_variables:
            block = block_of(variables[0].path)
            block.layers += not isinstance(layer, BatchNormalization)
            block.parameters += sum(math.prod(v.shape) for v in variables)
    segmenter = model.segmenter()
    forward = tf.function(lambda images: segmenter(images, training=False))
    graph = forward.get_concrete_function(tf.TensorSpec((1, *size, 3), "float32")).graph
    for op in graph.get_operations():
        if operations := _operations(op):
            block_of(op.name).operations += operations
    order = [name.removesuffix("{}") for _, name in _BLOCKS] + ["other"]
    return sorted(blocks.values(), key=lambda b: (order.index(b.name.rstrip("0123456789")), b.name))


def table(blocks, size):
    """Format the result of `complexity` as lines of text."""
    total = Block("total")
    for block in blocks:
        total.layers += block.layers
        total.parameters += block.parameters
        total.operations += block.operations
    lines = [f"{'block':<22}{'layers':>8}{'parameters':>14}{'GFLOPs':>10}   at {size[0]}x{size[1]}"]
    for block in [*blocks, total]:
        giga = block.operations / 1e9
        lines.append(f"{block.name:<22}{block.layers:>8}{block.parameters:>14,}{giga:>10.2f}")
    return "\n".join(lines)


_BLOCKS = (  # the first pattern found in the name of a weight or an operation decides
    (r"\bconv1_(conv|bn)", "backbone stem"),
    (r"v2_stack_(\d)", "backbone stage {}"),
    (r"\bcontext", "pyramid pooling"),
    (r"\bgff(_\d+)?/", "gated fully fusion"),
    (r"\brefine_", "refinement"),
    (r"\breduce_context", "reduce context"),
    (r"\bdfp", "dense feature pyramid"),
    (r"\bclassifier", "classifier"),
    (r"\baux_", "auxiliary head"),
)


def block_name(path):
    """Return the block to which a weight or an operation of this name belongs."""
    for pattern, name in _BLOCKS:
        if match := re.search(pattern, path):
            return name.format(*(int(group) + 1 for group in match.groups() if name.endswith("{}")))
    return "other"


def _operations(op):
    if op.type == "Conv2D":
        kernel_height, kernel_width, channels, _ = op.inputs[1].shape
        return 2 * math.prod(op.outputs[0].shape) * kernel_height * kernel_width * channels
    if op.type == "BatchMatMulV2":
        return 2 * math.prod(op.outputs[0].shape) * op.inputs[0].shape[-1]
    return 0
