"""The "poly" policy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from gff_keras.training.schedules import PolynomialDecay


@pytest.mark.parametrize("power", [0.9, 1.0, 2.0])
@pytest.mark.parametrize("total", [1, 7, 40])
def test_every_step(total, power):
    schedule = PolynomialDecay(0.02, total, power)
    steps = np.arange(total + 5)
    expected = 0.02 * np.maximum(1 - steps / total, 0) ** power
    rates = [float(schedule(tf.constant(step))) for step in steps]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-9)
    assert rates[total:] == [0.0] * 5


def test_late_steps_of_a_long_run_differ():
    schedule = PolynomialDecay(1e-3, 150_000)
    steps = np.arange(149_990, 150_000)
    rates = [float(schedule(step)) for step in steps]
    np.testing.assert_allclose(rates, 1e-3 * (1 - steps / 150_000) ** 0.9, rtol=1e-2)
    assert (np.diff(rates) < 0).all()


def test_serialisation():
    schedule = PolynomialDecay(0.3, 11, 1.7)
    serialized = keras.optimizers.schedules.serialize(schedule)
    copy = keras.optimizers.schedules.deserialize(serialized)
    assert copy.get_config() == schedule.get_config()
    assert float(copy(4)) == float(schedule(4)) == pytest.approx(0.3 * (7 / 11) ** 1.7)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="total_steps=0"):
        PolynomialDecay(0.1, 0)
    with pytest.raises(ValueError, match="power=-1"):
        PolynomialDecay(0.1, 5, -1)
    with pytest.raises(ValueError, match="initial_learning_rate=nan"):
        PolynomialDecay(float("nan"), 5)


@pytest.mark.parametrize("warmup", [0, 1, 4, 9])
def test_warmup_rises_to_the_decay_and_leaves_the_rest(warmup):
    schedule, plain = PolynomialDecay(0.02, 10, 0.9, warmup_steps=warmup), PolynomialDecay(0.02, 10)
    steps = np.arange(12)
    factor = np.minimum((steps + 1) / (warmup + 1), 1)
    rates = np.array([float(schedule(step)) for step in steps])
    expected = 0.02 * factor * np.maximum(1 - steps / 10, 0) ** 0.9
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(rates[warmup:], [float(plain(step)) for step in steps[warmup:]])
    assert (rates[:10] > 0).all() and (rates[10:] == 0).all()
    assert schedule.get_config()["warmup_steps"] == warmup


@pytest.mark.parametrize("warmup", [-1, 10, 11])
def test_a_warmup_that_does_not_fit_is_refused(warmup):
    with pytest.raises(ValueError, match=f"warmup_steps={warmup}"):
        PolynomialDecay(0.1, 10, warmup_steps=warmup)
