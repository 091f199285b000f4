"""The command and its function: what they write, replace and refuse."""

import json
import shlex
import sys
from pathlib import Path

import keras
import pytest

import gff_keras as gff
from gff_keras.cli import main
from gff_keras.export.checks import make_folder
from gff_keras.export.saved_model import _publish, _warmup_size, check_directory
from gff_keras.export.tf_serving import docker_command, write_configuration


def test_the_command(command):
    folder, status, output = command
    base = folder.parent
    assert status == 0
    assert f"written to {folder}" in output
    assert docker_command(base) in output
    assert {path.name for path in base.iterdir()} == {"1", "batching.config", "models.config"}
    assert not (folder / "old").exists()


def test_the_docker_command_is_one_for_any_path():
    line = docker_command(Path("/data/my models/straße's"))
    words = shlex.split(line.replace("\\\n", ""))
    assert words[:2] == ["docker", "run"]
    assert words[words.index("-v") + 1] == "/data/my models/straße's:/models/straße's:ro"
    assert "--model_config_file=/models/straße's/models.config" in words


def test_edited_configuration_stays(tmp_path):
    (tmp_path / "models.config").write_text("edited")
    write_configuration(tmp_path)
    assert (tmp_path / "models.config").read_text() == "edited"
    assert (tmp_path / "batching.config").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "camvid"], "camvid does not end in a version number"),
        (["--out", "1", "--size", "512"], "size='512' is not HEIGHTxWIDTH"),
        (["--out", "007"], "007 does not end in a version number"),
        (["--out", "2"], "2 exists; give the next version a number of its own, or --overwrite."),
        (["--out", "1", "--size", "99x99", "--max_pixels", "9800"], "is beyond max_pixels=9800"),
        (["--out", "1", "--size", "9x9", "--image_size", "9", "9"], "leave out image_size=(9, 9)"),
    ],
)
def test_the_command_refuses(run_folder, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2").mkdir()
    assert main(["export", "saved_model", str(run_folder / "best.keras"), *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("gff-keras export: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 9)}, r"size=\(0, 9\) is not \(height, width\) in pixels"),
        ({"size": (2, 16385)}, r"size=\(2, 16385\) has a side beyond 16384"),
        ({"size": 512}, r"size=512 is not \(height, width\) in pixels"),
        ({"image_size": (9,)}, r"image_size=\(9,\) is not"),
        ({"image_size": (9.5, 9)}, r"image_size=\(9.5, 9\) is not"),
        ({"image_size": (9, 9), "size": (9, 8)}, r"leave out image_size=\(9, 9\)"),
        ({"max_pixels": 0}, "max_pixels=0 must be positive"),
        ({"dtype": "int8"}, "dtype='int8' is unknown; choose one of float32"),
    ],
)
def test_what_makes_no_sense_is_refused(network, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        gff.export.saved_model(network, tmp_path / "1", **options)
    assert not list(tmp_path.iterdir())


def test_another_network_is_refused(tmp_path):
    for export, name in ((gff.export.saved_model, "1"), (gff.export.tflite, "x.tflite")):
        with pytest.raises(TypeError, match="model is a Sequential, not a GFFNet; give what"):
            export(keras.Sequential([keras.Input((9, 9, 4))]), tmp_path / name)


def test_a_folder_that_cannot_be_written_is_named(network, tmp_path):
    (tmp_path / "file").touch()
    sentence = "file cannot be made, or not be written to .*; choose another folder"
    with pytest.raises(OSError, match=sentence):
        gff.export.saved_model(network, tmp_path / "file" / "1")


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_nothing_can_be_written_to_proc():
    """Whose permissions allow it."""
    with pytest.raises(OSError, match=r"^/proc cannot be made, or not be written to \(No such"):
        make_folder(Path("/proc"))


def test_another_backend_is_refused(network, tmp_path, monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(ValueError, match="KERAS_BACKEND is 'jax'; set KERAS_BACKEND=tensorflow"):
        gff.export.saved_model(network, tmp_path / "1")


def test_versions_are_numbers_of_64_bits():
    check_directory(Path("0"), overwrite=False)
    check_directory(Path("9" * 18), overwrite=False)
    for name in ("9" * 20, "01", "1.0", "-1", "١"):
        with pytest.raises(ValueError, match="does not end in a version number"):
            check_directory(Path(name), overwrite=False)


def test_a_version_made_meanwhile_stays(tmp_path):
    version, directory = tmp_path / "new" / "1", tmp_path / "1"
    version.mkdir(parents=True)
    directory.mkdir()
    with pytest.raises(FileExistsError, match="1 exists"):
        _publish(version, directory, tmp_path / "aside", overwrite=False)
    assert version.is_dir() and directory.is_dir()


def test_a_version_comes_back_where_it_cannot_be_replaced(tmp_path):
    directory = tmp_path / "1"
    (directory / "old").mkdir(parents=True)
    with pytest.raises(FileNotFoundError):
        _publish(tmp_path / "missing", directory, tmp_path / "aside", overwrite=True)
    assert (directory / "old").is_dir()


def test_warmup_fits_the_limit():
    assert _warmup_size((180, 240), 43200) == (180, 240)
    assert _warmup_size((180, 240), 43199) == (207, 207)
    assert _warmup_size(None, 10**6) == (256, 256)


def test_labels_of_another_model_are_refused(network, tmp_path):
    labels = gff.data.LabelSet.from_dict(
        json.loads('{"classes": ["a"], "palette": [[1, 2, 3]], "name": "one"}')
    )
    with pytest.raises(ValueError, match="labels name 1 classes, but the model predicts 3"):
        gff.export.saved_model(network, tmp_path / "1", labels)
    assert not list(tmp_path.iterdir())
