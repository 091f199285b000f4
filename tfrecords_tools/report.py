"""What a check found: as text, as JSON, and one picture for each class."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from gff_keras.data.labels import IGNORE_LABEL, LabelSet

from .examine import Examined, Finding

JSON_FILE, SHEET_FILE = "check.json", "classes.png"
SHOWN = 20  # findings of a kind in the text; the JSON has all
NOWHERE = Finding()
FRAME, TEXT = 4, 18  # pixels in the picture: of a frame, of a letter's height


@dataclass
class Split:
    """Numbers of one split.

    Attributes:
        expected: Examples that there should be.
        read: Examples that were found.
        intact: Those among them without findings of their own.
        pixels: Of each mask value, (256,).
        images: In which each mask value occurs, (256,).
    """

    expected: int
    read: int = 0
    intact: int = 0
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    images: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))


@dataclass
class Largest:
    """Where a class is largest: its share of the image, the id, small image and mask."""

    share: float
    id: str
    image: np.ndarray
    mask: np.ndarray


@dataclass
class Report:
    """Everything a check found.

    Attributes:
        name: Folder or data set.
        labels: Its label set.
        splits: Numbers of each split.
        sizes: Number of images of each (width, height).
        largest: Best view of each class that occurs, by index.
        errors: What makes the data unfit.
        warnings: What may be meant.
    """

    name: str
    labels: LabelSet
    splits: dict[str, Split] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    largest: dict[int, Largest] = field(default_factory=dict)
    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def error(self, kind: str, message: str, place: Finding = NOWHERE) -> None:
        """Add an error."""
        self.errors.append(replace(place, kind=kind, message=message))

    def warn(self, kind: str, message: str, place: Finding = NOWHERE) -> None:
        """Add a warning."""
        self.warnings.append(replace(place, kind=kind, message=message))

    def add(self, found: Examined) -> None:
        """Count an example."""
        split = self.splits[found.place.split]
        split.read += 1
        split.intact += not found.findings
        self.errors += found.findings
        if found.size is not None:
            self.sizes[found.size] += 1
        if found.values is not None:
            split.pixels += found.values
            split.images += found.values > 0
            if found.thumbnail is not None:
                shares = found.values[: self.labels.num_classes] / found.values.sum()
                for index in map(int, np.flatnonzero(shares)):
                    if index not in self.largest or shares[index] > self.largest[index].share:
                        view = Largest(float(shares[index]), found.place.id, *found.thumbnail)
                        self.largest[index] = view

    def classes(self) -> list[dict[str, Any]]:
        """Name, pixels, share of all labelled pixels, and images by split, of each class."""
        pixels = self._pixels()
        labelled = max(1, int(pixels[: self.labels.num_classes].sum()))
        return [
            {
                "index": index,
                "name": name,
                "pixels": int(pixels[index]),
                "share": int(pixels[index]) / labelled,
                "pixels_by_split": {k: int(s.pixels[index]) for k, s in self.splits.items()},
                "images_by_split": {k: int(s.images[index]) for k, s in self.splits.items()},
                "largest_in": self.largest[index].id if index in self.largest else None,
            }
            for index, name in enumerate(self.labels.classes)
        ]

    def ignored(self) -> dict[str, Any]:
        """Number of ignored pixels and their share of all pixels."""
        pixels = self._pixels()
        count = int(pixels[IGNORE_LABEL])
        return {"pixels": count, "share": count / max(1, int(pixels.sum()))}

    def _pixels(self) -> np.ndarray:
        return sum((split.pixels for split in self.splits.values()), np.zeros(256, np.int64))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, ready for JSON."""
        return {
            "checked": self.name,
            "label_set": self.labels.name,
            "splits": {
                name: {"expected": split.expected, "read": split.read, "intact": split.intact}
                for name, split in self.splits.items()
            },
            "sizes": {f"{w}x{h}": count for (w, h), count in sorted(self.sizes.items())},
            "ignored": self.ignored(),
            "classes": self.classes(),
            "errors": [_compact(finding) for finding in self.errors],
            "warnings": [_compact(finding) for finding in self.warnings],
        }

    def save(self, folder: Path) -> None:
        """Write `JSON_FILE` and, if any class occurs, `SHEET_FILE`."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        (folder / JSON_FILE).write_text(text + "\n", encoding="utf-8")
        (folder / SHEET_FILE).unlink(missing_ok=True)
        if self.largest:
            class_sheet(self).save(folder / SHEET_FILE)

    def __str__(self) -> str:
        read = ", ".join(
            f"{name} {split.read}"
            + (f" of {split.expected}" if split.read < split.expected else "")
            for name, split in self.splits.items()
        )
        ignored = self.ignored()
        lines = [
            f"{self.name}: {sum(s.read for s in self.splits.values())} examples ({read})",
            f"sizes     {_sizes(self.sizes)}",
            f"ignored   {ignored['share']:.2%} of all pixels",
            "",
            *_class_table(self.classes(), list(self.splits)),
        ]
        for title, findings in (("error", self.errors), ("warning", self.warnings)):
            if findings:
                lines += ["", f"{len(findings)} {title}{'s' if len(findings) > 1 else ''}"]
                lines += _finding_lines(findings)
        if not self.errors:
            lines += ["", "No errors." if self.warnings else "Nothing is wrong."]
        return "\n".join(lines)


def list_some(names: Sequence[str], most: int = 5) -> str:
    """Join names with commas; of more than `most`, the first and how many follow."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _compact(finding: Finding) -> dict[str, Any]:
    return {key: value for key, value in asdict(finding).items() if value not in ("", None)}


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    if not sizes:
        return "no image could be read"
    common = [f"{w}x{h}: {count}" for (w, h), count in sizes.most_common()]
    if len(sizes) == 1:
        return common[0]
    widths, heights = zip(*sizes, strict=True)
    span = f"width {min(widths)}..{max(widths)}, height {min(heights)}..{max(heights)}"
    return f"{span} ({list_some(common)})"


