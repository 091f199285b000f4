"""Draw docs/images/camvid.png: what the CamVid recipe's network predicts, and where it is wrong.

    python docs/camvid_figure.py runs/camvid_resnet18/best.keras records/camvid

Every 20th validation image. The photographs are not shown: their licence keeps them out of this
project. `gff-keras predict FOLDER` draws the same predictions over your copy of them.
"""

import sys
from pathlib import Path

import numpy as np

from gff_keras.data import IGNORE_LABEL, evaluation_dataset
from gff_keras.evaluation.prediction import load_predictor
from gff_keras.visualization import colorize, legend_entries, panels

RIGHT, WRONG = (235, 235, 235), (200, 0, 30)


def main(model, records):
    predictor, labels = load_predictor(Path(model))
    rows, maps = [], []
    for image, truth in evaluation_dataset(records).shard(20, 0):
        classes = predictor.classes(image.numpy()[0])
        truth = truth.numpy()[0]
        wrong = (classes != truth) & (truth != IGNORE_LABEL)
        named = len(rows) < 2  # the first line of two images
        rows.append(
            [
                ("Prediction" if named else "", colorize(classes, labels.palette)),
                ("Wrong pixels" if named else "", np.array([RIGHT, WRONG], np.uint8)[wrong * 1]),
            ]
        )
        maps.append(classes)
    pairs = [rows[i] + (rows[i + 1] if i + 1 < len(rows) else []) for i in range(0, len(rows), 2)]
    size = panels.text_size(480)
    picture = panels.grid(pairs, size)
    legend = panels.legend(legend_entries(maps, labels), picture.width, size)
    out = Path(__file__).parent / "images" / "camvid.png"
    out.parent.mkdir(exist_ok=True)
    panels.stack([picture, legend]).quantize(64).save(out, optimize=True)
    print(f"written to {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
