"""How fast do batches come, and what limits them? Prints a Markdown table.

    python benchmarks/input_pipeline.py --data $GFF_DATA [--torch_python VENV/bin/python]

One row per way, each in a process of its own, on records made of the files under DATA/data:
Cityscapes' five full-size training pairs, repeated `--repeats` times, and CamVid's 367.

(a) reading the raw records; (b) decoding all of image and mask: the limit for a pipeline that
decodes everything; (c) `training_dataset`; (d) the same transforms in PyTorch's DataLoader with
Pillow and NumPy, which `input_pipeline_torch.py` runs under `--torch_python`.
The CPU time of an example is over all threads and workers: it varies less than the rate where the
machine does something else besides. Memory is the peak of the process (of all workers for (d)).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

# data set -> the rows of its training pipeline: (crop, size to resize to first, batch size)
CROPS = {
    "cityscapes": [((864, 864), None, 8)],
    "camvid": [((160, 208), (180, 240), 8), ((360, 360), None, 8)],
}
TORCH = Path(__file__).with_name("input_pipeline_torch.py")


@dataclass
class Options:
    """What to measure."""

    data: Path = Path(os.environ.get("GFF_DATA", "."))
    """Folder that holds data/cityscapes and data/camvid."""
    torch_python: Path = Path(sys.executable)
    """Python with torch, Pillow and NumPy."""
    workers: int = 2
    """Worker processes of PyTorch's DataLoader."""
    repeats: int = 16
    """How often the five Cityscapes pairs are repeated."""
    seconds: float = 20.0
    """How long each row is measured."""
    rounds: int = 2
    """How often the rows are run, one after the other; the table shows the best rate of each."""


