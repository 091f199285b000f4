"""Weights of another run: all of them, or an error that lists both sides."""

import keras
import numpy as np
import pytest

import gff_keras as gff
from gff_keras import layers
from gff_keras.data import Augmentation, training_dataset
from gff_keras.pretrained.torch_names import torch_module
from gff_keras.training import checkpoints
from gff_keras.training.weights import _check_backbones


@pytest.fixture(scope="module")
def source(tiny_model, tmp_path_factory):
    model = tiny_model(3)
    rng = np.random.default_rng(5)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 1, weight.shape))
    path = tmp_path_factory.mktemp("source") / "three.keras"
    model.save(path)
    return model, path


def weights_of(model):
    return {weight.path: weight.numpy() for weight in model.weights}


def test_the_same_network_gets_every_weight(source, tiny_model):
    model = tiny_model(3, dropout=0.5)  # what has no weights may differ
    report = gff.load_weights(model, source[1])
    assert set(report.loaded) == {weight.path for weight in model.weights}
    assert report.random == report.unused == ()
    expected = weights_of(source[0])
    for name, weight in weights_of(model).items():
        np.testing.assert_array_equal(weight, expected[name])


def test_other_classes_are_refused_and_listed(source, tiny_model):
    model = tiny_model(4)
    before = weights_of(model)
    with pytest.raises(ValueError) as error:
        gff.load_weights(model, source[1])
    first, *lines = str(error.value).splitlines()
    count = len(before)
    assert f"{source[1]} is not of this network, {count - 4} of the network's {count}" in first
    channels = model.get_layer("classifier").kernel.shape[2]
    assert sorted(lines) == [
        "  aux_classifier/bias (3,) in the file, (4,) in the network",
        "  aux_classifier/kernel (1, 1, 256, 3) in the file, (1, 1, 256, 4) in the network",
        "  classifier/bias (3,) in the file, (4,) in the network",
        f"  classifier/kernel (1, 1, {channels}, 3) in the file, (1, 1, {channels}, 4) in the "
        "network",
    ]
    for name, weight in weights_of(model).items():
        np.testing.assert_array_equal(weight, before[name])


def test_partial_leaves_random_and_lists_what_does_not_fit(source, tiny_model):
    model = tiny_model(4)
    before, expected = weights_of(model), weights_of(source[0])
    report = gff.load_weights(model, source[1], partial=True)
    classifiers = {f"{a}classifier/{b}" for a in ("", "aux_") for b in ("kernel", "bias")}
    assert set(report.random) == set(report.unused) == classifiers
    lines = str(report).splitlines()
    assert lines[0] == f"loaded: {len(expected) - 4}"
    assert sorted(lines[1:]) == sorted(
        ["left random: 4", "in the file but not used: 4"]
        + ["  aux_classifier/kernel, bias", "  classifier/kernel, bias"] * 2
    )
    for name, weight in weights_of(model).items():
        np.testing.assert_array_equal(weight, (before if name in classifiers else expected)[name])


def test_what_one_side_lacks_is_listed(source, tiny_model):
    with pytest.raises(ValueError, match=r"\n  aux_conv/conv/kernel \(.*\) in the file, not in"):
        gff.load_weights(tiny_model(3, aux_head=False), source[1])
    normalisation = "aux_conv/bn/gamma, beta, moving_mean, moving_variance"  # of one shape
    with pytest.raises(ValueError, match=rf"\n  {normalisation} \(256,\) in the file, not in the"):
        gff.load_weights(tiny_model(3, aux_head=False), source[1])
    report = gff.load_weights(tiny_model(3, aux_head=False), source[1], partial=True)
    assert report.random == () and "aux_conv/conv/kernel" in report.unused


def test_files_of_another_kind(tiny_model, tmp_path):
    model = tiny_model(3)
    for name in ("w.hdf5", "w.onnx"):
        with pytest.raises(ValueError, match=rf"{name}: give .* \.keras .* \.npz"):
            gff.load_weights(model, tmp_path / name)
    for name in ("none.keras", "none.npz", "folder"):
        with pytest.raises(FileNotFoundError, match=name):
            gff.load_weights(model, tmp_path / name)


def test_a_runs_folder_gives_its_best_weights(trained, tiny_model):
    model = tiny_model()
    report = gff.load_weights(model, trained[0].out)
    best = gff.load(trained[0].out / "best.keras")
    assert report.random == report.unused == ()
    for name, weight in weights_of(best).items():
        np.testing.assert_array_equal(weights_of(model)[name], weight)
    with pytest.raises(ValueError, match="loaded into a GFFNet, not into <Functional"):
        gff.load_weights(model.backbone, trained[0].out)


def test_a_checkpoint_is_recognised(rng, tiny_model, tmp_path):
    path = tmp_path / "checkpoints" / "step_00000003.npz"
    checkpoints.write(path, {"step": 3}, {"model": [rng.normal(size=3)]})
    with pytest.raises(ValueError) as error:
        gff.load_weights(tiny_model(3), path)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{path} is a checkpoint of a run; give {tmp_path / 'last.keras'}, ")


