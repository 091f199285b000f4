"""The whole way once, on data that the project draws itself: data, records, training, pictures.

OUT/records/           TFRecords of the drawn scenes
OUT/run/               model, logs and learning curves (see gff_keras/training/trainer.py)
OUT/metrics.json       IoU of every class on held-out scenes
OUT/predictions.png    image, truth and prediction side by side
OUT/gates_*.png        what the gates let through
OUT/report.html        all of it on one page
"""

import dataclasses
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import tfrecords_tools
from gff_keras.data import evaluation_dataset
from gff_keras.evaluation.evaluate import evaluate
from gff_keras.evaluation.gate_maps import gate_maps
from gff_keras.evaluation.prediction import load_predictor
from gff_keras.evaluation.results import table
from gff_keras.report import page
from gff_keras.training import train
from gff_keras.visualization import gate_sheet, prediction_sheet

SCENES: dict[str, Any] = {"train": 400, "val": 40, "height": 192, "width": 384}
PICTURES = 6
GATE_SHEETS = 2


def quickstart(recipe, out, overwrite=False):
    """Draw scenes, train `recipe` on them, evaluate it on held-out scenes and draw what it sees.

    Args:
        recipe: `gff_keras.training.Recipe`; its `data` and `out` are set here.
        out: folder to write.
        overwrite: replace a finished quickstart in `out`.

    Raises:
        FileExistsError: `out` already holds a quickstart.
    """
    records, run = out / "records", out / "run"
    if (records.exists() or run.exists()) and not overwrite:
        raise FileExistsError(
            f"{out} already holds a quickstart; choose another --out, or add --overwrite."
        )
    started = time.monotonic()
    _step(1, f"Drawing {SCENES['train']} + {SCENES['val']} street scenes as TFRecords")
    tfrecords_tools.build("street_scenes", out=records, overwrite=True, seed=recipe.seed, **SCENES)

    _step(2, f"Training GFFNet-ResNet-18 for {recipe.epochs} epochs, from random weights")
    files = dict(data=records, out=run, overwrite=overwrite, report=False)  # it comes at the end
    train(dataclasses.replace(recipe, **files))

    _step(3, "Evaluating the best checkpoint on the held-out scenes")
    predictor, labels = load_predictor(run / "best.keras")
    results = evaluate(predictor, records, labels=labels)
    (out / "metrics.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results, labels.thin))

    _step(4, "Drawing predictions, gate maps and a report")
    _draw(predictor, labels, records, out)
    html = page(run / "best.keras", records, results=results, verbose=False)
    (out / "report.html").write_text(html, encoding="utf-8")
    print(_farewell(out, (time.monotonic() - started) / 60))


def _step(number, text):
    print(f"\n[{number}/4] {text}", flush=True)


def _draw(predictor, labels, records, out):
    rows = []
    for i, (image, truth) in enumerate(evaluation_dataset(records).take(PICTURES), start=1):
        image, truth = image.numpy()[0], truth.numpy()[0]
        classes = predictor.classes(image)
        rows.append((image, classes, truth))
        if i <= GATE_SHEETS:
            sheet = gate_sheet(image, gate_maps(predictor, image), classes, labels)
            sheet.save(out / f"gates_{i}.png")
    prediction_sheet(rows, labels).save(out / "predictions.png")


def _activation():
    """The command that puts `gff-keras` on the path, if it is not there."""
    scripts = Path(sys.executable).parent
    if shutil.which("gff-keras") or not (scripts / "activate").exists():
        return ""
    return f"\n  source {os.path.relpath(scripts / 'activate')}"


def _farewell(out, minutes):
    return f"""
Done in {minutes:.1f} minutes. Look at
  {out}/report.html              all on one page, for a browser
  {out}/predictions.png          scenes, truth and prediction
  {out}/gates_1.png              the four gate maps (the paper's Fig. 6)
  {out}/run/learning_curves.png
  {out}/metrics.json             IoU of every class
  {out}/run/best.keras           the model
Next{_activation()}
  gff-keras predict IMAGE --model {out}/run/best.keras
  gff-keras info {out}/run/best.keras --size 192 384
  tensorboard --logdir {out}/run/tensorboard
  python -m tfrecords_tools build folder --help     then train on your own images"""
