"""Unpacking and listing an archive that may be hostile, in a worker process.

Everything is unpacked into a fresh folder of its own first, where nothing can be in the way: names are checked, no entry is written
through a link, links lead nowhere else. Only a whole, harmless archive is then moved into the destination.
"""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from .archive_format import CHUNK_BYTES, Allowance, BadArchive, Bomb, Guarded, format_of, is_wanted, open_compressed, shown

_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
_MAX_TOLD = 100


class Entry:
    """One member of an archive of either kind. `mode` holds type and permissions as `stat` does; `link` is a link's target."""

    def __init__(self, name: str, size: int, mode: int, changed_s: float, member: Any, link: str = "") -> None:
        self.name = name
        self.size = size
        self.mode = mode
        self.changed_s = changed_s
        self.member = member
        self.link = link

    @property
    def kind(self) -> str:
        if stat.S_ISDIR(self.mode):
            return "folder"
        if stat.S_ISLNK(self.mode):
            return "symlink"
        if isinstance(self.member, tarfile.TarInfo) and self.member.islnk():
            return "hardlink"
        return "file" if stat.S_ISREG(self.mode) else "special"


class Reader:
    """The entries of an open archive."""

    def entries(self) -> Iterator[Entry]:
        raise NotImplementedError

    def open(self, entry: Entry) -> IO[bytes]:
        raise NotImplementedError


class TarReader(Reader):
    def __init__(self, file: Guarded, allowance: Allowance) -> None:
        self._archive: Any = tarfile.TarFile(fileobj=cast("IO[bytes]", file), mode="r", errors="surrogateescape")
        self._allowance = allowance

    def entries(self) -> Iterator[Entry]:
        while (member := self._archive.next()) is not None:
            self._archive.members = []  # else every header ever read stays in memory
            self._allowance.entry()
            if member.size < 0:
                raise BadArchive(f"{member.name!r} has a negative size")
            kind = stat.S_IFDIR if member.isdir() else stat.S_IFLNK if member.issym() else stat.S_IFREG
            if not (member.isdir() or member.issym() or member.isreg() or member.islnk()):
                kind = stat.S_IFIFO
            yield Entry(member.name, member.size, kind | (member.mode & 0o777), member.mtime, member, member.linkname)

    def open(self, entry: Entry) -> IO[bytes]:
        found: IO[bytes] | None = self._archive.extractfile(entry.member)
        if found is None:
            raise BadArchive(f"{entry.name}: no content")
        return found


class ZipReader(Reader):
    def __init__(self, archive: zipfile.ZipFile, allowance: Allowance, password: str) -> None:
        self._archive = archive
        self._allowance = allowance
        self._password = password.encode() or None

    def entries(self) -> Iterator[Entry]:
        for info in self._archive.infolist():
            self._allowance.entry()
            mode = info.external_attr >> 16
            kind = stat.S_IFMT(mode) or (stat.S_IFDIR if info.is_dir() else stat.S_IFREG)
            allowed = mode & 0o777 or (0o755 if kind == stat.S_IFDIR else 0o644)
            entry = Entry(info.filename.rstrip("/"), info.file_size, kind | allowed, _zip_time(info), info)
            if entry.kind == "symlink":
                if info.file_size > 4096:
                    raise BadArchive(f"{entry.name}: a link with a target of {info.file_size} bytes")
                entry.link = os.fsdecode(self.open(entry).read(4096))
            yield entry

    def open(self, entry: Entry) -> IO[bytes]:
        if entry.member.flag_bits & 0x1 and self._password is None:
            raise BadArchive(f"{entry.name} is encrypted; give the `password`")
        return self._archive.open(entry.member, pwd=self._password)


def _zip_time(info: zipfile.ZipInfo) -> float:
    """The time of an entry, which a zip keeps without a zone."""
    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return 0.0


@contextmanager
def open_archive(path: Path, format: str, password: str) -> Iterator[tuple[Reader, Allowance]]:
    """A reader, and what it may still unpack. Whatever is broken in the archive is a `BadArchive`."""
    try:
        allowance = Allowance(path.stat().st_size)
        if format == "zip":
            with zipfile.ZipFile(path) as archive:
                yield ZipReader(archive, allowance, password), allowance
        else:
            with open_compressed(path, format) as file:
                yield TarReader(Guarded(file, Allowance(path.stat().st_size)), allowance), allowance
    except _BROKEN as error:
        raise BadArchive(f"{path.name} cannot be read: {_told(error)}") from None
    except OSError as error:
        if error.errno is None:  # gzip and bz2 tell of bad data this way
            raise BadArchive(f"{path.name} cannot be read: {error}") from None
        raise


