"""Several processes: in order, lazily, first error first, and no process outlives its parent."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfrecords_tools.parallel import WAITING_PER_WORKER, default_workers, worker_pool

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, time
from tfrecords_tools.parallel import worker_pool

def pid(_):
    time.sleep(0.1)
    return os.getpid()

with worker_pool(3) as run:
    for number in run(pid, range(6)):
        print(number, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def slow_square(number):
    time.sleep(0.05 * (number % 3 == 0))
    return number * number, os.getpid()


def fail_on_seven(number):
    if number >= 7:
        raise ValueError(f"number {number}")
    return number


def end_process(number):
    os._exit(number)


def test_results_come_in_order_from_several_processes():
    with worker_pool(3) as run:
        results = list(run(slow_square, range(20)))
        assert [square for square, _ in results] == [n * n for n in range(20)]
        assert os.getpid() not in {pid for _, pid in results}
        assert [square for square, _ in run(slow_square, range(3))] == [0, 1, 4]  # a second run


def test_few_items_are_under_way():
    asked = []

    def items():
        for number in range(100):
            asked.append(number)
            yield number

    with worker_pool(2) as run:
        results = run(slow_square, items())
        for done in range(1, 50):
            next(results)
            assert len(asked) < done + 2 * WAITING_PER_WORKER
        assert len(asked) > 50


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_error_comes_in_its_place(workers):
    seen = []
    with pytest.raises(ValueError, match="^number 7$"), worker_pool(workers) as run:
        seen.extend(run(fail_on_seven, range(5)))
        for number in run(fail_on_seven, range(5, 50)):
            seen.append(number)
    assert seen == list(range(7))


def test_a_worker_ended_by_the_system_is_told():
    with pytest.raises(ChildProcessError, match="fewer --workers"), worker_pool(2) as run:
        list(run(end_process, [1, 1]))


def test_few_items_need_no_workers():
    assert default_workers(0) == default_workers(31) == 1
    assert default_workers(10**9) == len(os.sched_getaffinity(0))


def test_workers_end_with_a_killed_parent():
    ran = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    workers = {int(line) for line in ran.stdout.split()}
    assert ran.returncode == -9 and len(workers) > 1
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)
