"""Load ImageNet weights whose batch normalisation was folded into the convolutions.

The file is an .npz in torchvision's names and layout: `layer2.0.conv1.weight` (out, in, k, k) and
`layer2.0.conv1.bias` (out,), each the product of a convolution and its batch normalisation.
"""

from pathlib import Path

import keras
import numpy as np

from gff_keras.pretrained.report import LoadReport, fitting
from gff_keras.pretrained.torch_names import check_variant, torch_module


def load_folded_resnet(backbone, path, partial=False):
    """Copy folded convolutions into a ResNet backbone: it then computes what the source computed.

    Batch normalisation becomes the identity plus the file's bias; call `calibrate` before training.

    Args:
        backbone: a model from `gff_keras.backbones.resnet`, but for those `_deep`: no folded file
            of such a network is known.
        path: .npz file; the classifier of the source, `fc`, may be in it.
        partial: leave random what the file does not hold whole, or holds in another shape.

    Returns:
        `LoadReport`, with the names of the backbone's convolutions.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an .npz file, of a ResNet with its strides elsewhere, the backbone is
            `_deep`, nothing in the file fits it or, without `partial`, not all; lists name and
            shape on both sides. Nothing was changed then.
    """
    arrays = _read_npz(Path(path))
    check_variant(backbone, arrays, path)
    _check_layers(backbone, path)
    names = [layer.name for layer in backbone.layers if isinstance(layer, keras.layers.Conv2D)]
    sources = {name: torch_module(name) or name for name in names}
    own: dict[str, tuple[int, ...]] = {}
    for name, source in sources.items():
        height, width, channels, filters = backbone.get_layer(name).kernel.shape
        own[f"{source}.weight"] = (filters, channels, height, width)
        own[f"{source}.bias"] = (filters,)
    found = {name: array.shape for name, array in arrays.items() if not name.startswith("fc.")}
    fits = fitting(path, found, own, partial)
    loaded = tuple(name for name, source in sources.items() if f"{source}.weight" in fits)
    for name in loaded:
        kernel, bias = arrays[f"{sources[name]}.weight"], arrays[f"{sources[name]}.bias"]
        backbone.get_layer(name).kernel.assign(np.transpose(kernel, (2, 3, 1, 0)))
        _set_identity(_norm_of(backbone, name), bias)
    random = tuple(name for name in sources if name not in loaded)
    return LoadReport(loaded, random, tuple(sorted(set(arrays) - set(fits))))


def calibrate(backbone, image_batches, names):
    """Measure batch statistics of loaded convolutions and write them into their normalisation.

    Folding lost mean and variance. In inference the function stays what it was; in training, where
    batch statistics take over, it now stays close to it too.

    Args:
        backbone: model with loaded weights.
        image_batches: iterable of normalised images (B, H, W, 3).
        names: convolutions to calibrate, `LoadReport.loaded`.
    """
    norms = [_norm_of(backbone, name) for name in names]
    probe = keras.Model(backbone.input, [norm.input for norm in norms])
    sums = [0.0] * len(norms)
    squares = [0.0] * len(norms)
    count = [0] * len(norms)
    for images in image_batches:
        for i, x in enumerate(probe.predict_on_batch(images)):
            x = np.asarray(x, "float64").reshape(-1, x.shape[-1])
            sums[i] += x.sum(0)
            squares[i] += (x * x).sum(0)
            count[i] += len(x)
    for norm, total, square, n in zip(norms, sums, squares, count, strict=True):
        mean = total / n
        variance = np.maximum(square / n - mean**2, 1e-6)  # a dead channel must not divide by zero
        bias = norm.beta.numpy()  # of the identity that load_folded_resnet wrote
        norm.gamma.assign(np.sqrt(variance + norm.epsilon))
        norm.beta.assign(bias + mean)
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(variance)


def _check_layers(backbone, path):
    """Weights in layers of another kind would stay random, and no report would say so."""
    plain = (keras.layers.Conv2D, keras.layers.BatchNormalization)
    others = [x.name for x in backbone.layers if x.weights and not isinstance(x, plain)]
    if others:
        raise ValueError(
            f"{path}: folded weights are for ResNets of nothing but convolutions and their "
            f"normalisation, and {backbone.name!r} has weights in {', '.join(others)} besides; "
            "give the file of PyTorch (.pth)."
        )


def _read_npz(path):
    if not path.is_file():
        raise FileNotFoundError(f"Weights file {path} does not exist; give a folded .npz file.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name], "float32") for name in archive.files}
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable .npz file of weights; give the folded ResNet archive."
        ) from error


def _norm_of(backbone, conv_name):
    return backbone.get_layer(conv_name.removesuffix("_conv") + "_bn")


def _set_identity(norm, bias):
    norm.gamma.assign(np.ones_like(bias))
    norm.beta.assign(bias)
    norm.moving_mean.assign(np.zeros_like(bias))
    # With epsilon this is 1; rounding of a gamma that made up for epsilon would add up over layers.
    norm.moving_variance.assign(np.full(bias.shape, 1 - norm.epsilon, "float32"))
