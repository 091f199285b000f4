import keras
import numpy as np
import pytest

from gff_keras.backbones import build, densenet
from tests.backbones.weights import randomize, relative_error

ENDS = ["conv2_block6_concat", "conv3_block12_concat", "conv4_block24_concat", "relu"]


@pytest.fixture(scope="module")
def strided():
    backbone = build("densenet121", 32)
    randomize(backbone, np.random.default_rng(1))
    return backbone


@pytest.fixture
def shallow(monkeypatch):
    """Function that builds the network with two layers in a block."""
    monkeypatch.setattr(densenet, "_LAYERS", (2, 2, 2, 2))

    def make(output_stride):
        backbone = build("densenet121", output_stride)
        randomize(backbone, np.random.default_rng(1))
        return backbone

    return make


@pytest.mark.parametrize(
    "output_stride, sizes",
    [
        (32, [(25, 33), (13, 17), (7, 9), (4, 5)]),
        (16, [(25, 33), (13, 17), (7, 9), (7, 9)]),
        (8, [(25, 33), (13, 17), (13, 17), (13, 17)]),
    ],
)
def test_sizes_are_rounded_up(shallow, output_stride, sizes):
    shapes = shallow(output_stride).compute_output_shape((1, 97, 131, 3))
    assert [shape[1:3] for shape in shapes] == sizes


def test_layers_and_activations_are_those_of_keras_applications(rng, strided):
    assert [x.shape[-1] for x in strided.outputs] == [256, 512, 1024, 1024]
    source = keras.applications.DenseNet121(include_top=False, weights=None)
    ours = {layer.name: layer for layer in strided.layers if layer.weights}
    theirs = {layer.name: layer for layer in source.layers if layer.weights}
    assert ours.keys() == theirs.keys()
    for name, layer in theirs.items():
        layer.set_weights(ours[name].get_weights())
    source = keras.Model(source.input, [source.get_layer(end).output for end in ENDS])
    # Sizes that no pooling has to round, which it does down there and up here.
    x = rng.normal(size=(2, 64, 96, 3)).astype("float32")
    for a, b in zip(strided(x), source(x), strict=True):
        assert relative_error(a, b) < 1e-5


@pytest.mark.parametrize("level, step", [(4, 2), (5, 4)])
def test_a_dilated_block_is_the_strided_one_on_every_grid(rng, shallow, level, step):
    """Behind a transition without its pooling."""

    def block(backbone):
        pool = backbone.get_layer(f"pool{level - 1}_pool")
        return keras.Model(pool.output, backbone.outputs[level - 2])

    strided, dilated = shallow(32), shallow(8)
    dilated.set_weights(strided.get_weights())
    coarse, fine = block(strided), block(dilated)
    x = rng.normal(size=(1, 9, 11, fine.input.shape[-1])).astype("float32")
    found = np.array(fine(x))
    for top, left in ((0, 0), (1, 0), (step - 1, step - 1)):
        grid = (slice(None), slice(top, None, step), slice(left, None, step))
        assert relative_error(found[grid], coarse(x[grid])) < 1e-5


def test_transitions_average_what_there_is(rng, shallow):
    dilated = shallow(8)
    x = rng.normal(size=(2, 5, 8, 48)).astype("float32")
    padded = np.pad(x, [(0, 0), (0, 1), (0, 0), (0, 0)], constant_values=np.nan)
    expected = np.nanmean(padded.reshape(2, 3, 2, 4, 2, 48), axis=(2, 4))
    np.testing.assert_allclose(dilated.get_layer("pool2_pool")(x), expected, atol=1e-6)
    np.testing.assert_array_equal(dilated.get_layer("pool3_pool")(x), x)
