"""The writing side of a SQLite file: plain synchronous code, called by one thread at a time.

Rows go in as few statements as possible: `INSERT … SELECT * FROM (VALUES (?,…),(?,…)…) LIMIT n`, in a few prepared sizes, the
unused places left NULL. Each statement gives the interpreter lock away and has to win it back, which costs a busy process
milliseconds, so a statement per row (`executemany`) is out of the question; measured against one JSON text per table
(`json_each`) this form is twice as fast, and keeps bytes, NUL characters and 64-bit integers exactly as they are.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import Bug, Unavailable
from ..kernel.ports import Batch, Fenced, NewEvent, StaleHeads
from ..kernel.types import Table, table
from .lock import WriterLock, make_folder
from .migration import applied_sqlite, load_migrations, migrate_sqlite, pending
from .row import JOB_COLUMNS, SURROGATES, carry_positions, clean_batch, in_turn
from .sqlite_fault import explain

HEADS = table("heads", "stream", "stream seq:int")
LOG_HEADS = table("log_heads", "workspace", "workspace position:int")
EVENTS = table("events", "workspace position", "workspace position:int stream seq:int at:int type v:int actor body:json")

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Rows per prepared statement."""
MOST_ROWS = SIZES[-1]
SIZE_FOR = [next(size for size in SIZES if size >= rows) for rows in range(MOST_ROWS + 1)]
MOST_ROWS_WITH_BYTES = 16
"""Statements keep what was bound to them until their next use, so large values go in small statements."""
MOST_VARIABLES = 30_000

SLOW_S = 0.01
"""What a commit is thought to take before one was seen."""
LATELY = 0.125
"""Weight of the newest commit in the time they take."""

COMPACT_PAGES = 500
"""Pages given back in one turn: some milliseconds."""
INCREMENTAL = 2
"""What `PRAGMA auto_vacuum` says of a file that can be made smaller page by page."""

RETURNED = ", ".join(JOB_COLUMNS)


def microseconds() -> int:
    return time.time_ns() // 1000


