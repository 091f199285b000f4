"""The command line: what works, and one sentence with status 2 for what does not."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tyro
from PIL import Image

from gff_keras.cli import COMMANDS, main, recipe_names

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture
def run(capsys):
    """Function that runs a command line and returns (status, stdout, stderr)."""

    def call(*arguments):
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # tyro's way out, for --help and wrong flags
            status = stop.code
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return status, out, err

    return call


@pytest.fixture
def refused(run):
    """Function that runs a command line which must end in status 2 and one sentence on stderr."""

    def call(*arguments):
        status, _, err = run(*arguments)
        assert status == 2
        lines = [line for line in err.splitlines() if ": error: " in line]
        assert len(lines) == 1, err
        assert lines[0].startswith(f"gff-keras {arguments[0]}: error: ")
        return lines[0]

    return call


@pytest.fixture
def model(trained):
    return trained[0].out / "last.keras"


@pytest.fixture
def photo(rng, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 256, (33, 47, 3), "uint8")).save(path)
    return path


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


SMALL = ("--backbone", "resnet18", "--filters", "8", "--crop_size", "33", "--batch_size", "2")


def test_help(run):
    for arguments in ([], ["--help"], ["-h"]):
        status, out, _ = run(*arguments)
        assert status == 0
        assert all(f"\n  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"train"}))
def test_help_of_commands(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert f"usage: gff-keras {command} " in out
    for name, parameter in inspect.signature(COMMANDS[command]).parameters.items():
        positional = tyro.conf.Positional in getattr(parameter.annotation, "__metadata__", ())
        assert f"--{name}" in out or positional


def test_help_of_a_recipe_lists_fields_with_its_values(run):
    status, out, _ = run("train", "camvid_resnet18", "--help")
    assert status == 0
    assert "--weight_decay" in out and "resnet18" in out
    assert run("train", "--help")[0] == 0


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


def test_recipes_that_are_not_there(refused, tmp_path):
    for arguments in ([], ["--epochs", "1"]):
        assert "name a recipe first" in refused("train", *arguments)
    error = refused("train", "camvid")
    assert "Recipe 'camvid' not found" in error
    assert all(name in error for name in recipe_names())
    for text, message in [
        ("", "defines no RECIPE"),
        ("RECIPE = Recipe(", "SyntaxError"),
        ("import no_such_module", "no_such_module"),
        ("from gff_keras.training import Recipe\nRECIPE = Recipe(epoch=1)", "epoch"),
        ("RECIPE = 3", "RECIPE"),
    ]:
        path = tmp_path / "mine.py"
        path.write_text(text)
        error = refused("train", path)
        assert str(path) in error and message in error


def test_bad_values_of_a_recipe(refused, run, tmp_path):
    for flag, value in [("--batch_size", "0"), ("--crop_size", "-5"), ("--total_steps", "0")]:
        status, out, err = run("train", "camvid_resnet18", flag, value)
        assert status == 2
        assert re.search(rf"{flag[2:]}=\(?{value}", out + err)


@pytest.mark.parametrize(
    "flag, value, word",
    [("backbone", "resnet19", "resnet19"), ("fusion", "cat", "cat")],
)
def test_names_that_no_network_has(refused, records, tmp_path, flag, value, word):
    paths = ("--data", records, "--out", tmp_path / "run")
    assert word in refused("train", "camvid_resnet18", *paths, f"--{flag}", value)
    assert not (tmp_path / "run").exists()


def test_what_is_missing_is_named(refused, model, photo, tmp_path):
    nowhere = tmp_path / "nowhere"
    out = ("--out", tmp_path / "out")
    assert str(nowhere) in refused("train", "camvid_resnet18", "--data", nowhere, *out)
    assert str(nowhere) in refused("evaluate", model, "--data", nowhere)
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


def test_train(run, refused, records, tmp_path):
    """A real recipe on tiny records."""
    paths = ("--data", records, "--out", tmp_path / "run")
    arguments = ("train", "camvid_resnet18", *SMALL, *paths, "--image_size", "33", "41")
    status, _, err = run(*arguments, "--total_steps", "1", "--no_flip")
    assert status == 0, err
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (recipe["filters"], recipe["flip"], recipe["image_size"]) == (8, False, [33, 41])
    assert recipe["crop_size"] == [33, 33]
    assert (tmp_path / "run" / "last.keras").is_file()
    assert "already holds a run" in refused(*arguments)


@pytest.mark.slow
def test_train_with_every_switch(run, records, tmp_path):
    switches = "--dtype mixed_float16 --jit_compile --accumulate 2 --clip_norm 0.5 --ema 0.5"
    switches += " --freeze_bn all --frozen_stages 2 --ohem 0.7 --ohem_min_kept 0.1"
    switches += " --class_weights 1 2 0.5 --label_smoothing 0.1 --warmup_steps 1"
    paths = ("--data", records, "--out", tmp_path / "run", "--image_size", "33", "41")
    arguments = (*SMALL, *paths, "--output_stride", "32", "--total_steps", "2")
    status, _, err = run("train", "camvid_resnet18", *arguments, *switches.split())
    assert status == 0, err
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (recipe["class_weights"], recipe["freeze_bn"]) == ([1, 2, 0.5], "all")
    model = keras.saving.load_model(tmp_path / "run" / "last.keras")
    assert not model.backbone.get_layer("v2_stack_0_block2_2_conv").trainable
    assert model.backbone.get_layer("v2_stack_1_block1_1_conv").trainable
    assert model.optimizer.inner_optimizer.gradient_accumulation_steps == 2
    assert (tmp_path / "run" / "average.keras").is_file()


def test_switches_that_do_not_fit(run, refused, records, tmp_path):
    for flags in ("--ema 2.0", "--accumulate 0", "--frozen_stages 7", "--ohem 1.5"):
        status, out, err = run("train", "camvid_resnet18", *flags.split())
        assert status == 2
        assert flags.removeprefix("--").replace(" ", "=") in out + err
    arguments = (*SMALL, "--data", records, "--out", tmp_path / "run", "--total_steps", "3")
    error = refused("train", "camvid_resnet18", *arguments, "--class_weights", "1", "2")
    assert "class_weights has 2 numbers for 3 classes: sky, road, car" in error
    error = refused("train", "camvid_resnet18", *arguments, "--accumulate", "4")
    assert "accumulate=4 never moves the weights in 3 steps" in error
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite(refused, records, tmp_path):
    paths = ("--data", records, "--out", tmp_path / "run")
    arguments = (*SMALL, *paths, "--total_steps", "3", "--learning_rate", "1e25")
    error = refused("train", "camvid_resnet18", *arguments, "--image_size", "33", "41")
    assert re.search(r"not finite after step \d, |the loss is (nan|inf) at step \d ", error)
    assert "learning rate" in error and "'scene_" in error and error.endswith("may help.")
    (written,) = (tmp_path / "run").glob("nonfinite_step_*.npz")
    assert f"is written to {written} and .png" in error
    assert not list((tmp_path / "run").glob("*.keras"))


def test_weights_of_another_network(run, refused, tiny_model, records, tmp_path, monkeypatch):
    """The class count differs: refused, unless --partial lets the classifiers be random."""
    monkeypatch.setattr(
        "gff_keras.training.Recipe.model", lambda recipe, classes: tiny_model(classes)
    )
    tiny_model(5).save(tmp_path / "five.keras")
    paths = ("--data", records, "--out", tmp_path / "run", "--weights", tmp_path / "five.keras")
    arguments = ("train", "camvid_resnet18", *SMALL, *paths, "--total_steps", "1")
    error = refused(*arguments)
    assert f"{tmp_path / 'five.keras'} is not of this network" in error and "--partial" in error
    assert not (tmp_path / "run").exists()
    _, _, err = run(*arguments)
    assert "\n  classifier/bias (5,) in the file, (3,) in the network\n" in err
    status, out, err = run(*arguments, "--partial")
    assert status == 0, err
    assert "left random: 4\n" in out and "\n  classifier/bias\n" in out
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["partial"] is True


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


def test_evaluate_refuses_other_classes(refused, tiny_model, records, tmp_path):
    tiny_model(4).save(tmp_path / "four.keras")
    error = refused("evaluate", tmp_path / "four.keras", "--data", records)
    assert "3 classes" in error and "predicts 4" in error


def test_predict_and_gates(run, refused, model, photo, tmp_path):
    out = ("--model", model, "--out", tmp_path / "out")
    assert run("predict", photo, *out)[0] == 0
    assert run("gates", photo, *out)[0] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
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


def test_a_damaged_record_is_named(refused, model, damaged, tmp_path):
    place = r"\(\S+-00000-of-00001, record \d\)"
    sentence = (
        rf"error: {damaged}: record 'scene_\d' {place}: its image or label cannot be decoded; .*"
    )
    error = refused("evaluate", model, "--data", damaged)
    assert re.search(sentence, error) and "{{" not in error
    arguments = (*SMALL, "--data", damaged, "--out", tmp_path / "run", "--total_steps", "3")
    error = refused("train", "camvid_resnet18", *arguments)
    assert re.search(sentence, error) and "{{" not in error
