"""Where records go: what is there stays until theirs are whole."""

import resource

import numpy as np
import pytest

from tests.tfrecords_tools.pairs import (
    IMAGE,
    assert_nothing_written,
    build_folder,
    random_image,
    read,
    truncate,
    write_pair,
)
from tfrecords_tools import build
from tfrecords_tools.output import MARKER, REPLACED, staging_folder


def test_existing_folders(source):
    out = build_folder(source)
    with pytest.raises(FileExistsError, match="already holds records; add --overwrite"):
        build_folder(source)
    write_pair(source, "four", np.random.default_rng(5))
    truncate(source / IMAGE)
    with pytest.raises(ValueError, match="damaged"):
        build_folder(source, overwrite=True)
    assert len(read(out)) == 3  # a failed replacement keeps what was there
    random_image(np.random.default_rng(6)).save(source / IMAGE)
    assert len(read(build_folder(source, overwrite=True))) == 4
    assert not list(source.glob("*incomplete*"))
    (out / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds other files \(notes.txt"):
        build_folder(source, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"


def test_only_our_own_leftovers_are_removed(source):
    staging = source / "incomplete.out"
    staging.mkdir()
    (staging / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"incomplete\.out .* is not ours; move it away"):
        build_folder(source)
    assert (staging / "thesis.txt").read_text() == "years of work"
    (staging / MARKER).touch()  # as a killed run leaves it
    assert len(read(build_folder(source))) == 3
    assert not staging.exists()


def test_a_disk_that_takes_no_more_is_told(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # bytes a file may have
    try:
        with pytest.raises(OSError, match="out could not be written: File too large$"):
            build("street_scenes", out=tmp_path / "out", train=9, val=1, height=64, width=64)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_nothing_written(tmp_path / "out")


def test_records_that_a_killed_overwrite_had_moved_away_come_back(tmp_path):
    """Killed between its two renames, a build leaves the old records in its own folder only."""
    out = build("street_scenes", train=1, val=0, height=32, width=40, out=tmp_path / "records")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    staging = tmp_path / "incomplete.records"
    staging.mkdir()
    (staging / MARKER).touch()
    out.rename(staging / REPLACED)
    with staging_folder(out):
        pass
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert not staging.exists()
