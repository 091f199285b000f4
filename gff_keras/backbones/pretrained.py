"""Load ImageNet weights whose batch normalisation was folded into the convolutions.

The file is an .npz in torchvision's names and layout: `layer2.0.conv1.weight` (out, in, k, k) and
`layer2.0.conv1.bias` (out,), each the product of a convolution and its batch normalisation. It may
hold a part of the network: what is missing stays random and is reported.
"""

import dataclasses
import re
from pathlib import Path

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a weight file did to a backbone, in layer names of the backbone."""

    loaded: tuple[str, ...]
    random: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self):
        lines = [f"loaded {len(self.loaded)} convolutions: {', '.join(self.loaded)}"]
        lines.append(f"left random {len(self.random)}: {', '.join(self.random) or 'none'}")
        if self.unused:
            lines.append(f"in the file but not used: {', '.join(self.unused)}")
        return "\n".join(lines)


def load_folded_resnet(backbone, path):
    """Copy folded convolutions into a ResNet backbone: it then computes what the source computed.

    Batch normalisation becomes the identity plus the file's bias; call `calibrate` before training.

    Args:
        backbone: a model from `gff_keras.backbones.resnet`.
        path: .npz file.

    Returns:
        `LoadReport`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an .npz file, or a weight does not fit the backbone; nothing was changed.
    """
    arrays = _read_npz(Path(path))
    pending, random = {}, []
    for conv in _convolutions(backbone):
        source = _torch_name(conv.name)
        weight, bias = arrays.get(f"{source}.weight"), arrays.get(f"{source}.bias")
        if weight is None or bias is None:
            random.append(conv.name)
            continue
        kernel = np.transpose(weight, (2, 3, 1, 0)) if weight.ndim == 4 else weight
        if kernel.shape != tuple(conv.kernel.shape) or bias.shape != kernel.shape[-1:]:
            raise ValueError(
                f"{path}: {source}.weight {weight.shape} and bias {bias.shape} do not fit "
                f"{conv.name}, whose kernel is {tuple(conv.kernel.shape)}; is the file for "
                "another backbone?"
            )
        pending[conv.name] = (kernel, bias, source)
    if not pending:
        raise ValueError(
            f"{path}: no weight fits this backbone; its names start with {sorted(arrays)[:3]}, "
            "torchvision's ResNet names such as 'layer1.0.conv1.weight' are expected."
        )
    for name, (kernel, bias, _) in pending.items():
        backbone.get_layer(name).kernel.assign(kernel)
        _set_identity(_norm_of(backbone, name), bias)
    used = {f"{source}.{kind}" for *_, source in pending.values() for kind in ("weight", "bias")}
    return LoadReport(tuple(pending), tuple(random), tuple(sorted(set(arrays) - used)))


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


def _read_npz(path):
    if not path.is_file():
        raise FileNotFoundError(f"Weights file {path} does not exist; give a folded .npz file.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable .npz file of weights; give the folded ResNet archive."
        ) from error


def _convolutions(backbone):
    return [layer for layer in backbone.layers if isinstance(layer, keras.layers.Conv2D)]


def _torch_name(name):
    """`v2_stack_1_block1_2_conv` -> `layer2.0.conv2`; shortcuts are `downsample.0`."""
    match = re.fullmatch(r"v2_stack_(\d+)_block(\d+)_(\d)_conv", name)
    if not match:
        return name.removesuffix("_conv")
    stage, block, index = map(int, match.groups())
    part = f"conv{index}" if index else "downsample.0"
    return f"layer{stage + 1}.{block - 1}.{part}"


def _norm_of(backbone, conv_name):
    return backbone.get_layer(conv_name.removesuffix("_conv") + "_bn")


def _set_identity(norm, bias):
    norm.gamma.assign(np.ones_like(bias))
    norm.beta.assign(bias)
    norm.moving_mean.assign(np.zeros_like(bias))
    # With epsilon this is 1; rounding of a gamma that made up for epsilon would add up over layers.
    norm.moving_variance.assign(np.full(bias.shape, 1 - norm.epsilon, "float32"))
