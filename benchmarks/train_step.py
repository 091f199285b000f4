"""How fast is a training step, beside the same network in PyTorch? Prints a Markdown table.

    python benchmarks/train_step.py --torch_python VENV/bin/python [--profile]

PSPNet and GFFNet (19 classes, auxiliary head, output stride 8) on ResNet-18 and -50, in float32 and
bfloat16, on CPU. `train_step_torch.py` has the same network, loss and optimiser (channels last,
autocast for bfloat16) and runs under `--torch_python`. Before anything is measured, both must have
the same number of parameters and, from the same weights on the same batch, the same logits and the
same losses in three successive steps, or the script stops.

Each row is a process of its own, its rate that of the median step of the best round. Memory is
the peak of the process, before the first step (libraries and weights) and after the last.
`--profile` adds a table of the time by kind of operation.
"""

from __future__ import annotations

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

CLASSES, IGNORE_LABEL = 19, 255
OPTIMIZER = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
# For the check: small steps, for rounding grows with them, and a decay that shows in three losses.
CHECKED_OPTIMIZER = {"lr": 0.002, "momentum": 0.9, "weight_decay": 100.0}
NETWORKS = {"PSPNet": {"fusion": None, "dfp": False}, "GFFNet": {}}
CROPS = {"resnet18": (160, 208), "resnet50": (129, 129)}
LOGITS_TOLERANCE, LOSS_TOLERANCE = 1e-3, 1e-4
TORCH = Path(__file__).with_name("train_step_torch.py")
# Kind of operation -> names of it in TensorFlow and in PyTorch; the first that fits decides.
KINDS = {
    "convolution": r"conv|einsum|matmul|mm$",
    "normalisation": r"batch_?norm",
    "resizing and pooling": r"resize|upsample|pool",
    "loss": r"soft_?max|nll|entropy",
    "padding, slicing, concatenation": r"pad|slice|concat|cat$|split|copy|transpose|reshape",
}


@dataclass
class Options:
    """What to measure."""

    torch_python: Path = Path(sys.executable)
    """Python with torch and NumPy."""
    jax: bool = False
    """Add rows for Keras on JAX, which must be installed here."""
    networks: tuple[str, ...] = tuple(NETWORKS)
    """Of PSPNet and GFFNet."""
    backbones: tuple[str, ...] = tuple(CROPS)
    """Of resnet18 and resnet50."""
    dtypes: tuple[str, ...] = ("float32", "mixed_bfloat16")
    """Dtype policies."""
    crop: tuple[int, int] | None = None
    """Height and width; 160x208 for ResNet-18 and 129x129 for ResNet-50 if not given."""
    batch: int = 4
    """Images per step."""
    steps: int = 5
    """Steps measured, after two that are not."""
    rounds: int = 1
    """How often the rows are run, one after the other; the table shows the best rate of each."""
    threads: int = 0
    """Threads of an operation; 0: as many as the framework chooses."""
    profile: bool = False
    """Print where the time of a step goes."""


def main() -> None:
    """Check that the networks are the same, measure every row and print the table."""
    if sys.argv[1:2] == ["--job"]:
        job = json.loads(sys.argv[2])
        print(json.dumps(check(job) if job["kind"] == "check" else measure(job)))
        return
    options = tyro.cli(Options, use_underscores=True, description=__doc__)
    frameworks = ["TensorFlow", "PyTorch"] + ["JAX"] * options.jax
    jobs = []
    for backbone in options.backbones:
        for network in options.networks:
            common = dict(network=network, backbone=backbone, crop=options.crop or CROPS[backbone])
            common |= dict(batch=options.batch, threads=options.threads, classes=CLASSES)
            verify(common, frameworks, options)
            common |= dict(
                kind="measure", optimizer=OPTIMIZER, steps=options.steps, warm_up=2, dropout=0.1
            )
            for dtype in options.dtypes:
                for framework in frameworks:
                    job = dict(dtype=dtype, framework=framework, profile=options.profile)
                    jobs.append(common | job)
    results: dict[int, dict] = {}
    for _ in range(options.rounds):
        for number, job in enumerate(jobs):
            found = start(job, options)
            found["step"] = statistics.median(found.pop("seconds"))
            print(*(job[k] for k in ("network", "backbone", "dtype", "framework")),
                  f"{found['step']:.2f} s", file=sys.stderr)  # fmt: skip
            if number not in results or found["step"] < results[number]["step"]:
                results[number] = job | found
    print(table(list(results.values())))
    if options.profile:
        print("\n" + profile_table(list(results.values())))


