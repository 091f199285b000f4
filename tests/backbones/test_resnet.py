import functools

import keras
import numpy as np
import pytest

from gff_keras.backbones import RESNETS, resnet
from gff_keras.backbones.resnet import DeepStem

built = functools.cache(resnet)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in RESNETS[3:]]


@pytest.mark.parametrize("name", [*RESNETS[:3], *SLOW])
def test_features(name):
    narrow = name in ("resnet18", "resnet34")
    channels = (64, 128, 256, 512) if narrow else (256, 512, 1024, 2048)
    shapes = [x.shape for x in resnet(name, input_shape=(97, 131, 3)).outputs]
    sizes = [(25, 33), (13, 17), (13, 17), (13, 17)]
    assert shapes == [(None, *s, c) for s, c in zip(sizes, channels, strict=True)]


@pytest.mark.parametrize(
    "stride, strides", [(8, (4, 8, 8, 8)), (16, (4, 8, 16, 16)), (32, (4, 8, 16, 32))]
)
def test_output_strides(stride, strides):
    outputs = resnet("resnet18", stride, (128, 64, 3)).outputs
    assert [x.shape[1:3] for x in outputs] == [(128 // s, 64 // s) for s in strides]


SLOW_STRIDES = [
    pytest.param(name, stride, marks=pytest.mark.slow)
    for name, stride in (("resnet50", 16), ("resnet50_v1.5", 8))
]


@pytest.mark.parametrize(
    "name, stride", [("resnet18", 8), ("resnet18", 16), ("resnet50", 8), *SLOW_STRIDES]
)
@pytest.mark.parametrize("size", [(65, 97), (96, 131)])
def test_dilated_features_contain_those_of_the_strided_network(rng, name, stride, size):
    """A stride turned into a dilation computes the same function, at more positions."""
    x = rng.normal(size=(1, *size, 3)).astype("float32")
    strided, dilated = built(name, 32), built(name, stride)
    dilated.set_weights(strided.get_weights())
    for level, (coarse, fine) in enumerate(zip(strided(x), dilated(x), strict=True)):
        step = max(1, 2 ** (level + 2) // stride)
        np.testing.assert_allclose(
            np.array(fine)[:, ::step, ::step], coarse, atol=1e-4 * np.abs(coarse).max()
        )


def test_deep_stem(rng, tmp_path):
    """An odd size; saved, loaded and frozen as one layer."""
    images = keras.Input((None, None, 3))
    model = keras.Model(images, DeepStem(name="stem")(images))
    assert model.count_params() == 9 * (3 * 64 + 64 * 64 + 64 * 128) + 8 * 64
    x = rng.normal(size=(2, 21, 34, 3)).astype("float32")
    assert model(x).shape == (2, 11, 17, 128)
    model(x, training=True)  # moves the statistics
    model.save(tmp_path / "stem.keras")
    loaded = keras.saving.load_model(tmp_path / "stem.keras")
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)
    model.get_layer("stem").trainable = False
    assert model.trainable_weights == []


def test_unknown_arguments():
    for name in ("resnet19", "resnet18_v1.5", "resnet50_"):
        with pytest.raises(ValueError, match=f"{name}.*resnet18.*resnet152_deep"):
            resnet(name)
    with pytest.raises(ValueError, match="output_stride=4"):
        resnet("resnet18", 4)
