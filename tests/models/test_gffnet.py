import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import gff_keras as gff
from gff_keras.backbones import strides_of

PARAMETERS = {  # of PSPNet, with the fusion, and with the dense feature pyramid, too
    "resnet101": (65_583_699, 71_441_495, 72_361_047),
    "resnet18": (12_622_035, 17_648_663, 18_568_215),
}


def small(**kwargs):
    return gff.GFFNet(**{"backbone": "resnet18", "num_classes": 5, "filters": 16, **kwargs})


def slowly(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def images(rng, *shape):
    return rng.integers(0, 256, (*shape, 3)).astype("uint8")


@pytest.fixture(scope="module")
def model():
    model = small()
    rng = np.random.default_rng(1)
    for weight in model.weights:  # no batch normalisation is the identity
        if "gamma" in weight.path or "variance" in weight.path:
            weight.assign(rng.uniform(0.7, 1.3, weight.shape))
        if "bias" in weight.path or "beta" in weight.path:
            weight.assign(rng.normal(0, 0.1, weight.shape))
    return model


@pytest.mark.parametrize(
    "backbone", [pytest.param("resnet101", marks=pytest.mark.slow), "resnet18"]
)
def test_trainable_parameters(backbone):
    counts = []
    features = backbone  # made once
    for fusion, dfp in ((None, False), ("gff", False), ("gff", True)):
        model = gff.GFFNet(features, 19, fusion=fusion, dfp=dfp, aux_head=False)
        features = model.backbone
        counts.append(sum(int(np.prod(v.shape)) for v in model.trainable_variables))
    assert tuple(counts) == PARAMETERS[backbone]


@pytest.mark.parametrize("size", [(97, 131), (64, 96), (33, 40), (8, 8), (1, 1)])
@pytest.mark.parametrize("batch", [1, 3])
def test_any_size_and_batch(rng, model, size, batch):
    outputs = model(images(rng, batch, *size))
    for name in ("logits", "aux_logits"):
        assert outputs[name].shape == (batch, *size, 5)
        assert outputs[name].dtype == "float32"
        assert np.isfinite(outputs[name]).all()


def test_images_of_a_batch_do_not_see_each_other(rng, model):
    x = images(rng, 3, 41, 57)
    together = model(x)["logits"]
    alone = np.concatenate([model(x[i : i + 1])["logits"] for i in range(3)])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_uint8_and_float_images_give_the_same(rng, model):
    x = images(rng, 1, 41, 57)
    for dtype in ("float32", "float64", "int32"):
        np.testing.assert_array_equal(model(x)["logits"], model(x.astype(dtype))["logits"])


def test_graph_of_unknown_height_and_width(rng, model):
    spec = tf.TensorSpec((None, None, None, 3), "uint8")
    forward = tf.function(lambda x: model(x, training=False), input_signature=[spec])
    for size in ((97, 131), (40, 64)):
        x = images(rng, 2, *size)
        np.testing.assert_allclose(forward(x)["logits"], model(x)["logits"], atol=1e-4)


def test_pspnet_is_the_classifier_on_the_context(rng):
    model = small(fusion=None, dfp=False, aux_head=False)
    x = images(rng, 1, 65, 65)
    features = model.backbone(model.get_layer("normalize")(x))
    context = model.get_layer("context")(features[-1])
    expected = model.get_layer("classifier")([context])
    np.testing.assert_allclose(
        model(x)["logits"], gff.layers.resample(expected, (65, 65)), atol=1e-5
    )
    assert list(model(x)) == ["logits"]
    with pytest.raises(ValueError, match="no gates"):
        model.gates(x)


def test_gates(rng, model):
    x = images(rng, 2, 97, 131)
    gates = model.gates(x)
    assert [g.shape for g in gates] == [(2, 25, 33, 1)] + 3 * [(2, 13, 17, 1)]
    for gate in gates:
        assert 0 <= np.min(gate) < np.max(gate) <= 1
    # they are the gates that the forward pass uses: closing one changes the logits
    before = model(x)["logits"].numpy()
    bias = model.get_layer("gff").gate_convs[1].bias
    kept = bias.numpy()
    bias.assign([-100.0])
    assert np.max(model.gates(x)[1]) < 1e-6
    assert np.abs(model(x)["logits"] - before).max() > 1e-3
    bias.assign(kept)


def test_gates_of_a_gated_fpn(rng, tiny_model):
    """Those of its layer: the backbone's levels, and the context map."""
    model = tiny_model(fusion="gated_fpn", aux_head=False)
    x = images(rng, 1, 33, 47)
    gates = model.gates(x)
    assert [g.shape for g in gates] == [(1, 9, 12, 1)] + 3 * [(1, 5, 6, 1)]
    before = model(x)["logits"].numpy()
    for level, conv in enumerate(model.get_layer("gated_fpn").gate_convs):
        conv.bias.assign([-200.0])
        assert np.max(model.gates(x)[level]) < 1e-6 < np.min(gates[level])
    assert np.abs(model(x)["logits"] - before).max() > 1e-3
    with pytest.raises(ValueError, match="fusion='gated_fpn' has no gates of Eq. 5"):
        model.with_gates(zero=[1])


def test_segmenter_gives_the_logits_alone(rng, model):
    x = images(rng, 1, 33, 47)
    np.testing.assert_allclose(model.segmenter()(x), model(x)["logits"], atol=1e-6)


def test_gradient_reaches_every_weight(rng):
    model = small(dropout=0.0)
    x, y = images(rng, 2, 49, 65), rng.integers(0, 5, (2, 49, 65))
    model.compile(loss=gff.losses.SegmentationCrossEntropy())
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.abs(gradient).max() > 0, variable.path


def test_saved_model_in_a_process_without_keras_cv(rng, model, tmp_path):
    x = images(rng, 2, 97, 131)
    np.save(tmp_path / "x.npy", x)
    model.save(tmp_path / "m.keras")
    code = (
        "import sys, numpy as np, keras, gff_keras\n"
        "model = keras.saving.load_model(sys.argv[1] + '/m.keras')\n"
        "x = np.load(sys.argv[1] + '/x.npy')\n"
        "np.save(sys.argv[1] + '/y.npy', model(x)['logits'])\n"
        "assert 'keras_cv' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model(x)["logits"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fusion": None, "dfp": False, "aux_head": False},
        {"dfp": False, "output_stride": 16, "dropout": 0.3, "aux_loss_weight": 0.2},
        {"dtype": "mixed_bfloat16", "input_shape": (64, 96, 3)},
    ],
)
def test_config_round_trip(changes):
    model = small(**changes)
    again = gff.GFFNet.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert [v.shape for v in again.weights] == [v.shape for v in model.weights]
    for name, value in changes.items():
        got = again.input_shape[1:] if name == "input_shape" else getattr(again, name)
        assert (again.dtype_policy.name if name == "dtype" else got) == value


