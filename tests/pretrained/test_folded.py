"""The source network is written out here in plain TensorFlow, with PyTorch's padding."""

import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import gff_keras as gff
from gff_keras.backbones import resnet
from gff_keras.backbones.resnet import DeepStem
from gff_keras.pretrained.folded import calibrate, load_folded_resnet

FILE = "weights/resnet18_imagenet_folded_partial.npz"


def source_features(arrays, x, stages):
    """Folded torchvision ResNet-18: features of the first stages, strides 4, 8, 16, 32."""

    def conv(x, name, stride=1):
        kernel = arrays[f"{name}.weight"].transpose(2, 3, 1, 0)
        pad = kernel.shape[0] // 2
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        return tf.nn.conv2d(x, kernel, stride, "VALID") + arrays[f"{name}.bias"]

    x = tf.nn.relu(conv(x, "conv1", 2))
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-np.inf)
    x = tf.nn.max_pool2d(x, 3, 2, "VALID")
    features = []
    for stage in range(1, stages + 1):
        for block in (0, 1):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = conv(tf.nn.relu(conv(x, f"{name}.conv1", stride)), f"{name}.conv2")
            shortcut = conv(x, f"{name}.downsample.0", stride) if stride == 2 else x
            x = tf.nn.relu(y + shortcut)
        features.append(x.numpy())
    return features


