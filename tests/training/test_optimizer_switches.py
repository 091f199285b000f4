"""Clipping, accumulation and averaging of our SGD, in NumPy; loss scaling that skips overflows."""

import keras
import numpy as np
import pytest

from gff_keras.training.optimizers import SGD, LossScaleOptimizer
from gff_keras.training.schedules import PolynomialDecay

SHAPES = [(3, 4), (5,), (2, 1, 3), ()]
STEPS = 12


@pytest.fixture
def problem(rng):
    def draw(size):
        return [np.asarray(size * rng.standard_normal(shape), "float32") for shape in SHAPES]

    return draw(1), [draw(rng.uniform(0.1, 1)) for _ in range(STEPS)]


def run(optimizer, weights, gradients):
    variables = [keras.Variable(w) for w in weights]
    for step in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in step], variables)
    return [v.numpy() for v in variables]


def numpy_sgd(weights, gradients, clip=np.inf, accumulate=1, ema=None):
    """PyTorch's order: mean of the gradients, clipping, then L2 and momentum."""
    w = [x.astype(np.float64) for x in weights]
    v, average = [np.zeros_like(x) for x in w], None
    for step in range(accumulate - 1, len(gradients), accumulate):
        group = gradients[step - accumulate + 1 : step + 1]
        g = [np.mean(parts, axis=0, dtype=np.float64) for parts in zip(*group, strict=True)]
        norm = np.sqrt(sum((x**2).sum() for x in g))
        g = [x * min(1, clip / norm) for x in g]
        v = [0.8 * b + a + 0.05 * x for a, b, x in zip(g, v, w, strict=True)]
        rate = 0.1 * (1 - step / STEPS) ** 0.9
        w = [x - rate * b for x, b in zip(w, v, strict=True)]
        if ema is not None:
            old = w if average is None else average
            average = [ema * a + (1 - ema) * x for a, x in zip(old, w, strict=True)]
    return w, average


def sgd(**options):
    return SGD(PolynomialDecay(0.1, STEPS), momentum=0.8, weight_decay=0.05, **options)


def assert_close(results, expected, **bounds):
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 1e-5, "atol": 1e-6, **bounds})


def test_global_norm_is_clipped_before_l2(problem):
    clipped = run(sgd(global_clipnorm=1.5), *problem)
    expected, _ = numpy_sgd(*problem, clip=1.5)
    assert_close(clipped, expected)
    plain, _ = numpy_sgd(*problem)
    assert max(np.abs(a - b).max() for a, b in zip(expected, plain, strict=True)) > 1e-2
    assert_close(run(sgd(global_clipnorm=1e6), *problem), plain)


@pytest.mark.parametrize("accumulate", [2, 3, 5])
def test_accumulation_moves_the_weights_by_the_mean_gradient(problem, accumulate):
    """The rate is that of the step; what is left over at the end (12 = 2 * 5 + 2) is not used."""
    optimizer = sgd(gradient_accumulation_steps=accumulate, global_clipnorm=1.0)
    assert_close(run(optimizer, *problem), numpy_sgd(*problem, 1.0, accumulate)[0])
    assert int(optimizer.iterations) == STEPS // accumulate


def test_weights_rest_between_updates(problem):
    weights, gradients = problem
    optimizer = sgd(gradient_accumulation_steps=4, use_ema=True)
    for a, b in zip(run(optimizer, weights, gradients[:3]), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    for average, w in zip(optimizer._model_variables_moving_average, weights, strict=True):
        np.testing.assert_array_equal(average, w)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_average_of_the_weights(problem, accumulate):
    options = dict(gradient_accumulation_steps=accumulate) if accumulate > 1 else {}
    optimizer = sgd(use_ema=True, ema_momentum=0.7, **options)
    weights, average = numpy_sgd(*problem, accumulate=accumulate, ema=0.7)
    assert_close(run(optimizer, *problem), weights)  # training itself is as without
    assert_close(optimizer._model_variables_moving_average, average)
    assert max(np.abs(a - b).max() for a, b in zip(weights, average, strict=True)) > 1e-2


def test_a_copy_from_the_configuration(problem):
    optimizer = sgd(gradient_accumulation_steps=2, use_ema=True, global_clipnorm=0.5)
    copy = SGD.from_config(optimizer.get_config())
    for a, b in zip(run(copy, *problem), run(optimizer, *problem), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="ema_overwrite_frequency"):
        SGD(use_ema=True, ema_overwrite_frequency=3)


def test_loss_scaling_skips_an_overflow_and_goes_on(problem):
    weights, gradients = problem
    overflow = [np.full_like(g, np.inf) for g in gradients[0]]
    optimizer = LossScaleOptimizer(
        sgd(gradient_accumulation_steps=2, global_clipnorm=1.0, use_ema=True, ema_momentum=0.7),
        initial_scale=64.0,
    )
    given = [[g * np.float32(32) for g in step] for step in gradients]
    result = run(optimizer, weights, [overflow, *given])  # the first one halves the scale
    expected, average = numpy_sgd(*problem, 1.0, 2, 0.7)
    assert_close(result, expected)
    assert_close(optimizer.inner_optimizer._model_variables_moving_average, average)
    assert float(optimizer.dynamic_scale) == 32
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy) is LossScaleOptimizer and copy.get_config() == optimizer.get_config()
