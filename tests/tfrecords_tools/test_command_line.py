"""`python -m tfrecords_tools` as it is typed, and its records where this project is not."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from tfrecords_tools import DATASETS, build
from tfrecords_tools.__main__ import main

ROOT = Path(__file__).parents[2]
SMALL = ["--train", "3", "--val", "2", "--height", "32", "--width", "48"]
FOREIGN = """
import sys
sys.modules["gff_keras"] = sys.modules["tfrecords_tools"] = None  # importing them raises
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
for split in ("train", "val"):
    print(sorted(e["label"].shape for e in tfds.as_numpy(builder.as_dataset(split=split))))
    skip = {"image": tfds.decode.SkipDecoding()}
    data = tfds.as_numpy(builder.as_dataset(split=split, decoders=skip))
    print({e["image"][:4] for e in data})
print(builder.info.metadata["label_set"]["name"])
"""


def command(*arguments):
    return [sys.executable, "-m", "tfrecords_tools", "build", *map(str, arguments)]


def test_build_and_read_elsewhere(read_records, tmp_path):
    out = tmp_path / "new" / "scenes"
    typed = command("street_scenes", "--out", out, *SMALL)
    env = {**os.environ, "PYTHONHASHSEED": "7"}  # as another process may have it
    ran = subprocess.run(typed, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert ran.stdout == f"Records written to {out}\n"
    assert "Generating train examples" in ran.stderr  # the progress bar
    assert "oneDNN" not in ran.stderr and "absl" not in ran.stderr
    elsewhere = [sys.executable, "-I", "-c", FOREIGN, str(out)]
    read = subprocess.run(elsewhere, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert read.stdout.splitlines() == [
        str([(32, 48, 1)] * 3),
        "{b'\\x89PNG'}",
        str([(32, 48, 1)] * 2),
        "{b'\\x89PNG'}",
        "street_scenes",
    ]
    same = build("street_scenes", out=tmp_path / "same", train=3, val=2, height=32, width=48)
    for split in ("train", "val"):
        assert read_records(out, split) == read_records(
            same, split
        )  # two processes draw the same bytes


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(signal.SIGKILL, id="killed"),
        pytest.param(signal.SIGTERM, id="terminated", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_leaves_nothing_complete(ending, tmp_path):
    out = tmp_path / "scenes"
    typed = command("street_scenes", "--out", out, "--train", "100000", "--workers", "2")
    with subprocess.Popen(typed, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            # Generous: importing TensorFlow takes long on a busy machine.
            deadline = time.monotonic() + 300
            while not list(tmp_path.rglob("*1.0.0")):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.05)
            time.sleep(0.3)
            process.send_signal(ending)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode != 0 and "Traceback" not in said
    assert not out.exists()
    assert not list(tmp_path.rglob("dataset_info.json"))
    assert bool(os.listdir(tmp_path)) == (ending == signal.SIGKILL)
    build("street_scenes", out=out, train=2, val=1, height=32, width=32)
    assert os.listdir(tmp_path) == ["scenes"]


def test_errors_are_one_line_and_status_2(tmp_path, capsys):
    source, out = tmp_path / "source", tmp_path / "out"
    arguments = ["build", "camvid", "--source", str(source), "--out", str(out)]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said == f"error: {source} is not a folder; give --source the CamVid folder\n"
    assert not out.exists() and os.listdir(tmp_path) == []


def test_unknown_options_end_with_status_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["build", "street_scenes", "--out", "x", "--colour", "1"])
    assert caught.value.code == 2
    assert "--colour" in capsys.readouterr().err


def test_options_with_underscores_are_understood(tmp_path, capsys):
    folder = str(tmp_path)
    typed = ["build", "folder", "--images", folder, "--masks", folder, "--labels", folder]
    assert main([*typed, "--out", folder + "/o", "--val_fraction", "2", "--mask_suffix", "_m"]) == 2
    assert "--val_fraction 2.0 is not a share" in capsys.readouterr().err


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_explains_its_options(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["build", name, "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    options = [field.name for field in fields(DATASETS[name])]
    for option in (*options, "out", "workers", "shard_size_mb"):
        assert f"--{option} " in said
    assert "Write" in said or "Draw" in said


def test_lists_of_splits_and_choices(tmp_path, capsys):
    typed = ["build", "cityscapes", "--source", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*typed, "--splits", "train", "test", "--annotations", "coarse"]) == 2
    assert "coarse annotations have no split 'test'" in capsys.readouterr().err
    assert main([*typed, "--splits", "train", "val"]) == 2
    assert f"error: {tmp_path} holds neither leftImg8bit/" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main([*typed, "--annotations", "rough"])
    assert caught.value.code == 2
    assert os.listdir(tmp_path) == []


def test_help_and_typing_errors_need_no_tensorflow():
    script = "import sys, tfrecords_tools.__main__; print('tensorflow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout == "False\n"
