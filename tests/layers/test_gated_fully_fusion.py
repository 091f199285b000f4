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


def layer_with_biases(rng, x):
    layer = GatedFullyFusion(5)
    layer(x)
    for gate_conv in layer.gate_convs:
        gate_conv.bias.assign(rng.normal(size=1))
    return layer


def terms(layer, x, zero=()):
    """Gates, and the terms of Eq. 5: row l, column i, what level i brings to fused level l."""
    g = [
        1 / (1 + np.exp(-(x_l @ conv.kernel.numpy()[0, 0] + conv.bias.numpy()))) * (i not in zero)
        for i, (x_l, conv) in enumerate(zip(x, layer.gate_convs, strict=True), start=1)
    ]
    reduced = [
        np.maximum(x_l @ r.conv.kernel.numpy()[0, 0] / np.sqrt(1 + 1e-5), 0)
        for x_l, r in zip(x, layer.reductions, strict=True)
    ]
    rows = []
    for level, (g_l, x_l) in enumerate(zip(g, reduced, strict=True)):
        rows.append(
            [
                (1 - g_l) * resampled(g_i * x_i, SIZES[level])
                for g_i, x_i in zip(g, reduced, strict=True)
            ]
        )
        rows[-1][level] = (1 + g_l) * x_l
    return g, rows


@pytest.mark.parametrize("zero", [(), (1,), (3,), (2, 4), (1, 2, 3, 4)])
def test_equation_5(rng, zero):
    x = features(rng)
    layer = layer_with_biases(rng, x)
    g, expected = terms(layer, x, zero)
    fused = layer(x, zero=zero)
    for level, parts in enumerate(expected):
        np.testing.assert_allclose(fused[level], sum(parts), atol=1e-5, err_msg=f"level {level}")
    for gate, g_l in zip(layer.gates(x, zero), g, strict=True):
        np.testing.assert_allclose(gate, g_l, atol=1e-6)
    contributions = layer.contributions(x, zero).numpy()
    for level, parts in enumerate(expected):
        for i, part in enumerate(parts):
            norm = np.abs(part).sum(-1).mean((1, 2))
            np.testing.assert_allclose(contributions[:, level, i], norm, rtol=1e-5, atol=1e-6)


def test_a_level_without_its_gate(rng):
    """It sends nothing, does not amplify itself and receives all; the others keep their gates."""
    x = features(rng)
    layer = layer_with_biases(rng, x)
    fused = layer(x, zero=(2,))
    others = layer(x[:1] + [x[1] + 1] + x[2:], zero=(2,))
    for level in (0, 2, 3):
        np.testing.assert_array_equal(fused[level], others[level])
    assert np.abs(fused[1] - others[1]).max() > 0.1
    layer.gate_convs[1].bias.assign([-200.0])  # the limit of a gate that closes
    for closed, zeroed in zip(layer(x), fused, strict=True):
        np.testing.assert_allclose(closed, zeroed, atol=1e-6)


def test_contributions_add_up_to_the_fused_levels(rng):
    x = features(rng)
    layer = layer_with_biases(rng, x)
    totals = np.array([np.mean(np.sum(y, -1), (1, 2)) for y in layer(x)])  # nothing is negative
    np.testing.assert_allclose(layer.contributions(x).numpy().sum(2).T, totals, rtol=1e-5)


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
    for filters in (0, "8", 2.5):
        with pytest.raises(ValueError, match=f"filters={filters!r} must be positive, and a whole"):
            GatedFullyFusion(filters)
    with pytest.raises(ValueError, match="from the finest to the coarsest; received"):
        GatedFullyFusion(4)(features(rng)[::-1])


@pytest.mark.parametrize("zero", [(5,), (0,), 7, "1", [True], [1, 2.5]])
def test_levels_to_close_must_be_there(rng, zero):
    with pytest.raises(ValueError, match=r"is no gate; list numbers in 1..4, 1 for G1"):
        GatedFullyFusion(4)(features(rng), zero=zero)
