"""The sources are keras.applications' own networks, with random weights in files of their kind."""

import warnings

import keras
import numpy as np
import pytest

import gff_keras as gff
from gff_keras import backbones
from gff_keras.layers import ImageNormalization
from gff_keras.layers.normalization import IMAGENET_MEAN, IMAGENET_STD
from gff_keras.pretrained.imagenet import _APPLICATIONS, _FILES, fetch, load_imagenet
from gff_keras.pretrained.torch_names import torch_name
from tests.pretrained.torch_writer import write_arrays

APPLICATIONS = {
    "resnet50": (keras.applications.ResNet50, keras.applications.resnet),
    "resnet101": (keras.applications.ResNet101, keras.applications.resnet),
    "resnet152": (keras.applications.ResNet152, keras.applications.resnet),
    "densenet121": (keras.applications.DenseNet121, keras.applications.densenet),
}
ENDS = {
    "resnet50": ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out"),
    "resnet101": ("conv2_block3_out", "conv3_block4_out", "conv4_block23_out", "conv5_block3_out"),
    "resnet152": ("conv2_block3_out", "conv3_block8_out", "conv4_block36_out", "conv5_block3_out"),
    "densenet121": ("conv2_block6_concat", "conv3_block12_concat", "conv4_block24_concat", "relu"),
}


def normalization():
    layer = ImageNormalization(name="normalize")
    layer.build((None, None, None, 3))
    return layer


def random_source(name, seed=0):
    """A network of keras.applications; no bias, scale or statistic is what a new one has."""
    source = APPLICATIONS[name][0](include_top=False, weights=None)
    rng = np.random.default_rng(seed)
    for weight in source.weights:
        if "gamma" in weight.path or "variance" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif "kernel" in weight.path:
            fan_in = np.prod(weight.shape[:-1])
            weight.assign(rng.normal(0, np.sqrt(1 / fan_in), weight.shape))
        else:
            weight.assign(rng.normal(0, 0.2, weight.shape))
    if name.startswith("resnet"):  # takes pixels of 0..255
        source.get_layer("conv1_conv").kernel.assign(source.get_layer("conv1_conv").kernel / 60)
    return source


def check_features(name, source, backbone, normalize, images):
    """Features of every level equal those of the source behind its own preprocessing."""
    probe = keras.Model(source.input, [source.get_layer(end).output for end in ENDS[name]])
    inputs = APPLICATIONS[name][1].preprocess_input(images.astype("float32"))
    expected = probe.predict_on_batch(inputs)
    for x, y in zip(backbone.predict_on_batch(normalize(images)), expected, strict=True):
        assert x.shape == y.shape
        np.testing.assert_allclose(x, y, atol=1e-4 * y.std())


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory):
    """A random source and its file, in the format of the published ones."""
    source, path = random_source("resnet50"), tmp_path_factory.mktemp("source") / "resnet50.h5"
    source.save(path)
    return source, path


@pytest.mark.filterwarnings("ignore:.*HDF5")
def test_resnet50_computes_what_its_source_computes(rng, resnet50):
    source, path = resnet50
    backbone, normalize = backbones.build("resnet50", output_stride=32), normalization()
    report = load_imagenet(backbone, normalize, path)
    assert set(report.loaded) == {w.path for w in backbone.weights}
    assert report.random == report.unused == ()
    assert normalize.mean.numpy() == pytest.approx([123.68, 116.779, 103.939])
    assert normalize.std.numpy() == pytest.approx(IMAGENET_STD)
    images = rng.integers(0, 256, (1, 75, 102, 3), "uint8")
    check_features("resnet50", source, backbone, normalize, images)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet101", "resnet152", "densenet121"])
