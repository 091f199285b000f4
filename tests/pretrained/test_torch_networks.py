"""Networks of PyTorch itself: their activations, logits and files; skipped without torch."""

from types import SimpleNamespace

import numpy as np
import pytest

import gff_keras as gff
from gff_keras.backbones import resnet
from gff_keras.pretrained.torch_names import load_torch

torch = pytest.importorskip("torch")
networks = pytest.importorskip("tests.pretrained.torch_networks")


def outputs_of(network, images):
    with torch.no_grad():
        outputs = network(torch.from_numpy(np.array(images).transpose(0, 3, 1, 2)))
    return [y.numpy().transpose(0, 2, 3, 1) for y in outputs]


@pytest.mark.parametrize(
    "name, stride", [("resnet18", 32), ("resnet18", 8), ("resnet50_v1.5", 32), ("resnet50_v1.5", 8)]
)
def test_torchvision(rng, tmp_path, name, stride):
    network = networks.randomise(networks.ResNet(name.partition("_")[0], stride))
    torch.save(network.state_dict(), tmp_path / "w.pth", _use_new_zipfile_serialization=stride > 8)
    backbone = resnet(name, stride)
    report = load_torch(SimpleNamespace(backbone=backbone), tmp_path / "w.pth")
    assert (report.random, report.unused) == ((), ("fc.weight", "fc.bias"))
    x = rng.normal(size=(1, 97, 131, 3)).astype("float32")
    for ours, theirs in zip(backbone(x), outputs_of(network, x), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_wider_resnet38(rng, narrow_wider_resnet, tmp_path):
    network = networks.randomise(networks.WiderResNet(narrow=8))
    weights = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    path = tmp_path / "w.pth.tar"
    torch.save({"state_dict": weights}, path, _use_new_zipfile_serialization=False)
    backbone = narrow_wider_resnet()
    report = load_torch(SimpleNamespace(backbone=backbone), path)
    assert (report.random, report.unused) == ((), ("classifier.fc.weight", "classifier.fc.bias"))
    x = rng.normal(size=(1, 65, 83, 3)).astype("float32")
    for ours, theirs in zip(backbone(x), outputs_of(network, x), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_semseg(rng, tmp_path):
    """Logits are those of the source with half-pixel bins; with its own corners they differ."""
    network = networks.randomise(networks.PSPNet(19))
    weights = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"epoch": 100, "state_dict": weights}, tmp_path / "w.pth")
    model = gff.GFFNet("resnet50_deep", 19, fusion=None, dfp=False)
    report = gff.load_weights(model, tmp_path / "w.pth")
    assert (report.random, report.unused) == ((), ())
    images = rng.uniform(0, 255, (1, 97, 129, 3)).astype("float32")
    ours = model(images)
    x = model.get_layer("normalize")(images)
    network.align_corners = False
    logits, auxiliary = outputs_of(network, x)
    np.testing.assert_allclose(ours["logits"], logits, atol=1e-4)
    np.testing.assert_allclose(ours["aux_logits"], auxiliary, atol=1e-4)
    network.align_corners = True
    logits, _ = outputs_of(network, x)
    difference = np.abs(ours["logits"] - logits)
    print(
        f"align_corners: logits differ by {difference.mean():.3f}, at most {difference.max():.3f}"
    )
    print(f"of a standard deviation of {logits.std():.3f};", end=" ")
    print(f"{(logits.argmax(-1) == np.argmax(ours['logits'], -1)).mean():.1%} of pixels agree")
    assert 0.005 < difference.mean() / logits.std() < 0.05