def _class_table(classes: list[dict[str, Any]], splits: list[str]) -> list[str]:
    """Pixels, their share of the labelled ones, and number of images by split, aligned."""
    rows = [["class", "pixels", "share", *(f"images in {name}" for name in splits)]]
    for entry in classes:
        images = [f"{entry['images_by_split'][name]:,}" for name in splits]
        name = f"{entry['index']:3} {entry['name']}"
        rows.append([name, f"{entry['pixels']:,}", f"{entry['share']:.3%}", *images])
    names, *columns = ([len(cell) for cell in column] for column in zip(*rows, strict=True))
    layout = "  ".join([f"{{:<{max(names)}}}", *(f"{{:>{max(column)}}}" for column in columns)])
    return [layout.format(*row) for row in rows]


def _finding_lines(findings: list[Finding]) -> Iterator[str]:
    """The findings by kind, each where it is."""
    kinds = dict.fromkeys(finding.kind for finding in findings)
    for kind in kinds:
        alike = [finding for finding in findings if finding.kind == kind]
        yield f"  {kind} ({len(alike)})"
        for finding in alike[:SHOWN]:
            record = None if finding.record is None else f"record {finding.record}"
            where = ", ".join(filter(None, (finding.file or finding.split, record, finding.id)))
            yield f"    {where}: {finding.message}" if where else f"    {finding.message}"
        if len(alike) > SHOWN:
            yield f"    and {len(alike) - SHOWN} more, in {JSON_FILE}"


def class_sheet(report: Report) -> Image.Image:
    """For each class, in a frame of its colour, the image in which it is largest.

    The whole mask lies over the image, with a white line around the class.

    Raises:
        ValueError: No class occurs.
    """
    from gff_keras.visualization import overlay, panels

    if not report.largest:
        raise ValueError("no class occurs, so there is nothing to show")
    cells = []
    for index, view in sorted(report.largest.items()):
        inside = Image.fromarray(255 * (view.mask == index).astype(np.uint8))
        around = np.asarray(inside.filter(ImageFilter.MaxFilter(3))) > np.asarray(inside)
        picture = overlay(view.image, view.mask, report.labels.palette, alpha=0.45)
        picture[around] = 255
        height, width = view.mask.shape
        framed = np.empty((height + 2 * FRAME, width + 2 * FRAME, 3), np.uint8)
        framed[:] = report.labels.palette[index]
        framed[FRAME:-FRAME, FRAME:-FRAME] = picture
        cells.append((f"{report.labels.classes[index]}  {view.share:.1%}", framed))
    columns = math.ceil(math.sqrt(len(cells)))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    return panels.grid(rows, TEXT)
