"""Recipes: one place for every number, checked when it is made."""

import dataclasses
import json
from pathlib import Path

import pytest

from gff_keras.data import Augmentation
from gff_keras.training import Recipe

PATHS = dict(data=Path("records"), out=Path("runs/a"))


def test_defaults_are_the_papers():
    recipe = Recipe(**PATHS)
    assert (recipe.learning_rate, recipe.power) == (1e-3, 0.9)
    assert (recipe.momentum, recipe.weight_decay, recipe.aux_loss_weight) == (0.9, 1e-4, 0.4)
    assert (recipe.crop_size, recipe.batch_size, recipe.scale) == ((864, 864), 8, (0.75, 2.0))


def test_one_number_means_both_sides():
    recipe = Recipe(**PATHS, crop_size=(64,), image_size=(96,))
    assert recipe.crop_size == recipe.augmentation().crop_size == (64, 64)
    assert recipe.image_size == (96, 96)
    recipe = Recipe(**PATHS, crop_size=(64, 80), image_size=(96, 100))
    assert (recipe.crop_size, recipe.image_size) == ((64, 80), (96, 100))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"crop_size": (0,)}, r"crop_size=\(0,\)"),
        ({"crop_size": (64, -1)}, r"crop_size=\(64, -1\)"),
        ({"crop_size": (1, 2, 3)}, r"crop_size=\(1, 2, 3\)"),
        ({"crop_size": ()}, r"crop_size=\(\)"),
        ({"image_size": (0, 5)}, r"image_size=\(0, 5\)"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"epochs": -2}, "epochs=-2"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"total_steps": 0}, "total_steps=0"),
        ({"max_class_fraction": 0.0}, "max_class_fraction=0.0"),
        ({"rotation": -1.0}, "rotation=-1.0"),
        ({"blur": 99.0}, "blur=99.0"),
        ({"tensorboard_images": -1}, "tensorboard_images=-1"),
    ],
    ids=str,
)
def test_bad_values_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**PATHS, **changes)


def test_augmentation_takes_every_switch():
    recipe = Recipe(**PATHS, crop_size=(9, 8), max_class_fraction=0.7, rotation=10.0, blur=1.5)
    expected = Augmentation((9, 8), max_class_fraction=0.7, rotation=10.0, blur=1.5)
    assert recipe.augmentation() == expected
    assert Recipe(**PATHS).augmentation() == Augmentation((864, 864))  # all of them off


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe(**PATHS).epochs = 3


def test_json_holds_every_field_and_gives_the_recipe_back(tmp_path):
    recipe = Recipe(**PATHS, crop_size=(64,), weights=Path("w.npz"), total_steps=12, scale=(1, 2))
    recipe.save(tmp_path / "recipe.json")
    fields = json.loads((tmp_path / "recipe.json").read_text())
    assert set(fields) == {field.name for field in dataclasses.fields(Recipe)}
    for name in ("data", "out", "weights"):
        fields[name] = Path(fields[name])
    for name in ("crop_size", "scale"):
        fields[name] = tuple(fields[name])
    assert Recipe(**fields) == recipe


def test_model_has_the_recipes_numbers():
    recipe = Recipe(
        **PATHS, backbone="resnet18", filters=8, aux_head=False, dropout=0.3, aux_loss_weight=0.2
    )
    model = recipe.model(4)
    assert (model.num_classes, model.filters, model.aux_head) == (4, 8, False)
    assert (model.dropout, model.aux_loss_weight) == (0.3, 0.2)
    pspnet = dataclasses.replace(recipe, fusion=None, dfp=False).model(4)
    assert (pspnet.fusion, pspnet.dfp) == (None, False)
