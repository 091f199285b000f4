"""Draw docs/images/tflite.png: the same drawn scenes seen by a Keras model and its TFLite files.

    python docs/tflite_figure.py runs/quickstart/run/best.keras float.tflite int8.tflite \\
        runs/quickstart/records
"""

import sys
from pathlib import Path

from gff_keras.data import evaluation_dataset
from gff_keras.evaluation.prediction import load_predictor
from gff_keras.visualization import colorize, legend_entries, panels

SCENES = 3


def main(model, float_file, int8_file, records):
    keras_model, labels = load_predictor(Path(model))
    columns = {"Keras": keras_model}
    columns["TFLite, float32"] = load_predictor(Path(float_file))[0]
    columns["TFLite, int8"] = load_predictor(Path(int8_file))[0]
    rows, maps = [], []
    for image, _ in evaluation_dataset(records).take(SCENES):
        image = image.numpy()[0]
        row = [("Scene" if not rows else "", image)]
        for name, predictor in columns.items():
            maps.append(predictor.classes(image))
            row.append((name if not rows else "", colorize(maps[-1], labels.palette)))
        rows.append(row)
    size = panels.text_size(480)
    picture = panels.grid(rows, size)
    legend = panels.legend(legend_entries(maps, labels), picture.width, size)
    out = Path(__file__).parent / "images" / "tflite.png"
    panels.stack([picture, legend]).quantize(128).save(out, optimize=True)
    print(f"written to {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
