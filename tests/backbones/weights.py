"""Random weights for comparing networks: activations neither die nor grow."""

import numpy as np


def randomize(model, rng):
    """Give normalisation random scales, biases and statistics; kernels are random already."""
    for layer in model.layers:
        if hasattr(layer, "moving_mean"):
            n = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.5, 1.5, n))
            layer.beta.assign(rng.normal(0, 0.2, n))
            layer.moving_mean.assign(rng.normal(0, 0.2, n))
            layer.moving_variance.assign(rng.uniform(0.5, 2, n))


def relative_error(ours, theirs):
    """Largest difference over the largest value."""
    ours, theirs = np.asarray(ours, "float64"), np.asarray(theirs, "float64")
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() / np.abs(theirs).max()
