"""Load what PyTorch's networks learned: whose tensor goes where.

torchvision's ResNets       layer2.0.conv1.weight, layer2.0.bn1.running_mean, layer2.0.downsample.0
semseg's PSPNets            the same, the stem as layer0.0 .. layer0.7; ppm, cls and aux beside
Wider-ResNet-38 (A2)        mod4.block1.convs.conv1.weight, mod4.block1.bn1.weight

A kernel is (out, in, height, width) there and (height, width, in, out) here.
"""

import re
import warnings

import numpy as np

from gff_keras.pretrained.report import LoadReport, fitting
from gff_keras.pretrained.torch_file import read_torch_file

_WEIGHTS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_MODULES = {  # of layers whose module has a name of its own; others are found by a rule
    "conv1_conv": "conv1",
    "conv1_bn": "bn1",
    "conv1_bn3": "bn3",
    "context": "cls.0",
    "context/bn": "cls.1",
    "classifier": "cls.4",
    "aux_conv/conv": "aux.0",
    "aux_conv/bn": "aux.1",
    "aux_classifier": "aux.4",
}
_BINS = {"1": 0, "2": 1, "3": 2, "6": 3}
_STEM = {  # semseg's: a sequence of convolutions, normalisations and ReLUs
    "layer0.0": "conv1",
    "layer0.1": "bn1",
    "layer0.3": "conv2",
    "layer0.4": "bn2",
    "layer0.6": "conv3",
    "layer0.7": "bn3",
}
IN_PLACE = (
    "has the names of In-Place ABN (bn1.weight, not bn1.0.weight): trained with leaky ReLU and the "
    "absolute value of its scales, where this network has ReLU and the scales; train it further."
)
_CLASSIFIERS = ("fc.", "classifier.fc.")  # of ImageNet's classes


def load_torch(model, path, partial=False):
    """Copy the weights of a PyTorch network into a `GFFNet` or into its backbone.

    The file of a PSPNet must fit the whole network, any other the backbone.

    Args:
        model: `GFFNet`, or a backbone alone.
        path: see `read_torch_file`. The classifier of ImageNet's classes may be in it.
        partial: leave as they are layers that the file does not hold whole, or in another shape.

    Returns:
        `LoadReport`, with the names of the network's weights.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file cannot be read, is of another kind of ResNet, nothing in it fits or,
            without `partial`, not all; lists name and shape on both sides. Nothing was changed.
    """
    arrays = read_torch_file(path)
    if "mod2.block1.bn1.weight" in arrays:
        warnings.warn(f"{path} {IN_PLACE}", stacklevel=2)
    arrays = {
        _renamed(name): array
        for name, array in arrays.items()
        if not name.endswith("num_batches_tracked")
    }
    whole = any(name.startswith(("ppm.", "cls.")) for name in arrays)
    backbone = getattr(model, "backbone", model)
    own_weights = (model if whole else backbone).weights
    weights = {torch_name(w.path): w for w in own_weights if not w.path.startswith("normalize/")}
    found = {n: a.shape for n, a in arrays.items() if not n.startswith(_CLASSIFIERS)}
    own = {name: _torch_shape(weight) for name, weight in weights.items()}
    check_variant(backbone, arrays, path)
    fits = fitting(path, found, own, partial)
    for name in fits:
        array = arrays[name]
        weights[name].assign(np.transpose(array, (2, 3, 1, 0)) if array.ndim == 4 else array)
    return LoadReport(
        tuple(weights[name].path for name in fits),
        tuple(weight.path for name, weight in weights.items() if name not in fits),
        tuple(name for name in arrays if name not in fits),
    )


def torch_name(path):
    """Return the name in a state dict of the weight with this path, or the path if it has none."""
    layer, _, weight = path.rpartition("/")
    module = torch_module(layer)
    return f"{module}.{_WEIGHTS[weight]}" if module and weight in _WEIGHTS else path


def torch_module(layer):
    """Return the module of PyTorch that is this layer, `layer2.0.conv1`, or None."""
    if layer in _MODULES:
        return _MODULES[layer]
    if match := re.fullmatch(r"v2_stack_(\d)_block(\d+)_(\d)_(conv|bn)", layer):
        stage, block, index, kind = match.groups()
        part = f"{kind}{index}" if index != "0" else f"downsample.{int(kind == 'bn')}"
        return f"layer{int(stage) + 1}.{int(block) - 1}.{part}"
    if match := re.fullmatch(r"(?:conv1_convs/)?((?:conv|bn)\d|mod\d.*|bn_out)", layer):
        return match[1]  # PyTorch's name itself
    if match := re.fullmatch(r"context/bin_([1236])/(conv|bn)", layer):
        return f"ppm.features.{_BINS[match[1]]}.{1 if match[2] == 'conv' else 2}"
    return None


def _renamed(name):
    """The same name for what networks of one kind name in two ways."""
    name = re.sub(r"(bn\d|bn_out)\.(0|bn)\.", r"\1.", name)  # it shares a module with its ReLU
    return re.sub(r"^layer0\.\d", lambda match: _STEM.get(match[0], match[0]), name)


def _torch_shape(weight):
    shape = tuple(weight.shape)
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape


def check_variant(backbone, names, path):
    """A bottleneck's stride is in its first 1x1 convolution or its 3x3: no shape shows which."""
    layers = {layer.name: layer for layer in backbone.layers}
    if "layer2.0.conv3.weight" not in names or "v2_stack_1_block1_3_conv" not in layers:
        return
    needed = "deep" if "conv3.weight" in names else "v1.5"
    strided = layers["v2_stack_1_block1_2_conv"].strides != (1, 1)
    if not strided or needed != ("deep" if "conv1_convs" in layers else "v1.5"):
        name = f"{backbone.name.partition('_')[0]}_{needed}"
        raise ValueError(
            f"{path} is of a ResNet with another stem or its strides in other convolutions than "
            f"{backbone.name!r}; build the network with backbone={name!r}."
        )
