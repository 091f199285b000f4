"""The command line: what works, and one sentence with status 2 for what does not."""

import csv
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import tensorflow as tf
import tyro
from PIL import Image

from gff_keras.cli import COMMANDS
from gff_keras.evaluation import cost_table
from gff_keras.evaluation.prediction import Predictor
from gff_keras.evaluation.views import Views
from gff_keras.export.command import FORMATS
from tests.tiny import SMALL

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture
def model(trained):
    return trained[0].out / "last.keras"


@pytest.fixture(scope="module")
def damaged(records, tmp_path_factory):
    """The records with one image of each split cut short."""
    folder = tmp_path_factory.mktemp("damaged") / "straße's records"
    shutil.copytree(records, folder)
    for shard in folder.glob("*.tfrecord*"):
        examples = [record.numpy() for record in tf.data.TFRecordDataset(str(shard))]
        example = tf.train.Example.FromString(examples[1])
        image = example.features.feature["image"].bytes_list
        image.value[0] = image.value[0][:60]
        examples[1] = example.SerializeToString()
        with tf.io.TFRecordWriter(str(shard)) as writer:
            for record in examples:
                writer.write(record)
    return folder


def test_help(run):
    for arguments in ([], ["--help"], ["-h"]):
        status, out, _ = run(*arguments)
        assert status == 0
        assert all(f"\n  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("command", [*sorted(set(COMMANDS) - {"train", "export"}), *FORMATS])
def test_help_of_commands(run, command):
    function = FORMATS.get(command) or COMMANDS[command]
    words = ["export", command] if command in FORMATS else [command]
    status, out, _ = run(*words, "--help")
    assert status == 0
    assert f"usage: gff-keras {' '.join(words)} " in out
    for name, parameter in inspect.signature(function).parameters.items():
        positional = tyro.conf.Positional in getattr(parameter.annotation, "__metadata__", ())
        group = parameter.default
        names = [f.name for f in fields(group)] if is_dataclass(group) else [name]
        assert all(f"--{name}" in out for name in names) or positional


def test_help_of_export(run):
    for arguments in (["export"], ["export", "--help"]):
        status, out, _ = run(*arguments)
        assert status == 0
        assert all(f"\n  {name} " in out for name in FORMATS)
    status, _, error = run("export", "onnx")
    assert status == 2
    assert "unknown format 'onnx'; choose one of saved_model, tflite." in error


def test_as_a_user_types_it():
    """One process of its own: the module runs, the exit status arrives, warnings stay away."""
    command = [sys.executable, "-m", "gff_keras.cli", "evaluate", "none.keras", "--data", "here"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "gff-keras evaluate: error: Model file none.keras does not exist" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["JAX", "jx"])
def test_an_unknown_backend(name):
    command = [sys.executable, "-m", "gff_keras.cli", "info"]
    environment = os.environ | {"KERAS_BACKEND": name}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"gff-keras: error: KERAS_BACKEND={name} must be tensorflow or jax.\n"


def test_jax_that_is_not_installed():
    """The sentence for the command line, and an ImportError in Python."""
    code = "import sys; sys.modules['jax'] = None; sys.argv = [{!r}]; import gff_keras"
    for name, status in (("gff-keras", 2), ("script.py", 1)):
        command = [sys.executable, "-c", code.format(name)]
        environment = os.environ | {"KERAS_BACKEND": "jax"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert done.returncode == status
        assert "KERAS_BACKEND=jax needs the package jax, which is not installed" in done.stderr
        assert ("Traceback" in done.stderr) == (status == 1)


def test_unknown_command(run):
    status, out, err = run("tarin")
    assert (status, out) == (2, "")
    assert "unknown command 'tarin'" in err and "  train " in err


def test_unknown_flags_and_wrong_types(run, model, records):
    recipe = ("train", "camvid_resnet18")
    for arguments, word in [
        ((*recipe, "--bathc_size", "3"), "bathc_size"),
        ((*recipe, "--batch_size", "three"), "three"),
        ((*recipe, "--flip", "perhaps"), "perhaps"),
        (("evaluate", model, "--data", records, "--speed", "1"), "speed"),
        (("evaluate", model), "data"),
        (("predict", "--model", model), "folder of them"),
        (("info", "--size", "large", "5"), "large"),
    ]:
        status, out, err = run(*arguments)
        assert status == 2, arguments
        assert word in (out + err).lower(), arguments


def test_what_is_missing_is_named(refused, model, photo, tmp_path):
    nowhere = tmp_path / "nowhere"
    out = ("--out", tmp_path / "out")
    assert str(nowhere) in refused("train", "camvid_resnet18", "--data", nowhere, *out)
    error = refused("evaluate", model, "--data", nowhere)
    assert f"{nowhere} is no folder; give one that `python -m tfrecords_tools build` wrote" in error
    assert str(nowhere) in refused("evaluate", nowhere, "--data", nowhere)
    assert str(nowhere) in refused("predict", nowhere, "--model", model, *out)
    assert str(nowhere) in refused("predict", photo, "--model", nowhere, *out)
    assert str(nowhere) in refused("gates", nowhere, "--model", model, *out)
    assert str(nowhere) in refused("info", nowhere)
    assert not (tmp_path / "out").exists()


def test_sizes_out_of_range(refused, model, photo, records, tmp_path):
    for arguments in (
        ("info", model, "--size", "0", "5"),
        ("predict", photo, "--model", model, "--out", tmp_path, "--image_size", "0", "5"),
        ("evaluate", model, "--data", records, "--image_size", "-1", "5"),
    ):
        assert "size=(" in refused(*arguments)


def test_evaluate_prints_and_saves(run, model, records, tmp_path):
    saved = tmp_path / "new" / "results.json"
    status, out, _ = run("evaluate", model, "--data", records, "--out", saved)
    assert status == 0
    results = json.loads(saved.read_text())
    assert np.sum(results["confusion"]) > 1000
    for name, value in [*results["iou"].items(), ("mean_iou", results["mean_iou"])]:
        assert re.search(rf"^{name} +{100 * value:.2f}$", out, re.MULTILINE)
    assert f"written to {saved}" in out


def test_evaluate_writes_beside_the_model_and_takes_a_size(run, trained, records, tmp_path):
    shutil.copytree(trained[0].out, tmp_path / "run")
    arguments = ("--data", records, "--split", "train", "--image_size", "24", "40")
    assert run("evaluate", tmp_path / "run" / "best.keras", *arguments)[0] == 0
    assert json.loads((tmp_path / "run" / "best_train.json").read_text())["images"] == 5


def test_evaluate_writes_tables(run, model, records, tmp_path):
    saved = tmp_path / "results.json"
    views = ("--mode", "sliding", "--scales", "0.75,1", "--flip", "--image_size", "40", "50")
    status, out, _ = run("evaluate", model, "--data", records, "--out", saved, *views)
    assert status == 0
    results = json.loads(saved.read_text())
    assert results["settings"] == {
        "mode": "sliding",
        "crop_size": [33, 41],  # of the recipe
        "stride": 2 / 3,
        "scales": [0.75, 1],
        "flip": True,
        "image_size": [40, 50],
    }
    assert re.search(rf"^boundary_f1, 3 px +{100 * results['boundary_f1']['3']:.2f}$", out, re.M)
    lines = list(csv.DictReader(saved.with_suffix(".csv").open()))
    assert [line["class"] for line in lines] == list(results["iou"])
    confusion = np.array(results["confusion"])
    for i, line in enumerate(lines):
        assert float(line["iou"]) == list(results["iou"].values())[i]
        assert float(line["accuracy"]) == confusion[i, i] / confusion[i].sum()
        assert int(line["pixels"]) == confusion[i].sum()
    row = " | ".join(f"{100 * x:.1f}" for x in (*results["iou"].values(), results["mean_iou"]))
    table = saved.with_suffix(".md").read_text()
    assert "| Method | sky | road | car | mIoU |" in table
    assert f"| results | {row} |" in table
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".json", ".md"]


def test_evaluate_goes_on_after_a_stop(run, model, records, tmp_path, monkeypatch):
    """Control-C, then the same command; and then one with another setting."""
    line = ("evaluate", model, "--data", records, "--split", "train", "--out")
    assert run(*line, tmp_path / "whole.json")[0] == 0
    classes, seen = Predictor.classes, []

    def interrupted(self, image):
        seen.append(image)
        if len(seen) in (3, 5):
            raise KeyboardInterrupt
        return classes(self, image)

    monkeypatch.setattr(Predictor, "classes", interrupted)
    out = tmp_path / "stopped.json"
    assert run(*line, out)[0] == 130
    assert sorted(path.name for path in tmp_path.glob("stopped*")) == ["stopped.partial.json"]
    status, printed, _ = run(*line, out)
    assert status == 130 and "going on after 2 images" in printed
    status, printed, _ = run(*line, out)
    assert status == 0 and "going on after 3 images" in printed
    whole, resumed = (
        json.loads((tmp_path / f"{x}.json").read_text()) for x in ("whole", "stopped")
    )
    assert {**resumed, "seconds": 0} == {**whole, "seconds": 0}
    assert not list(tmp_path.glob("*partial*"))


@pytest.mark.slow
def test_evaluate_goes_on_after_sigterm(run, model, records, tmp_path):
    """A process of its own, slowed down so that it is in the middle of the split when it dies."""
    line = ["evaluate", str(model), "--data", str(records), "--split", "train", "--out"]
    code = f"""
import time
from dataclasses import fields, is_dataclass
from gff_keras.cli import main
from gff_keras.evaluation.prediction import Predictor
classes = Predictor.classes
Predictor.classes = lambda self, image: (time.sleep(1.5), classes(self, image))[1]
main({[*line, str(tmp_path / "stopped.json")]})
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    partial = tmp_path / "stopped.partial.json"
    end = time.monotonic() + 120
    while not partial.exists() and time.monotonic() < end:
        time.sleep(0.1)
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM
    assert 0 < len(json.loads(partial.read_text())["per_image"]) < 5
    status, printed, _ = run(*line, tmp_path / "stopped.json")
    assert status == 0 and "going on after" in printed
    assert run(*line, tmp_path / "whole.json")[0] == 0
    whole, resumed = (
        json.loads((tmp_path / f"{x}.json").read_text()) for x in ("whole", "stopped")
    )
    assert {**resumed, "seconds": 0} == {**whole, "seconds": 0}


def test_views_out_of_range(refused, run, tiny_model, model, records, photo, tmp_path):
    line = ("evaluate", model, "--data", records, "--out", tmp_path / "a.json")
    assert "--scales 1;2 is no list of numbers" in refused(*line, "--scales", "1;2")
    for size in (["33"], ["33", "x"], ["1.5", "2"], ["1", "2", "3"]):
        assert f"--image_size {' '.join(size)}: give height" in refused(
            *line, "--image_size", *size
        )
    assert "--crop_size 33: give height and width" in refused(*line, "--crop_size", "33")
    assert "scales=(0.0,) must be positive" in refused(*line, "--scales", "0")
    assert "is for windows" in refused(*line, "--crop_size", "33", "33")
    assert "stride=2.0 must be in (0, 1]" in refused(*line, "--mode", "sliding", "--stride", "2")
    error = refused("evaluate", model, "--data", records, "--out", tmp_path / "results.csv")
    assert "results.csv must end with .json" in error
    alone = tiny_model()
    alone.save(tmp_path / "alone.keras")
    line = ("predict", photo, "--model", tmp_path / "alone.keras", "--out", tmp_path / "out")
    assert "no recipe.json beside" in refused(*line, "--mode", "sliding")
    assert run(*line, "--mode", "sliding", "--crop-size", "24", "24", "--no_flip")[0] == 0
    with Image.open(tmp_path / "out" / "photo_mask.png") as mask:
        predictor = Predictor(alone, views=Views("sliding", (24, 24)))
        classes = predictor.classes(np.asarray(Image.open(photo)))
        np.testing.assert_array_equal(np.asarray(mask), classes)


def test_evaluate_refuses_other_classes(refused, tiny_model, records, tmp_path):
    tiny_model(4).save(tmp_path / "four.keras")
    error = refused("evaluate", tmp_path / "four.keras", "--data", records)
    assert "3 classes" in error and "predicts 4" in error


def test_predict_and_gates(run, refused, model, photo, tmp_path):
    out = ("--model", model, "--out", tmp_path / "out")
    assert run("predict", photo, *out)[0] == 0
    assert run("gates", photo, *out)[0] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "photo_gates.npy",
        "photo_gates.png",
        "photo_mask.png",
        "photo_overlay.png",
    ]
    with Image.open(tmp_path / "out" / "photo_mask.png") as mask:
        assert (mask.mode, mask.size) == ("P", (47, 33))
    photo.write_text("no image")
    assert f"{photo} is not a readable image" in refused("predict", photo, *out)


def test_a_file_is_no_place_for_results(refused, model, photo, records, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for command in (("predict", photo), ("gates", photo)):
        error = refused(*command, "--model", model, "--out", taken)
        assert f"{taken} is a file; give --out the path of a folder" in error
    error = refused("train", "camvid_resnet18", "--data", records, "--out", taken)
    assert f"{taken} is a file; give --out the path of a folder" in error
    assert taken.read_text() == "mine"


def test_gates_of_a_network_without(refused, tiny_model, photo, tmp_path):
    tiny_model(3, fusion=None, dfp=False).save(tmp_path / "pspnet.keras")
    arguments = ("--model", tmp_path / "pspnet.keras", "--out", tmp_path / "out")
    assert "no gates" in refused("gates", photo, *arguments)


def test_info(run, trained, model):
    status, out, _ = run("info", model, "--size", "33", "47")
    assert status == 0
    trainable = sum(int(np.prod(v.shape)) for v in trained[1].trainable_variables)
    assert re.search(rf"^total .* {trainable:,} ", out, re.MULTILINE)
    flags = ("--fusion", "None", "--no_dfp", "--no_aux_head", "--size", "33", "47")
    status, out, _ = run("info", "--backbone", "resnet18", *flags)
    assert status == 0
    assert "12,622,035" in out  # PSPNet with ResNet-18 and 19 classes


def test_info_table_3(run, refused, model, monkeypatch):
    monkeypatch.setattr(cost_table, "BACKBONES", ("resnet18", "resnet50_deep"))
    status, out, _ = run("info", "--table3", "--size", "64", "96")
    _, _, *rows = (line for line in out.splitlines() if line.startswith("|"))
    assert status == 0 and all(row.startswith("| ResNet-18 | PSPNet") for row in rows)
    assert [row.split(" | ")[2] for row in rows] == ["12.6", "17.6", "18.6"]
    assert f"leave {model} out" in refused("info", model, "--table3")


def test_a_damaged_record_is_named(refused, model, damaged, tmp_path):
    place = r"\(\S+-00000-of-00001, record \d\)"
    sentence = (
        rf"error: {damaged}: record 'scene_\d' {place}: its image or label cannot be decoded; .*"
    )
    error = refused("evaluate", model, "--data", damaged, "--out", tmp_path / "scores.json")
    assert re.search(sentence, error) and "{{" not in error
    arguments = (*SMALL, "--data", damaged, "--out", tmp_path / "run", "--total_steps", "3")
    error = refused("train", "camvid_resnet18", *arguments)
    assert re.search(sentence, error) and "{{" not in error
