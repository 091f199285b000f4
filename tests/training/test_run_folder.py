"""The folder of a run: one writer, room for what it writes, and files that are whole."""

import collections
import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

from gff_keras.cli import main
from gff_keras.training import run_folder
from gff_keras.training.plan import plan_run
from tests.training.test_trainer import contents

RECIPE = """
from pathlib import Path
from tests.tiny import tiny_recipe
RECIPE = tiny_recipe(Path({data!r}), Path("runs/tiny"))
"""
Disk = collections.namedtuple("Disk", "total used free")


@pytest.fixture
def command(records, tmp_path, capsys):
    """Function that runs `gff-keras train` on the tiny recipe; returns status, stdout, stderr."""
    path = tmp_path / "tiny.py"
    path.write_text(RECIPE.format(data=str(records)))

    def run(*arguments):
        capsys.readouterr()
        status = main(["train", str(path), *(str(argument) for argument in arguments)])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def finished(trained, tmp_path):
    """A copy of a finished run of the tiny recipe."""
    return shutil.copytree(trained[0].out, tmp_path / "run")


def refusal(result):
    status, _, err = result
    assert status == 2
    (line,) = [line for line in err.splitlines() if line]
    return line.removeprefix("gff-keras train: error: ")


def test_a_finished_run_says_so_and_stays(command, finished, trained):
    before = contents(finished)
    status, out, _ = command("--out", finished, "--resume")
    assert status == 0
    assert f"{finished}: the run is finished, there is nothing to resume." in out
    assert contents(finished) == before
    assert (finished / "checkpoints" / "step_00000006.npz").exists()


def test_another_recipe_is_refused_by_its_fields(command, finished):
    before = contents(finished)
    arguments = ("--out", finished, "--resume")
    error = refusal(command(*arguments, "--learning_rate", "0.5", "--batch_size", "1"))
    assert "batch_size=1 (was 2), learning_rate=0.5 (was 0.02)" in error
    assert str(finished) in error
    status, out, error = command(*arguments, "--epochs", "9")
    assert status == 2 and "nothing to resume" not in out
    assert "epochs=9 (was 2)" in error and f"give --weights {finished}/last.keras and" in error
    assert "seed=1 (was 0)" in refusal(command(*arguments, "--seed", "1"))
    assert "--resume" in refusal(command("--out", finished))
    assert command(*arguments, "--keep", "9", "--checkpoint_every", "3", "--cache", "False")[0] == 0
    assert contents(finished) == before


def test_moved_records_go_on_and_others_do_not(command, finished, records, tmp_path):
    moved = shutil.copytree(records, tmp_path / "moved")
    arguments = ("--out", finished, "--resume", "--data", moved)
    assert command(*arguments)[0] == 0
    info = json.loads((moved / "dataset_info.json").read_text())
    info["splits"][0]["numBytes"] = "77"
    (moved / "dataset_info.json").write_text(json.dumps(info))
    error = refusal(command(*arguments))
    assert f"{moved} holds other records" in error and "5 examples in 77 bytes, not 5 ex" in error


def test_models_without_checkpoints_are_not_overwritten(command, finished):
    shutil.rmtree(finished / "checkpoints")
    before = contents(finished)
    error = refusal(command("--out", finished, "--resume"))
    assert "no checkpoint to go on from" in error and "--overwrite" in error
    assert contents(finished) == before


def test_files_of_the_user_are_no_run(command, tmp_path):
    """Neither replaced where there is no run, nor with one that is."""
    out = tmp_path / "foreign"
    files = (
        "checkpoints/model.pt",
        "checkpoints/step_best.npz",
        "tensorboard/events",
        "labels.json",
    )
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    before = contents(out)
    for switch in ("--resume", "--overwrite"):
        error = refusal(command("--out", out, switch))
        assert f"{out} holds checkpoints, tensorboard, labels.json, but no recipe.json" in error
        assert contents(out) == before


