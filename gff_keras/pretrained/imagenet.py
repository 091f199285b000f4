"""Load ImageNet weights for a backbone from where their authors publish them.

ResNet-50/101/152, DenseNet-121      keras.applications
ResNet-18/34, ResNets in v1.5        torchvision

keras.applications' networks compute the same functions in other terms, which fold into ours:

its convolutions have a bias b          the moving mean m behind them becomes m - b
its epsilon is 1.001e-5, ours 1e-5      the moving variance v becomes v + 1e-8
its ResNets take BGR minus a mean       the first kernel takes RGB, times the std we divide by

Zeros that pad an image stand for the mean that a network was trained with: the normalisation gets
it, or borders would differ.
"""

import os
import re
import warnings
from pathlib import Path

import keras
import numpy as np

from gff_keras.layers.normalization import IMAGENET_STD
from gff_keras.pretrained.report import LoadReport, fitting
from gff_keras.pretrained.torch_names import load_torch

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_TORCHVISION = "https://download.pytorch.org/models"
_NO_TOP = "weights_tf_dim_ordering_tf_kernels_notop.h5"
_FILES = {  # the address, and the MD5 or SHA-256 by which Keras knows a whole download
    "resnet18": (
        f"{_TORCHVISION}/resnet18-f37072fd.pth",
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
    ),
    "resnet34": (
        f"{_TORCHVISION}/resnet34-b627a593.pth",
        "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
    ),
    "resnet50": (f"{_KERAS}/resnet/resnet50_{_NO_TOP}", "4d473c1dd8becc155b73f8504c6f6626"),
    "resnet101": (f"{_KERAS}/resnet/resnet101_{_NO_TOP}", "88cf7a10940856eca736dc7b7e228a21"),
    "resnet152": (f"{_KERAS}/resnet/resnet152_{_NO_TOP}", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    "resnet50_v1.5": (
        f"{_TORCHVISION}/resnet50-0676ba61.pth",
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    ),
    "resnet101_v1.5": (
        f"{_TORCHVISION}/resnet101-63fe2227.pth",
        "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
    ),
    "resnet152_v1.5": (
        f"{_TORCHVISION}/resnet152-394f9c45.pth",
        "394f9c45966e3651a89bbb78a48410a6755854ce4a5ab64927cf1c7247f85e58",
    ),
    "densenet121": (f"{_KERAS}/densenet/densenet121_{_NO_TOP}", "30ee3e1110167f948a6b9946edeeb738"),
}
_APPLICATIONS = {
    "resnet50": keras.applications.ResNet50,
    "resnet101": keras.applications.ResNet101,
    "resnet152": keras.applications.ResNet152,
    "densenet121": keras.applications.DenseNet121,
}
_CAFFE_MEAN = (123.68, 116.779, 103.939)  # RGB, of keras.applications' ResNets


def load_imagenet(backbone, normalize, path=None, partial=False):
    """Give a backbone ImageNet's weights, and the normalisation before it the mean they go with.

    Together they then compute, at output stride 32, what the source does with its preprocessing; at
    a smaller one, the same convolutions are dilated. Nothing else in the network changes.

    Args:
        backbone: model from `gff_keras.backbones`: its name tells the source.
        normalize: `ImageNormalization`.
        path: the source's file, of keras.applications (.h5); None fetches it, once: Keras keeps
            what it fetched in ~/.keras/models, or $KERAS_HOME/models.
        partial: leave as they are layers that the source does not hold, or in another shape.

    Returns:
        `LoadReport`, with the names of the backbone's weights.

    Raises:
        OSError: the file cannot be fetched; FileNotFoundError: `path` does not exist.
        ValueError: ImageNet weights of such a backbone are not known, the file is not of its source
            or, without `partial`, not all of it fits; lists name and shape on both sides. Nothing
            was changed then.
    """
    name = backbone.name
    if name in _APPLICATIONS:
        path = fetch(name) if path is None else Path(path)
        return convert(backbone, normalize, _read_application(name, path), path, partial)
    if path is not None:
        raise ValueError(
            f"{path}: files of keras.applications fit {', '.join(_APPLICATIONS)}, not a backbone "
            f"named {name!r}."
        )
    path = fetch(name)
    report = load_torch(backbone, path, partial)
    normalize.assign()
    return report


def fetch(name):
    """Return the path of the published file for a backbone, fetched unless Keras has it already.

    Raises:
        OSError: it cannot be fetched, or is not what was published.
        ValueError: none is published for a backbone of this name.
    """
    if name not in _FILES:
        raise ValueError(
            f"weights='imagenet' is not known for a backbone named {name!r}, only for "
            f"{', '.join(_FILES)}; load the file of its authors (.pth) by "
            "gff_keras.load_weights(model, FILE) or --weights FILE."
        )
    url, file_hash = _FILES[name]
    file = url.rpartition("/")[2]
    try:
        return Path(keras.utils.get_file(file, url, cache_subdir="models", file_hash=file_hash))
    except Exception as error:  # Keras raises nothing more special
        home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
        reason = str(error).rpartition(" -- ")[2].rstrip(".")
        raise OSError(
            f"the ImageNet weights of {name} cannot be fetched from {url} ({reason}); put that "
            f"file at {home / 'models' / file}, or load it by gff_keras.load_weights(model, FILE) "
            "or --weights FILE."
        ) from error


def convert(backbone, normalize, source, path, partial=False):
    """Copy the weights of one of keras.applications' networks, see `load_imagenet`.

    Args:
        backbone: model from `gff_keras.backbones`.
        normalize: `ImageNormalization`.
        source: model from keras.applications.
        path: where its weights come from, for messages.
        partial: leave as they are layers that do not fit.
    """
    layers = {layer.name: layer for layer in backbone.layers}
    weights = {f"{name}/{w.name}": w for name, layer in layers.items() for w in layer.weights}
    arrays = _arrays(source, layers)
    if is_resnet := source.name.startswith("resnet"):
        scale = np.array(IMAGENET_STD, "float32")[:, None]
        arrays["conv1_conv/kernel"] = arrays["conv1_conv/kernel"][:, :, ::-1] * scale
    own = {name: tuple(weight.shape) for name, weight in weights.items()}
    found = {name: array.shape for name, array in arrays.items()}
    loaded = fitting(path, found, own, partial)
    for name in loaded:
        weights[name].assign(arrays[name])
    normalize.assign(*((_CAFFE_MEAN,) if is_resnet else ()))
    return LoadReport(
        loaded,
        tuple(name for name in own if name not in loaded),
        tuple(name for name in found if name not in loaded),
    )


def _read_application(name, path):
    """The network of keras.applications with the weights of a file, with its classifier or not."""
    if not path.is_file():
        raise FileNotFoundError(f"Weights file {path} does not exist; give keras.applications'.")
    application = _APPLICATIONS[name]
    try:
        with warnings.catch_warnings():  # one for every layer of another network, then an error
            warnings.filterwarnings("ignore", "Skipping nested container")
            try:
                return application(include_top=False, weights=str(path))
            except ValueError:  # counts layers
                return application(include_top=True, weights=str(path))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{path} does not hold the weights of keras.applications.{application.__name__}, which "
            f"the backbone {name!r} takes: {reason.partition('. Example')[0].rstrip('.')}."
        ) from error