def _told(error: Exception) -> str:
    said = str(error) or type(error).__name__
    if "compression method" in said or "compression type 99" in said:
        return "it is packed or encrypted in a way that is not supported (AES?)"
    return "the password is wrong" if "Bad password" in said else said


def check_whole(path: Path, format: str, password: str) -> int:
    """Read everything, checksums included; how many entries there are."""
    count = 0
    with open_archive(path, format, password) as (reader, allowance):
        for entry in reader.entries():
            count += 1
            if entry.kind == "file":
                _copy(reader, entry, None, allowance)
    return count


def _copy(reader: Reader, entry: Entry, to: IO[bytes] | None, allowance: Allowance) -> int:
    copied = 0
    with reader.open(entry) as source:
        while data := source.read(CHUNK_BYTES):
            copied += len(data)
            allowance.take(len(data))
            if to is not None:
                to.write(data)
    if copied != entry.size:
        raise BadArchive(f"{entry.name} is cut short")
    return copied


def safe_name(name: str, strip: int) -> str:
    """The path under the destination; empty when nothing is left of it. `BadArchive` for one that leads elsewhere."""
    if name.startswith(("/", "\\")) or (len(name) > 1 and name[1] == ":") or "\0" in name:
        raise BadArchive(f"{name!r} is an absolute path")
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadArchive(f"{name!r} leads out of the destination")
    return "/".join(parts[strip:])


class Unpacking:
    """Fills the fresh folder `root`."""

    def __init__(self, root: Path, order: dict[str, Any], reader: Reader, allowance: Allowance) -> None:
        self.root = root
        self._order = order
        self._reader = reader
        self._allowance = allowance
        self._modes: list[tuple[Path, int]] = []
        self._links: list[Path] = []
        self.files: list[str] = []
        self.bytes = 0
        self.troubles: list[str] = []

    def all(self) -> None:
        for entry in self._reader.entries():
            try:
                self._one(entry)
            except BadArchive as error:
                if not self._order["continue_on_error"] or isinstance(error, Bomb):
                    raise
                self.troubles.append(str(error))
        self._check_links()
        for path, mode in reversed(self._modes):
            os.chmod(path, mode)

    def _one(self, entry: Entry) -> None:
        name = safe_name(entry.name, self._order["strip_components"])
        if not name or not is_wanted(name, self._order["include"], self._order["exclude"]):
            return
        if not self._order["preserve_paths"]:
            if entry.kind == "folder":
                return
            name = name.rpartition("/")[2]
        if entry.kind == "special":
            raise BadArchive(f"{entry.name!r} is a device or pipe")
        if not self._order["dry_run"]:
            self._write(entry, name)
        if entry.kind != "folder":
            self.files.append(name)
        if self._order["verbose"]:
            print(shown(name))

    def _write(self, entry: Entry, name: str) -> None:
        path = self._place(name)
        if entry.kind == "folder":
            if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
                raise BadArchive(f"{entry.name!r} is in the archive as a folder and as something else")
            path.mkdir(exist_ok=True)
            self._modes.append((path, entry.mode & 0o777 | 0o700))
            return
        if os.path.lexists(path):
            if path.is_dir() and not path.is_symlink():
                raise BadArchive(f"{entry.name!r} is in the archive as a folder and as something else")
            path.unlink()
        if entry.kind == "symlink":
            self._symlink(entry, path)
        elif entry.kind == "hardlink":
            self._hardlink(entry, path)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
            with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
                self.bytes += _copy(self._reader, entry, file, self._allowance)
                os.fchmod(file.fileno(), entry.mode & 0o777)
            # A time no file can have stays what it is: now.
            with suppress(OverflowError, ValueError):
                os.utime(path, (entry.changed_s, entry.changed_s))

    def _place(self, name: str) -> Path:
        """The path in the fresh folder, the folders above it made; never through a link."""
        path = self.root
        *above, last = name.split("/")
        for part in above:
            path = path / part
            if path.is_symlink() or (os.path.lexists(path) and not path.is_dir()):
                raise BadArchive(f"{name!r} goes through a link or a file")
            path.mkdir(exist_ok=True)
        return path / last

    def _symlink(self, entry: Entry, path: Path) -> None:
        target = os.path.normpath(os.path.join(path.parent, entry.link))
        if os.path.isabs(entry.link) or not entry.link or not _lies_in(target, self.root):
            raise BadArchive(f"the link {entry.name!r} leads out of the destination, to {entry.link!r}")
        os.symlink(entry.link, path)
        self._links.append(path)

    def _hardlink(self, entry: Entry, path: Path) -> None:
        source = self.root / safe_name(entry.link, self._order["strip_components"])
        real = os.path.realpath(source)
        if source.is_symlink() or not os.path.isfile(real) or not _lies_in(real, Path(os.path.realpath(self.root))):
            raise BadArchive(f"the link {entry.name!r} leads to {entry.link!r}, which is no file of this archive")
        os.link(real, path)

    def _check_links(self) -> None:
        """A chain of links can lead out though each alone does not."""
        root = Path(os.path.realpath(self.root))
        for link in self._links:
            if os.path.lexists(link) and not _lies_in(os.path.realpath(link), root):
                if not self._order["continue_on_error"]:
                    raise BadArchive(f"the link {link.relative_to(self.root)} leads out of the destination")
                self.troubles.append(f"the link {link.relative_to(self.root)} leads out of the destination")
                link.unlink()


