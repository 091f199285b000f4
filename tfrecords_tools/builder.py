"""What all builders share: the records' features and how a folder of records comes to be.

A build is written into `incomplete.NAME` beside the wanted folder NAME and renamed at the very end,
so a folder under its wanted name is always complete.
"""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from gff_keras.data.labels import METADATA_FILE, LabelSet

Example = tuple[str, bytes, bytes]  # id, encoded image, mask as PNG


class SegmentationBuilder(tfds.core.GeneratorBasedBuilder):
    """Base of the builders: images, masks of training indices and ids, with their label set."""

    VERSION = tfds.core.Version("1.0.0")
    label_set: LabelSet

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Kept out of tfds's table of names: these builders need arguments that tfds.load lacks.
        super().__init_subclass__(skip_registration=True, **kwargs)

    @abstractmethod
    def split_examples(self) -> dict[str, Iterator[Example]]:
        """The examples of each split; called once, generated lazily."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Semantic segmentation with the classes of {self.label_set.name}.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),  # JPEG or PNG, as it came
                    "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
                    "id": tfds.features.Text(),
                }
            ),
            metadata=tfds.core.MetadataDict(label_set=self.label_set.to_dict()),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        splits = self.split_examples()
        return {name: self._generate_examples(examples) for name, examples in splits.items()}

    def _generate_examples(self, examples: Iterator[Example]) -> Iterator[tuple[str, Any]]:
        for key, image, label in examples:
            yield key, {"image": image, "label": label, "id": key}


def write_records(
    builder_class: type[SegmentationBuilder], out: Path, *, overwrite: bool, **arguments: Any
) -> Path:
    """Run a builder so that `out` directly holds its records, or nothing at all.

    Args:
        builder_class: Which builder.
        out: Folder for dataset_info.json, features.json, metadata.json (the label set) and shards.
        overwrite: Replace records that are there already.
        **arguments: For the builder.

    Returns:
        `out`.

    Raises:
        ValueError, FileNotFoundError: As the builder raised it.
        FileExistsError: `out` holds something that must not be replaced.
    """
    out = out.expanduser().resolve()
    _refuse_existing(out, overwrite)
    staging = out.with_name(f"incomplete.{out.name}")
    shutil.rmtree(staging, ignore_errors=True)  # what a killed run left
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        staging.mkdir(parents=True)
        builder = builder_class(data_dir=str(staging), **arguments)
        config = tfds.download.DownloadConfig(try_download_gcs=False, register_checksums=False)
        with redirect_stdout(StringIO()):  # tfds's notices; its progress bars go to stderr
            builder.download_and_prepare(download_dir=str(staging), download_config=config)
        _put_in_place(Path(builder.data_dir), out, staging / "replaced")
    finally:
        logging.set_verbosity(verbosity)
        shutil.rmtree(staging, ignore_errors=True)
    return out


def _put_in_place(new: Path, out: Path, replaced: Path) -> None:
    if out.exists():
        out.rename(replaced)
    try:
        new.rename(out)
    except OSError:
        if replaced.exists():
            replaced.rename(out)
        raise


def _refuse_existing(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise FileExistsError(f"{out} is a file; give --out the path of a folder")
    entries = sorted(path.name for path in out.iterdir())
    known = ("dataset_info.json", "features.json", METADATA_FILE)
    foreign = [name for name in entries if name not in known and ".tfrecord" not in name]
    if foreign:  # never delete what no build wrote
        raise FileExistsError(
            f"{out} holds other files ({foreign[0]}, ...); give --out a new or empty folder"
        )
    if entries and not overwrite:
        raise FileExistsError(
            f"{out} already holds records; add --overwrite to replace them or give another --out"
        )