def test_folded_weights_are_calibrated_on_batches(rng, records, tmp_path):
    """And what the file lacks is left out, if allowed."""
    model = gff.GFFNet("resnet18", 3, filters=8, output_stride=32)
    arrays = {}
    for conv in model.backbone.layers:
        if conv.name.endswith("_conv") and conv.name != "v2_stack_3_block2_2_conv":
            height, width, channels, filters = conv.kernel.shape
            kernel = rng.normal(0, 0.1, (filters, channels, height, width))
            arrays[f"{torch_module(conv.name)}.weight"] = kernel.astype("float32")
            arrays[f"{torch_module(conv.name)}.bias"] = rng.normal(0, 0.1, filters)
    np.savez(tmp_path / "w.npz", **arrays)
    lacks = r"layer4.1.conv2.weight not in the file, \(512, 512, 3, 3\) in the network"
    with pytest.raises(ValueError, match=lacks):
        gff.load_weights(model, tmp_path / "w.npz")
    batches = training_dataset(records, batch_size=2, augmentation=Augmentation((33, 41)))
    report = gff.load_weights(model, tmp_path / "w.npz", batches.take(2), partial=True)
    assert report.random == ("v2_stack_3_block2_2_conv",)
    images = np.concatenate([model.get_layer("normalize")(x) for x, _ in batches.take(2)])
    conv = keras.Model(model.backbone.input, model.backbone.get_layer("conv1_conv").output)
    expected = conv.predict_on_batch(images).mean((0, 1, 2))
    mean = model.backbone.get_layer("conv1_bn").moving_mean
    np.testing.assert_allclose(mean, expected, atol=1e-4)


def test_variants_of_a_resnet_are_told_apart():
    """resnet50 and resnet50_v1.5 have the same names and shapes."""
    with pytest.raises(ValueError, match="m.keras .* network with backbone='resnet50_v1.5'"):
        _check_backbones("resnet50_v1.5", "resnet50", "m.keras")
    for found, own in (("resnet50", "resnet50"), ("functional_1", "functional_2")):
        _check_backbones(found, own, "m.keras")


@pytest.fixture
def other(tmp_path):
    """(network, file): its backbone's layers are called as the tiny model's, of other kernels."""
    images = x = keras.Input((None, None, 3))
    features = []
    for filters, strides in ((12, 4), (16, 2), (20, 1)):
        x = layers.Conv2D(filters, 5, strides=strides, name=f"conv_{filters}")(x)
        features.append(x)
    model = gff.GFFNet(keras.Model(images, features), 3, filters=8, aux_head=False, dfp=False)
    for weight in model.weights:
        weight.assign(np.full(weight.shape, 3.0))
    model.save(tmp_path / "other.keras")
    return model, tmp_path / "other.keras"


def test_another_backbones_normalization_is_not_taken(other, tiny_model):
    """All fits but the backbone: its biases do, too, but no layer does."""
    model = tiny_model(3, aux_head=False)
    mean = model.get_layer("normalize").mean.numpy()
    report = gff.load_weights(model, other[1], partial=True)
    assert {name.split("/")[0] for name in report.loaded} == {
        *("context", "gff", "reduce_context", "classifier"),
        *(f"refine_{level}_{i}" for level in (1, 2, 3) for i in (1, 2)),
    }
    np.testing.assert_array_equal(model.get_layer("normalize").mean, mean)


def test_partial_takes_whole_layers_or_none(other, tiny_model):
    """A bias beside another kernel would be half a layer: a PSPNet's classifier has fewer maps."""
    model = tiny_model(3, fusion=None, dfp=False, aux_head=False)
    assert model.get_layer("classifier").bias.shape == other[0].get_layer("classifier").bias.shape
    before = weights_of(model)
    report = gff.load_weights(model, other[1], partial=True)
    random = {"classifier/kernel", "classifier/bias"}
    assert random < set(report.random) and random < set(report.unused)
    assert {name.split("/")[0] for name in report.loaded} == {"context"}
    for name, weight in weights_of(model).items():
        np.testing.assert_array_equal(weight, 3 if name in report.loaded else before[name])


def test_a_file_of_half_layers_is_refused(tmp_path):
    def network(k):
        images = keras.Input((None, None, 3))
        conv_1 = layers.Conv2D(4, k, strides=4, name="conv_1")(images)
        features = [conv_1, layers.Conv2D(4, k, name="conv_2")(conv_1)]
        plain = dict(context=None, fusion=None, dfp=False, aux_head=False)
        return gff.GFFNet(keras.Model(images, features), 3 + k, **plain)

    network(3).save(tmp_path / "three.keras")
    with pytest.raises(ValueError, match="2 of .* 6 weights fit, but no layer whole; give") as e:
        gff.load_weights(network(5), tmp_path / "three.keras", partial=True)
    assert "--partial" not in str(e.value) and "conv_1/bias" not in str(e.value)
