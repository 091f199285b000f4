"""Draw the pictures of docs/gates.md from a quickstart and a network without gates beside it.

python docs/gates_figures.py runs/quickstart runs/pspnet/best.keras
"""

import json
import sys
from pathlib import Path

from PIL import Image

from gff_keras.cli import main as gff_keras

IMAGES = Path(__file__).parent / "images"
FIRST = "val_000000"  # scene of the split


def main(quickstart, pspnet):
    model, out = Path(quickstart, "run", "best.keras"), Path(quickstart, "gates")
    where = ("--data", Path(quickstart, "records"), "--out", out, "--sheets", 1)
    _run("gates", "--model", model, "--ablate", *where)
    _run("compare", "--model", pspnet, "--other", model, *where)
    images = json.loads((out / "comparison.json").read_text())["per_image"]
    most = max(images, key=lambda image: image["mended"] + image["broken"])["id"]
    for picture in ("gates", "ablation"):
        _save(out / f"{picture}.png", f"{picture}_heatmap.png")
        _save(out / f"{FIRST}_{picture}.png", f"{picture}_sheet.jpg")
    _save(out / f"{most}_comparison.png", "comparison_sheet.jpg")


def _run(*arguments):
    if gff_keras([str(argument) for argument in arguments]):
        sys.exit(2)


def _save(source, name):
    with Image.open(source) as file:
        picture = file.convert("RGB")
    if name.endswith(".png"):
        picture.quantize(64).save(IMAGES / name, optimize=True)
    else:  # small enough for a page
        picture.thumbnail((1400, picture.height), Image.Resampling.LANCZOS)
        picture.save(IMAGES / name, quality=75, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
