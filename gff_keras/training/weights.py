"""Start from the weights of a file: ImageNet's for the backbone, or those of a whole network."""

import zipfile

from gff_keras.backbones import BACKBONES
from gff_keras.models import GFFNet
from gff_keras.pretrained import torch_file
from gff_keras.pretrained.folded import calibrate, load_folded_resnet
from gff_keras.pretrained.imagenet import load_imagenet
from gff_keras.pretrained.report import LoadReport, fitting, in_whole_layers
from gff_keras.pretrained.torch_names import load_torch
from gff_keras.sharing import load_model, locate

CALIBRATION_BATCHES = 32
_GIVE = (
    "give weights as 'imagenet', as the .keras file of a GFFNet, its folder or hf://USER/NAME, as "
    f"a file of PyTorch ({', '.join(torch_file.SUFFIXES)}) or keras.applications (.h5), or as a "
    "folded .npz."
)


def load_weights(model, path, batches=None, *, partial=False):
    """Copy the weights of a file into a network.

    Args:
        model: `GFFNet`.
        path: "imagenet", for the backbone (`gff_keras.pretrained.imagenet`), or the file that it
            fetches from keras.applications, .h5; a GFFNet, whose weights are found by their names:
            a .keras file, a run's folder or "hf://USER/NAME"; .pth, .pt, .tar or .safetensors of a
            network of PyTorch (`gff_keras.pretrained.torch_names`); or .npz of folded ImageNet
            weights for the backbone (`gff_keras.pretrained.folded`).
        batches: data set of pairs (images, labels). The normalisation behind folded weights is
            measured on it, which training needs and inference does not.
        partial: take the layers that fit, with all their weights. Others stay as they are, random
            in a new network.

    Returns:
        `LoadReport`.

    Raises:
        FileNotFoundError: no such file or repository.
        OSError: ImageNet weights cannot be fetched; ConnectionError: a repository cannot be.
        ValueError: the file is of another kind, nothing in it fits or, without `partial`, not all;
            lists name and shape on both sides. Nothing was changed then.
    """
    if not isinstance(model, GFFNet):
        raise ValueError(f"Weights are loaded into a GFFNet, not into {model!r}; give the network.")
    normalize = model.get_layer("normalize")
    if str(path) == "imagenet":
        return load_imagenet(model.backbone, normalize, partial=partial)
    path = locate(path)
    _check_checkpoint(path)
    if path.suffix == ".keras":
        return _load_keras(model, path, partial)
    if path.suffix == ".h5":
        return load_imagenet(model.backbone, normalize, path, partial)
    if path.suffix == ".npz":
        report = load_folded_resnet(model.backbone, path, partial)
    elif path.suffix in torch_file.SUFFIXES:
        report = load_torch(model, path, partial)
    else:
        if not path.exists() and not path.suffix:
            raise FileNotFoundError(f"{path} does not exist; {_GIVE}")
        raise ValueError(f"{path}: {_GIVE}")
    normalize.assign()  # torchvision's mean
    if path.suffix == ".npz" and batches is not None:
        images = (normalize(images) for images, _ in batches.take(CALIBRATION_BATCHES))
        calibrate(model.backbone, images, report.loaded)
    return report


def _load_keras(model, path, partial):
    """Copy the weights of a saved GFFNet, found by their names."""
    source = load_model(path)
    _check_backbones(source.backbone.name, model.backbone.name, path)
    found = {weight.path: weight for weight in source.weights}
    own = {weight.path: weight for weight in model.weights}
    taken = in_whole_layers(_shapes(found), _shapes(own))
    if not any(weight.path in taken for weight in model.backbone.weights):
        # The mean that images are normalised with goes with the weights behind it.
        found, own = _without_normalization(found), _without_normalization(own)
    loaded = fitting(path, _shapes(found), _shapes(own), partial)
    for name in loaded:
        own[name].assign(found[name])
    return LoadReport(loaded, _without(own, loaded), _without(found, loaded))


def _check_backbones(found, own, path):
    """Variants of a ResNet have the same shapes, but strides in other convolutions."""
    if found != own and {found, own} <= {*BACKBONES} and found.split("_")[0] == own.split("_")[0]:
        raise ValueError(
            f"{path} has the backbone {found!r}, the network {own!r}, whose strides or stem are "
            f"others; build the network with backbone={found!r}."
        )


def _without_normalization(weights):
    return {path: w for path, w in weights.items() if not path.startswith("normalize/")}


def _check_checkpoint(path):
    """The .npz file of a run's checkpoint holds weights without names."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as file:
        if {"header.npy", "model_0.npy"} <= set(file.namelist()):
            last = path.absolute().parents[1] / "last.keras"
            raise ValueError(
                f"{path} is a checkpoint of a run; give {last}, or go on with the run by --resume."
            )


def _shapes(weights):
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def _without(names, loaded):
    return tuple(name for name in names if name not in loaded)
