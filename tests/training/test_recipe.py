"""Recipes: one place for every number, checked when it is made."""

import dataclasses
import json
from pathlib import Path

import pytest

from gff_keras.data import Augmentation, LabelSet
from gff_keras.training import Recipe, run_folder
from gff_keras.training.losses import SegmentationCrossEntropy
from gff_keras.training.optimizers import SGD, LossScaleOptimizer
from gff_keras.training.schedules import PolynomialDecay

LABELS = LabelSet(
    "three", ("sky", "pole", "car"), ((0, 0, 9), (9, 0, 0), (0, 9, 0)), thin=("pole",)
)
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
        ({"checkpoint_every": 0}, "checkpoint_every=0"),
        ({"keep": 0}, "keep=0"),
        ({"overwrite": True, "resume": True}, "exclude each other"),
        ({"accumulate": 0}, "accumulate=0"),
        ({"clip_norm": 0.0}, "clip_norm=0.0"),
        ({"ema": 1.0}, "ema=1.0"),
        ({"freeze_bn": "some"}, "freeze_bn='some'"),
        ({"frozen_stages": 6}, "frozen_stages=6"),
        ({"ohem": 1.2}, "ohem=1.2"),
        ({"ohem_min_kept": -0.1}, "ohem_min_kept=-0.1"),
        ({"class_weights": (1.0, -2.0)}, r"class_weights=\(1.0, -2.0\)"),
        ({"label_smoothing": 2.0}, "label_smoothing=2.0"),
        ({"warmup_steps": -1}, "warmup_steps=-1"),
        ({"warmup_steps": 9, "total_steps": 9}, "warmup_steps=9"),
        ({"tensorboard_images": -1}, "tensorboard_images=-1"),
        ({"momentum": -1.0}, "momentum=-1.0"),
        ({"momentum": 2.0}, "momentum=2.0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"power": -1.0}, "power=-1.0"),
        ({"aux_loss_weight": -1.0}, "aux_loss_weight=-1.0"),
        ({"clip_norm": float("inf")}, "clip_norm=inf"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"thin_weight": float("nan")}, "thin_weight=nan"),
        ({"seed": -1}, "seed=-1"),
        ({"dtype": "float16"}, "dtype='float16' must be float32 or mixed_bfloat16 or mixed_float"),
        ({"out": Path("")}, "out is empty"),
    ],
    ids=str,
)
def test_bad_values_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**PATHS | changes)


def test_augmentation_takes_every_switch():
    recipe = Recipe(**PATHS, crop_size=(9, 8), max_class_fraction=0.7, rotation=10.0, blur=1.5)
    expected = Augmentation((9, 8), max_class_fraction=0.7, rotation=10.0, blur=1.5)
    assert recipe.augmentation() == expected
    assert Recipe(**PATHS).augmentation() == Augmentation((864, 864))  # all of them off


def test_switches_are_off_by_default(tiny_model):
    recipe, labels = Recipe(**PATHS), LABELS
    plain = SGD(PolynomialDecay(1e-3, 50, 0.9), momentum=0.9, weight_decay=1e-4)
    assert recipe.optimizer(50).get_config() == {**plain.get_config(), "ema_momentum": 0.0}
    assert recipe.loss(labels).get_config() == SegmentationCrossEntropy().get_config()
    model = tiny_model()
    recipe.freeze(model)
    assert all(layer.trainable for layer in model._flatten_layers())


def test_switches_reach_optimizer_and_loss():
    recipe = Recipe(
        **PATHS,
        accumulate=3,
        clip_norm=2.0,
        ema=0.99,
        warmup_steps=5,
        ohem=0.6,
        ohem_min_kept=0.2,
        label_smoothing=0.1,
        class_weights=(1.0, 2.0, 0.5),
        thin_weight=4.0,
        dtype="mixed_float16",
    )
    optimizer = recipe.optimizer(50)
    assert type(optimizer) is LossScaleOptimizer
    config = optimizer.inner_optimizer.get_config()
    assert (config["gradient_accumulation_steps"], config["global_clipnorm"]) == (3, 2.0)
    assert (config["use_ema"], config["ema_momentum"]) == (True, 0.99)
    assert config["learning_rate"]["config"]["warmup_steps"] == 5
    loss = recipe.loss(LABELS)
    assert loss.class_weights == [1, 8, 0.5]  # the second class is thin
    assert (loss.ohem, loss.ohem_min_kept, loss.label_smoothing) == (0.6, 0.2, 0.1)
    with pytest.raises(ValueError, match="accumulate=3 never moves the weights in 2 steps"):
        dataclasses.replace(recipe, warmup_steps=0).optimizer(2)
    with pytest.raises(ValueError, match="2 numbers for 3 classes: sky, pole, car"):
        dataclasses.replace(recipe, class_weights=(1.0, 2.0)).loss(LABELS)


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe(**PATHS).epochs = 3


def test_json_holds_every_field_and_gives_the_recipe_back(tmp_path):
    recipe = Recipe(**PATHS, crop_size=(64,), weights=Path("w.npz"), total_steps=12, scale=(1, 2))
    recipe = dataclasses.replace(recipe, class_weights=(1.0, 0.5), ohem=0.7)
    run_folder.save_recipe(tmp_path, recipe.fields())
    fields = json.loads((tmp_path / "recipe.json").read_text())
    assert set(fields) == {field.name for field in dataclasses.fields(Recipe)}
    for name in ("data", "out", "weights"):
        fields[name] = Path(fields[name])
    for name in ("crop_size", "scale", "class_weights"):
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