def _lies_in(path: str, root: Path) -> bool:
    return path == str(root) or path.startswith(f"{root}{os.sep}")


def extract(order: dict[str, Any]) -> dict[str, Any]:
    """Unpack as `order` says (the fields of `ArchiveParams`, expanded). `BadArchive` leaves the destination as it was."""
    source, target, staged = Path(order["source"]), Path(order["destination"]), Path(order["staged"])
    format = _format(order)
    if order["verify_integrity"]:
        check_whole(source, format, order["password"])
    made = not order["dry_run"] and not target.exists()
    if not order["dry_run"]:
        target.mkdir(parents=True, exist_ok=True)
        staged.mkdir()
    try:
        with open_archive(source, format, order["password"]) as (reader, allowance):
            work = Unpacking(staged, order, reader, allowance)
            work.all()
        if not order["dry_run"]:
            _check_conflicts(staged, target, order, work)
            _move_all(staged, target)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        if made:
            shutil.rmtree(target, ignore_errors=True)
        raise
    return {
        "operation": "extract", "source": str(source), "destination": str(target), "format": format, "dryRun": order["dry_run"],
        "entries": len(work.files), "bytes": work.bytes, "skipped": [shown(one) for one in work.troubles[:_MAX_TOLD]],
    }  # fmt: skip


def _format(order: dict[str, Any]) -> str:
    source = Path(order["source"])
    if not source.is_file():
        raise BadArchive(f"{source}: " + ("not a file" if source.exists() else "there is no such archive"))
    return format_of(source.name, order["format"])


def _check_conflicts(staged: Path, target: Path, order: dict[str, Any], work: Unpacking) -> None:
    """Refuse, or with `continueOnError` leave out, what is there already or would go through a link of the destination."""
    root = os.path.realpath(target)
    for folder, _, names in os.walk(staged):
        inside = Path(folder).relative_to(staged)
        there = target / inside
        if inside.parts and (os.path.realpath(there) != os.path.join(root, inside) or (there.exists() and not there.is_dir())):
            raise BadArchive(f"{there} is a link or a file, where the archive has a folder")
        links = [name for name in os.listdir(folder) if os.path.islink(os.path.join(folder, name))]
        for name in dict.fromkeys((*names, *links)):
            old = there / name
            if not os.path.lexists(old):
                continue
            told = f"{old} is there already"
            if order["overwrite"] and (old.is_symlink() or not old.is_dir()):
                continue
            if not order["continue_on_error"]:
                raise BadArchive(told + ("; set `overwrite: true` to replace it" if not old.is_dir() else " as a folder"))
            work.troubles.append(told)
            os.unlink(os.path.join(folder, name))


def _move_all(staged: Path, target: Path) -> None:
    """Whole files replace old ones one by one; folders that are new move as they are."""
    for name in sorted(os.listdir(staged)):
        new, old = staged / name, target / name
        if new.is_dir() and not new.is_symlink() and old.is_dir():
            _move_all(new, old)
        else:
            os.replace(new, old)
    staged.rmdir()


def list_entries(order: dict[str, Any]) -> dict[str, Any]:
    """What the archive holds, names as they are: nothing is written."""
    format, source = _format(order), Path(order["source"])
    if order["verify_integrity"]:
        check_whole(source, format, order["password"])
    found: list[dict[str, Any]] = []
    with open_archive(source, format, order["password"]) as (reader, _):
        for entry in reader.entries():
            if not is_wanted(entry.name, order["include"], order["exclude"]):
                continue
            told = {"name": shown(entry.name), "type": entry.kind, "size": entry.size, "mode": f"{entry.mode & 0o777:o}"}
            found.append(told | {"link": shown(entry.link)} if entry.link else told)
            if order["verbose"]:
                print(shown(entry.name))
    return {
        "operation": "list", "source": str(source), "format": format, "entries": len(found),
        "bytes": sum(one["size"] for one in found), "files": found,
    }  # fmt: skip
