"""SGD against PyTorch's update, v = m v + (g + wd w); w -= lr v, in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from gff_keras.training.optimizers import SGD
from gff_keras.training.schedules import PolynomialDecay

SHAPES = [(3, 4), (5,), (2, 1, 3), ()]
STEPS = 25


def pytorch_sgd(weights, gradients, rates, momentum, weight_decay):
    weights = [w.astype(np.float64) for w in weights]
    velocities = [np.zeros_like(w) for w in weights]
    for step, rate in zip(gradients, rates, strict=True):
        velocities = [
            momentum * v + g + weight_decay * w
            for v, g, w in zip(velocities, step, weights, strict=True)
        ]
        weights = [w - rate * v for w, v in zip(weights, velocities, strict=True)]
    return weights


def run(optimizer, weights, gradients):
    variables = [keras.Variable(w) for w in weights]
    for step in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in step], variables)
    return [v.numpy() for v in variables]


@pytest.fixture
def problem(rng):
    def draw():
        return [np.asarray(rng.standard_normal(shape), "float32") for shape in SHAPES]

    return draw(), [draw() for _ in range(STEPS)]


def schedule():
    return PolynomialDecay(0.1, STEPS)


def test_trajectory_is_that_of_pytorch(problem):
    rates = 0.1 * (1 - np.arange(STEPS) / STEPS) ** 0.9
    result = run(SGD(schedule(), momentum=0.8, weight_decay=0.05), *problem)
    for got, expected in zip(result, pytorch_sgd(*problem, rates, 0.8, 0.05), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_whatever_is_as_large_as_the_weights_waits_for_their_gradient():
    """Or else TensorFlow computes it when a step begins and holds it until the step ends."""
    shape = (3, 4)
    variable = keras.Variable(np.ones(shape, "float32"))
    optimizer = SGD(momentum=0.8, weight_decay=0.05)
    optimizer.build([variable])

    @tf.function
    def step(gradient):
        optimizer.apply([gradient], [variable])

    graph = step.get_concrete_function(tf.TensorSpec(shape)).graph

    def waits(op):
        before = [*(x.op for x in op.inputs), *op.control_inputs]
        return op in [x.op for x in graph.inputs[:1]] or any(waits(other) for other in before)

    computed = [op for op in graph.get_operations() if op.type in ("Mul", "AddV2")]
    computed = [op for op in computed if op.outputs[0].shape == shape]
    assert len(computed) == 5 and all(waits(op) for op in computed)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_trajectory_is_not_that_of_keras(problem, weight_decay):
    """The reason for our own: the velocity of Keras contains old learning rates."""
    arguments = dict(momentum=0.8, weight_decay=weight_decay or None)
    keras_result = run(keras.optimizers.SGD(schedule(), **arguments), *problem)
    ours = run(SGD(schedule(), momentum=0.8, weight_decay=weight_decay), *problem)
    assert max(np.abs(a - b).max() for a, b in zip(ours, keras_result, strict=True)) > 1e-2


def test_without_decay_at_a_constant_rate_it_is_keras_sgd(problem):
    ours = run(SGD(0.05, momentum=0.8, weight_decay=0.0), *problem)
    for a, b in zip(ours, run(keras.optimizers.SGD(0.05, momentum=0.8), *problem), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_serialisation(problem):
    optimizer = SGD(schedule(), momentum=0.7, weight_decay=0.02, name="sgd")
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy) is SGD
    assert copy.get_config() == optimizer.get_config()
    for a, b in zip(run(copy, *problem), run(optimizer, *problem), strict=True):
        np.testing.assert_array_equal(a, b)


def test_fit_and_a_saved_model_that_goes_on(rng, tmp_path):
    x, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 2))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(SGD(PolynomialDecay(0.1, 10), 0.9, 0.01), loss="mse")
    w, b = (v.numpy().astype(np.float64) for v in model.weights)
    vw, vb = np.zeros_like(w), np.zeros_like(b)

    def numpy_steps(first, last):
        nonlocal w, b, vw, vb
        for step in range(first, last):
            error = 2 * (x @ w + b - y) / y.size
            vw = 0.9 * vw + x.T @ error + 0.01 * w
            vb = 0.9 * vb + error.sum(0) + 0.01 * b
            rate = 0.1 * (1 - step / 10) ** 0.9
            w, b = w - rate * vw, b - rate * vb

    model.fit(x, y, batch_size=8, epochs=4, shuffle=False, verbose=0)
    numpy_steps(0, 4)
    np.testing.assert_allclose(model.weights[0], w, rtol=1e-4, atol=1e-6)

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.iterations) == 4
    for m in (model, loaded):
        m.fit(x, y, batch_size=8, epochs=5, shuffle=False, verbose=0)
    numpy_steps(4, 9)
    for m in (model, loaded):
        np.testing.assert_allclose(m.weights[0], w, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(m.weights[1], b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name, value", [("momentum", -1), ("momentum", 1), ("weight_decay", -1)])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        SGD(0.1, **{name: value})
