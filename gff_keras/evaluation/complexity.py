"""Layers, parameters and operations of a network, by block.

A multiplication and an addition count as two operations. What works element by element
(normalisation, activation, gating, resizing, pooling) does not count, as is usual. There are two
counts:

- as the paper's formulas are written: each convolution kernel (k, k, C, F) costs 2 k k C F for
  every pixel of the map that its layer puts out, and so does a dense kernel (C, F) at every
  position, which backbones of other origin may have;
- as they are computed, read off the TensorFlow graph. By exact algebra (see `MultiLevelConv` and
  `PyramidPooling`) these are fewer.
"""

import contextlib
import dataclasses
import math
import re

import keras
import tensorflow as tf

from gff_keras import backbones
from gff_keras.layers import BatchNormalization


@dataclasses.dataclass
class Block:
    """One part of the network.

    Attributes:
        name: of the part.
        layers: layers with weights, without normalisation.
        parameters: trainable numbers.
        operations: of a forward pass, by the formulas.
        computed: of the same pass, as it is computed.
    """

    name: str
    layers: int = 0
    parameters: int = 0
    operations: int = 0
    computed: int = 0

    def __add__(self, other):
        """The sum of all numbers, under this name."""
        sums = (
            getattr(self, field.name) + getattr(other, field.name)
            for field in dataclasses.fields(self)[1:]
        )
        return Block(self.name, *sums)


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
    backbone = set(model.backbone._flatten_layers())
    stages = backbones.stages(model.backbone) or ()

    def block_of(path, inside):
        name = block_name(path, stages if inside else None)
        return blocks.setdefault(name, Block(name))

    layers = [x for x in model._flatten_layers(include_self=False) if x._trainable_variables]
    for layer in layers:
        variables = layer._trainable_variables
        block = block_of(variables[0].path, layer in backbone)
        block.layers += not isinstance(layer, BatchNormalization)
        block.parameters += sum(math.prod(v.shape) for v in variables)
    segmenter = model.segmenter()
    with _positions_put_out(layers) as positions:
        forward = tf.function(lambda images: segmenter(images, training=False))
        graph = forward.get_concrete_function(tf.TensorSpec((1, *size, 3), "float32")).graph
    for layer in layers:
        for kernel in (v for v in layer._trainable_variables if _is_kernel(v)):
            block = block_of(kernel.path, layer in backbone)
            block.operations += 2 * math.prod(kernel.shape) * positions.get(id(layer), 0)
    in_backbone = re.compile(rf"[^/]+/{re.escape(model.backbone.name)}(_\d+)?/")  # below the whole
    for op in graph.get_operations():
        if operations := _operations(op):
            block_of(op.name, in_backbone.match(op.name)).computed += operations
    order = ["backbone stem", *(f"backbone stage {i}" for i in range(1, 5)), "backbone"]
    order += [*(name for _, name in _BLOCKS), "other"]
    return sorted(blocks.values(), key=lambda block: order.index(block.name))


@contextlib.contextmanager
def _positions_put_out(layers):
    """Context in which calls are recorded: {id of the layer: pixels of all maps it put out}."""
    positions: dict[int, int] = {}

    def recording(layer, call):
        def wrapped(*arguments, **options):
            y = call(*arguments, **options)
            if not isinstance(y, (list, tuple)):
                positions[id(layer)] = positions.get(id(layer), 0) + math.prod(y.shape[1:-1])
            return y

        return wrapped

    for layer in layers:
        object.__setattr__(layer, "call", recording(layer, layer.call))
    try:
        yield positions
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")


def table(blocks, size):
    """Format the result of `complexity` as lines of text."""
    total = sum(blocks, Block("total"))
    heads = f"{'layers':>8}{'parameters':>14}{'GFLOPs':>10}{'computed':>10}"
    lines = [f"{'block':<22}{heads}   at {size[0]}x{size[1]}"]
    for block in [*blocks, total]:
        giga, computed = block.operations / 1e9, block.computed / 1e9
        numbers = f"{block.layers:>8}{block.parameters:>14,}{giga:>10.2f}{computed:>10.2f}"
        lines.append(f"{block.name:<22}{numbers}")
    return "\n".join(lines)


_BLOCKS = (  # the first pattern found in the name of a weight or an operation decides
    (r"\bcontext", "context"),
    (r"\bgff(_\d+)?/", "gated fully fusion"),
    (r"\b(concat|add)(_\d+)?/", "plain fusion"),
    (r"\b(gated_)?fpn(_\d+)?/", "feature pyramid"),
    (r"\bsemantic(_\d+)?/", "semantic branch"),
    (r"\bdecoder(_\d+)?/", "decoder"),
    (r"\brefine_", "refinement"),
    (r"\breduce_context", "reduce context"),
    (r"\bdfp", "dense feature pyramid"),
    (r"\bclassifier", "classifier"),
    (r"\baux_", "auxiliary head"),
)


def block_name(path, stages=None):
    """Return the block to which a weight or an operation of this name belongs.

    Args:
        path: the name.
        stages: `backbones.stages` if it lies in the backbone, () if they are not known.
    """
    if stages is None:
        return next((name for pattern, name in _BLOCKS if re.search(pattern, path)), "other")
    for i, prefixes in enumerate(stages):
        if any(part.startswith(prefixes) for part in path.split("/")):
            return f"backbone stage {i}" if i else "backbone stem"
    return "backbone"


def _is_kernel(variable):
    """Whether it is one that the formulas tell the operations of."""
    return "kernel" in variable.name and len(variable.shape) in (2, 4)


def _operations(op):
    """Operations of one of TensorFlow's: 2 for every number put out and every term of its sum."""
    if op.type in ("Conv2D", "DepthwiseConv2dNative"):
        terms = math.prod(op.inputs[1].shape[: 3 if op.type == "Conv2D" else 2])
    elif op.type in ("MatMul", "BatchMatMulV2"):
        transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
        terms = op.inputs[0].shape[-2 if transposed else -1]
    elif op.type == "Einsum":
        inputs, output = op.get_attr("equation").decode().split("->")
        lengths = dict(
            pair
            for labels, x in zip(inputs.split(","), op.inputs, strict=True)
            for pair in zip(labels, x.shape, strict=True)
        )
        terms = math.prod(length for label, length in lengths.items() if label not in output)
    else:
        return 0
    return 2 * math.prod(op.outputs[0].shape) * terms
