"""Kinds of archives: how one is told by its name, which paths are wanted, and where memory and disk end for a hostile one."""

from __future__ import annotations

import bz2
import fnmatch
import gzip
import lzma
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Any

MAX_ENTRIES = 1_000_000
MAX_BYTES = 64 * 1024**3
"""What one archive may unpack to."""
FREE_BYTES = 1024**3
MAX_RATIO = 250
"""Beyond the free bytes an archive that grows more than this is a bomb."""
MAX_READ_BYTES = 64 * 1024 * 1024
"""No honest header of an archive is longer."""
CHUNK_BYTES = 1024 * 1024

ENDINGS = {
    ".tar": "tar", ".tar.gz": "tar.gz", ".tgz": "tar.gz", ".tar.bz2": "tar.bz2", ".tbz2": "tar.bz2", ".tbz": "tar.bz2",
    ".tar.xz": "tar.xz", ".txz": "tar.xz", ".zip": "zip",
}  # fmt: skip
FORMATS = tuple(dict.fromkeys(ENDINGS.values()))
_OPEN: dict[str, Callable[..., Any]] = {"tar.gz": gzip.open, "tar.bz2": bz2.open, "tar.xz": lzma.open}


class BadArchive(Exception):
    """What is wrong with the archive or the order; one sentence."""


class Bomb(BadArchive):
    """An archive that would fill disk or memory: no policy goes on with it."""


def format_of(name: str, given: str) -> str:
    """The format as given, else by the ending of the archive's name."""
    wanted = given.strip().lower().lstrip(".")
    if wanted:
        known = ENDINGS.get(f".{wanted}")
        if known is None:
            raise BadArchive(f"archives of format `{given}` are not supported; supported are {', '.join(FORMATS)}")
        return known
    for ending in sorted(ENDINGS, key=len, reverse=True):
        if name.lower().endswith(ending):
            return ENDINGS[ending]
    raise BadArchive(f"cannot tell the format of {Path(name).name}: name it in `format`, or end the name in {', '.join(ENDINGS)}")


def shown(name: str) -> str:
    """A name as a log or report can hold it: bytes that are no UTF-8 are replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def is_wanted(name: str, include: Iterable[str], exclude: Iterable[str]) -> bool:
    """Globs look at the whole path inside the archive, at each folder of it, and at the last name (`*` also crosses `/`)."""
    path = PurePosixPath(name)
    forms = {name, path.name, *(str(parent) for parent in path.parents if parent.name)}
    if any(fnmatch.fnmatchcase(form, glob.rstrip("/")) for glob in exclude for form in forms):
        return False
    wanted = list(include)
    return not wanted or any(fnmatch.fnmatchcase(form, glob.rstrip("/")) for glob in wanted for form in forms)


def open_compressed(path: Path, format: str) -> IO[bytes]:
    """The tar inside, for reading."""
    opener = _OPEN.get(format)
    return opener(path, "rb") if opener else path.open("rb")  # type: ignore[no-any-return]


class Allowance:
    """What may still be unpacked of one archive."""

    def __init__(self, packed_bytes: int) -> None:
        self._most = min(MAX_BYTES, max(FREE_BYTES, packed_bytes * MAX_RATIO))
        self._bytes = 0
        self._entries = 0

    def entry(self) -> None:
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise Bomb(f"the archive has more than {MAX_ENTRIES} entries")

    def take(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._most:
            raise Bomb(f"the archive unpacks to more than {self._most} bytes, far beyond its own size")


class Guarded:
    """A tar file that lets nobody read more at once, or in all, than an honest archive needs."""

    def __init__(self, file: IO[bytes], allowance: Allowance) -> None:
        self._file = file
        self._allowance = allowance
        self._furthest = 0

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > MAX_READ_BYTES:
            raise Bomb("the archive has a header that is too long")
        data = self._file.read(size)
        self._passed()
        return data

    def seek(self, place: int, whence: int = 0) -> int:
        # A step at a time: what is skipped in a compressed file is unpacked too, and counts.
        while whence == 0 and place > self._furthest + CHUNK_BYTES:
            before = self._furthest
            self._file.seek(self._furthest + CHUNK_BYTES)
            self._passed()
            if self._furthest == before:
                break
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def _passed(self) -> None:
        place = self._file.tell()
        if place > self._furthest:
            self._allowance.take(place - self._furthest)
            self._furthest = place
