"""The commands `gff-keras gates` and `gff-keras compare`."""

import json
from pathlib import Path

from tyro.conf import Positional

from gff_keras.evaluation import gate_tables as tables
from gff_keras.evaluation.comparison import common_labels, compare, draw_comparisons, most_changed
from gff_keras.evaluation.examples import examples
from gff_keras.evaluation.gate_analysis import ablation, statistics
from gff_keras.evaluation.gate_maps import draw_gates, gate_maps, gated_network, without_gates
from gff_keras.evaluation.prediction import UNNAMED, load_predictor
from gff_keras.visualization import (
    ablation_heatmap,
    ablation_sheet,
    comparison_sheet,
    gate_sheet,
    statistics_heatmap,
)


def gates(
    images: Positional[Path | None] = None,
    *,
    model: Path,
    data: Path | None = None,
    split: str = "val",
    out: Path = Path("gates"),
    ablate: bool = False,
    native: bool = False,
    stretch: bool = False,
    sheets: int = 4,
    max_images: int | None = None,
    image_size: tuple[int, int] | None = None,
):
    """Draw the gate maps of images (the paper's Fig. 6), or tell what the gates do over a data set.

    For images: NAME_gates.png, image and prediction beside the gates, and NAME_gates.npy, float32
    (levels, height, width) at the size of the image. For --data: gates.json, gates.csv, shares.csv
    and gates.png, and sheets of the first images. --ablate adds what happens with each gate at
    zero: sheets (Fig. 7b) and, for --data, ablation.json, ablation.csv and ablation.png.

    Args:
        images: JPEG or PNG image, or a folder of them.
        model: .keras file, folder or hf://USER/NAME.
        data: folder of records, instead of images.
        split: split of the records.
        out: folder to write.
        ablate: predict with each gate at zero too.
        native: NAME_gates.npz besides: the maps G1, G2, ... at the size of their level.
        stretch: colour each map over its own range, to see the pattern of a weak gate.
        sheets: how many images of the records to draw.
        max_images: images of the records to count, the first ones; all if not given.
        image_size: height and width at which the network sees the images.
    """
    _check(images, data, sheets, out)
    predictor, labels = load_predictor(model, image_size)
    gated_network(predictor)
    if images is not None:
        drawing = dict(ablate=ablate, native=native, stretch=stretch)
        draw_gates(predictor, labels, images, out, **drawing)
    else:
        _analyse(predictor, labels, data, split, out, ablate, max_images)
        _draw_gates(predictor, labels, data, split, out, ablate, stretch, sheets)
    print(f"\nwritten to {out}")


def compare_models(
    images: Positional[Path | None] = None,
    *,
    model: Path,
    other: Path,
    data: Path | None = None,
    split: str = "val",
    out: Path = Path("comparison"),
    sheets: int = 8,
    max_images: int | None = None,
    image_size: tuple[int, int] | None = None,
):
    """Show two models side by side, and the pixels that the second mends and breaks (Fig. 4).

    NAME_comparison.png for every image, or, for --data, comparison.json, comparison.csv and the
    sheets of the images with most pixels mended and broken.

    Args:
        images: JPEG or PNG image, or a folder of them.
        model: .keras or .tflite file, folder or hf://USER/NAME, "A".
        other: likewise, "B".
        data: folder of records, instead of images.
        split: split of the records.
        out: folder to write.
        sheets: how many images of the records to draw.
        max_images: images of the records to compare, the first ones; all if not given.
        image_size: height and width at which both networks see the images; each its own if not
            given.
    """
    _check(images, data, sheets, out)
    first, first_labels = load_predictor(model, image_size)
    second, second_labels = load_predictor(other, image_size)
    labels = common_labels(first_labels, second_labels, (model, other))
    names = (f"A: {_shown(model)}", f"B: {_shown(other)}")
    print("\n".join(names))
    if images is not None:
        draw_comparisons(first, second, labels, images, out)
    else:
        named = None if labels.name == UNNAMED else labels
        results = compare(first, second, data, split, named, max_images)
        print(tables.comparison_table(results))
        print(f"\nB mends {results['mended']:,} of {results['pixels']:,} pixels", end="")
        print(f" and breaks {results['broken']:,}")
        _write(out, "comparison", {"models": [str(model), str(other)], **results})
        tables.write_csv(out / "comparison.csv", tables.comparison_rows(results))
        chosen = most_changed(results, sheets)
        for name, image, truth in examples(data, split, results["images"], verbose=False):
            if name in chosen:
                classes = first.classes(image), second.classes(image)
                sheet = comparison_sheet(image, truth, *classes, labels)
                sheet.save(out / f"{_file_name(name)}_comparison.png")
    print(f"\nwritten to {out}")


def _check(images, data, sheets, out):
    if (images is None) == (data is None):
        both = "both" if data else "neither"
        raise ValueError(f"Give images or --data RECORDS, one of them; {both} given.")
    if sheets < 0:
        raise ValueError(f"sheets={sheets} must be 0 or more.")
    if out.is_file():  # before the long part
        raise FileExistsError(f"{out} is a file; give --out the path of a folder.")


def _analyse(predictor, labels, data, split, out, ablate, max_images):
    named = None if labels.name == UNNAMED else labels
    results = statistics(predictor, data, split, named, max_images)
    print(tables.statistics_table(results))
    _write(out, "gates", results)
    tables.write_csv(out / "gates.csv", tables.gate_rows(results))
    tables.write_csv(out / "shares.csv", tables.share_rows(results))
    statistics_heatmap(results, out / "gates.png")
    if ablate:
        print("\nChange of IoU in points with a gate at zero")
        results = ablation(predictor, data, split, named, max_images)
        print(tables.ablation_table(results))
        _write(out, "ablation", results)
        tables.write_csv(out / "ablation.csv", tables.ablation_rows(results))
        ablation_heatmap(results, out / "ablation.png")


def _draw_gates(predictor, labels, data, split, out, ablate, stretch, sheets):
    if not sheets:
        return
    others = without_gates(predictor) if ablate else {}
    for name, image, truth in examples(data, split, sheets):
        target, classes = out / _file_name(name), predictor.classes(image)
        maps = gate_maps(predictor, image)
        gate_sheet(image, maps, classes, labels, stretch).save(f"{target}_gates.png")
        if ablate:
            without = {gate: network.classes(image) for gate, network in others.items()}
            sheet = ablation_sheet(image, truth, classes, without, labels)
            sheet.save(f"{target}_ablation.png")


def _write(out, name, results):
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1) + "\n"
    (out / f"{name}.json").write_text(text, encoding="utf-8")


def _file_name(name):
    """A record's id as the name of a file."""
    return name.replace("/", "_")


def _shown(path):
    """A model's file and its folder: most are called best.keras."""
    return "/".join(path.parts[-2:])
