"""Two workers on this machine train as one process; one that is lost stops the other."""

import json
import os
import signal
import socket
import time
import types

import pytest
import tensorflow as tf

from gff_keras.training import multi_worker
from gff_keras.training.cluster import cluster, meet

WORKERS = {"worker": ["a:1", "b:2"]}


def ends(workers):
    """Wait for the end of processes: their exit statuses, outputs and errors."""
    texts = [worker.communicate(timeout=300) for worker in workers]
    return [worker.returncode for worker in workers], *zip(*texts, strict=True)


def wait_for(path, workers):
    deadline = time.monotonic() + 200
    while not path.exists():
        assert time.monotonic() < deadline and all(w.poll() is None for w in workers)
        time.sleep(0.01)


@pytest.mark.slow  # what replicas compute, test_replicas.py compares in one process
def test_two_workers_equal_one_process(uneven_recipe, start_workers, assert_same_run, tmp_path):
    drawn = ("--tensorboard_images", "1", "--report")  # by the chief, and no other waits for ever
    workers = start_workers(uneven_recipe, "--out", tmp_path / "two", *drawn)
    statuses, outputs, errors = ends(workers)
    assert statuses == [0, 0], errors
    assert "2 replicas on 2 machines (CPU:0 on each), 2 images each\n" in outputs[0]
    assert "epoch" in outputs[0] and "epoch" not in outputs[1]  # the chief alone reports
    assert not any("eagerly has significant overhead" in text for text in (*outputs, *errors))
    assert_same_run(tmp_path / "two")


def test_a_worker_that_waits_says_for_whom_and_can_be_stopped(uneven_recipe, start, tmp_path):
    code = """
import sys
from gff_keras.cli import main
from gff_keras.training import cluster
cluster.TELL_AGAIN = 0.5
sys.exit(main(["train", *sys.argv[1:]]))
"""
    with socket.create_server(("localhost", 0)) as own, socket.create_server(("", 0)) as other:
        workers = [f"localhost:{each.getsockname()[1]}" for each in (own, other)]
    config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": 0}}
    arguments = (uneven_recipe, "--out", tmp_path / "run")
    worker = start(*arguments, program=("-c", code), TF_CONFIG=json.dumps(config))
    assert worker.stdout.readline() == "worker 0: waiting for 2 workers\n"
    assert worker.stdout.readline() == f"worker 0: still waiting for {workers[1]} (0 min)\n"
    worker.send_signal(signal.SIGTERM)
    ((status,), _, (error,)) = ends([worker])
    assert status == 143 and "stopped while it waited" in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_a_port_in_use_is_named(environment):
    with socket.create_server(("", 0)) as taken:
        own = f"localhost:{taken.getsockname()[1]}"
        workers = {"worker": [own, "localhost:1"]}
        environment(TF_CONFIG={"cluster": workers, "task": {"type": "worker", "index": 0}})
        with pytest.raises(ValueError, match=f"{own}, .* cannot be had .*in use"):
            meet()


LOST = """Graph execution error:

Detected at node CollectiveReduceV2 defined at (most recent call last):
<stack traces unavailable>
{{function_node __wrapped__CollectiveReduceV2_device_/job:worker/device:CPU:0}} Collective ops is \
aborted by: The following tasks are unhealthy:
\t [[{{node CollectiveReduceV2}}]]"""


@pytest.mark.parametrize(
    "chief, remedy",
    [
        (True, "The run had come to its end: all its files are written."),
        (False, "Start all of them again with --resume to go on from the last checkpoint."),
    ],
)
def test_a_worker_lost_at_the_end(chief, remedy):
    """The chief knows that nothing is lost; the others do not."""

    def reduce(*_, **__):
        raise tf.errors.UnavailableError(None, None, LOST)

    extended = types.SimpleNamespace(_num_workers=2, should_checkpoint=chief)
    strategy = types.SimpleNamespace(extended=extended, reduce=reduce)
    with pytest.raises(ConnectionError) as error, multi_worker.together(strategy):
        pass
    said = "Collective ops is aborted by: The following tasks are unhealthy:"
    assert str(error.value).endswith(f"tells why. {remedy} (TensorFlow says: {said})")


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_preempted_then_killed_then_resumed_equals_one_process(
    uneven_recipe, start_workers, assert_same_run, tmp_path, lost
):
    out = tmp_path / "two"
    arguments = [uneven_recipe, "--out", out, "--checkpoint_every", "1", "--resume"]

    workers = start_workers(*arguments)
    wait_for(out / "checkpoints/step_00000001.npz", workers)
    workers[lost].send_signal(signal.SIGTERM)  # both stop after the same step
    statuses, _, errors = ends(workers)
    assert statuses == [143, 143], errors
    assert all("--resume goes on there" in text for text in errors)

    workers = start_workers(*arguments)
    wait_for(out / "checkpoints/step_00000005.npz", workers)
    workers[lost].kill()
    began = time.monotonic()
    statuses, _, errors = ends(workers)
    assert time.monotonic() - began < 60
    assert statuses[lost] == -signal.SIGKILL and statuses[1 - lost] == 2, errors
    assert "another worker has stopped, so this one stops, too" in errors[1 - lost]
    assert "Traceback" not in errors[1 - lost]

    statuses, outputs, errors = ends(start_workers(*arguments))
    assert statuses == [0, 0], errors
    assert "going on after step" in outputs[0]
    assert_same_run(out)


