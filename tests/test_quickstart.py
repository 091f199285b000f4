import dataclasses
import json

import keras
import numpy as np
from PIL import Image

from gff_keras import cli, quickstart
from gff_keras.report import gates
from recipes import street_scenes_resnet18


def test_the_whole_way(tmp_path, monkeypatch, capsys, eager):
    """From drawing to pictures with a handful of small scenes."""
    scenes = {"train": 8, "val": 3, "height": 64, "width": 96}
    monkeypatch.setattr(quickstart, "SCENES", scenes)
    small = dict(crop_size=(48, 48), batch_size=4, tensorboard_images=1)
    recipe = dataclasses.replace(street_scenes_resnet18.RECIPE, **small)
    monkeypatch.setattr(street_scenes_resnet18, "RECIPE", recipe)
    monkeypatch.setattr(gates, "section", lambda *_: {"missing": "They take a minute."})
    out = tmp_path / "quick"
    command = ["quickstart", "--out", str(out), "--epochs", "1"]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out

    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["images"] == 3 and 0 < metrics["mean_iou"] < 1
    assert np.sum(metrics["confusion"]) == 3 * 64 * 96  # drawn masks ignore no pixel
    assert keras.saving.load_model(out / "run" / "best.keras").num_classes == 12
    for name in ("predictions.png", "gates_1.png", "gates_2.png", "run/learning_curves.png"):
        assert Image.open(out / name).size[0] > 500
        assert name in printed or name == "gates_2.png"
    assert "thin or small" in printed
    html = (out / "report.html").read_text()
    assert f"{100 * metrics['mean_iou']:.1f} %" in html and "report.html" in printed

    assert cli.main(command) == 2  # nothing is lost by asking twice
    assert "already holds a quickstart" in capsys.readouterr().err
    assert json.loads((out / "metrics.json").read_text()) == metrics
