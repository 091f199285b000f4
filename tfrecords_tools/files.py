"""Files of a data set: in folders, or in zip archives that need not be unpacked."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class File:
    """A file on disk, or a member of a zip archive.

    Attributes:
        path: Of the file, or of the archive.
        member: Name within the archive.
    """

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @property
    def suffix(self) -> str:
        """In lower case, with its dot."""
        return (PurePosixPath(self.member) if self.member else self.path).suffix.lower()

    def read(self) -> bytes:
        """Return the whole content.

        Raises:
            ValueError: The file is unreadable or empty; the message names it.
        """
        try:
            if self.member:
                data = open_archive(self.path).read(self.member)
            else:
                data = self.path.read_bytes()
        except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"{self} is damaged ({error}); download the archive again") from None
        except OSError as error:
            reason = error.strerror or error
            raise ValueError(f"{self} cannot be read ({reason}); make it readable") from None
        if not data:
            raise ValueError(
                f"{self} is empty (0 bytes); copy it again or remove it and its partner"
            )
        return data


@dataclass(frozen=True)
class InMemory:
    """What has been read already: PNG or JPEG bytes, with a name for messages."""

    name: str
    data: bytes

    def __str__(self) -> str:
        return self.name

    @property
    def suffix(self) -> str:
        """As the first bytes tell it."""
        return ".png" if self.data.startswith(b"\x89PNG") else ".jpg"

    def read(self) -> bytes:
        """Return the bytes."""
        return self.data


Readable = File | InMemory


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open an archive, once in each process: forked ones would share their place in the file.

    Raises:
        ValueError: It is no zip archive.
    """
    try:
        return _open_archive(path, path.stat().st_mtime_ns, os.getpid())
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no readable zip archive ({error}); get it again") from None


@lru_cache(maxsize=8)
def _open_archive(path: Path, changed: int, process: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def list_files(folder: Path, suffixes: Sequence[str], ending: str = "") -> dict[str, File]:
    """Files below a folder by id: the path within it, with /, without `ending` and suffix.

    Raises:
        FileNotFoundError: The folder is missing.
        ValueError: Two files have the same id.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; correct its path")
    names = {path.relative_to(folder).as_posix(): File(path) for path in folder.rglob("*")}
    return _by_id(names, suffixes, ending)


def list_tree(
    source: Path, folder: str, archives: Sequence[str], suffixes: Sequence[str], ending: str = ""
) -> dict[str, File]:
    """`list_files` of `source`/`folder` or else of `folder` in the archives; {} without either.

    Args:
        source: Where the folder or the archives lie.
        folder: With /, as it is named in the archives.
        archives: Names of zip files, all of which are looked into.
        suffixes: Wanted suffixes, in lower case.
        ending: What names have before their suffix and ids have not.

    Raises:
        ValueError: An archive is unreadable, or two files have the same id.
    """
    if (source / folder).is_dir():
        return list_files(source / folder, suffixes, ending)
    names = {
        member.removeprefix(f"{folder}/"): File(source / archive, member)
        for archive in archives
        if (source / archive).is_file()
        for member in open_archive(source / archive).namelist()
        if member.startswith(f"{folder}/")
    }
    return _by_id(names, suffixes, ending)


def _by_id(names: dict[str, File], suffixes: Sequence[str], ending: str) -> dict[str, File]:
    found: dict[str, File] = {}
    for name in sorted(names):
        path = PurePosixPath(name)
        key = path.with_suffix("").as_posix()
        hidden = path.name.startswith(".")
        if path.suffix.lower() not in suffixes or hidden or not key.endswith(ending):
            continue
        key = key.removesuffix(ending)
        if key in found:
            raise ValueError(f"{names[name]} and {found[key]} have the same id {key!r}; remove one")
        found[key] = names[name]
    return found


def read_lines(path: Path) -> list[str]:
    """Read the first word of each line of a text file, such as a split's list of ids.

    Raises:
        ValueError: It cannot be read or lists nothing.
    """
    try:
        words = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no readable list of ids ({error}); correct it") from None
    if not words:
        raise ValueError(f"{path} is empty; list ids in it or remove it")
    return words


_told: ContextVar[list[str] | None] = ContextVar("told", default=None)


def tell_missing(sentences: Sequence[str]) -> None:
    """Raise the first sentence as FileNotFoundError, or collect all within `collect_missing`."""
    told = _told.get()
    if told is not None:
        told.extend(sentences)
    elif sentences:
        raise FileNotFoundError(sentences[0])


@contextmanager
def collect_missing() -> Iterator[list[str]]:
    """Within it, pairs lacking a file are left out and told in a list, not raised: for checks."""
    told: list[str] = []
    token = _told.set(told)
    try:
        yield told
    finally:
        _told.reset(token)
