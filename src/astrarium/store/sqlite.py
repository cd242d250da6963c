"""The embedded store: one SQLite file, one writer thread, a few readers.

The file has one writing process (see `lock`), so nothing has to be verified at commit: heads cannot have moved. Writes are
carried out one after the other by one thread; reads run beside them on connections of their own (write-ahead log). With
`inline` both happen on the thread of the caller, which makes a simulated world repeatable.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from ..errors import Unavailable
from ..kernel.types import Table
from .migration import FOLDER
from .row import SURROGATES, clean_value
from .sqlite_fault import explain
from .sqlite_writer import SqliteWriter, check_readable, connect, microseconds

T = TypeVar("T")

SQLITE_MIGRATIONS = FOLDER / "sqlite"
EVENT_S = 20e-6
"""What an event costs to write, the disk left out."""
READERS = 3
"""Reading threads, each with a connection of its own."""


class SqliteStore:
    """The `Store` port over one SQLite file; `Path(":memory:")` with `inline` keeps everything in memory.

    `synchronous`: `full` = a commit is on the disk when `write` returns; `normal` = a power cut may lose the last moments.
    `readers` is the number of reading threads, 0 = reads happen on the caller's thread (the default with `inline`).
    A busy loop starves a writer thread of the interpreter lock, and going to a thread and back takes as long as a quick disk needs for
    a small batch: while the disk makes commits durable in less than `inline_below_s` seconds (0 = never), or in less than the batch
    costs in computation anyway, the loop commits itself.
    `verify` checks heads although nobody else writes (tests). `now` is the clock of leases, in microseconds."""

    dialect = "sqlite"
    shared = False

    def __init__(
        self,
        path: Path,
        *,
        tables: Sequence[Table],
        synchronous: str = "full",
        inline: bool = False,
        inline_below_s: float = 0.0,
        readers: int | None = None,
        verify: bool = False,
        migrations: Path = SQLITE_MIGRATIONS,
        now: Callable[[], int] = microseconds,
    ) -> None:
        self.path = path
        self.inline = inline
        self.inline_below_s = inline_below_s
        self.readers = (0 if inline else READERS) if readers is None else readers
        in_memory = str(path) == ":memory:"
        if in_memory and (self.readers or not inline):
            raise ValueError("a database in memory has one connection, so it must be inline and without reading threads")
        self._writer = SqliteWriter(
            None if in_memory else path,
            tables=tables,
            synchronous=synchronous,
            migrations=migrations,
            verify=verify,
            now=now,
        )
        self._thread: ThreadPoolExecutor | None = None
        self._readers: _Readers | None = None

    async def open(self) -> None:
        if not self.inline:
            self._thread = ThreadPoolExecutor(1, "sqlite-writer")
        opened = False
        try:
            await self._do(self._writer.open)
            opened = True
        finally:
            if not opened and self._thread is not None:
                self._thread.shutdown(wait=False)
                self._thread = None
        if self.readers:
            self._readers = _Readers(self.path, self.readers)

    async def close(self) -> None:
        if self._readers is not None:
            await self._readers.close()
            self._readers = None
        if self.inline:
            self._writer.close()
        elif self._thread is not None:
            await self._do(self._writer.close)
            self._thread.shutdown()
            self._thread = None

    async def _do(self, act: Callable[..., T], *args: Any) -> T:
        if self.inline:
            return act(*args)
        if self._thread is None:
            raise Unavailable(f"{self.path} is closed", code="closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, act, *args)

    async def write(self, batch: Any, worker: str) -> None:
        below_s = self.inline_below_s + len(batch.events) * EVENT_S
        if self.inline_below_s and self._thread is not None and self._writer.commit_s < below_s:
            self._writer.write(batch, worker)
        else:
            await self._do(self._writer.write, batch, worker)

    async def read(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if self._readers is not None:
            return await self._readers.read(sql, args)
        if self._writer.db is None:
            raise Unavailable(f"{self.path} is closed", code="closed")
        return await self._do(fetch, self._writer.db, sql, args, self.path)

    async def claim(self, worker: str, now: int, limit: int) -> list[tuple[Any, ...]]:
        return await self._do(self._writer.claim, worker, now, limit)

    async def claim_lost(self, worker: str, limit: int) -> list[tuple[Any, ...]]:
        return await self._do(self._writer.claim_lost, worker, limit)

    async def release(self, job_ids: Sequence[str], worker: str) -> None:
        await self._do(self._writer.release, job_ids, worker)

    async def compact(self) -> bool:
        return await self._do(self._writer.compact)

    async def enlist(self, worker: str, host: str, pid: int, boot_id: str, lease_s: float) -> None:
        await self._do(self._writer.enlist, worker, host, pid, boot_id, lease_s)

    async def renew(self, worker: str, lease_s: float) -> None:
        await self._do(self._writer.renew, worker, lease_s)

    async def retire(self, worker: str) -> None:
        await self._do(self._writer.retire, worker)

    def on_wake(self, wake: Callable[[], None]) -> None:
        """Nobody else commits to this file, so nobody is ever woken."""


class SqliteReader:
    """Reads a database file without its lock, beside a running server or without one. Made by `open_reader`."""

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._readers = _Readers(path, 1)

    async def check(self, migrations: Path) -> None:
        """Raises `Unavailable` when the file is missing, or older or newer than this program."""
        await self._readers.use(lambda db: check_readable(db, self.path, migrations))

    async def read(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return await self._readers.read(sql, args)

    async def close(self) -> None:
        await self._readers.close()


async def open_reader(path: Path, *, migrations: Path = SQLITE_MIGRATIONS) -> SqliteReader:
    """Open a database for reading only. Raises `Unavailable` when it is missing, or older or newer than this program."""
    reader = SqliteReader(path)
    checked = False
    try:
        await reader.check(migrations)
        checked = True
    finally:
        if not checked:
            await reader.close()
    return reader


class _Readers:
    """Threads with a read-only connection each."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._own = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(size, "sqlite-reader")

    async def read(self, sql: str, args: Sequence[Any]) -> list[tuple[Any, ...]]:
        return await self.use(lambda db: fetch(db, sql, args, self.path))

    async def use(self, act: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._with_connection, act)

    def _with_connection(self, act: Callable[[sqlite3.Connection], T]) -> T:
        try:
            db: sqlite3.Connection | None = getattr(self._own, "db", None)
            if db is None:
                if not self.path.exists():
                    raise Unavailable(
                        f"there is no database {self.path}",
                        code="no_database",
                        hint="start the server or a run first, or name another folder with --data-dir",
                    )
                db = self._own.db = connect(self.path, read_only=True)
                self._connections.append(db)
            return act(db)
        except sqlite3.Error as error:
            raise explain(error, self.path, "reading") from error

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        for db in self._connections:
            db.close()


def fetch(db: sqlite3.Connection, sql: str, args: Sequence[Any], path: Path) -> list[tuple[Any, ...]]:
    """All rows of a query. A text UTF-8 cannot hold is searched as it would have been stored."""
    try:
        try:
            return db.execute(sql, args).fetchall()
        except UnicodeEncodeError:
            return db.execute(sql, clean_value(tuple(args), SURROGATES)).fetchall()
    except sqlite3.Error as error:
        raise explain(error, path, "reading") from error
