"""Run a function over many items in several processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
Map = Callable[[Callable[[Any], T], Iterable[Any]], Iterator[T]]

# Where processes fork, workers start at once, share the memory of what is imported (TensorFlow) and
# leave the caller's main module alone. They call NumPy and Pillow only, never TensorFlow.
FORKS = sys.platform == "linux"
WAITING_PER_WORKER = 4  # items on their way: enough to keep workers busy, few enough for memory
WORTH_A_WORKER = 32  # items


def default_workers(items: int) -> int:
    """All cores that this process may use, but no more than `items` keep busy."""
    cores = len(os.sched_getaffinity(0)) if FORKS else 1
    return max(1, min(cores, items // WORTH_A_WORKER))


@contextmanager
def worker_pool(workers: int) -> Iterator[Map]:
    """Give something like the built-in `map` that works in `workers` processes.

    Results come lazily, in the order of the items, and few items are under way at a time. The first
    error is raised where its result was due; leaving the context ends the workers.

    Args:
        workers: Number of processes; 1 works in this one.

    Raises:
        ChildProcessError: The system ended a worker.
    """
    if workers == 1:
        yield map
        return
    context = multiprocessing.get_context("fork" if FORKS else "spawn")
    pool = ProcessPoolExecutor(workers, context, _begin_worker)
    waiting = WAITING_PER_WORKER * workers

    def map_in_order(function: Callable[[Any], T], items: Iterable[Any]) -> Iterator[T]:
        pending: deque[Future[T]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) == waiting:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise ChildProcessError(
                "the system ended a worker process, perhaps for lack of memory; "
                "give fewer --workers"
            ) from None

    try:
        yield map_in_order
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    gc.freeze()  # what the parent left is never collected here: it may belong to TensorFlow
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells its workers to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
