"""Numbered SQL, forward only: which files there are, which of them a database still needs, and the SQLite runner.

A file `NNNN_name.sql` is applied exactly once, in one transaction together with its line in `schema_version`. Numbers start at
1 and have no gaps. A database that has seen a higher number than this program knows is refused.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from .. import __version__
from ..errors import Bug, Unavailable

FOLDER = Path(__file__).parent / "migrations"
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class Migration(msgspec.Struct, frozen=True):
    number: int
    name: str
    sql: str


def load_migrations(folder: Path) -> tuple[Migration, ...]:
    """The migrations of a folder in order. Raises `Bug` for a file out of line."""
    found: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None or int(match[1]) != len(found) + 1:
            raise Bug(f"{path} is not migration number {len(found) + 1}: names are NNNN_name.sql, without gaps")
        found.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    return tuple(found)


def pending(applied: Mapping[int, str], known: Sequence[Migration], where: str) -> tuple[Migration, ...]:
    """What `where` still needs. `applied`: number → the program version that applied it. Raises `Unavailable` for a newer
    schema."""
    newest = max(applied, default=0)
    if newest > len(known):
        raise Unavailable(
            f"{where} has schema {newest}, written by Astrarium {applied[newest]}; "
            f"this is Astrarium {__version__}, which knows schemas up to {len(known)}",
            code="newer_schema",
            hint=f"use Astrarium {applied[newest]} or newer",
            details={"schema": newest, "known": len(known)},
        )
    return tuple(migration for migration in known if migration.number not in applied)


SCHEMA_VERSION = """
CREATE TABLE IF NOT EXISTS schema_version (
  number INTEGER PRIMARY KEY, name TEXT NOT NULL, at BIGINT NOT NULL, program TEXT NOT NULL
)"""


def migrate_sqlite(db: sqlite3.Connection, path: Path | None, folder: Path) -> None:
    """Bring the open database up to date. A database that holds something is copied to `<db>.before-<n>` first, n being the
    first new schema number. `path` is None for a database in memory. The caller holds the writer's lock."""
    known = load_migrations(folder)
    applied = applied_sqlite(db)
    todo = pending(applied, known, str(path or "the database"))
    if not todo:
        return
    if applied and path is not None:
        _copy(db, path, todo[0].number)
    for migration in todo:
        db.execute("BEGIN IMMEDIATE")
        done = False
        try:
            db.execute(SCHEMA_VERSION)
            for statement in statements(migration.sql):
                db.execute(statement)
            db.execute(
                "INSERT INTO schema_version VALUES (?, ?, ?, ?)",
                (migration.number, migration.name, time.time_ns() // 1000, __version__),
            )
            db.execute("COMMIT")
            done = True
        finally:
            if not done and db.in_transaction:
                db.execute("ROLLBACK")


def applied_sqlite(db: sqlite3.Connection) -> dict[int, str]:
    """Which migrations a database has seen: number → program version. Raises `Unavailable` for somebody else's database."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "schema_version" in tables:
        return dict(db.execute("SELECT number, program FROM schema_version").fetchall())
    if tables:
        raise Unavailable(
            f"the database holds tables ({', '.join(sorted(tables)[:3])}) but no schema_version: it is not Astrarium's",
            code="foreign_database",
            hint="choose another folder with --data-dir",
        )
    return {}


def statements(sql: str) -> Iterator[str]:
    """The single statements of a migration (a trigger's body stays whole)."""
    collected = ""
    for part in re.split(r"(?<=;)", sql):
        collected += part
        if sqlite3.complete_statement(collected):
            yield collected
            collected = ""
    if re.sub(r"--[^\n]*", "", collected).strip():
        raise Bug(f"a migration ends inside a statement: {collected.strip()[:80]}")


def _copy(db: sqlite3.Connection, path: Path, number: int) -> None:
    copy = path.with_name(f"{path.name}.before-{number}")
    part = path.with_name(copy.name + ".part")
    part.unlink(missing_ok=True)
    db.execute("VACUUM INTO ?", (str(part),))
    fd = os.open(part, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(part, copy)
