"""The results of `evaluate` as text, JSON, CSV and a Markdown table."""

import csv
import io
import json
import tempfile
from pathlib import Path

_COLUMNS = 20  # of a Markdown table
_TOTALS = {
    "mean_iou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "frequency_weighted_iou": "frequency-weighted IoU",
    "thin_mean_iou": "mIoU of thin and small classes",
}


def table(results, thin=()):
    """Format the results of `evaluate` as lines of text, classes first; mark thin classes."""
    totals = [(name, results[name]) for name in _TOTALS if results.get(name) is not None]
    totals += [
        (f"boundary_f1, {tolerance} px", value)
        for tolerance, value in results.get("boundary_f1", {}).items()
        if value is not None
    ]
    width = max(map(len, (*results["iou"], *(name for name, _ in totals)))) + 2
    lines = [f"{'class':{width}} IoU %"]
    for name, value in results["iou"].items():
        number = "absent" if value is None else f"{100 * value:6.2f}"
        lines.append(f"{name:{width}}{number}{'   thin or small' if name in thin else ''}")
    lines.append("")
    lines.extend(f"{name:{width}}{100 * value:6.2f}" for name, value in totals)
    return "\n".join(lines)


def check_out(path):
    """Refuse a path that `write` cannot take.

    Raises:
        ValueError: it does not end with .json, whose place .csv and .md take in the other names.
    """
    if path.suffix != ".json":
        raise ValueError(f"--out {path} must end with .json; .csv and .md are written beside it.")


def check_folder(path):
    """Refuse a folder that cannot take results, before the long work they are of.

    Args:
        path: folder, which need not be there yet.

    Raises:
        OSError: it cannot be made, or nothing can be written into it.
    """
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}; choose another --out."
        raise OSError(message) from error


def write(results, path, thin=()):
    """Write the results as JSON, and beside it .csv (classes) and .md (the paper's Table 7).

    Args:
        results: of `evaluate`.
        path: JSON file.
        thin: names of the thin and small classes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".csv").write_text(_csv(results, thin), encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(results, path.stem), encoding="utf-8")
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def markdown(results, method="IoU %"):
    """One column for each class and the mean last, as in Table 7 of the paper; other scores below.

    Args:
        results: of `evaluate`.
        method: name of the row.
    """
    cells = [(name, _percent(value)) for name, value in results["iou"].items()]
    cells.append(("mIoU", _percent(results["mean_iou"])))
    lines = []
    for start in range(0, len(cells), _COLUMNS):
        names, values = zip(*cells[start : start + _COLUMNS], strict=True)
        lines += [_row("Method", *names), _row("---", *["---:"] * len(names))]
        lines += [_row(method, *values), ""]
    totals = {title: results.get(name) for name, title in _TOTALS.items()}
    for tolerance, value in results.get("boundary_f1", {}).items():
        totals[f"boundary F-score, {tolerance} px"] = value
    lines += [_row("score", "%"), _row("---", "---:")]
    lines += [_row(title, _percent(x)) for title, x in totals.items() if x is not None]
    settings = ", ".join(f"{name} {_setting(x)}" for name, x in results["settings"].items() if x)
    lines += ["", f"{results['images']} images of split {results['split']}; {settings}."]
    return "\n".join(lines) + "\n"


def _csv(results, thin):
    """One line for each class: IoU and accuracy as shares, pixels of the truth."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "iou", "accuracy", "pixels", "thin"])
    for i, (name, iou) in enumerate(results["iou"].items()):
        row = results["confusion"][i]
        accuracy = row[i] / sum(row) if any(row) else None
        writer.writerow([name, iou, accuracy, sum(row), int(name in thin)])
    return text.getvalue()


def _setting(value):
    """A number or numbers in as few digits as tell them apart."""
    if isinstance(value, list):
        return " ".join(map(_setting, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _percent(value):
    return "–" if value is None else f"{100 * value:.1f}"


def _row(*cells):
    return f"| {' | '.join(cells)} |"