def test_the_others_compute_what_their_sources_compute(rng, tmp_path, name):
    source, path = random_source(name), tmp_path / "source.weights.h5"
    source.save_weights(path)
    backbone, normalize = backbones.build(name, output_stride=32), normalization()
    report = load_imagenet(backbone, normalize, path)
    assert report.random == report.unused == () and len(report.loaded) == len(backbone.weights)
    # keras.applications' DenseNet drops the last row of an odd map, ours keeps it.
    size = (64, 96) if name == "densenet121" else (75, 102)
    images = rng.integers(0, 256, (1, *size, 3), "uint8")
    check_features(name, source, backbone, normalize, images)


@pytest.mark.slow
def test_real_densenet121(rng, gff_data):
    """From a file of the whole network, with its classifier."""
    path = gff_data / "weights/densenet121_imagenet.weights.h5"
    backbone, normalize = backbones.build("densenet121", output_stride=32), normalization()
    normalize.assign((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    report = load_imagenet(backbone, normalize, path)
    assert len(report.loaded) == len(backbone.weights) and report.unused == ()
    source = keras.applications.DenseNet121(weights=path)
    images = rng.integers(0, 256, (1, 224, 224, 3), "uint8")
    check_features("densenet121", source, backbone, normalize, images)


@pytest.fixture
def torchvision_resnet18(rng, tmp_path, monkeypatch):
    """(arrays by our names, in our layout; what Keras was asked for) of torchvision's file."""
    backbone, arrays = backbones.build("resnet18"), {}
    for weight in backbone.weights:
        arrays[weight.path] = rng.uniform(0.1, 1, weight.shape).astype("float32")
    path = tmp_path / "resnet18-f37072fd.pth"
    file = {
        torch_name(name): array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        for name, array in arrays.items()
    }
    write_arrays(path, {**file, "fc.weight": np.zeros((1000, 512), "float32")})
    asked = []
    monkeypatch.setattr(keras.utils, "get_file", lambda *_, **__: asked.append(_) or str(path))
    return arrays, asked


def test_resnet18_comes_from_torchvision(torchvision_resnet18):
    arrays, asked = torchvision_resnet18
    plain = dict(fusion=None, dfp=False, aux_head=False)
    model = gff.GFFNet("resnet18", 3, output_stride=32, **plain)
    normalize = model.get_layer("normalize")
    normalize.assign((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    report = gff.load_weights(model, "imagenet")
    file = "resnet18-f37072fd.pth"
    assert asked == [(file, f"https://download.pytorch.org/models/{file}")]
    assert set(report.loaded) == {w.path for w in model.backbone.weights}
    assert (report.random, report.unused) == ((), ("fc.weight",))
    for weight in model.backbone.weights:
        np.testing.assert_array_equal(weight, arrays[weight.path])
    np.testing.assert_allclose(normalize.mean, IMAGENET_MEAN)
    np.testing.assert_allclose(normalize.std, IMAGENET_STD)


def test_a_new_network_takes_them_and_its_file_keeps_them(rng, tmp_path, torchvision_resnet18):
    arrays, asked = torchvision_resnet18
    model = gff.GFFNet("resnet18", 3, filters=8, weights="imagenet")
    for weight in model.backbone.weights:
        np.testing.assert_array_equal(weight, arrays[weight.path])
    assert len(asked) == 1
    model.backbone.get_layer("conv1_bn").beta.assign(rng.normal(size=64))  # as training does
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(asked) == 1
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_does_not_fit_is_listed_and_nothing_is_changed(resnet50):
    narrow = keras.Sequential(name="resnet50")
    narrow.add(keras.Input((None, None, 3)))
    narrow.add(gff.layers.Conv2D(48, 7, strides=2, use_bias=False, name="conv1_conv"))
    narrow.add(gff.layers.BatchNormalization(name="conv1_bn"))
    before, normalize = narrow.get_weights(), normalization()
    with pytest.raises(ValueError, match=rf"{resnet50[1]} is not of .*, no weight fits") as e:
        load_imagenet(narrow, normalize, resnet50[1], partial=True)
    lines = str(e.value).splitlines()
    assert "  conv1_conv/kernel (7, 7, 3, 64) in the file, (7, 7, 3, 48) in the network" in lines
    assert "  v2_stack_3_block3_3_conv/kernel (1, 1, 512, 2048) in the file, not in" in str(e.value)
    for a, b in zip(before, narrow.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(normalize.mean, IMAGENET_MEAN)


def test_other_files_are_refused(resnet50, tiny_model, tmp_path):
    backbone = keras.Sequential([keras.Input((None, None, 3))], name="resnet50")
    with pytest.raises(FileNotFoundError, match="none.h5"):
        load_imagenet(backbone, normalization(), tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ValueError, match=r"text.h5 does not hold the weights of .*\.ResNet50, "):
        load_imagenet(backbone, normalization(), tmp_path / "text.h5")
    with pytest.raises(ValueError, match=r"resnet50.h5: files of .* fit resnet50, resnet101, .*"):
        gff.load_weights(tiny_model(), resnet50[1])


def test_a_file_of_another_network_is_refused_in_one_sentence(monkeypatch, tmp_path):
    """Keras warns of every layer, and its error ends with a list of all."""

    def network(*layers):
        x = images = keras.Input((None, None, 3))
        for layer in layers:
            x = layer(x)
        return keras.Model(images, x, name="resnet50")

    def application(include_top, weights):
        layers = keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()
        network(*layers).load_weights(weights)

    monkeypatch.setitem(_APPLICATIONS, "resnet50", application)
    path = tmp_path / "densenet121.weights.h5"
    network(keras.layers.Dense(4)).save_weights(path)
    with warnings.catch_warnings(), pytest.raises(ValueError) as error:
        warnings.simplefilter("error")
        load_imagenet(network(), normalization(), path, partial=True)
    assert str(error.value) == (
        f"{path} does not hold the weights of keras.applications.application, which the backbone "
        "'resnet50' takes: A total of 2 objects could not be loaded."
    )


@pytest.mark.parametrize("name", ["wider_resnet38", "resnet50_deep", "mine"])
def test_backbones_without_a_published_file(name):
    backbone = keras.Sequential([keras.Input((None, None, 3))], name=name)
    with pytest.raises(ValueError, match=rf"named '{name}', only for resnet18, .*\.pth"):
        load_imagenet(backbone, normalization())


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No address can be reached; returns Keras's folder."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(keras.src.backend.config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["resnet18", "resnet152", "densenet121"])
def test_without_network_one_sentence_says_what_to_do(offline, name):
    with pytest.raises(OSError) as error:
        fetch(name)
    (line,) = str(error.value).splitlines()
    url = line.split(" cannot be fetched from ")[1].split(" (")[0]
    assert url.startswith("https://") and name in url
    assert str(offline / "models" / url.rpartition("/")[2]) in line and "refused" in line


@pytest.mark.parametrize(
    "name",
    [n if n == "resnet50" else pytest.param(n, marks=pytest.mark.slow) for n in APPLICATIONS],
)
def test_addresses_and_hashes_are_those_of_keras(offline, monkeypatch, name):
    """Keras has asked for the same file before, wherever it is cached."""
    asked = []

    def get_file(file, url, *, cache_subdir, file_hash):
        asked.append((file, url, cache_subdir, file_hash))
        raise RuntimeError

    for module in (keras.utils, keras.src.utils.file_utils):
        monkeypatch.setattr(module, "get_file", get_file)
    with pytest.raises(OSError):
        fetch(name)
    with pytest.raises(RuntimeError):
        APPLICATIONS[name][0](include_top=False, weights="imagenet")
    assert asked[0] == asked[1]


def test_torchvisions_checksums_begin_as_its_files_names_end():
    files = {url: checksum for url, checksum in _FILES.values() if url.endswith(".pth")}
    assert len(files) == 5 and all(u.endswith(f"-{sha[:8]}.pth") for u, sha in files.items())
