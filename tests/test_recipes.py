"""The recipes: the paper's numbers, and a start of each on real samples."""

import csv

import pytest

from gff_keras.cli import load_recipe, main
from tfrecords_tools import build

PAPER = {  # Sec. 4.1: crop, batch, iterations
    "cityscapes_resnet101": (864, 8, 100_000),
    "ade20k_resnet101": (512, 16, 150_000),
    "pascal_context_resnet101": (512, 16, 150_000),
    "coco_stuff_resnet101": (512, 16, 150_000),
}
SAMPLES = {
    "cityscapes_resnet101": ("cityscapes", "cityscapes", "train"),
    "ade20k_resnet101": ("ade20k", "ADEChallengeData2016", "val"),
    "pascal_context_resnet101": ("pascal_context", "pascal_context/VOC2010", "train"),
    "coco_stuff_resnet101": ("coco_stuff", "coco_stuff164k", "train"),
}


@pytest.mark.parametrize("name", PAPER)
def test_hyper_parameters_are_the_papers(name):
    recipe, description = load_recipe(name)
    crop, batch, steps = PAPER[name]
    assert recipe.crop_size == (crop, crop)
    assert (recipe.batch_size, recipe.total_steps) == (batch, steps)
    assert (recipe.learning_rate, recipe.power) == (1e-3, 0.9)
    assert (recipe.momentum, recipe.weight_decay, recipe.aux_loss_weight) == (0.9, 1e-4, 0.4)
    assert (recipe.scale, recipe.flip, recipe.color_jitter) == ((0.75, 2.0), True, 10.0)
    assert (recipe.backbone, recipe.fusion, recipe.dfp) == ("resnet101", "gff", True)
    assert (recipe.output_stride, recipe.filters) == (8, 256)
    assert (recipe.image_size, recipe.thin_weight, recipe.dtype) == (None, 1.0, "float32")
    assert (recipe.aux_head, recipe.dropout) == (True, 0.1)
    assert recipe.val_split == ("test" if name.startswith("coco") else "val")  # 10k has no val
    assert "Not yet measured here" in description
    assert f"gff-keras train {name}" in description
    assert str(recipe.data) in description


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_recipe_starts_on_samples(name, gff_data, tmp_path):
    dataset, source, split = SAMPLES[name]
    records = build(dataset, source=gff_data / "data" / source, out=tmp_path / "records")
    command = ["train", name, "--data", str(records), "--out", str(tmp_path / "run")]
    command += ["--train_split", split, "--val_split", "none", "--total_steps", "3"]
    command += ["--batch_size", "2", "--crop_size", "129"]
    assert main(command) == 0
    rows = list(csv.DictReader((tmp_path / "run" / "history.csv").open()))
    assert len(rows) >= 1
    assert 0 < float(rows[0]["loss"]) < 20
    assert (tmp_path / "run" / "last.keras").is_file()