def start(job: dict, options: Options) -> dict:
    """Run one job in a process of its own, without GPUs."""
    torch = job["framework"] == "PyTorch"
    python = options.torch_python if torch else sys.executable
    command = [str(python), str(TORCH)] if torch else [python, __file__, "--job"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    environment |= {"KERAS_BACKEND": "jax" if job["framework"] == "JAX" else "tensorflow"}
    command.append(json.dumps(job))
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{job}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def verify(common: dict, frameworks: list[str], options: Options) -> None:
    """Stop unless all frameworks compute the same from the same weights and images."""
    job = common | dict(kind="check", dtype="float32", dropout=0.0, steps=3)
    job |= dict(optimizer=CHECKED_OPTIMIZER)
    with tempfile.TemporaryDirectory() as folder:
        job["file"] = str(Path(folder) / "weights.npz")
        expected = start(job | dict(framework="TensorFlow", write=True), options)
        for framework in frameworks[1:]:
            found = start(job | dict(framework=framework, write=False), options)
            losses = np.abs(np.divide(found["losses"], expected["losses"]) - 1).max()
            line = (
                f"{common['network']} {common['backbone']} {framework}: "
                f"{found['parameters']:,} parameters, logits differ by {found['error']:.1e}, "
                f"losses by {losses:.1e}"
            )
            print(line, file=sys.stderr)
            same = found["parameters"] == expected["parameters"]
            same = same and found["error"] < LOGITS_TOLERANCE and losses < LOSS_TOLERANCE
            if not same:
                sys.exit(f"Not the same network as TensorFlow's. {line}")


def build(job):
    """Return the compiled network and the random batch that job names."""
    import keras

    import gff_keras as gff

    if job["threads"]:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(job["threads"])
    keras.utils.set_random_seed(0)
    arguments = NETWORKS[job["network"]] | dict(dropout=job["dropout"], dtype=job["dtype"])
    model = gff.GFFNet(job["backbone"], job["classes"], **arguments)
    lr, momentum, weight_decay = job["optimizer"].values()
    model.compile(
        gff.optimizers.SGD(lr, momentum, weight_decay),
        gff.losses.SegmentationCrossEntropy(),
        jit_compile=keras.backend.backend() == "jax",  # as in the trainer
    )
    rng = np.random.default_rng(0)
    shape = (job["batch"], *job["crop"])
    images = rng.integers(0, 256, (*shape, 3), np.uint8)
    labels = rng.integers(0, job["classes"], shape, np.uint8)
    labels[rng.random(shape) < 0.1] = IGNORE_LABEL
    return model, images, labels


def check(job: dict) -> dict:
    """Compute logits and losses: from new random weights, which are written, or from these."""
    model, images, labels = build(job)
    weights = [w for w in model.weights if not w.path.startswith("normalize/")]  # constants there
    if job["write"]:
        rng = np.random.default_rng(1)
        for weight in weights:  # a normalisation that is the identity would hide mistakes
            if "gamma" in weight.path or "variance" in weight.path:
                weight.assign(rng.uniform(0.8, 1.2, weight.shape))
            elif "kernel" not in weight.path:
                weight.assign(rng.normal(0, 0.1, weight.shape))
        arrays = {torch_name(w.path): torch_layout(np.array(w)) for w in weights}
        logits = np.array(model.predict_on_batch(images)["logits"])
        np.savez(job["file"], **arrays, images=images, labels=labels, logits=logits)
    with np.load(job["file"]) as arrays:  # for a second backend of Keras
        for weight in weights:
            array = arrays[torch_name(weight.path)]
            weight.assign(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)
        expected = arrays["logits"]
    logits = np.array(model.predict_on_batch(images)["logits"])
    losses = []
    for _ in range(job["steps"]):
        losses.append(float(model.train_on_batch(images, labels)))
        model.reset_metrics()
    parameters = sum(int(np.prod(w.shape)) for w in model.trainable_variables)
    error = float(np.abs(logits - expected).max() / np.abs(expected).max())
    return dict(parameters=parameters, losses=losses, error=error)


def torch_layout(array):
    """(k, k, in, out) -> (out, in, k, k)."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array


def torch_name(path):
    """Name of a weight in PyTorch: `gff/gate_1/kernel` -> `gff.gates.0.weight`."""
    *module, weight = path.split("/")
    name = "/".join(module)
    for pattern, target in MODULES.items():
        if found := re.fullmatch(pattern, name):
            numbers = {k: int(v) for k, v in found.groupdict().items() if v.isdigit()}
            name = target.format(**found.groupdict() | {k: v - 1 for k, v in numbers.items()})
            break
    return f"{name.replace('/', '.')}.{WEIGHTS.get(weight, weight)}"


WEIGHTS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
MODULES = {  # numbers count from 1 here and from 0 there
    r"(.*/)?conv1_(?P<part>conv|bn)": "backbone.stem.{part}",
    r"(.*/)?v2_(?P<s>stack_\d)_block(?P<b>\d+)_0_(?P<part>conv|bn)": (
        "backbone.{s}.{b}.downsample.{part}"
    ),
    r"(.*/)?v2_(?P<s>stack_\d)_block(?P<b>\d+)_(?P<i>\d)_(?P<part>conv|bn)": (
        "backbone.{s}.{b}.convs.{i}.{part}"
    ),
    r"context": "context.fuse.conv",
    r"context/bn": "context.fuse.bn",
    r"context/(?P<bin>bin_\d)/(?P<part>conv|bn)": "context.{bin}.{part}",
    r"gff/gate_(?P<l>\d)": "gff.gates.{l}",
    r"gff/reduce_(?P<l>\d)/(?P<part>conv|bn)": "gff.reduce.{l}.{part}",
    r"refine_(?P<l>\d)_(?P<i>\d)/(?P<part>conv|bn)": "refine.{l}.{i}.{part}",
    r"dfp/(?P<part>conv|bn)_(?P<i>\d)": "dfp.{i}.{part}",
}


def measure(job: dict) -> dict:
    """Return the seconds of every step and the memory (MiB) of this process, before and at peak."""
    model, images, labels = build(job)
    built, seconds = peak_memory(), []
    for _ in range(job["warm_up"] + job["steps"]):
        start = time.perf_counter()
        model.train_on_batch(images, labels)  # returns the loss as a number: the step is done
        seconds.append(time.perf_counter() - start)
    result = dict(seconds=seconds[job["warm_up"] :], built=built, memory=peak_memory())
    if job["profile"] and job["framework"] == "TensorFlow":
        result["profile"] = profile(model, images, labels)
    return result


def profile(model, images, labels) -> dict:
    """Return the seconds of one step by operation, over all threads."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        model.train_on_batch(images, labels)
        tf.profiler.experimental.stop()
        file = next(Path(folder).rglob("*.xplane.pb"))
        space = xplane_pb2.XSpace.FromString(file.read_bytes())
    (plane,) = (plane for plane in space.planes if plane.name == "/host:CPU")
    seconds: Counter = Counter()
    for line in plane.lines:
        for event in line.events:
            name, _, op = plane.event_metadata[event.metadata_id].name.rpartition(":")
            if "/" in name and not op.startswith(":"):  # "scope/name:Op", an operation of the graph
                where = "SGD." if name.startswith("SGD") else ""
                seconds[where + op] += event.duration_ps / 1e12
    return dict(seconds)


def peak_memory() -> float:
    """Largest resident size of this process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(rows: list[dict]) -> str:
    """Return the rows in Markdown; the last column compares with PyTorch's rate."""
    lines = [
        "| network | crop, batch | dtype | framework | images/s | s/step | MiB before "
        "| peak MiB | rate / PyTorch |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    keys = ("network", "backbone", "dtype")
    reference = {tuple(r[k] for k in keys): r for r in rows if r["framework"] == "PyTorch"}
    for row in rows:
        ratio = reference[tuple(row[k] for k in keys)]["step"] / row["step"]
        height, width = row["crop"]
        lines.append(
            f"| {row['network']} {row['backbone']} | {height}x{width}, {row['batch']} "
            f"| {row['dtype']} | {row['framework']} | {row['batch'] / row['step']:.2f} "
            f"| {row['step']:.3f} | {row['built']:.0f} | {row['memory']:.0f} | {ratio:.2f} |"
        )
    return "\n".join(lines)


def profile_table(rows: list[dict]) -> str:
    """Return the time of one step by kind of operation, in milliseconds, in Markdown."""
    kinds = [*KINDS, "optimiser", "other"]
    lines = ["| ms of one step | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    for row in rows:
        if "profile" not in row:
            continue
        seconds: Counter = Counter()
        for op, value in row["profile"].items():
            seconds[kind_of(op)] += value
        cells = " | ".join(f"{1000 * seconds[kind]:.0f}" for kind in kinds)
        name = " ".join(row[k] for k in ("network", "backbone", "dtype", "framework"))
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def kind_of(op: str) -> str:
    """Return the kind of an operation of TensorFlow or PyTorch."""
    if re.search(r"SGD|Optimizer", op):
        return "optimiser"
    return next((kind for kind, names in KINDS.items() if re.search(names, op.lower())), "other")


if __name__ == "__main__":
    main()