def main() -> None:
    """Measure every row and print the table."""
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(json.loads(sys.argv[2]))))
        return
    options = tyro.cli(Options, use_underscores=True, description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        results = run(options, Path(folder))
    print(table(results))


def run(options: Options, folder: Path) -> list[dict]:
    """Return a row for each way: the best of the rounds."""
    jobs = []
    for name, crops in CROPS.items():
        files = source_files(name, options)
        print(f"{name}: {len(files)} pairs", file=sys.stderr)
        records = write_records(name, files, options, folder)
        common = dict(name=name, records=str(records), seconds=options.seconds)
        jobs += [common | dict(kind=kind) for kind in ("(a) read", "(b) decode")]
        for crop, image_size, batch in crops:
            cache = name != "cityscapes"  # all of it does not fit, so none of these few are cached
            shape = dict(crop=crop, image_size=image_size, batch=batch, cache=cache)
            jobs.append(common | shape | dict(kind="(c) training_dataset"))
            listed = folder / f"{name}.json"
            listed.write_text(json.dumps([[str(path) for path in pair] for pair in files]))
            for order in ("crop, then resize", "resize, then crop"):
                kind = f"(d) PyTorch, {order}"
                extra = dict(kind=kind, files=str(listed), workers=options.workers)
                jobs.append(common | shape | extra)
    results: dict[int, dict] = {}
    for _ in range(options.rounds):
        for number, job in enumerate(jobs):
            found = start(job, options)
            if found is None:
                continue
            if found["rate"] > results.get(number, {"rate": 0})["rate"]:
                results[number] = job | found
            print(f"{job['name']} {job['kind']}: {found}", file=sys.stderr)
    return [results[number] for number in sorted(results)]


def start(job: dict, options: Options) -> dict | None:
    """Measure one row in a process of its own; None without torch."""
    if job["kind"].startswith("(d)"):
        command = [str(options.torch_python), str(TORCH), json.dumps(job)]
    else:
        command = [sys.executable, __file__, "--measure", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "No module named 'torch'" in done.stderr:
        print(f"{options.torch_python} has no torch, so (d) is left out", file=sys.stderr)
        return None
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def source_files(name: str, options: Options) -> list[tuple[Path, Path]]:
    """Return pairs of image and mask."""
    folder = options.data / "data" / name
    if name == "camvid":
        return [(path, folder / "trainannot" / f"{path.stem}.png")
                for path in sorted((folder / "train").iterdir())]  # fmt: skip
    pairs = []
    for path in sorted(folder.glob("leftImg8bit/train/*/*_leftImg8bit.png")):
        stem = path.name.removesuffix("_leftImg8bit.png")
        mask = folder / "gtFine/train" / path.parent.name / f"{stem}_gtFine_labelIds.png"
        pairs.append((path, mask))
    return pairs * options.repeats


def write_records(name: str, files, options: Options, folder: Path) -> Path:
    """Write the pairs as records through the builder for folders."""
    from tfrecords_tools import build

    source = folder / name
    for kind in ("images", "masks"):
        (source / kind).mkdir(parents=True)
    for number, (image, mask) in enumerate(files):
        (source / "images" / f"{number:05}{image.suffix}").symlink_to(image.resolve())
        (source / "masks" / f"{number:05}.png").symlink_to(mask.resolve())
    table = json.loads((options.data / "labels" / f"{name}.json").read_text())
    if pairs := table.get("raw_to_train"):  # the table lists what is not ignored
        table["raw_to_train"] = {str(raw): 255 for raw in range(35)} | pairs
    (source / "labels.json").write_text(json.dumps(table))
    return build(
        "folder",
        images=source / "images",
        masks=source / "masks",
        labels=source / "labels.json",
        out=folder / "records" / name,
    )


def measure(job: dict) -> dict:
    """Return rate (examples/s), CPU time (ms per example) and peak memory (MiB) of one row."""
    batches, batch = {
        "(a) read": read_raw,
        "(b) decode": decode_all,
        "(c) training_dataset": train_batches,
    }[job["kind"]](job)
    iterator = iter(batches)
    for _ in range(5):
        next(iterator)
    steps, start, before = 0, time.perf_counter(), cpu_seconds()
    while time.perf_counter() - start < job["seconds"]:
        next(iterator)
        steps += 1
    wall, cpu = time.perf_counter() - start, cpu_seconds() - before
    count = steps * batch
    return dict(rate=count / wall, cpu=1000 * cpu / count, memory=peak_memory())


def read_raw(job):
    """(a): serialized records as they lie in the files."""
    import tensorflow as tf

    files = sorted(str(path) for path in Path(job["records"]).glob("*train*tfrecord*"))
    return tf.data.TFRecordDataset(files).repeat().batch(8), 8


def decode_all(job):
    """(b): nothing but what it takes to have all pixels of image and mask."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(job["records"])
    decoders = dict.fromkeys(("image", "label"), tfds.decode.SkipDecoding())
    config = tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1)
    records = builder.as_dataset("train", decoders=decoders, read_config=config).repeat()

    def decode(record):
        image = tf.io.decode_image(record["image"], channels=3, expand_animations=False)
        label = tf.io.decode_image(record["label"], channels=1, expand_animations=False)
        return tf.shape(image)[0] + tf.shape(label)[0]  # the pixels are there; none is copied

    return records.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(8).prefetch(2), 8


def train_batches(job):
    """(c): the training pipeline."""
    from gff_keras.data import Augmentation, training_dataset

    batches = training_dataset(
        job["records"],
        batch_size=job["batch"],
        augmentation=Augmentation(tuple(job["crop"])),
        image_size=job["image_size"] and tuple(job["image_size"]),
        cache=job["cache"],
    )
    return batches, job["batch"]


def cpu_seconds() -> float:
    """User and system time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_memory() -> float:
    """Largest resident size of this process, MiB."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def table(results: list[dict]) -> str:
    """Return the rows in Markdown; the last columns compare rate and CPU time with those of (b)."""
    lines = [
        "| data set | way | crop | examples/s | CPU ms per example | peak MiB | rate / (b) "
        "| CPU of (b) / CPU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    limit = {row["name"]: row for row in results if row["kind"] == "(b) decode"}
    for row in results:
        crop = "x".join(map(str, row["crop"])) if "crop" in row else ""
        if row.get("image_size"):
            crop += " of {}x{}".format(*row["image_size"])
        best = limit[row["name"]]
        lines.append(
            f"| {row['name']} | {row['kind']} | {crop} | {row['rate']:.1f} | {row['cpu']:.2f} "
            f"| {row['memory']:.0f} | {row['rate'] / best['rate']:.2f} "
            f"| {best['cpu'] / row['cpu']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
