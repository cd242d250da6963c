"""Making an archive, in a worker process: written under a hidden name, checked when asked, then put in its place at once."""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .archive_extract import check_whole
from .archive_format import CHUNK_BYTES, BadArchive, format_of, is_wanted, shown

EARLIEST_ZIP = (1980, 1, 1, 0, 0, 0)


class Found:
    """One thing on disk and its path in the archive."""

    def __init__(self, path: Path, name: str, facts: os.stat_result) -> None:
        self.path = path
        self.name = name
        self.facts = facts

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.facts.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.facts.st_mode)

    @property
    def is_special(self) -> bool:
        return not (self.is_folder or self.is_link or stat.S_ISREG(self.facts.st_mode))


class Walk:
    """Everything under the source that is wanted, folders before what is in them, names in order."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._source = Path(order["source"])
        self._follow = order["follow_symlinks"]
        self._flat = not order["preserve_paths"]
        self._include, self._exclude = order["include"], order["exclude"]
        self._without = {os.path.realpath(order["destination"]), order["staged"]} if order["destination"] else set()
        self._names: set[str] = set()
        self.troubles: list[str] = []

    def __iter__(self) -> Iterator[Found]:
        try:
            facts = os.stat(self._source)
        except OSError as error:
            raise BadArchive(f"{self._source}: {error.strerror}") from None
        if stat.S_ISDIR(facts.st_mode):
            yield from self._folder(self._source, "", (os.path.realpath(self._source),))
        else:
            yield Found(Path(os.path.realpath(self._source)), self._source.name, facts)

    def _folder(self, folder: Path, inside: str, above: tuple[str, ...]) -> Iterator[Found]:
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            self.troubles.append(f"{folder}: {error.strerror}")
            return
        for name in names:
            path, shown = folder / name, f"{inside}{name}"
            if os.path.realpath(path) in self._without or str(path) in self._without or not is_wanted(shown, (), self._exclude):
                continue
            try:
                facts = os.stat(path) if self._follow else os.lstat(path)
            except OSError as error:
                self.troubles.append(f"{path}: {error.strerror}")
                continue
            yield from self._one(Found(path, shown, facts), above)

    def _one(self, found: Found, above: tuple[str, ...]) -> Iterator[Found]:
        wanted = is_wanted(found.name, self._include, ())
        if found.is_folder:
            real = os.path.realpath(found.path)
            if real in above:
                self.troubles.append(f"{found.path}: a link to a folder it lies in")
                return
            if wanted and not self._flat:
                yield found
            yield from self._folder(found.path, f"{found.name}/", (*above, real))
        elif found.is_special:
            self.troubles.append(f"{found.path}: neither a file nor a folder nor a link")
        elif wanted:
            if self._flat:
                found.name = found.path.name
                if found.name in self._names:
                    self.troubles.append(f"{found.path}: a second file of that name, with `preservePaths: false`")
                    return
                self._names.add(found.name)
            yield found


def create(order: dict[str, Any]) -> dict[str, Any]:
    """Make the archive `order` describes (the fields of `ArchiveParams`, expanded). `BadArchive` or `OSError` leave what was there."""
    target, staged = Path(order["destination"]), Path(order["staged"])
    format = format_of(target.name, order["format"]) if order["destination"] else ""
    walk = Walk(order)
    if order["dry_run"]:
        found = list(walk)
        for one in found if order["verbose"] else []:
            print(shown(one.name))
        return _report(order, format, walk, len(found), sum(one.facts.st_size for one in found if not one.is_folder), 0)
    if target.is_dir():
        raise BadArchive(f"{target} is a folder; `destination` must name the archive")
    if target.exists() and not order["overwrite"]:
        raise BadArchive(f"{target} is there already; set `overwrite: true` to replace it")
    target.parent.mkdir(parents=True, exist_ok=True)
    write = _write_zip if format == "zip" else _write_tar
    entries, size = write(staged, format, walk, order)
    if walk.troubles and not order["continue_on_error"]:
        raise BadArchive(f"not everything can be packed: {'; '.join(walk.troubles[:5])}")
    if order["verify_integrity"]:
        counted = check_whole(staged, format, "")
        if counted != entries:
            raise BadArchive(f"the archive holds {counted} entries, not the {entries} that were packed")
    _make_durable(staged)
    os.replace(staged, target)
    return _report(order, format, walk, entries, size, target.stat().st_size)


def _report(order: dict[str, Any], format: str, walk: Walk, entries: int, size: int, packed: int) -> dict[str, Any]:
    return {
        "operation": "create", "source": order["source"], "destination": order["destination"], "format": format,
        "dryRun": order["dry_run"], "entries": entries, "bytes": size, "archiveBytes": packed,
        "skipped": [shown(one) for one in walk.troubles[:100]],
    }  # fmt: skip


def _make_durable(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_tar(path: Path, format: str, walk: Walk, order: dict[str, Any]) -> tuple[int, int]:
    level = order["compression_level"]
    options: dict[str, Any] = {"format": tarfile.PAX_FORMAT, "dereference": order["follow_symlinks"]}
    if level >= 0 and format != "tar":
        options["preset" if format == "tar.xz" else "compresslevel"] = max(level, 1) if format == "tar.bz2" else level
    mode: Any = f"w:{format.removeprefix('tar').removeprefix('.')}"
    with tarfile.open(path, mode, **options) as archive:

        def add(found: Found) -> int:
            info = archive.gettarinfo(str(found.path), found.name)
            if not info.isreg():
                archive.addfile(info)
                return 0
            with found.path.open("rb") as file:
                archive.addfile(info, file)
            return info.size

        return _add_all(walk, order, add)


def _add_all(walk: Walk, order: dict[str, Any], add: Callable[[Found], int]) -> tuple[int, int]:
    """Entries, and bytes of their content. `add` puts one into the archive."""
    entries = size = 0
    for found in walk:
        try:
            size += add(found)
        except OSError as error:
            _refuse_unless_told(walk, found, error, order)
            continue
        entries += 1
        if order["verbose"]:
            print(shown(found.name))
    return entries, size


def _refuse_unless_told(walk: Walk, found: Found, error: OSError, order: dict[str, Any]) -> None:
    # A file that shrinks while it is read leaves its entry short, and what follows unreadable: nothing to go on from.
    if not order["continue_on_error"] or error.errno is None:
        raise BadArchive(f"{found.path}: {error.strerror or 'it changed while it was packed'}") from None
    walk.troubles.append(f"{found.path}: {error.strerror}")


def _write_zip(path: Path, format: str, walk: Walk, order: dict[str, Any]) -> tuple[int, int]:
    level = order["compression_level"]
    method = zipfile.ZIP_STORED if level == 0 else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", method, compresslevel=level if level > 0 else None, strict_timestamps=False) as archive:

        def add(found: Found) -> int:
            if found.is_link:
                info = zipfile.ZipInfo(found.name, EARLIEST_ZIP)
                info.create_system, info.external_attr = 3, found.facts.st_mode << 16
                archive.writestr(info, os.fsencode(os.readlink(found.path)))
                return 0
            info = zipfile.ZipInfo.from_file(found.path, found.name, strict_timestamps=False)
            info.compress_type = method
            if found.is_folder:
                archive.writestr(info, b"")
                return 0
            return _copy_in(archive, info, found.path)

        return _add_all(walk, order, add)


def _copy_in(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> int:
    copied = 0
    with path.open("rb") as file, archive.open(info, "w") as entry:
        while data := file.read(CHUNK_BYTES):
            entry.write(data)
            copied += len(data)
    return copied
