import functools

import numpy as np
import pytest

from gff_keras.backbones import RESNETS, resnet

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


SLOW_STRIDE = pytest.param("resnet50", 16, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "name, stride", [("resnet18", 8), ("resnet18", 16), ("resnet50", 8), SLOW_STRIDE]
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


def test_unknown_arguments():
    with pytest.raises(ValueError, match="resnet19.*resnet18"):
        resnet("resnet19")
    with pytest.raises(ValueError, match="output_stride=4"):
        resnet("resnet18", 4)