class SqliteWriter:
    """One connection, one transaction at a time. Heads of workspaces' logs are remembered: nobody else writes."""

    def __init__(
        self,
        path: Path | None,
        *,
        tables: Sequence[Table],
        synchronous: str,
        migrations: Path,
        verify: bool,
        now: Callable[[], int],
    ) -> None:
        self.path = path
        self.tables = tuple(tables)
        self.synchronous = synchronous
        self.migrations = migrations
        self.verify = verify
        self.now = now
        self.where = path or "the database in memory"
        self.db: sqlite3.Connection | None = None
        self._lock = WriterLock(path) if path is not None else None
        self._positions: dict[str, int] = {}
        self._worker = ""
        self._turn = threading.Lock()
        self.commit_s = SLOW_S
        """How long the disk lately took to make a commit durable, in seconds."""

    # -- opening and closing ------------------------------------------------------------------------------------------

    def open(self) -> None:
        if self.path is not None and self._lock is not None:
            make_folder(self.path.parent)
            self._lock.take()
        opened = False
        try:
            self.db = self._connect()
            migrate_sqlite(self.db, self.path, self.migrations)
            self._check_tables(self.db)
            opened = True
        except sqlite3.Error as error:
            raise explain(error, self.where, "opening") from error
        finally:
            if not opened:
                self.close()

    def _connect(self) -> sqlite3.Connection:
        db = connect(self.path)
        if not db.execute("PRAGMA page_count").fetchone()[0]:  # later it is not heard, and writes all the same
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if self.path is not None and mode != "wal":
            db.close()
            raise Unavailable(
                f"{self.path} cannot use a write-ahead log (journal mode stays {mode})",
                code="no_wal",
                hint="choose a folder on a local disk with --data-dir",
            )
        db.execute(f"PRAGMA synchronous = {'NORMAL' if self.synchronous == 'normal' else 'FULL'}")
        db.execute("PRAGMA cache_size = -16384")
        db.execute("PRAGMA journal_size_limit = 67108864")
        return db

    def _check_tables(self, db: sqlite3.Connection) -> None:
        for of in self.tables:
            there = {row[1] for row in db.execute(f'PRAGMA table_info("{of.name}")')}
            missing = [column.name for column in of.columns if column.name not in there]
            if missing:
                raise Bug(f"no migration made these columns of table {of.name}: {', '.join(missing)}")

    def close(self) -> None:
        if self.db is not None:
            try:
                if self.path is not None:
                    self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error:
                pass  # a full or failing disk: the log stays and is replayed at the next opening
            finally:
                self.db.close()
                self.db = None
        if self._lock is not None:
            self._lock.release()

    # -- one transaction ----------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, doing: str = "writing") -> Iterator[sqlite3.Connection]:
        db = self.db
        if db is None:
            raise Unavailable(f"{self.where} is closed", code="closed")
        done = False
        self._turn.acquire()  # the loop and the writer thread may both write, one after the other
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            began = time.perf_counter()
            db.execute("COMMIT")
            self.commit_s += (time.perf_counter() - began - self.commit_s) * LATELY
            done = True
        except sqlite3.Error as error:
            raise explain(error, self.where, doing) from error
        except OverflowError as error:
            raise Bug(f"{self.where} refused a number that does not fit in 64 bits: {error}") from error
        finally:
            try:
                if not done:
                    self._positions.clear()
                    if db.in_transaction:
                        self._roll_back(db)
            finally:
                self._turn.release()

    def _roll_back(self, db: sqlite3.Connection) -> None:
        try:
            db.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise explain(error, self.where, "rolling back") from error

    def write(self, batch: Batch, worker: str) -> None:
        try:
            self._write(batch, worker)
        except UnicodeEncodeError:
            clean = clean_batch(batch, SURROGATES)
            self._write(clean, worker)
            carry_positions(clean, batch)

    def _write(self, batch: Batch, worker: str) -> None:
        if worker != self._worker:
            raise Fenced
        with self._transaction() as db:
            if self.verify:
                self._verify(db, batch)
            if batch.moved:
                _put(db, HEADS, list(batch.moved.items()))
            for of, rows in batch.rows.items():
                if rows:
                    _put(db, of, list(rows.values()))
            for of, keys in batch.gone.items():
                if keys:
                    _delete(db, of, list(keys))
            for stream, seq in batch.prune:
                db.execute("DELETE FROM events WHERE stream = ? AND seq <= ?", (stream, seq))
            if batch.events:
                self._append(db, batch.events)

    def _verify(self, db: sqlite3.Connection, batch: Batch) -> None:
        """Heads cannot have moved in a file with one writer: this guards the tests against an engine that forgot one."""
        moved = {}
        for stream, seq in batch.heads.items():
            found = db.execute("SELECT seq FROM heads WHERE stream = ?", (stream,)).fetchone()
            present = found[0] if found else 0
            if present != seq:
                moved[stream] = present
        if moved:
            raise StaleHeads(moved)

    def _append(self, db: sqlite3.Connection, events: list[NewEvent]) -> None:
        positions = self._positions
        rows = []
        touched = {}
        for event in events:
            workspace = event.workspace
            position = positions.get(workspace)
            if position is None:
                found = db.execute("SELECT position FROM log_heads WHERE workspace = ?", (workspace,)).fetchone()
                position = found[0] if found else 0
            position += 1
            positions[workspace] = touched[workspace] = event.position = position
            rows.append((workspace, position, event.stream, event.seq, event.at, event.type, event.v, event.actor, event.body))
        _put(db, LOG_HEADS, list(touched.items()))
        _put(db, EVENTS, rows, upsert=False)

    # -- work and workers ---------------------------------------------------------------------------------------------

    def claim(self, worker: str, now: int, limit: int) -> list[tuple[Any, ...]]:
        sql = (
            "UPDATE jobs SET owner = ? WHERE id IN (SELECT id FROM jobs WHERE owner = '' AND not_before <= ? "
            f"ORDER BY priority DESC, not_before, id LIMIT ?) RETURNING {RETURNED}"
        )
        with self._transaction("claiming jobs in") as db:
            rows = db.execute(sql, (worker, now, limit)).fetchall()
        return in_turn(rows)

    def claim_lost(self, worker: str, limit: int) -> list[tuple[Any, ...]]:
        sql = (
            "UPDATE jobs SET owner = ?, attempt = attempt + 1 WHERE id IN (SELECT id FROM jobs WHERE owner > '' "
            "AND owner NOT IN (SELECT id FROM workers WHERE ended = 0) ORDER BY priority DESC, not_before, id LIMIT ?) "
            f"RETURNING {RETURNED}"
        )
        with self._transaction("claiming jobs in") as db:
            rows = db.execute(sql, (worker, limit)).fetchall()
        return in_turn(rows)

    def release(self, job_ids: Sequence[str], worker: str) -> None:
        with self._transaction("releasing jobs in") as db:
            db.executemany("UPDATE jobs SET owner = '' WHERE id = ? AND owner = ?", [(job, worker) for job in job_ids])

    def compact(self) -> bool:
        """Give up to `COMPACT_PAGES` free pages back to the disk; whether there are more. An older file has none to give."""
        db = self.db
        if db is None:
            raise Unavailable(f"{self.where} is closed", code="closed")
        with self._turn:
            try:
                if db.execute("PRAGMA auto_vacuum").fetchone()[0] != INCREMENTAL:
                    return False
                db.executescript(f"PRAGMA incremental_vacuum({COMPACT_PAGES})")  # `execute` would stop after the first page
                return bool(db.execute("PRAGMA freelist_count").fetchone()[0])
            except sqlite3.Error as error:
                raise explain(error, self.where, "compacting") from error

    def enlist(self, worker: str, host: str, pid: int, boot_id: str, lease_s: float) -> None:
        now = self.now()
        with self._transaction("enlisting in") as db:
            db.execute("UPDATE workers SET ended = ? WHERE ended = 0", (now,))
            row = (worker, host, pid, boot_id, now, now + round(lease_s * 1_000_000), 0)
            db.execute("INSERT INTO workers VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        self._worker = worker

    def renew(self, worker: str, lease_s: float) -> None:
        if worker != self._worker:
            raise Fenced
        with self._transaction("renewing a lease in") as db:
            db.execute("UPDATE workers SET lease_until = ? WHERE id = ?", (self.now() + round(lease_s * 1_000_000), worker))

    def retire(self, worker: str) -> None:
        with self._transaction("retiring from") as db:
            db.execute("UPDATE workers SET ended = ? WHERE id = ? AND ended = 0", (self.now(), worker))
        if worker == self._worker:
            self._worker = ""


def connect(path: Path | None, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection as every part of this store uses it: transactions by hand, usable from any one thread at a time."""
    name = ":memory:" if path is None else str(path)
    db = sqlite3.connect(name, timeout=5.0, isolation_level=None, check_same_thread=False, cached_statements=256)
    db.execute("PRAGMA foreign_keys = OFF")
    db.execute("PRAGMA temp_store = MEMORY")
    if read_only:
        db.execute("PRAGMA query_only = ON")
        db.execute("PRAGMA cache_size = -8192")
    return db


def check_readable(db: sqlite3.Connection, path: Path, migrations: Path) -> None:
    """Refuse a database a reader would misunderstand. Raises `Unavailable` when it is newer or older than this program."""
    todo = pending(applied_sqlite(db), load_migrations(migrations), str(path))
    if todo:
        raise Unavailable(
            f"{path} has an older schema ({todo[0].number - 1}) than this program needs ({todo[-1].number})",
            code="older_schema",
            hint="start the server once: it upgrades the database after making a copy",
        )


# -- statements -------------------------------------------------------------------------------------------------------

_PUTS: dict[tuple[Table, int, bool], str] = {}
_DELETES: dict[tuple[Table, int], str] = {}


def _put(db: sqlite3.Connection, of: Table, rows: list[tuple[Any, ...]], *, upsert: bool = True) -> None:
    width = len(of.columns)
    for part, size in _parts(rows, width, of.has_bytes):
        sql = _PUTS.get((of, size, upsert)) or _PUTS.setdefault((of, size, upsert), _put_sql(of, size, upsert))
        db.execute(sql, _fill(chain.from_iterable(part), len(part), size, width))


def _delete(db: sqlite3.Connection, of: Table, keys: list[Any]) -> None:
    width = len(of.key)
    for part, size in _parts(keys, width, False):
        sql = _DELETES.get((of, size)) or _DELETES.setdefault((of, size), _delete_sql(of, size))
        db.execute(sql, _fill(part if width == 1 else chain.from_iterable(part), len(part), size, width))


def _parts(items: list[Any], width: int, has_bytes: bool) -> Iterator[tuple[list[Any], int]]:
    """Cut into as few parts as the largest statement allows; with each part the size of the statement for it."""
    most = MOST_ROWS_WITH_BYTES if has_bytes else MOST_ROWS
    while most * width > MOST_VARIABLES:
        most //= 2
    for start in range(0, len(items), most):
        part = items[start : start + most]
        yield part, SIZE_FOR[len(part)]


def _fill(values: Any, count: int, size: int, width: int) -> list[Any]:
    args = list(values)
    if len(args) != count * width:
        raise Bug(f"a row has not the {width} values its table wants")
    if size > count:
        args.extend([None] * ((size - count) * width))
    args.append(count)
    return args


def _values(width: int, size: int, casts: Sequence[str] = ()) -> str:
    chosen = ", ".join(casts) or "*"
    row = f"({', '.join('?' * width)})"
    return f"SELECT {chosen} FROM (VALUES {', '.join([row] * size)}) WHERE true LIMIT ?"


def _put_sql(of: Table, size: int, upsert: bool) -> str:
    # json may be handed over as bytes; the cast makes it text without a detour through Python
    casts = [f"CAST(column{n} AS TEXT)" if column.kind == "json" else f"column{n}" for n, column in enumerate(of.columns, 1)]
    columns = ", ".join(f'"{column.name}"' for column in of.columns)
    sql = f'INSERT INTO "{of.name}" ({columns}) {_values(len(of.columns), size, casts)}'
    if not upsert:
        return sql
    if of.adds:
        changes = ", ".join(f'"{one.name}" = "{of.name}"."{one.name}" + excluded."{one.name}"' for one in of.columns if one.adds)
    else:
        changes = ", ".join(f'"{column.name}" = excluded."{column.name}"' for column in of.columns[len(of.key) :])
    key = ", ".join(f'"{name}"' for name in of.key)
    return f"{sql} ON CONFLICT ({key}) DO {'UPDATE SET ' + changes if changes else 'NOTHING'}"


def _delete_sql(of: Table, size: int) -> str:
    key = ", ".join(f'"{name}"' for name in of.key)
    left = key if len(of.key) == 1 else f"({key})"
    return f'DELETE FROM "{of.name}" WHERE {left} IN ({_values(len(of.key), size)})'
