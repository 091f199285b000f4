"""docs/architecture_figure.py draws what the network is."""

import functools
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from gff_keras import GFFNet, layers

DOCS = Path(__file__).parents[1] / "docs"
LEVELS = [(1, 4, 12), (2, 8, 16), (3, 8, 20)]  # of the tiny model: level, stride, channels
FUSED = [(1, 4, 8), (2, 8, 8), (3, 8, 8)]


@pytest.fixture(scope="module")
def graph():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        from architecture import graph

        yield graph


def numbers(tensors):
    return [(tensor.level, tensor.stride, tensor.channels) for tensor in tensors]


@pytest.fixture(scope="module")
def draw(graph, tiny_model):
    """Function that draws a tiny network, each once; returns drawing and texts of the figure."""
    from architecture.drawing import Drawing

    @functools.cache
    def drawn(fusion, context, aux_head=True):
        dfp = fusion not in ("fpn", None)
        model = tiny_model(fusion=fusion, context=context, dfp=dfp, aux_head=aux_head)
        drawing = Drawing(model)
        drawing.canvas.close()
        return drawing, [text.get_text() for text in drawing.canvas.axes.texts]

    return drawn


@pytest.fixture
def command(graph, monkeypatch, capsys):
    """Function that runs the command and returns its exit status and what it says on stderr."""

    def run(*flags):
        script = str(DOCS / "architecture_figure.py")
        monkeypatch.setattr(sys, "argv", [script, *map(str, flags)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(script, run_name="__main__")
        return stop.value.code, capsys.readouterr().err

    return run


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
    plain = {"context": None, "fusion": None, "dfp": False, "aux_head": False}
    read = graph.read(GFFNet("resnet18", 3, output_stride=16, **plain))
    assert [stage.dilation for stage in read.stages] == [1, 1, 1, 2]
    assert [stage.feature.stride for stage in read.stages] == [4, 8, 16, 16]
    assert [stage.convolutions for stage in read.stages] == [5, 5, 5, 5]  # stem, shortcuts


@pytest.mark.parametrize(
    "context",
    ["aspp", *(pytest.param(x, marks=pytest.mark.slow) for x in ("ppm", "dense_aspp", None))],
)
def test_every_network_is_drawn(draw, context):
    for fusion in ("gff", "concat", "add", "fpn", "gated_fpn", None):
        drawing, texts = draw(fusion, context)
        assert {"1/4 · 12", "1/8 · 16", "1/8 · 20", "1 · 3"} <= set(texts)
        assert sizes_in_blocks(texts) == sizes_of_weights(drawing)
        assert texts.count("1x1 to 48") == (context == "aspp" and fusion is None)
        tensors = [drawing.graph.image, *(y for p in drawing.graph.parts for y in p.outputs)]
        assert 5 <= len(drawing.chips)  # the features, the scores and more
        assert set(drawing.chips) <= {id(tensor) for tensor in tensors}


def sizes_in_blocks(texts):
    """Kernel sizes shown inside the blocks where levels meet; a gate is a 1x1 convolution."""
    conv = re.compile(r"(\d)x\1(?: to \d+)?")
    boxes = [[conv.fullmatch(line) for line in text.split("\n")] for text in texts]
    found = [int(match[1]) for box in boxes if all(box) for match in box]
    return sorted(found + [1 for text in texts if text.startswith("$G_") and "1/" in text])


def sizes_of_weights(drawing):
    """Kernel sizes of all convolutions of these blocks; those of the DFP are shown as H_i."""
    parts = [part for part in (drawing.fusion, drawing.after) if part]
    parts = [p for p in parts if not isinstance(p.layer, layers.DenseFeaturePyramid)]
    weights = [weight for part in parts for weight in part.layer.trainable_weights]
    return sorted(weight.shape[0] for weight in weights if len(weight.shape) == 4)


def test_flows_are_the_formulas(draw):
    """Who sends to whom, the levels numbered from the finest; the context is the fourth."""
    from architecture import blocks

    def flows(fusion, name):
        part = by_name(draw(fusion, "aspp")[0].graph)[name]
        return {sender: set(to) for sender, to in blocks._flows(part, blocks._rows(part))}

    assert flows("gff", "gff") == {1: {2, 3}, 2: {1, 3}, 3: {1, 2}}
    assert flows("gff", "dfp") == {4: {3, 2, 1}, 3: {2, 1}, 2: {1}}
    for fusion in ("fpn", "gated_fpn"):
        assert flows(fusion, fusion) == {4: {3}, 3: {2}, 2: {1}}
    for fusion in ("add", "concat"):
        assert flows(fusion, fusion) == {3: {1}, 2: {1}}
    assert list(flows(None, "decoder").values()) == [{1}]


@pytest.mark.parametrize("context", ["aspp", "dense_aspp"])
def test_rates_are_the_layers(draw, context):
    drawing, texts = draw(None, context)
    rates = by_name(drawing.graph)["context"].layer.rates
    assert rates == {"aspp": (12, 24, 36), "dense_aspp": (3, 6, 12, 18, 24)}[context]
    assert f"rates {', '.join(map(str, rates))}" in [" ".join(text.split()) for text in texts]


@pytest.mark.parametrize(
    "network, unused, auxiliary",  # the context takes the last feature, the third
    [
        (("gff", "aspp"), "", ""),
        ((None, "ppm"), "1", "2"),
        ((None, "aspp"), "", "2"),
        ((None, "aspp", False), "2", ""),
    ],
)
def test_features_that_nothing_takes_are_named(draw, network, unused, auxiliary):
    drawing, texts = draw(*network)
    assert [tensor.level for tensor in drawing.graph.unused()] == list(map(int, unused))
    for note, levels in (("Not used by this", unused), ("Used by the auxiliary", auxiliary)):
        notes = [text.split(":  ")[1] for text in texts if text.startswith(note)]
        assert notes == [f"$X_{level}$" for level in levels]


@pytest.mark.parametrize("out", ["x.gif", "x", "/proc/x.png"])
def test_a_path_is_refused_before_the_network_is_built(command, tmp_path, monkeypatch, out):
    monkeypatch.setattr("gff_keras.GFFNet", None)  # to call it would be an error of another kind
    status, said = command("--out", tmp_path / out)
    assert status == 2
    assert said.startswith("architecture_figure.py: error: ") and said.count("\n") == 1
    assert ("/proc cannot be written" if out[0] == "/" else "must end in one of .png, ") in said


def test_an_unknown_backbone_is_refused(command, tmp_path):
    status, said = command("--backbone", "resnet19", "--out", tmp_path / "x.png")
    assert status == 2
    assert said.startswith("architecture_figure.py: error: backbone='resnet19' is unknown; choose")
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


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