@pytest.mark.parametrize(
    "policy", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)]
)
def test_mixed_precision(rng, model, tiny_model, policy, tmp_path, eager):
    mixed = small(dtype=policy)
    mixed.set_weights(model.get_weights())
    x = images(rng, 2, 49, 65)
    expected = model(x)["logits"].numpy()
    logits = mixed(x)["logits"]
    assert logits.dtype == "float32"
    assert mixed.get_layer("gff").compute_dtype == policy.removeprefix("mixed_")
    np.testing.assert_allclose(logits, expected, atol=0.05 * np.abs(expected).max())
    mixed.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")  # under the global float32 policy
    np.testing.assert_array_equal(again(x)["logits"], logits)
    tiny = tiny_model(5, dtype=policy)
    tiny.compile(gff.optimizers.SGD(0.01), loss=gff.losses.SegmentationCrossEntropy())
    y = rng.integers(0, 5, x.shape[:3])
    losses = tiny.fit(x, y, batch_size=2, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def mirrored(model):
    """The network with every kernel averaged with its left-right mirror image."""
    again = gff.GFFNet.from_config(model.get_config())
    again.set_weights(model.get_weights())
    for weight in again.weights:
        if len(weight.shape) == 4:
            weight.assign((weight.numpy() + weight.numpy()[:, ::-1]) / 2)
    return again


def flip_error(model, x):
    logits = model(x)["logits"].numpy()
    flipped = model(x[:, :, ::-1])["logits"].numpy()[:, :, ::-1]
    return np.abs(flipped - logits).mean() / logits.std()


def test_flip_equivariance(rng, model):
    """With mirror-symmetric kernels flipping commutes with the network where its grid is symmetric.

    Symmetric padding puts samples at pixels 0, 8, 16, ...; a mirror image of that grid is itself
    when the width is 8k + 1. At other widths the grid moves by up to 7 pixels; docs/alignment.md.
    """
    symmetric = mirrored(model)
    x = images(rng, 1, 65, 97)
    assert flip_error(symmetric, x) < 1e-5
    assert flip_error(model, x) > 1e-2  # ordinary kernels see left and right
    assert flip_error(symmetric, x[:, :, :96]) > 1e-3


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"fusion": "sum"}, "fusion='sum'"),
        ({"fusion": None}, "dfp=True"),
        ({"backbone": "vgg"}, "backbone='vgg'"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"num_classes": True}, "num_classes=True must be a positive whole number"),
        ({"num_classes": "5"}, "num_classes='5' must be a positive whole number"),
        ({"filters": 2.5}, "filters=2.5 must be a positive whole number"),
        ({"input_shape": (64, 64, 1)}, r"\(64, 64, 1\)"),
        ({"input_shape": None}, "input_shape=None"),
        ({"input_shape": ("64", 64, 3)}, r"input_shape=\('64', 64, 3\) is not"),
        ({"input_shape": (-64, 64, 3)}, r"input_shape=\(-64, 64, 3\) is not"),
        ({"output_stride": 4}, "output_stride=4"),
        ({"output_stride": "8"}, "output_stride='8' is not"),
        ({"dfp": "no"}, "dfp='no' must be True or False"),
        ({"aux_head": 1}, "aux_head=1 must be True or False"),
        ({"dropout": "0.1"}, "dropout='0.1' must be a number of at least 0, less than 1"),
        ({"dropout": 1.0}, "dropout=1.0 must be a number of at least 0, less than 1"),
        ({"dropout": True}, "dropout=True must be a number"),
        ({"aux_loss_weight": "a"}, "aux_loss_weight='a' must be a number"),
        ({"aux_loss_weight": float("nan")}, "aux_loss_weight=nan must be a number"),
        ({"input_shape": (True, 64, 3)}, r"input_shape=\(True, 64, 3\) is not"),
        ({"zero_gates": [True]}, "True is no gate"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)