def _arrays(source, own_layers):
    """Weights of a network of keras.applications in our terms: `{name in our network: array}`."""
    arrays, biases = {}, {}
    for layer in source.layers:
        name = layer.name  # in a ResNet keras-cv's is another: v2_stack_0_block1_0_conv
        if source.name.startswith("resnet") and (match := re.match(r"conv([2-5])_(.*)", name)):
            name = f"v2_stack_{int(match[1]) - 2}_{match[2]}"
        if isinstance(layer, keras.layers.Conv2D):
            arrays[f"{name}/kernel"] = _numpy(layer.kernel)
            if layer.use_bias:
                biases[f"{name.removesuffix('_conv')}_bn"] = _numpy(layer.bias)
        elif isinstance(layer, keras.layers.BatchNormalization):
            epsilon = getattr(own_layers.get(name), "epsilon", layer.epsilon)
            arrays[f"{name}/gamma"] = _numpy(layer.gamma)
            arrays[f"{name}/beta"] = _numpy(layer.beta)
            arrays[f"{name}/moving_mean"] = _numpy(layer.moving_mean) - biases.get(name, 0)
            variance = _numpy(layer.moving_variance)
            arrays[f"{name}/moving_variance"] = variance + np.float32(layer.epsilon - epsilon)
    return arrays


def _numpy(weight):
    return np.asarray(keras.ops.convert_to_numpy(weight), "float32")
