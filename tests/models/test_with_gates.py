"""Networks with gates at zero: what they compute, share, save and refuse."""

import keras
import numpy as np
import pytest

from gff_keras import GFFNet, losses
from gff_keras.export.precision import with_dtype
from gff_keras.layers import resample
from tests.tiny import tiny_model

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def model():
    model = tiny_model(3)
    for name in ("classifier", "aux_classifier"):  # logits far from each other
        kernel = model.get_layer(name).kernel
        kernel.assign(3000 * kernel)
    return model


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (2, 33, 47, 3), "uint8")


@pytest.mark.parametrize("zero", [[1], [2, 3]])
def test_it_is_the_network_with_gates_that_never_open(model, images, zero):
    closed = GFFNet.from_config(model.get_config())
    closed.set_weights(model.get_weights())
    for level in zero:
        closed.get_layer("gff").gate_convs[level - 1].bias.assign([-200.0])
    before = model(images)["logits"].numpy()
    other = model.with_gates(zero=zero)
    for name, expected in closed(images).items():
        np.testing.assert_allclose(other(images)[name], expected, atol=1e-4)
    assert np.abs(other(images)["logits"] - before).max() > 0.1
    np.testing.assert_array_equal(other.segmenter()(images), other(images)["logits"])
    fine = other.segmenter(full_size=False)(images)
    assert fine.shape == (2, 9, 12, 3)
    np.testing.assert_array_equal(resample(fine, (33, 47)), other(images)["logits"])
    for level, (gate, kept) in enumerate(
        zip(other.gates(images), model.gates(images), strict=True), start=1
    ):
        assert np.min(kept) > 0
        np.testing.assert_array_equal(gate, 0 * kept if level in zero else kept)
    np.testing.assert_array_equal(model(images)["logits"], before)


def test_weights_are_shared_not_copied(model, images):
    other = model.with_gates(zero=[2])
    assert len(other.weights) == len(model.weights)
    assert all(a is b for a, b in zip(other.weights, model.weights, strict=True))
    before = other(images)["logits"].numpy()
    bias = model.get_layer("classifier").bias
    bias.assign_add(keras.ops.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(
        other(images)["logits"] - before, [[[[1, 0, 0]]]] + 0 * before, atol=1e-5
    )
    bias.assign_add(keras.ops.array([-1.0, 0.0, 0.0]))


def test_nothing_of_the_network_changes(model, images):
    config, flags = model.get_config(), [x.trainable for x in model._flatten_layers()]
    paths = [weight.path for weight in model.weights]
    model.get_layer("dfp").trainable = False
    try:
        other = model.with_gates(zero=[1])
        assert not other.get_layer("dfp").trainable and not model.get_layer("dfp").trainable
    finally:
        model.get_layer("dfp").trainable = True
    assert model.get_config() == config and "zero_gates" not in config
    assert [x.trainable for x in model._flatten_layers()] == flags
    assert [weight.path for weight in model.weights] == paths
    again = other.with_gates(zero=[])  # all gates again
    np.testing.assert_array_equal(again(images)["logits"], model(images)["logits"])
    assert again.get_config() == config


@pytest.mark.slow
def test_saved_and_exported_it_stays_what_it_is(model, images, tmp_path):
    other = model.with_gates(zero=[1, 3])
    expected = other(images)["logits"].numpy()
    other.save(tmp_path / "ablated.keras")
    loaded = keras.saving.load_model(tmp_path / "ablated.keras")
    assert isinstance(loaded, GFFNet) and loaded.zero_gates == (1, 3)
    np.testing.assert_array_equal(loaded(images)["logits"], expected)
    assert not any(a is b for a, b in zip(loaded.weights, model.weights, strict=True))
    copy = with_dtype(other, "float32")  # what all exports start from
    np.testing.assert_array_equal(copy(images)["logits"], expected)
    model.save(tmp_path / "model.keras")
    whole = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(whole(images)["logits"], model(images)["logits"])


def test_it_trains_without_its_gate(images, rng):
    model = tiny_model(3, dropout=0.0)
    other = model.with_gates(zero=[2])
    other.compile("sgd", loss=losses.SegmentationCrossEntropy())
    gate, kernel = (model.get_layer("gff").gate_convs[i].kernel for i in (1, 0))
    before = gate.numpy(), kernel.numpy()
    other.fit(images, rng.integers(0, 3, images.shape[:3]), verbose=0)
    np.testing.assert_array_equal(gate, before[0])  # what is zero learns nothing
    assert np.abs(kernel - before[1]).max() > 0


@pytest.mark.parametrize(
    "zero, message",
    [
        ([5], r"zero=\[5\]: 5 is no gate; list numbers in 1\.\.3"),
        ([0], r"zero=\[0\]: 0 is no gate"),
        ([1, -1], "-1 is no gate"),
        (["G1"], "'G1' is no gate"),
        ([1.0], r"1\.0 is no gate"),
        (7, "7 is no gate"),
    ],
)
def test_gates_that_are_none_are_refused(model, zero, message):
    with pytest.raises(ValueError, match=message):
        model.with_gates(zero=zero)


def test_numbers_in_other_forms(model):
    assert model.with_gates(zero=np.array([2, 1, 2])[[0, 1]].tolist()).zero_gates == (1, 2)
    assert model.with_gates(zero={np.int64(3)}).zero_gates == (3,)
    assert model.with_gates(zero=2).zero_gates == (2,)


def test_a_network_without_gates_is_refused():
    pspnet = tiny_model(3, fusion=None, dfp=False)
    with pytest.raises(ValueError, match="fusion=None has no gates"):
        pspnet.with_gates(zero=[1])
    with pytest.raises(ValueError, match="fusion=None has no gates"):
        tiny_model(3, fusion=None, dfp=False, zero_gates=[1])