@pytest.fixture
def arrays(rng):
    """Random folded weights of a complete ResNet-18."""
    arrays = {}

    def add(name, channels, filters, k):
        scale = np.sqrt(2 / (channels * k * k))
        arrays[f"{name}.weight"] = rng.normal(0, scale, (filters, channels, k, k)).astype("float32")
        arrays[f"{name}.bias"] = rng.normal(0, 0.1, filters).astype("float32")

    add("conv1", 3, 64, 7)
    for stage, filters in enumerate((64, 128, 256, 512), start=1):
        before = max(64, filters // 2)
        for block in (0, 1):
            add(f"layer{stage}.{block}.conv1", filters if block else before, filters, 3)
            add(f"layer{stage}.{block}.conv2", filters, filters, 3)
        if stage > 1:
            add(f"layer{stage}.0.downsample.0", before, filters, 1)
    return arrays


def write(path, arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("size", [(65, 96), (97, 131)])
def test_activations_equal_those_of_the_source(rng, arrays, tmp_path, size):
    x = rng.normal(size=(2, *size, 3)).astype("float32")
    backbone = resnet("resnet18", 32)
    report = load_folded_resnet(backbone, write(tmp_path / "w.npz", arrays))
    assert (len(report.loaded), report.random, report.unused) == (20, (), ())
    for ours, theirs in zip(backbone(x), source_features(arrays, x, 4), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_calibration_keeps_inference_and_carries_it_over_to_training(rng, arrays, tmp_path):
    x = rng.normal(size=(4, 65, 65, 3)).astype("float32")
    backbone = resnet("resnet18", 8)
    report = load_folded_resnet(backbone, write(tmp_path / "w.npz", arrays))
    before = [np.array(f) for f in backbone(x)]
    uncalibrated = backbone(x, training=True)
    load_folded_resnet(backbone, tmp_path / "w.npz")  # training has moved the averages
    calibrate(backbone, [x[:2], x[2:]], report.loaded)
    for f, expected, wrong in zip(backbone(x), before, uncalibrated, strict=True):
        scale = expected.max()
        np.testing.assert_allclose(f, expected, atol=1e-4 * scale)
        assert np.abs(np.array(wrong) - expected).max() > 0.1 * scale
    for f, expected in zip(backbone(x, training=True), before, strict=True):
        np.testing.assert_allclose(f, expected, atol=1e-3 * expected.max())


def test_missing_arrays_stay_random_and_are_named(arrays, tmp_path):
    del arrays["layer4.1.conv2.weight"]
    arrays["fc.weight"] = np.zeros((10, 512), "float32")
    backbone = resnet("resnet18")
    name = "v2_stack_3_block2_2_conv"
    before = backbone.get_layer(name).kernel.numpy()
    report = load_folded_resnet(backbone, write(tmp_path / "w.npz", arrays), partial=True)
    assert report.random == (name,)
    assert report.unused == ("fc.weight", "layer4.1.conv2.bias")
    assert f"left random: 1\n  {name}\n" in str(report) and "fc.weight" in str(report)
    np.testing.assert_array_equal(backbone.get_layer(name).kernel.numpy(), before)


def test_without_partial_everything_must_fit_and_both_sides_are_listed(arrays, tmp_path):
    arrays["fc.weight"] = np.zeros((10, 512), "float32")  # the source's classifier may be there
    del arrays["layer4.1.conv2.weight"]
    arrays["layer5.bias"] = arrays.pop("layer4.1.conv2.bias")
    arrays["conv1.bias"] = arrays["conv1.bias"][:5]
    backbone = resnet("resnet18")
    before = backbone.get_weights()
    with pytest.raises(ValueError) as error:
        load_folded_resnet(backbone, write(tmp_path / "w.npz", arrays))
    first, *lines = str(error.value).splitlines()
    assert f"{tmp_path / 'w.npz'} is not of this network, 37 of" in first
    assert "37 of the network's 40 weights fit" in first and "--partial" in first
    assert sorted(lines) == [
        "  conv1.bias (5,) in the file, (64,) in the network",
        "  layer4.1.conv2.bias not in the file, (512,) in the network",
        "  layer4.1.conv2.weight not in the file, (512, 512, 3, 3) in the network",
        "  layer5.bias (512,) in the file, not in the network",
    ]
    for a, b in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    report = load_folded_resnet(backbone, tmp_path / "w.npz", partial=True)
    assert report.random == ("conv1_conv", "v2_stack_3_block2_2_conv")
    assert report.unused == ("conv1.bias", "conv1.weight", "fc.weight", "layer5.bias")


def test_a_weight_that_does_not_fit_changes_nothing(arrays, tmp_path):
    arrays["layer3.1.conv1.weight"] = arrays["layer3.1.conv1.weight"][:, :7]
    backbone = resnet("resnet18")
    before = backbone.get_weights()
    with pytest.raises(ValueError, match=r"layer3.1.conv1.weight \(256, 7, 3, 3\)"):
        load_folded_resnet(backbone, write(tmp_path / "w.npz", arrays))
    for a, b in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("partial", [False, True])
def test_a_deep_stem_is_refused(tmp_path, partial):
    """Its convolutions lie inside one layer: they would stay random without a word."""
    images = keras.Input((None, None, 3))
    x = DeepStem(name="conv1_convs")(images)
    conv = gff.layers.Conv2D(4, 1, use_bias=False, name="v2_stack_0_block1_1_conv")(x)
    x = gff.layers.BatchNormalization(name="v2_stack_0_block1_1_bn")(conv)
    backbone = keras.Model(images, x, name="resnet50_deep")
    arrays = {"layer1.0.conv1.weight": np.ones((4, 128, 1, 1)), "layer1.0.conv1.bias": np.ones(4)}
    before = backbone.get_weights()
    with pytest.raises(ValueError) as error:
        load_folded_resnet(backbone, write(tmp_path / "w.npz", arrays), partial)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{tmp_path / 'w.npz'}: folded weights are for ResNets of nothing but")
    assert "'resnet50_deep' has weights in conv1_convs besides; give the file of PyTorch" in line
    for a, b in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_unreadable_files(tmp_path):
    backbone = resnet("resnet18")
    with pytest.raises(FileNotFoundError, match="nowhere.npz"):
        load_folded_resnet(backbone, tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(ValueError, match="text.npz"):
        load_folded_resnet(backbone, tmp_path / "text.npz")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("conv1.weight", "no array")
    with pytest.raises(ValueError, match="zip.npz is not a readable .npz file"):
        load_folded_resnet(backbone, tmp_path / "zip.npz")
    with pytest.raises(ValueError, match="no weight fits"):
        load_folded_resnet(backbone, write(tmp_path / "other.npz", {"a": np.ones(3)}))


@pytest.mark.parametrize("stride", [32, 8])
def test_partial_imagenet_weights(rng, gff_data, stride):
    """The part that the file holds, stages 1 to 3, computes what torchvision's network computes."""
    backbone = resnet("resnet18", stride)
    report = load_folded_resnet(backbone, gff_data / FILE, partial=True)
    assert len(report.loaded) == 16
    assert report.random == tuple(
        f"v2_stack_3_block{block}_{conv}_conv" for block in (1, 2) for conv in (1, 2)
    )
    x = rng.normal(size=(1, 97, 131, 3)).astype("float32")
    expected = source_features(np.load(gff_data / FILE), x, 3)
    steps = (1, 1, 2 if stride == 8 else 1)
    for ours, theirs, step in zip(backbone(x), expected, steps, strict=False):
        np.testing.assert_allclose(np.array(ours)[:, ::step, ::step], theirs, atol=1e-4)
