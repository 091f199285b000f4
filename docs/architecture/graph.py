"""What the figure of the architecture draws, read from a built GFFNet: its parts and their tensors.

A part is a layer of the model's functional graph, or several in a row where that says more: the
backbone falls into its levels, two 3x3 convolutions after one another are one part, dropout is
none. Levels count from 1, the finest; one more than the backbone has stands for the context map.
"""

import dataclasses
import math
from dataclasses import dataclass, field

import keras

from gff_keras import layers

CONTEXTS = (layers.PyramidPooling, layers.ASPP, layers.DenseASPP)
PROBE = 512  # pixels; strides are what is left of them


@dataclass(eq=False)
class Tensor:
    """A tensor between parts: level, stride on the image (1/stride of its size), channels."""

    level: int
    stride: int
    channels: int


@dataclass(eq=False)
class Part:
    """Layers of one kind in a row, the tensors that go in and those that come out."""

    layers: list
    inputs: list[Tensor]
    outputs: list[Tensor]

    @property
    def layer(self):
        return self.layers[0]


@dataclass
class Stage:
    """What the backbone computes between the level before (or the image) and this one."""

    feature: Tensor
    convolutions: int = 0
    dilation: int = 1


@dataclass
class Graph:
    """Parts in the order of the forward pass, and the backbone's stages, finest first."""

    image: Tensor
    stages: list[Stage]
    parts: list[Part] = field(default_factory=list)

    def of(self, *kinds):
        """The parts whose layer is of one of these classes."""
        return [part for part in self.parts if isinstance(part.layer, kinds)]

    def users(self, tensor):
        """The parts that take a tensor."""
        return [part for part in self.parts if tensor in part.inputs]

    def unused(self):
        """The backbone's features that no part takes."""
        features = [stage.feature for stage in self.stages]
        return [feature for feature in features if not self.users(feature)]


def read(model):
    """Return the `Graph` of a `GFFNet`."""
    nodes = _nodes(model)
    symbolic = [y for _, _, ys in nodes for y in ys]
    shapes = dict(zip(map(id, symbolic), _shapes(model, symbolic), strict=True))
    (_, _, (images,)), *nodes = nodes
    levels = len(model.backbone.output)
    tensors = {id(images): Tensor(0, 1, shapes[id(images)][-1])}
    graph = Graph(tensors[id(images)], [])
    for layer, x, y in nodes:
        inputs = [tensors[id(x_i)] for x_i in x]
        if isinstance(layer, keras.layers.Dropout):
            tensors[id(y[0])] = inputs[0]
            continue
        outputs = [
            Tensor(level, _stride(model, shapes[id(y_i)]), shapes[id(y_i)][-1])
            for level, y_i in zip(_levels(layer, inputs, len(y), levels), y, strict=True)
        ]
        tensors |= {id(y_i): tensor for y_i, tensor in zip(y, outputs, strict=True)}
        if layer is model.backbone:
            graph.stages = _stages(layer, outputs)
        graph.parts.append(Part([layer], inputs, outputs))
    _join_rows(graph)
    return graph


def gate_channels(part):
    """Channels of every gate map of a part that has gates, finest level first; else none."""
    return [conv.kernel.shape[-1] for conv in getattr(part.layer, "gate_convs", ())]


def convs_before(part):
    """Convolutions on every level before levels meet in a part, finest first: lists of layers."""
    layer = part.layer
    if isinstance(layer, layers.SemanticBranch):
        return layer.stages
    if isinstance(layer, layers.DeepLabDecoder):
        return [[layer.reduce]]
    found = getattr(layer, "reductions", None) or getattr(layer, "laterals", ())
    return [[conv] for conv in found]


def convs_after(part):
    """Convolutions on every level after levels have met, finest first: lists of layers."""
    layer = part.layer
    if isinstance(layer, (layers.ConcatFusion, layers.AdditionFusion)):
        return [[layer.refine_1, layer.refine_2]]
    if isinstance(layer, layers.DeepLabDecoder):
        return [[layer.conv_1, layer.conv_2]]
    return [[conv] for conv in getattr(layer, "smooths", ())]


def _nodes(model):
    """Every call of a layer that the outputs need, in order: (layer, inputs, outputs)."""
    nodes, seen = [], set()

    def visit(tensor):
        history = tensor._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) in seen:
            return
        seen.add(id(node))
        for x in node.input_tensors:
            visit(x)
        nodes.append((node.operation, list(node.input_tensors), list(node.outputs)))

    for output in model.output.values():
        visit(output)
    return nodes


def _shapes(model, tensors):
    size = [n or PROBE for n in model.input_shape[1:3]]
    return keras.Model(model.input, tensors).compute_output_shape((1, *size, 3))


def _stride(model, shape):
    return 2 ** round(math.log2((model.input_shape[1] or PROBE) / shape[1]))


def _levels(layer, inputs, count, levels):
    """Levels of a layer's `count` outputs: those of its finest inputs."""
    if inputs[0].level == 0:  # still the image, or the backbone's features
        return range(1, count + 1) if count > 1 else [0]
    if isinstance(layer, CONTEXTS) or layer.name == "reduce_context":
        return [levels + 1]
    found = sorted(tensor.level for tensor in inputs)
    for i in range(1, len(found)):  # X_L may stand for the context map, too
        found[i] = max(found[i], found[i - 1] + 1)
    return [0] if isinstance(layer, layers.ResampleLike) else found[:count]


def _stages(backbone, features):
    """Convolutions and dilations between the levels, from the backbone's own graph."""
    stages, seen = [Stage(feature) for feature in features], set()

    def visit(tensor, stage):
        history = tensor._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) in seen:
            return
        seen.add(id(node))
        for layer in node.operation._flatten_layers():
            if any(len(weight.shape) == 4 for weight in layer._trainable_variables):
                stage.convolutions += 1
                rate = getattr(layer, "dilation_rate", 1)
                rate = rate if isinstance(rate, int) else max(rate)
                stage.dilation = max(stage.dilation, rate)
        for x in node.input_tensors:
            visit(x, stage)

    for tensor, stage in zip(backbone.output, stages, strict=True):
        visit(tensor, stage)
    return stages


def _join_rows(graph):
    """Make one part of convolutions of a kind of which each only feeds the next."""
    made = {id(y): part for part in graph.parts for y in part.outputs}
    for part in list(graph.parts):
        before = made.get(id(part.inputs[0]))
        if (
            isinstance(part.layer, layers.ConvBNReLU)
            and before
            and isinstance(before.layer, layers.ConvBNReLU)
            and graph.users(part.inputs[0]) == [part]
        ):
            joined = dataclasses.replace(
                before, layers=before.layers + part.layers, outputs=part.outputs
            )
            graph.parts[graph.parts.index(before)] = joined
            graph.parts.remove(part)
            made |= {id(y): joined for y in joined.outputs}
