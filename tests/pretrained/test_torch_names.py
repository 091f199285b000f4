"""The source networks are written out in plain TensorFlow, from what their authors published."""

import warnings
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import gff_keras as gff
from gff_keras.backbones import resnet
from gff_keras.pretrained.torch_names import IN_PLACE, _renamed, load_torch, torch_name
from tests.pretrained.torch_writer import write_arrays


class Source:
    """Networks of PyTorch; `arrays` becomes their state dict, drawn when a weight is first used."""

    def __init__(self, rng):
        self.rng = rng
        self.arrays = {}

    def draw(self, name, shape, mean=0.0, scale=0.2):
        if name not in self.arrays:
            self.arrays[name] = self.rng.normal(mean, scale, shape).astype("float32")
        return self.arrays[name]

    def conv(self, x, name, filters, k=1, stride=1, dilation=1):
        channels, pad = x.shape[-1], dilation * (k // 2)
        shape = (filters, channels, k, k)
        kernel = self.draw(f"{name}.weight", shape, scale=np.sqrt(2 / (channels * k * k)))
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        return tf.nn.conv2d(x, kernel.transpose(2, 3, 1, 0), stride, "VALID", dilations=dilation)

    def norm(self, x, name):
        c = x.shape[-1]
        scale = self.draw(f"{name}.weight", c, 0.7, 0.1)
        bias, mean = self.draw(f"{name}.bias", c), self.draw(f"{name}.running_mean", c)
        variance = np.abs(self.draw(f"{name}.running_var", c, 1.0))
        self.arrays[f"{name}.running_var"] = variance
        self.arrays.setdefault(f"{name}.num_batches_tracked", np.int64(5))
        return (x - mean) * (scale / np.sqrt(variance + 1e-5)) + bias

    def resnet(self, x, blocks, bottleneck, output_stride, stem=(("conv1", "bn1", 64, 7),)):
        """Features of the stages. With a stem of three: semseg's, else torchvision's."""
        for i, (conv, norm, filters, k) in enumerate(stem):
            x = tf.nn.relu(self.norm(self.conv(x, conv, filters, k, 1 if i else 2), norm))
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-np.inf)
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        features, reached, dilation = [], 4, 1
        for stage, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), 1):
            stride, before = 1, dilation
            if stage > 1 and reached < output_stride:
                stride, reached = 2, reached * 2
            elif stage > 1:
                dilation *= 2
            for block in range(count):
                first = before if block == 0 and len(stem) == 1 else dilation
                step = stride if block == 0 else 1
                if bottleneck:
                    shapes = [(width, 1, 1, 1), (width, 3, step, first), (4 * width, 1, 1, 1)]
                else:
                    shapes = [(width, 3, step, first), (width, 3, 1, dilation)]
                x = self.block(x, f"layer{stage}.{block}", shapes, step)
            features.append(x)
        return features

    def block(self, x, name, shapes, stride):
        y = x
        for i, shape in enumerate(shapes, start=1):
            y = tf.nn.relu(y) if i > 1 else y
            y = self.norm(self.conv(y, f"{name}.conv{i}", *shape), f"{name}.bn{i}")
        if stride > 1 or x.shape[-1] != y.shape[-1]:
            x = self.conv(x, f"{name}.downsample.0", y.shape[-1], 1, stride)
            x = self.norm(x, f"{name}.downsample.1")
        return tf.nn.relu(x + y)

    def head(self, x, name, width, classes):
        x = tf.nn.relu(self.norm(self.conv(x, f"{name}.0", width, 3), f"{name}.1"))
        return self.conv(x, f"{name}.4", classes) + self.draw(f"{name}.4.bias", classes)

    def pspnet(self, x, classes):
        """Scores at stride 8, with bins upsampled by half-pixel centres."""
        stem = [(f"layer0.{i}", f"layer0.{i + 1}", c, 3) for i, c in ((0, 64), (3, 64), (6, 128))]
        *_, x_3, x = self.resnet(x, (3, 4, 6, 3), True, 8, stem)
        maps, size = [x], x.shape[1:3]
        for i, bins in enumerate((1, 2, 3, 6)):
            edges = [[(j * n // bins, -(-(j + 1) * n // bins)) for j in range(bins)] for n in size]
            pooled = tf.stack(
                [
                    tf.stack([tf.reduce_mean(x[:, a:b, c:d], (1, 2)) for c, d in edges[1]], 1)
                    for a, b in edges[0]
                ],
                1,
            )
            y = self.conv(pooled, f"ppm.features.{i}.1", 512)
            y = tf.nn.relu(self.norm(y, f"ppm.features.{i}.2"))
            maps.append(tf.image.resize(y, size))
        return self.head(tf.concat(maps, -1), "cls", 512, classes), self.head(
            x_3, "aux", 256, classes
        )


WORDS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
RESNET18 = ((2, 2, 2, 2), False)
RESNET50 = ((3, 4, 6, 3), True)


@pytest.mark.parametrize(
    "name, source, stride, size",
    [
        ("resnet18", RESNET18, 32, (97, 131)),
        pytest.param("resnet18", RESNET18, 16, (66, 83), marks=pytest.mark.slow),
        ("resnet50_v1.5", RESNET50, 8, (65, 83)),
        pytest.param("resnet50_v1.5", RESNET50, 32, (97, 131), marks=pytest.mark.slow),
    ],
)
def test_activations_equal_those_of_the_source(rng, tmp_path, name, source, stride, size):
    x = rng.normal(size=(2, *size, 3)).astype("float32")
    network = Source(rng)
    expected = network.resnet(x, *source, stride)
    network.arrays["fc.weight"] = np.zeros((10, 512), "float32")
    backbone = resnet(name, stride)
    path = write_arrays(tmp_path / "w.pth", network.arrays, legacy=False)
    report = load_torch(SimpleNamespace(backbone=backbone), path)
    assert set(report.loaded) == {weight.path for weight in backbone.weights}
    assert (report.random, report.unused) == ((), ("fc.weight",))
    for ours, theirs in zip(backbone(x), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_pspnet(rng, tmp_path):
    """semseg's names; its scores, but for how the bins of pyramid pooling are upsampled."""
    images = rng.uniform(0, 255, (1, 65, 89, 3)).astype("float32")
    model = gff.GFFNet("resnet50_deep", 5, fusion=None, dfp=False)
    network = Source(rng)
    expected = network.pspnet(model.get_layer("normalize")(images), 5)
    checkpoint = {f"module.{name}": array for name, array in network.arrays.items()}
    report = gff.load_weights(model, write_arrays(tmp_path / "w.pth.tar", checkpoint))
    own = {w.path for w in model.weights if not w.path.startswith("normalize/")}
    assert set(report.loaded) == own
    assert (report.random, report.unused) == ((), ())
    outputs = model(images)
    for ours, theirs in zip((outputs["logits"], outputs["aux_logits"]), expected, strict=True):
        # At every eighth pixel the upsampled logits are the scores.
        np.testing.assert_allclose(np.array(ours)[:, ::8, ::8], theirs, atol=1e-4)


def test_wider_resnet38(rng, narrow_wider_resnet, tmp_path):
    backbone, arrays, expected = narrow_wider_resnet(), {}, {}
    for layer in backbone.layers:
        for weight in layer.weights:
            value = rng.normal(size=weight.shape).astype("float32")
            expected[weight.path] = value
            if weight.name == "kernel":
                arrays[f"{layer.name}.weight"] = value.transpose(3, 2, 0, 1)
            else:
                arrays[f"{layer.name}.0.{WORDS[weight.name]}"] = value
    state = {f"module.{name}": array for name, array in arrays.items()}
    path = write_arrays(tmp_path / "w.pth", state)
    report = load_torch(SimpleNamespace(backbone=backbone), path)
    assert (report.random, report.unused) == ((), ())
    for weight in backbone.weights:
        np.testing.assert_array_equal(weight, expected[weight.path])


def test_wider_resnet38_of_in_place_abn(rng, tmp_path):
    """Names betray that the source has other activations."""
    images = keras.Input((None, None, 3))
    conv = keras.layers.Conv2D(4, 3, use_bias=False, name="mod1.conv1")
    model = SimpleNamespace(backbone=keras.Model(images, conv(images)))
    kernel = rng.normal(size=(4, 3, 3, 3)).astype("float32")
    for norm, warned in (("bn1", 1), ("bn1.0", 0)):
        arrays = {"mod1.conv1.weight": kernel, f"mod2.block1.{norm}.weight": kernel[0, 0, 0]}
        path = write_arrays(tmp_path / "w.pth", arrays)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load_torch(model, path, partial=True)
        messages = [str(w.message) for w in caught]
        assert [m for m in messages if "In-Place ABN" in m] == [f"{path} {IN_PLACE}"] * warned


@pytest.fixture(scope="module")
def resnet18():
    return gff.GFFNet("resnet18", 3, filters=8, output_stride=32)


@pytest.fixture
def arrays(rng):
    network = Source(rng)
    network.resnet(np.zeros((1, 33, 33, 3), "float32"), *RESNET18, 32)
    return network.arrays


def test_without_partial_everything_must_fit(resnet18, arrays, tmp_path):
    del arrays["layer4.1.bn2.running_var"]
    arrays["conv1.weight"] = arrays["conv1.weight"][:, :2]
    arrays["layer5.0.conv1.weight"] = arrays["layer4.1.conv1.weight"]
    before = resnet18.get_weights()
    path = write_arrays(tmp_path / "w.pth", arrays)
    with pytest.raises(ValueError) as error:
        gff.load_weights(resnet18, path)
    first, *lines = str(error.value).splitlines()
    assert first.startswith(f"{path} is not of this network, 98 of the network's 100 weights fit")
    assert sorted(lines) == [
        "  conv1.weight (64, 2, 7, 7) in the file, (64, 3, 7, 7) in the network",
        "  layer4.1.bn2.running_var not in the file, (512,) in the network",
        "  layer5.0.conv1.weight (512, 512, 3, 3) in the file, not in the network",
    ]
    for a, b in zip(before, resnet18.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    report = gff.load_weights(resnet18, path, partial=True)
    norm = [f"v2_stack_3_block2_2_bn/{name}" for name in WORDS]
    assert report.random == ("conv1_conv/kernel", *norm)
    norm = [f"layer4.1.bn2.{name}" for name in ("weight", "bias", "running_mean")]
    assert report.unused == ("conv1.weight", *norm, "layer5.0.conv1.weight")
    untouched = resnet18.backbone.get_layer("v2_stack_3_block2_2_bn")
    np.testing.assert_array_equal(untouched.moving_mean, np.zeros(512))
    gamma = resnet18.backbone.get_layer("v2_stack_0_block2_1_bn").gamma
    np.testing.assert_array_equal(gamma, arrays["layer1.1.bn1.weight"])


def test_other_networks(resnet18, arrays, tmp_path):
    path = write_arrays(tmp_path / "w.pth", {"features.0.weight": arrays["conv1.weight"]})
    with pytest.raises(ValueError, match="no weight fits; give the file of the same network"):
        gff.load_weights(resnet18, path, partial=True)
    with pytest.raises(FileNotFoundError, match="none.safetensors"):
        gff.load_weights(resnet18, tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    "stem, stride, file_stem, needed",
    [
        ("conv1_conv", (2, 1), "conv1", "resnet50_v1.5"),  # the paper's: strides in the 1x1
        ("conv1_conv", (2, 1), "conv3", "resnet50_deep"),
        ("conv1_conv", (1, 2), "conv3", "resnet50_deep"),
        ("conv1_convs", (1, 2), "conv1", "resnet50_v1.5"),
        ("conv1_conv", (1, 2), "conv1", None),
        ("conv1_convs", (1, 2), "conv3", None),
    ],
)
def test_the_kind_of_bottleneck_must_be_that_of_the_file(
    rng, tmp_path, stem, stride, file_stem, needed
):
    """Shapes do not tell: strides would be elsewhere, and activations wrong without a word."""
    x = images = keras.Input((None, None, 3))
    names = [stem, *(f"v2_stack_1_block1_{i}_conv" for i in (1, 2, 3))]
    for name, steps in zip(names, (2, *stride, 1), strict=True):
        x = keras.layers.Conv2D(4, 1, strides=steps, use_bias=False, name=name)(x)
    backbone = keras.Model(images, x, name="resnet50")
    kernels = {f"layer2.0.conv{i}.weight": rng.normal(size=(4, 4, 1, 1)) for i in (1, 2, 3)}
    kernels[f"{file_stem}.weight"] = rng.normal(size=(4, 3, 1, 1))
    path = write_arrays(tmp_path / "w.pth", kernels)
    model = SimpleNamespace(backbone=backbone)
    if needed is None:
        load_torch(model, path, partial=True)
    else:
        with pytest.raises(ValueError, match=f"build the network with backbone='{needed}'"):
            load_torch(model, path, partial=True)


@pytest.mark.parametrize(
    "path, name",
    [
        ("v2_stack_2_block11_0_bn/moving_mean", "layer3.10.downsample.1.running_mean"),
        ("mod4.block1.convs.conv1/kernel", "mod4.block1.convs.conv1.weight"),
        ("bn_out/gamma", "bn_out.weight"),
        ("context/bin_6/bn/beta", "ppm.features.3.2.bias"),
        ("context/bn/gamma", "cls.1.weight"),
        ("context/join_bn/gamma", "context/join_bn/gamma"),  # ASPP's, not a PSPNet's
        ("gff/gate_1/kernel", "gff/gate_1/kernel"),
    ],
)
def test_names(path, name):
    assert torch_name(path) == name


@pytest.mark.parametrize(
    "name, renamed",
    [
        ("layer0.4.running_var", "bn2.running_var"),
        ("layer0.9.weight", "layer0.9.weight"),
        ("mod2.block1.bn1.bn.weight", "mod2.block1.bn1.weight"),
        ("mod7.block1.convs.bn3.0.bias", "mod7.block1.convs.bn3.bias"),
        ("bn_out.0.weight", "bn_out.weight"),
        ("layer1.0.bn1.weight", "layer1.0.bn1.weight"),
    ],
)
def test_modules_of_one_kind_with_two_names(name, renamed):
    assert _renamed(name) == renamed
