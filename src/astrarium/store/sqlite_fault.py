"""What SQLite's error codes mean to the person who can mend them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..errors import AstrariumError, Bug, Unavailable

_FULL = "free some space; work goes on by itself once there is room"
_MEANINGS: dict[int, tuple[str, str, str]] = {
    sqlite3.SQLITE_FULL: ("disk_full", "the disk is full", _FULL),
    sqlite3.SQLITE_IOERR: ("disk_error", "the disk reported an error", "look at the system log and the free space of the disk"),
    sqlite3.SQLITE_READONLY: ("read_only", "it is read-only", "make the file and its folder writable for this user"),
    sqlite3.SQLITE_PERM: ("read_only", "access is denied", "make the file and its folder writable for this user"),
    sqlite3.SQLITE_CANTOPEN: ("cannot_open", "it cannot be opened", "check that the folder exists and is writable for this user"),
    sqlite3.SQLITE_BUSY: ("busy", "another program holds it locked", "close other programs that have the file open"),
    sqlite3.SQLITE_LOCKED: ("busy", "another program holds it locked", "close other programs that have the file open"),
    sqlite3.SQLITE_CORRUPT: ("damaged", "it is damaged", "restore a backup; `<file>.before-<n>` precedes the last upgrade"),
    sqlite3.SQLITE_NOTADB: ("damaged", "it is not a database", "move the file away or choose another folder with --data-dir"),
    sqlite3.SQLITE_NOMEM: ("memory", "memory ran out", "give the process more memory"),
    sqlite3.SQLITE_INTERRUPT: ("interrupted", "the statement was interrupted", "try again"),
}


def explain(error: sqlite3.Error, path: Path | str, doing: str) -> AstrariumError:
    """The error of our tree for a failure of SQLite: `Unavailable` for the world's faults, `Bug` for a wrong statement or row."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    known = _MEANINGS.get(code)
    if known is None or isinstance(error, sqlite3.IntegrityError):
        return Bug(f"{path} refused a statement while {doing}: {error}")
    name, what, mend = known
    said = getattr(error, "sqlite_errorname", "")
    return Unavailable(f"{doing} {path} failed: {what} ({said})", code=name, hint=mend)