@pytest.mark.slow
def test_workers_take_the_chiefs_values_and_notice_what_they_do_not_share(start_workers):
    code = """
import json, os
import numpy as np
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
from gff_keras.training import multi_worker
from gff_keras.training.cluster import cluster, meet
strategy = multi_worker.connect()
import keras
with multi_worker.together(strategy):
    with strategy.scope():
        variable = keras.Variable(np.zeros((2, 3), "float32"))
    values = np.random.default_rng(3).normal(size=(2, 2, 3)).astype("float32")
    variable.assign(values[index])
    multi_worker.from_chief(strategy, [variable])
    np.testing.assert_array_equal(variable, values[0])
    multi_worker.agree(strategy, 7, "runs/a")
    try:
        multi_worker.agree(strategy, 7 + index, "runs/a")
    except ValueError as error:
        print(error)
"""
    statuses, outputs, errors = ends(start_workers(program=("-c", code)))
    assert statuses == [0, 0], errors
    for index, text in enumerate(outputs):
        assert f"different contents in runs/a (this one: {7 + index})" in text


@pytest.fixture
def environment(monkeypatch):
    """Function that sets variables where those of clusters are unset."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)

    def change(**variables):
        for name, value in variables.items():
            text = value if isinstance(value, str) else json.dumps(value)
            monkeypatch.setenv(name, text)

    yield change
    os.environ.pop("TF_CONFIG", None)  # may be made from Slurm's


@pytest.mark.parametrize(
    "config, addresses",
    [
        ({}, None),
        ("", None),
        ({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}, None),
        ({"cluster": WORKERS, "task": {"type": "worker", "index": 1}}, ["a:1", "b:2"]),
        (
            {"cluster": {"chief": ["c:0"], **WORKERS}, "task": {"type": "chief", "index": 0}},
            ["c:0", "a:1", "b:2"],
        ),
    ],
)
def test_workers_of_tf_config(environment, config, addresses):
    environment(TF_CONFIG=config)
    assert cluster() == addresses


@pytest.mark.parametrize(
    "config, message",
    [
        ("{oops", "TF_CONFIG={oops does not tell"),
        ({"cluster": WORKERS}, "does not tell the workers"),
        ({"cluster": WORKERS, "task": {"type": "worker", "index": 2}}, "does not tell the workers"),
        ({"cluster": WORKERS, "task": {"type": "worker", "index": -1}}, "trains on this machine"),
        ({"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}, "does not tell"),
        ({"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 0}}, "does not"),
        (
            {"cluster": {**WORKERS, "ps": ["c:0"]}, "task": {"type": "ps", "index": 0}},
            "makes this process a 'ps'",
        ),
    ],
)
def test_a_wrong_tf_config_is_refused(environment, config, message):
    environment(TF_CONFIG=config)
    with pytest.raises(ValueError, match=message):
        cluster()


def test_workers_of_slurm(environment):
    """In the order of their ranks: n9 before n10; ports differ on one host, and between jobs."""
    slurm = dict(SLURM_STEP_NODELIST="n[9-10],m", SLURM_STEP_TASKS_PER_NODE="1(x2),2")
    slurm |= dict(SLURM_STEP_NUM_TASKS="4", SLURM_PROCID="3", SLURM_JOB_ID="2001")
    environment(**slurm)
    expected = ["n9:10016", "n10:10016", "m:10016", "m:10017"]
    assert cluster() == expected == cluster()
    assert json.loads(os.environ["TF_CONFIG"])["task"] == {"type": "worker", "index": 3}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"SLURM_STEP_NUM_TASKS": "x"}, "SLURM_STEP_NUM_TASKS=x, SLURM_STEP_NODELIST=m, "),
        ({"SLURM_PROCID": "first"}, "SLURM_PROCID=first"),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x2"}, "SLURM_STEP_TASKS_PER_NODE=1"),
        ({"SLURM_STEP_NODELIST": None}, r"SLURM_STEP_NODELIST=\(not set\), .* TF_CONFIG='{}'"),
    ],
)
def test_wrong_variables_of_slurm_are_refused(environment, monkeypatch, changes, message):
    slurm = dict(SLURM_STEP_NODELIST="m", SLURM_STEP_TASKS_PER_NODE="2")
    slurm |= dict(SLURM_STEP_NUM_TASKS="2", SLURM_PROCID="1") | changes
    environment(**{name: text for name, text in slurm.items() if text is not None})
    with pytest.raises(ValueError, match=message):
        cluster()
    assert "TF_CONFIG" not in os.environ


def test_tf_config_comes_before_slurm(environment):
    environment(TF_CONFIG={}, SLURM_STEP_NUM_TASKS="2")
    assert cluster() is None
