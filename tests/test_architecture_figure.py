"""docs/architecture_figure.py draws what the network is."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from gff_keras import GFFNet

DOCS = Path(__file__).parents[1] / "docs"
LEVELS = [(1, 4, 12), (2, 8, 16), (3, 8, 20)]  # of the tiny model: level, stride, channels
FUSED = [(1, 4, 8), (2, 8, 8), (3, 8, 8)]


@pytest.fixture
def graph(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    from architecture import graph

    return graph


def numbers(tensors):
    return [(tensor.level, tensor.stride, tensor.channels) for tensor in tensors]


def by_name(graph):
    return {part.layer.name: part for part in graph.parts}


def test_strides_and_channels_are_the_models(graph, tiny_model):
    read = graph.read(tiny_model())
    parts = by_name(read)
    assert numbers(stage.feature for stage in read.stages) == LEVELS
    assert [stage.convolutions for stage in read.stages] == [2, 1, 1]
    assert numbers(parts["context"].outputs) == [(4, 8, 5)]
    assert numbers(parts["gff"].inputs) == LEVELS
    assert numbers(parts["gff"].outputs) == FUSED
    assert graph.gate_channels(parts["gff"]) == [1, 1, 1]
    refined = [parts[f"refine_{level}_1"] for level in (1, 2, 3)]  # of two convolutions each
    assert [len(part.layers) for part in refined] == [2, 2, 2]
    assert parts["dfp"].inputs == [*(p.outputs[0] for p in refined), parts["classifier"].inputs[0]]
    assert numbers(parts["dfp"].outputs) == FUSED
    assert parts["classifier"].inputs[1:] == parts["dfp"].outputs[::-1]
    assert numbers(parts["classifier"].outputs) == [(1, 4, 3)]
    assert numbers(parts["logits"].outputs) == [(0, 1, 3)]
    assert parts["aux_conv"].inputs == [read.stages[1].feature]


def test_the_context_map_is_a_level_of_fpn(graph, tiny_model):
    parts = by_name(graph.read(tiny_model(fusion="fpn", dfp=False, context=None)))
    assert numbers(parts["fpn"].inputs) == [*LEVELS, LEVELS[-1]]
    assert numbers(parts["fpn"].outputs) == [*FUSED, (4, 8, 8)]
    assert numbers(parts["semantic"].outputs) == [(1, 4, 128)]


def test_dilations(graph):
    read = graph.read(GFFNet("resnet18", 3, output_stride=16, aux_head=False))
    assert [stage.dilation for stage in read.stages] == [1, 1, 1, 2]
    assert [stage.feature.stride for stage in read.stages] == [4, 8, 16, 16]
    assert [stage.convolutions for stage in read.stages] == [5, 5, 5, 5]  # stem, shortcuts


@pytest.mark.parametrize(
    "context",
    ["ppm", *(pytest.param(x, marks=pytest.mark.slow) for x in ("aspp", "dense_aspp", None))],
)
def test_every_network_is_drawn(graph, tiny_model, context):
    from architecture_figure import Drawing

    backbone = tiny_model().backbone
    for fusion in ("gff", "concat", "add", "fpn", "gated_fpn", None):
        model = GFFNet(backbone, 3, context=context, fusion=fusion, dfp=bool(fusion), filters=8)
        drawing = Drawing(model)
        texts = {text.get_text() for text in drawing.canvas.axes.texts}
        assert {"1/4 · 12", "1/8 · 16", "1/8 · 20", "1 · 3"} <= texts
        tensors = [drawing.graph.image, *(y for p in drawing.graph.parts for y in p.outputs)]
        assert 5 <= len(drawing.chips)  # the features, the scores and more
        assert set(drawing.chips) <= {id(tensor) for tensor in tensors}
        drawing.canvas.close()


def test_flows_are_the_formulas(graph, tiny_model):
    """Who sends to whom, the levels numbered from the finest; the context is the fourth."""
    from architecture import blocks

    def flows(name, **arguments):
        part = by_name(graph.read(tiny_model(aux_head=False, **arguments)))[name]
        return {sender: set(to) for sender, to in blocks._flows(part, blocks._rows(part))}

    assert flows("gff") == {1: {2, 3}, 2: {1, 3}, 3: {1, 2}}
    assert flows("dfp") == {4: {3, 2, 1}, 3: {2, 1}, 2: {1}}
    for fusion in ("fpn", "gated_fpn"):
        assert flows(fusion, fusion=fusion) == {4: {3}, 3: {2}, 2: {1}}
    for fusion in ("add", "concat"):
        assert flows(fusion, fusion=fusion) == {3: {1}, 2: {1}}
    plain = flows("decoder", fusion=None, dfp=False, context="aspp")
    assert list(plain.values()) == [{1}]


@pytest.mark.slow
def test_command(tmp_path):
    out = tmp_path / "architecture.png"
    command = [sys.executable, DOCS / "architecture_figure.py", "--backbone", "resnet18"]
    command += ["--fusion", "gff", "--out", out]
    environment = {"PYTHONPATH": str(DOCS.parent), "PATH": ""}
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=300)
    with Image.open(out) as picture:
        assert picture.width > 1000 and picture.height > 500
        assert len(picture.convert("RGB").getcolors(2**20)) > 20
