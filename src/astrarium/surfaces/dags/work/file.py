"""Files of the DAG folder: written whole or not at all, told apart by what the system says of them, refusals in plain words."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

from ....errors import AstrariumError, Problem, Unavailable

Stamp = tuple[int, int, int]
"""Time of the last change (ns), size, inode."""


def stamp_of(path: Path | os.DirEntry[str]) -> Stamp | None:
    """What tells one state of a file from another; None when there is no plain file."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def write_file(path: Path, text: str) -> None:
    """Put the whole text in place or nothing: temporary file, fsync, rename, fsync of the folder. Raises `Unavailable`."""
    target = Path(os.path.realpath(path))
    part = ""
    try:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o644
        fd, part = tempfile.mkstemp(prefix=".part-", dir=target.parent)
        with os.fdopen(fd, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(part, target)
        part = ""
        sync_folder(target.parent)
    except OSError as error:
        raise unavailable(path, error, "written") from error
    finally:
        if part:
            Path(part).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make what a folder lists durable."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def unavailable(path: Path, error: OSError, what: str) -> AstrariumError:
    """What the disk refused, in words that say how to mend it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(f"{path} cannot be {what}: the disk is full", hint="make room and send the request again")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        told = "it is read-only for this server" if what != "read" else "the server is not allowed to"
        return Unavailable(f"{path} cannot be {what}: {told}", hint="change its permissions, or set dags_dir to another folder")
    return Unavailable(f"{path} cannot be {what}: {error.strerror or error}", hint="see to the disk, then send the request again")


def no_text(file: str, data: bytes, error: UnicodeDecodeError) -> Problem:
    """Where a file stops being text."""
    line = data.count(b"\n", 0, error.start) + 1
    return Problem("this byte is no UTF-8 text", file=file, line=line, hint="save the file as UTF-8")


def has_program(name: str) -> bool:
    """Whether this machine has a program of this name on its path."""
    return shutil.which(name) is not None
