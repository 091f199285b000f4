"""Operations and parameters against sums by hand."""

import math

import keras
import pytest

from gff_keras import GFFNet, layers
from gff_keras.evaluation.complexity import Block, block_name, complexity, table
from gff_keras.evaluation.cost_table import cost_table

SIZE = (33, 47)  # stride 2: 17x24, stride 4: 9x12, stride 8: 5x6
STEM = 2 * 17 * 24 * 64 * (7 * 7 * 3)


def blocks_of(model):
    blocks = complexity(model, SIZE)
    trainable = sum(math.prod(v.shape) for v in model.trainable_variables)
    assert sum(block.parameters for block in blocks) == trainable
    return {block.name: block for block in blocks}


def test_gffnet():
    blocks = blocks_of(GFFNet("resnet18", 3, filters=8))
    assert blocks["backbone stem"].operations == STEM
    pixels = 9 * 12 + 3 * 5 * 6  # one level at stride 4, three at stride 8
    refinement = blocks["refinement"]
    assert refinement.operations == 2 * pixels * (3 * 3 * 8 * 8) * 2
    assert (refinement.layers, refinement.parameters) == (8, 8 * (3 * 3 * 8 * 8 + 2 * 8))
    fusion = blocks["gated fully fusion"]
    channels = {64: 9 * 12, 128: 5 * 6, 256: 5 * 6, 512: 5 * 6}  # a gate and a reduction each
    assert fusion.operations == sum(2 * n * c * (1 + 8) for c, n in channels.items())
    assert fusion.layers == 8
    classifier = blocks["classifier"]  # of five maps of 8 channels: joined, or each at its own size
    assert classifier.operations == 2 * 9 * 12 * (5 * 8) * 3
    assert classifier.computed == 2 * (9 * 12 + 4 * 5 * 6) * 8 * 3
    context = blocks["context"]  # the bins, and a 3x3 convolution of 512 + 4 x 128 channels
    bins = 1 + 4 + 9 + 36
    assert context.operations == 2 * (bins * 512 * 128 + 5 * 6 * 9 * 1024 * 128)
    assert 0 < context.computed < context.operations
    for name in ("backbone stem", "backbone stage 4", "refinement", "gated fully fusion"):
        assert blocks[name].computed == blocks[name].operations
    head = blocks["auxiliary head"]
    assert (head.operations, head.layers) == (0, 2)
    assert head.parameters == 9 * 256 * 256 + 2 * 256 + 256 * 3 + 3
    assert "other" not in blocks
    assert list(blocks)[:5] == ["backbone stem", *(f"backbone stage {i}" for i in (1, 2, 3, 4))]


def test_pspnet_has_neither_fusion_nor_pyramid():
    blocks = blocks_of(GFFNet("resnet18", 3, fusion=None, dfp=False, aux_head=False))
    assert blocks["backbone stem"].operations == STEM
    classifier = blocks["classifier"]
    assert (classifier.operations, classifier.parameters) == (2 * 5 * 6 * 128 * 3, 128 * 3 + 3)
    assert not {"gated fully fusion", "refinement", "dense feature pyramid"} & set(blocks)
    assert "auxiliary head" not in blocks


def test_a_backbone_of_depthwise_and_dense_kernels():
    """As in ConvNeXt, with attention: heads h of d channels at n places."""
    images = keras.Input((*SIZE, 3))
    x = keras.layers.DepthwiseConv2D(5, strides=4, padding="same")(images)  # 9x12
    fine = keras.layers.Dense(8)(x)
    x = keras.layers.AveragePooling2D(2, padding="same")(fine)  # 5x6
    places = keras.layers.Reshape((30, 8))(x)
    attended = keras.layers.MultiHeadAttention(num_heads=2, key_dim=3)(places, places)
    x = keras.layers.Reshape((5, 6, 8))(attended)
    backbone = keras.Model(images, [fine, x], name="mine")
    block = blocks_of(GFFNet(backbone, 3, context=None, fusion=None, dfp=False))["backbone"]
    convolutions = 2 * 9 * 12 * (5 * 5 * 3 + 3 * 8)
    projections = 2 * 30 * 4 * 8 * (2 * 3)  # query, key, value and output
    attention = 2 * 2 * (2 * 30 * 30 * 3)  # products with keys, and sums of values
    assert (block.operations, block.layers) == (convolutions, 6)
    assert block.computed == convolutions + projections + attention


def test_names_of_a_backbone_are_no_part_of_others():
    """A backbone called "c" is not everything that begins with c, one called "conv" no other."""
    counts = []
    for name in ("trunk", "c", "conv"):
        images = x = keras.Input((None, None, 3))
        maps = []
        for filters, strides in ((4, 4), (6, 2)):
            x = layers.Conv2D(filters, 3, strides=strides)(x)
            maps.append(x)
        network = GFFNet(keras.Model(images, maps, name=name), 3, filters=4)
        counts.append({block.name: block.computed for block in complexity(network, SIZE)})
    assert counts[0] == counts[1] == counts[2]
    assert counts[0]["backbone"] == 2 * 9 * (9 * 12 * 3 * 4 + 5 * 6 * 4 * 6)
    assert counts[0]["context"] > 0 and counts[0]["classifier"] > 0


def test_table_adds_up():
    blocks = [
        Block("backbone stem", 1, 1234, 2_500_000_000, 2 * 10**9),
        Block("classifier", 2, 66, 10**9, 10**8),
    ]
    lines = table(blocks, SIZE).splitlines()
    assert lines[0].endswith("at 33x47")
    assert lines[1].split() == ["backbone", "stem", "1", "1,234", "2.50", "2.00"]
    assert lines[-1].split() == ["total", "3", "1,300", "3.50", "2.10"]


@pytest.mark.parametrize(
    "path, name",
    [
        ("gffnet_segmenter/gff_3/gate_1/Conv2D", "gated fully fusion"),
        ("gated_fpn/gate_1/kernel", "feature pyramid"),
        ("refine_2_1/conv/Conv2D", "refinement"),
        ("concat/refine_1/kernel", "plain fusion"),
        ("reduce_context/conv/kernel", "reduce context"),
        ("context/pool_1/Conv2D", "context"),
        ("something/else", "other"),
    ],
)
def test_block_names(path, name):
    assert block_name(path) == name


def test_blocks_of_the_backbone():
    stages = ("conv1", ("conv2", "pool2"))
    assert block_name("conv1_conv/kernel", stages) == "backbone stem"
    assert block_name("gffnet_segmenter/densenet121_1/pool2_conv_1/Conv2D", stages) == (
        "backbone stage 1"
    )
    assert block_name("somebodys_conv/kernel", stages) == "backbone"
    assert block_name("conv1_conv/kernel", ()) == "backbone"


def test_table_3_of_one_backbone():
    """GFLOPs at 512x512: those that torch.utils.flop_counter gives for the same networks."""
    rows = [line.split(" | ") for line in cost_table(["resnet18"]).splitlines()]
    found = [(row[1], row[2], row[3]) for row in rows[2:]]
    assert [row[0] for row in found] == ["PSPNet", "PSPNet + GFF", "PSPNet + GFF + DFP"]
    assert found[0][1:] == ("12.6", "105.9")  # benchmarks/operations_torch.py: 105.949
    assert found[2][1:] == ("18.6", "192.6")  # and 192.635
