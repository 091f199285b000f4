import numpy as np
import pytest

from gff_keras.layers import GatedFullyFusion
from tests.layers.test_resizing import resampled

SIZES = ((13, 18), (7, 9), (7, 9), (4, 5))
CHANNELS = (6, 8, 10, 12)


def features(rng):
    return [
        rng.normal(size=(2, *size, c)).astype("float32")
        for size, c in zip(SIZES, CHANNELS, strict=True)
    ]


def test_equation_5(rng):
    x = features(rng)
    layer = GatedFullyFusion(5)
    fused = layer(x)
    for gate_conv in layer.gate_convs:
        gate_conv.bias.assign(rng.normal(size=1))
    fused = layer(x)

    g = [
        1 / (1 + np.exp(-(x_l @ conv.kernel.numpy()[0, 0] + conv.bias.numpy())))
        for x_l, conv in zip(x, layer.gate_convs, strict=True)
    ]
    reduced = [
        np.maximum(x_l @ r.conv.kernel.numpy()[0, 0] / np.sqrt(1 + 1e-5), 0)
        for x_l, r in zip(x, layer.reductions, strict=True)
    ]
    for level, (g_l, x_l, fused_l) in enumerate(zip(g, reduced, fused, strict=True)):
        received = sum(
            resampled(g[i] * reduced[i], SIZES[level]) for i in range(len(x)) if i != level
        )
        np.testing.assert_allclose(
            fused_l, (1 + g_l) * x_l + (1 - g_l) * received, atol=1e-5, err_msg=f"level {level}"
        )
    for gate, g_l in zip(layer.gates(x), g, strict=True):
        np.testing.assert_allclose(gate, g_l, atol=1e-6)


def test_an_open_gate_receives_nothing(rng):
    x = features(rng)
    layer = GatedFullyFusion(5)
    layer(x)
    layer.gate_convs[1].bias.assign([100.0])
    before = layer(x)[1].numpy()
    x[3] = x[3] + 1
    np.testing.assert_array_equal(layer(x)[1], before)


def test_refuses_what_is_no_pyramid(rng):
    with pytest.raises(ValueError, match="list of at least two"):
        GatedFullyFusion(4)(rng.normal(size=(1, 4, 4, 3)).astype("float32"))
    with pytest.raises(ValueError, match="filters=0"):
        GatedFullyFusion(0)