def test_a_misspelt_argument_is_no_argument(tiny_model):
    with pytest.raises(TypeError, match="fuson"):
        tiny_model(fuson="add")


@pytest.mark.parametrize("stride, side", [slowly(8, 4), slowly(16, 8), (32, 16)])
def test_strides_where_the_image_is_smaller(rng, stride, side):
    """Maps of one pixel fit several strides; the network has the one asked for, and keeps it."""
    arguments = dict(input_shape=(side, side, 3), output_stride=stride, fusion="fpn", dfp=False)
    model = small(**arguments)
    assert model.output_stride == stride
    strides = [min(2**k, stride) for k in (2, 3, 4, 5)]
    assert strides_of(model.backbone) == strides
    factors = [s // 4 for s in (*strides, stride)]
    assert list(model.get_layer("semantic").factors) == factors
    again = gff.GFFNet.from_config(model.get_config())
    again.set_weights(model.get_weights())
    x = images(rng, 1, side, side)
    np.testing.assert_array_equal(again(x)["logits"], model(x)["logits"])


def test_output_stride_of_a_model_is_its_own(tiny_model):
    assert tiny_model().output_stride == 8
    with pytest.raises(ValueError, match="output_stride=32: .* end at stride 8"):
        tiny_model(output_stride=32)
