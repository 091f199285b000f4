"""The published network is written out here in plain TensorFlow, on its PyTorch state dict."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from gff_keras.backbones import build, wider_resnet
from tests.backbones.weights import randomize, relative_error

WORDS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@pytest.fixture
def narrow(monkeypatch):
    """Function that builds the network with an eighth of its channels."""
    modules = {
        name: (blocks, tuple(n // 8 for n in filters), *rest)
        for name, (blocks, filters, *rest) in wider_resnet._MODULES.items()
    }
    monkeypatch.setattr(wider_resnet, "_MODULES", modules)

    def make(output_stride, dtype=None):
        backbone = build("wider_resnet38", output_stride, dtype=dtype)
        randomize(backbone, np.random.default_rng(1))
        return backbone

    return make


def state_dict(backbone):
    """Weights in PyTorch's names and layout."""
    state = {}
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Conv2D):
            state[f"{layer.name}.weight"] = layer.kernel.numpy().transpose(3, 2, 0, 1)
        elif isinstance(layer, keras.layers.BatchNormalization):
            for weight in layer.weights:
                state[f"{layer.name}.{WORDS[weight.name]}"] = weight.numpy()
    return state


def source_features(state, x, plan):
    """Features of mod3, mod4, mod5, mod7; `plan`: blocks, stride, dilation of mod4 .. mod7."""

    def conv(x, name, stride=1, dilation=1):
        kernel = state[f"{name}.weight"].transpose(2, 3, 1, 0)
        pad = dilation * (kernel.shape[0] // 2)
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        return tf.nn.convolution(x, kernel, stride, "VALID", dilations=dilation)

    def bn_relu(x, name):
        scale = state[f"{name}.weight"] / np.sqrt(state[f"{name}.running_var"] + 1e-5)
        shift = state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale
        return tf.nn.relu(x * scale + shift)

    def pool(x):
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-np.inf)
        return tf.nn.max_pool2d(x, 3, 2, "VALID")

    def module(x, name, blocks, stride=1, dilation=1):
        for n in range(1, blocks + 1):
            block, s = f"{name}.block{n}", stride if n == 1 else 1
            y = bn_relu(x, f"{block}.bn1")
            if f"{block}.proj_conv.weight" in state:
                x = conv(y, f"{block}.proj_conv", s)
            if f"{block}.convs.conv3.weight" in state:
                y = bn_relu(conv(y, f"{block}.convs.conv1", s), f"{block}.convs.bn2")
                y = conv(y, f"{block}.convs.conv2", 1, dilation)
                y = conv(bn_relu(y, f"{block}.convs.bn3"), f"{block}.convs.conv3")
            else:
                y = conv(y, f"{block}.convs.conv1", s, dilation)
                y = conv(bn_relu(y, f"{block}.convs.bn2"), f"{block}.convs.conv2", 1, dilation)
            x = x + y
        return x

    x = module(pool(conv(x, "mod1.conv1")), "mod2", 3)
    features = [x := module(pool(x), "mod3", 3)]
    for name, blocks, stride, dilation in plan:
        features.append(x := module(x, name, blocks, stride, dilation))
    return [*features[:3], bn_relu(features[4], "bn_out")]


PLANS = {  # mod_id 2..5 of the published code, with and without its dilation
    32: (("mod4", 6, 2, 1), ("mod5", 3, 2, 1), ("mod6", 1, 2, 1), ("mod7", 1, 1, 1)),
    16: (("mod4", 6, 2, 1), ("mod5", 3, 2, 1), ("mod6", 1, 1, 2), ("mod7", 1, 1, 2)),
    8: (("mod4", 6, 2, 1), ("mod5", 3, 1, 2), ("mod6", 1, 1, 4), ("mod7", 1, 1, 4)),
}


@pytest.mark.parametrize("output_stride", PLANS)
def test_activations_equal_those_of_the_source(rng, narrow, output_stride):
    backbone = narrow(output_stride)
    x = rng.normal(size=(2, 65, 46, 3)).astype("float32")
    expected = source_features(state_dict(backbone), x, PLANS[output_stride])
    assert expected[0].shape[1:3] == (17, 12)
    assert expected[3].shape[1] == -(-65 // output_stride)
    for ours, theirs in zip(backbone(x), expected, strict=True):
        assert relative_error(ours, theirs) < 1e-5


def test_layers_and_parameters(monkeypatch):
    """At full width; zeros instead of random kernels take no time."""
    monkeypatch.setattr(keras.initializers, "VarianceScaling", lambda *_: "zeros")
    backbone = build("wider_resnet38")
    assert [x.shape[-1] for x in backbone.outputs] == [256, 512, 1024, 4096]
    shapes = {name: array.shape for name, array in state_dict(backbone).items()}
    assert shapes["mod1.conv1.weight"] == (64, 3, 3, 3)
    assert shapes["mod2.block1.bn1.running_var"] == (64,)
    assert shapes["mod4.block1.proj_conv.weight"] == (512, 256, 1, 1)
    assert shapes["mod5.block3.convs.conv2.weight"] == (1024, 512, 3, 3)
    assert shapes["mod6.block1.convs.conv1.weight"] == (512, 1024, 1, 1)
    assert shapes["mod7.block1.convs.conv2.weight"] == (2048, 1024, 3, 3)
    assert shapes["bn_out.bias"] == (4096,)
    assert sum(".proj_conv." in name for name in shapes) == 6
    trainable = sum(np.prod(w.shape) for w in backbone.trainable_weights)
    assert trainable == sum(np.prod(s) for n, s in shapes.items() if "running" not in n)
    assert trainable == 105_070_912


def test_a_saved_network_computes_the_same(rng, narrow, tmp_path):
    backbone = narrow(8, "mixed_bfloat16")
    backbone.save(tmp_path / "backbone.keras")
    loaded = keras.saving.load_model(tmp_path / "backbone.keras")
    x = rng.normal(size=(1, 33, 40, 3)).astype("float32")
    for ours, theirs in zip(loaded(x), backbone(x), strict=True):
        assert ours.dtype == "bfloat16"
        np.testing.assert_array_equal(np.array(ours, "float32"), np.array(theirs, "float32"))


def test_dropout_drops_whole_channels(rng, narrow):
    backbone = narrow(32)
    x = rng.uniform(1, 2, (2, 5, 7, 64)).astype("float32")
    for name, rate in (("mod6", 0.3), ("mod7", 0.5)):
        layer = backbone.get_layer(f"{name}.block1.convs.dropout")
        assert layer.rate == rate
        kept = np.array(layer(x, training=True)) != 0
        assert (kept == kept[:, :1, :1]).all() and 0 < kept.mean() < 1
    assert len([x for x in backbone.layers if isinstance(x, keras.layers.Dropout)]) == 2
