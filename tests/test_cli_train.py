"""The command line of training: what works, and one sentence with status 2 for what does not."""

import json
import re

import keras
import numpy as np
import pytest

from gff_keras.cli import recipe_names
from tests.pretrained import torch_writer as by_hand
from tests.tiny import SMALL

pytestmark = pytest.mark.usefixtures("eager")


def test_help_of_a_recipe_lists_fields_with_its_values(run):
    status, out, _ = run("train", "camvid_resnet18", "--help")
    assert status == 0
    assert "--weight_decay" in out and "resnet18" in out
    assert run("train", "--help")[0] == 0


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


def test_weights_of_another_network(run, tiny_model, records, tmp_path, monkeypatch):
    """The class count differs: refused, unless --partial lets the classifiers be random."""
    monkeypatch.setattr(
        "gff_keras.training.Recipe.model", lambda recipe, classes: tiny_model(classes)
    )
    tiny_model(5).save(tmp_path / "five.keras")
    paths = ("--data", records, "--out", tmp_path / "run", "--weights", tmp_path / "five.keras")
    arguments = ("train", "camvid_resnet18", *SMALL, *paths, "--total_steps", "1")
    status, _, err = run(*arguments)
    assert status == 2
    assert f"gff-keras train: error: {tmp_path / 'five.keras'} is not of this network" in err
    assert "--partial" in err and not (tmp_path / "run").exists()
    assert "\n  classifier/bias (5,) in the file, (3,) in the network\n" in err
    status, out, err = run(*arguments, "--partial")
    assert status == 0, err
    assert "left random: 4\n" in out and "\n  classifier/kernel, bias\n" in out
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["partial"] is True


def test_imagenet_weights_of_an_unknown_backbone(
    refused, tiny_model, records, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "gff_keras.training.Recipe.model", lambda recipe, classes: tiny_model(classes)
    )
    arguments = ("--data", records, "--out", tmp_path / "run", "--weights", "imagenet")
    error = refused("train", "camvid_resnet18", *SMALL, *arguments)
    assert "weights='imagenet' is not known for a backbone named 'functional" in error
    assert "only for resnet18, resnet34, " in error and not (tmp_path / "run").exists()


def test_weights_of_pytorch_that_are_refused(refused, tiny_model, records, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "gff_keras.training.Recipe.model", lambda recipe, classes: tiny_model(classes)
    )
    path = tmp_path / "w.pth"
    arguments = ("--data", records, "--out", tmp_path / "run", "--weights", path)
    by_hand.write(path, by_hand.dictionary({"args": b"cposix\nsystem\n"}), {})
    error = refused("train", "camvid_resnet18", *SMALL, *arguments)
    assert f"{path} holds posix.system, which is refused" in error
    by_hand.write_arrays(path, {"conv1.weight": np.ones((64, 3, 7, 7), "float32")})
    error = refused("train", "camvid_resnet18", *SMALL, *arguments)
    assert f"{path} is not of this network, no weight fits" in error
    assert not (tmp_path / "run").exists()
