"""Learning rate and memory of a step."""

import re
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import gff_keras as gff
from gff_keras.training.measurements import peak_memory_gib, used_learning_rate
from gff_keras.training.schedules import PolynomialDecay


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_the_learning_rate_is_that_of_the_last_update(rng, steps):
    def after(optimizer):
        weight = keras.Variable(np.ones(3, "float32"))
        rates = []
        for _ in range(steps):
            rates.append(float(getattr(optimizer, "inner_optimizer", optimizer).learning_rate))
            before = weight.numpy()
            optimizer.apply([keras.ops.ones(3)], [weight])
            if (weight.numpy() == before).all():
                rates.pop()
        return rates[-1] if rates else None

    schedule = PolynomialDecay(0.5, 7)
    for optimizer in (
        gff.optimizers.SGD(0.25),
        gff.optimizers.SGD(schedule),
        gff.optimizers.SGD(schedule, gradient_accumulation_steps=2),
        gff.optimizers.SGD(schedule, gradient_accumulation_steps=3),
        keras.optimizers.LossScaleOptimizer(gff.optimizers.SGD(schedule)),
    ):
        used = after(optimizer)
        expected = 0.5 if used is None else used
        assert used_learning_rate(optimizer) == pytest.approx(expected, rel=1e-6)


def test_learning_rate_is_the_one_that_was_used():
    schedule = PolynomialDecay(0.5, 10)
    for optimizer in (
        keras.optimizers.SGD(schedule),
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(schedule)),
    ):
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        inner._iterations.assign(7)
        assert used_learning_rate(optimizer) == pytest.approx(0.5 * 0.4**0.9)  # of step 6
    assert used_learning_rate(keras.optimizers.AdamW(3e-4)) == pytest.approx(3e-4)


def test_memory_of_the_process():
    with open("/proc/self/status") as file:
        (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", file.read())
    assert peak_memory_gib() == pytest.approx(int(kib) / 2**20, rel=0.02)


def test_memory_of_a_gpu_on_jax(monkeypatch):
    def device(platform, gib):
        stats = {"bytes_in_use": 7, "peak_bytes_in_use": gib * 2**30}
        return SimpleNamespace(platform=platform, memory_stats=lambda: stats)

    devices = [device("gpu", 3), device("gpu", 5), device("cpu", 9)]
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(local_devices=lambda: devices))
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert peak_memory_gib() == 5.0