def test_overwrite_leaves_what_the_user_put_among_the_files(finished):
    own = [finished / name for name in ("checkpoints/step_best.npz", "tensorboard/train/notes")]
    for path in own:
        path.write_text("mine")
    assert list(run_folder.checkpoints_by_step(finished)) == [2, 5, 6]
    run_folder.remove_run(finished)
    assert sorted(contents(finished)) == sorted([*own, finished / "recipe.json"])


def test_a_folder_of_records_and_an_unfinished_start(command, tiny_recipe, records, tmp_path):
    assert "is a folder of records" in refusal(command("--out", records))
    out = tmp_path / "run"
    run = tiny_recipe(out)
    (out / "tensorboard").mkdir(parents=True)
    run_folder.save_recipe(out, run.fields())  # killed before its first checkpoint
    devices = tf.distribute.get_strategy()
    assert plan_run(dataclasses.replace(run, resume=True), devices, True).checkpoint is None
    with pytest.raises(FileExistsError, match="no checkpoint to go on from"):
        plan_run(dataclasses.replace(run, resume=True, seed=1), devices, True)


def test_an_edited_recipe_is_put_right(command, finished):
    path = finished / "recipe.json"
    before = path.read_text()
    path.write_text(before.replace("0.02", "0.5"))
    assert command("--out", finished, "--resume")[0] == 0
    assert path.read_text() == before


def test_two_runs_in_one_folder_are_refused(command, finished, tmp_path):
    holder = (
        "import sys, time, pathlib; from gff_keras.training.run_folder import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    held = [sys.executable, "-c", holder, str(finished)]
    with subprocess.Popen(held, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        before = contents(finished)
        for switch in ("--resume", "--overwrite"):
            error = refusal(command("--out", finished, switch))
            assert f"{finished} is in use by another run (process {process.pid} on " in error
        assert contents(finished) == before
        process.kill()
    assert command("--out", finished, "--resume")[0] == 0  # no lock is left over
    assert not (finished / "run.lock").exists()


def test_a_full_disk_is_refused_before_training(command, finished, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(10**9, 10**9, 5000))
    error = refusal(command("--out", tmp_path / "new" / "run", "--keep", "2"))
    assert "0.00 GB of free space" in error and "5 files of" in error and "lower --keep" in error
    assert not (tmp_path / "new").exists()
    # What lies there counts as free, but these 16 files are more; nothing of it is removed before.
    before = contents(finished)
    assert "17 files" in refusal(
        command("--out", finished, "--overwrite", "--keep", "13", "--ema", "0.9")
    )
    assert "16 files" in refusal(command("--out", finished, "--overwrite", "--keep", "13"))
    assert contents(finished) == before


def test_space_counts_the_files_of_the_run(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(10**9, 10**9, 500))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step_00000001.npz").write_bytes(bytes(300))
    (tmp_path / "best.keras").write_bytes(bytes(199))
    (tmp_path / "notes").write_bytes(bytes(1000))
    run_folder.check_space(tmp_path, 333, 3)
    with pytest.raises(OSError, match="3 files"):
        run_folder.check_space(tmp_path, 334, 3)


def test_an_unwritable_folder_is_refused(command):
    error = refusal(command("--out", "/proc/self/run"))
    assert "/proc/self/run cannot be written" in error and "--out" in error


def test_replacing_is_whole_or_nothing(tmp_path):
    path = tmp_path / "last.keras"
    path.write_text("old")
    with pytest.raises(OSError, match=f"{path} cannot be written .no room"):
        with run_folder.replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("no room")
    assert [each.name for each in tmp_path.iterdir()] == ["last.keras"]
    assert path.read_text() == "old"
    with run_folder.replacing(path) as temporary:
        temporary.write_text("new")
        assert (path.read_text(), temporary.suffix) == ("old", ".keras")
    assert path.read_text() == "new"
    temporary.write_text("of a killed run")
    run_folder.clear_unfinished(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["last.keras"]
