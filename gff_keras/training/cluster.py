"""Which processes train together, and how they find each other before TensorFlow takes over."""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time

# Not public, but TensorFlow's public SlurmClusterResolver sorts hosts by name: n10 before n2.
from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver as slurm

TELL_AGAIN = 60.0  # seconds between two lines of a worker that waits
_SLURM = (
    "SLURM_STEP_NUM_TASKS",
    "SLURM_STEP_NODELIST",
    "SLURM_STEP_TASKS_PER_NODE",
    "SLURM_PROCID",
    "SLURM_JOB_ID",
)
_ALONE = "TF_CONFIG='{}' trains on this machine alone."


def cluster():
    """Return the addresses of all workers, if there are several; else None.

    Under Slurm, `srun` starts them: TF_CONFIG is made from its variables where it is not set.

    Raises:
        ValueError: TF_CONFIG, or a variable of Slurm, is not as it is expected.
    """
    if "TF_CONFIG" not in os.environ and os.environ.get("SLURM_STEP_NUM_TASKS") not in (
        None,
        "",
        "0",
        "1",
    ):
        os.environ["TF_CONFIG"] = json.dumps(_slurm_config(os.environ))
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        config = json.loads(text)
        jobs = config.get("cluster", {})
        ports = [_host_and_port(address)[1] for each in jobs.values() for address in _list(each)]
        addresses = [*jobs.get("chief", []), *jobs.get("worker", [])]
        several = len(addresses) > 1
        if several and min(ports) >= 0:
            jobs[config["task"]["type"]][_index(config["task"])]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(
            f"TF_CONFIG={text} does not tell the workers and which of them this is; it looks like "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}; '
            f"{_ALONE}"
        ) from error
    if several and config["task"]["type"] not in ("chief", "worker"):
        raise ValueError(
            f"TF_CONFIG makes this process a {config['task']['type']!r}, but all of a training "
            "run's processes train: name chief and worker only."
        )
    return addresses if several else None


def meet():
    """Wait until all workers of the cluster are there.

    TensorFlow waits in C++, where nothing is told and no signal arrives. So before that each worker
    listens where it will serve, and has seen all others when this function returns.

    Raises:
        ValueError: this worker's address is in use.
        SystemExit: SIGTERM arrived, with status 143.
    """
    addresses = cluster()
    config = json.loads(os.environ["TF_CONFIG"])
    task = config["task"]
    name, own = f"{task['type']} {task['index']}", config["cluster"][task["type"]][_index(task)]
    print(f"{name}: waiting for {len(addresses)} workers", flush=True)
    with _ending_at_sigterm(), _listening(own):
        _reach([address for address in addresses if address != own], name)


def _reach(missing, name):
    """Return when each of some addresses has answered once."""
    began = told = time.monotonic()
    while missing := [address for address in missing if not _answers(address)]:
        now = time.monotonic()
        if now - told >= TELL_AGAIN:
            told, minutes = now, (now - began) / 60
            print(f"{name}: still waiting for {', '.join(missing)} ({minutes:.0f} min)", flush=True)
        time.sleep(0.2)


def _answers(address):
    try:
        socket.create_connection(_host_and_port(address), timeout=5).close()
    except OSError:  # nobody listens there yet, or the name of the host is not known yet
        return False
    return True


@contextlib.contextmanager
def _listening(address):
    """Listen at the port of an address, on all interfaces as TensorFlow's server does."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    place = ("", _host_and_port(address)[1])
    try:
        server = socket.create_server(place, family=family, dualstack_ipv6=both, backlog=4096)
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"{address}, which is to be this worker's address, cannot be had ({error}); end the "
            "run that has it, or give another port."
        ) from error
    with server:  # it accepts nobody: to be reached is enough
        yield


@contextlib.contextmanager
def _ending_at_sigterm():
    def end(number, frame):
        os.write(2, b"\nstopped while it waited\n")  # print is not for signal handlers
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # others may not
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _list(addresses):
    if not isinstance(addresses, list):
        raise TypeError(f"{addresses} is no list")
    return addresses


def _host_and_port(address):
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), int(port)


def _index(task):
    index = int(task["index"])
    if index < 0:
        raise IndexError(f"index {index}")
    return index


def _slurm_config(environment):
    """TF_CONFIG of a task that `srun` started."""
    try:
        int(environment["SLURM_STEP_NUM_TASKS"])
        hosts = slurm.expand_hostlist(environment["SLURM_STEP_NODELIST"])
        tasks = slurm.expand_tasks_per_node(environment["SLURM_STEP_TASKS_PER_NODE"])
        # Another job on a shared node gets other ports.
        first_port = 10000 + 16 * (int(environment.get("SLURM_JOB_ID", 0)) % 1000)
        index = int(environment["SLURM_PROCID"])
        addresses = [
            f"{host}:{first_port + i}"
            for host, count in zip(hosts, tasks, strict=True)
            for i in range(count)
        ]
    except Exception as error:  # TensorFlow's parsers raise it as such
        found = ", ".join(f"{name}={environment.get(name, '(not set)')}" for name in _SLURM)
        raise ValueError(
            f"srun's variables do not tell the workers and which of them this is: {found}; {_ALONE}"
        ) from error
    return {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
