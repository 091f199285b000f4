import pytest

from gff_keras.backbones import build, wider_resnet


@pytest.fixture
def narrow_wider_resnet(monkeypatch):
    """Function that builds Wider-ResNet-38 with an eighth of its channels."""
    modules = {
        name: (blocks, tuple(n // 8 for n in filters), *rest)
        for name, (blocks, filters, *rest) in wider_resnet._MODULES.items()
    }
    monkeypatch.setattr(wider_resnet, "_MODULES", modules)
    return lambda: build("wider_resnet38")
