"""The shared store: PostgreSQL, written to by several servers at once.

A batch first locks the heads it was decided on and looks whether they moved; nothing is inserted before that. The row of the
writing worker is locked with them, so a worker whose lease was taken over can commit nothing more. Leases run by the
database's clock.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from .. import __version__
from ..errors import Bug, Unavailable
from ..kernel.ports import Batch, Fenced, StaleHeads
from ..kernel.types import Table
from .migration import FOLDER, SCHEMA_VERSION, load_migrations, pending
from .postgres_fault import AGAIN, FAULTS, LOST, UNFIT_TEXT, explain
from .postgres_statement import (
    APPEND,
    CLAIM,
    CLAIM_LOST,
    END_LAPSED,
    LOCK,
    MAKE_HEADS,
    NOW,
    RELEASE,
    append_args,
    changes,
    give_positions,
    numbered,
)
from .row import SURROGATES_AND_NUL, carry_positions, clean_batch, clean_value, in_turn

POSTGRES_MIGRATIONS = FOLDER / "postgres"
WRITERS = 2
READERS = 3
TRIES = 6
"""How often a transaction that lost against another one is tried."""
ANSWER_S = 60.0
"""A statement that takes longer is given up."""
MIGRATION_LOCK = 0x61737472
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""Between attempts to listen again."""

# A plan is made once for all sizes of arrays and must not scan a table that was small when it was made.
WRITER_SETTINGS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "jit": "off",
    "application_name": "astrarium",
}
READER_SETTINGS = {"jit": "off", "application_name": "astrarium", "default_transaction_read_only": "on"}


class PostgresStore:
    """The `Store` port over a PostgreSQL database (13 or newer) at `url`."""

    dialect = "postgres"
    shared = True

    def __init__(self, url: str, *, tables: Sequence[Table], migrations: Path = POSTGRES_MIGRATIONS) -> None:
        self.url = url
        self.tables = tuple(tables)
        self.migrations = migrations
        parts = urlsplit(url)
        self.where = f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"
        self._id = uuid.uuid4().hex
        self._commit = f"NOTIFY astrarium, '{self._id}'; COMMIT"
        self._writers: asyncpg.Pool | None = None
        self._readers: asyncpg.Pool | None = None
        self._listener = _Listener(url, self._id)

    # -- opening and closing ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        opened = False
        try:
            self._writers = await self._pool(WRITERS, WRITER_SETTINGS)
            async with self._writers.acquire() as connection:
                await self._migrate(connection)
                await self._check_tables(connection)
            self._readers = await self._pool(READERS, READER_SETTINGS)
            opened = True
        except (*FAULTS, ValueError) as error:
            raise explain(error, self.where, "opening") from error
        finally:
            if not opened:
                await self.close()
        self._listener.start()

    async def _pool(self, size: int, settings: dict[str, str]) -> asyncpg.Pool:
        return await asyncpg.create_pool(
            self.url,
            min_size=1,
            max_size=size,
            command_timeout=ANSWER_S,
            timeout=10,
            statement_cache_size=500,
            max_cacheable_statement_size=0,
            reset=_keep_as_it_is,
            server_settings=settings,
        )

    async def _migrate(self, connection: asyncpg.Connection) -> None:
        await connection.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        try:
            await connection.execute(SCHEMA_VERSION)
            applied = {row[0]: row[1] for row in await connection.fetch("SELECT number, program FROM schema_version")}
            for migration in pending(applied, load_migrations(self.migrations), f"PostgreSQL at {self.where}"):
                async with connection.transaction():
                    await connection.execute(migration.sql)
                    await connection.execute(
                        f"INSERT INTO schema_version VALUES ($1, $2, {NOW}, $3)", migration.number, migration.name, __version__
                    )
        finally:
            if not connection.is_closed():
                await connection.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)

    async def _check_tables(self, connection: asyncpg.Connection) -> None:
        rows = await connection.fetch(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        )
        there = {(row[0], row[1]) for row in rows}
        for of in self.tables:
            missing = [column.name for column in of.columns if (of.name, column.name) not in there]
            if missing:
                raise Bug(f"no migration made these columns of table {of.name}: {', '.join(missing)}")

    async def close(self) -> None:
        await self._listener.stop()
        for pool in (self._writers, self._readers):
            if pool is not None:
                try:
                    await asyncio.wait_for(pool.close(), 10)
                except (*FAULTS, TimeoutError):
                    pool.terminate()
        self._writers = self._readers = None

    # -- transactions -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _connection(self, pool: asyncpg.Pool | None, doing: str) -> AsyncIterator[asyncpg.Connection]:
        if pool is None:
            raise Unavailable(f"PostgreSQL at {self.where} is closed", code="closed")
        try:
            async with pool.acquire(timeout=ANSWER_S) as connection:
                try:
                    yield connection
                except LOST:
                    connection.terminate()  # the pool makes a new one when it is needed
                    raise
        except FAULTS as error:
            raise explain(error, self.where, doing) from error

    async def write(self, batch: Batch, worker: str) -> None:
        """As the port says. When the connection is lost while committing, `Unavailable` leaves open whether the batch is in."""
        async with self._connection(self._writers, "writing to") as connection:
            try:
                await self._write(connection, batch, worker)
            except UNFIT_TEXT:
                clean = clean_batch(batch, SURROGATES_AND_NUL)
                await self._write(connection, clean, clean_value(worker, SURROGATES_AND_NUL))
                carry_positions(clean, batch)

    async def _write(self, connection: asyncpg.Connection, batch: Batch, worker: str) -> None:
        for left in reversed(range(TRIES)):
            try:
                await self._write_once(connection, batch, worker)
                return
            except AGAIN:
                if not left:
                    raise
                await asyncio.sleep(random.uniform(0.001, 0.02))

    async def _write_once(self, connection: asyncpg.Connection, batch: Batch, worker: str) -> None:
        change = changes(batch)
        events = append_args(batch) if batch.events else None
        async with self._transaction(connection):
            await self._lock(connection, batch, worker)
            if change is not None:
                await connection.fetch(change[0], *change[1])
            if events is not None:
                taken = await connection.fetch(APPEND, *events)
                give_positions(batch, {row[0]: row[1] for row in taken})

    @asynccontextmanager
    async def _transaction(self, connection: asyncpg.Connection) -> AsyncIterator[None]:
        """The commit tells the other servers in the same round trip. A connection whose caller gave up is not used again."""
        undo = True
        await connection.execute("BEGIN")
        try:
            yield
            await connection.execute(self._commit)
            undo = False
        except asyncio.CancelledError:
            undo = False
            connection.terminate()
            raise
        except LOST:
            undo = False
            raise
        finally:
            if undo:
                await connection.execute("ROLLBACK")

    async def _lock(self, connection: asyncpg.Connection, batch: Batch, worker: str) -> None:
        new = [stream for stream, seq in batch.heads.items() if seq == 0]
        if new:
            await connection.execute(MAKE_HEADS, new)
        streams = list(batch.heads)
        streams.extend(stream for stream in batch.moved if stream not in batch.heads)
        rows = await connection.fetch(LOCK, streams, worker)
        if rows[0][1] != 1:
            raise Fenced
        present = {row[0]: row[1] for row in rows[1:]}
        moved = {stream: present.get(stream, 0) for stream, seq in batch.heads.items() if present.get(stream, 0) != seq}
        if moved:
            raise StaleHeads(moved)

    async def read(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        statement = numbered(sql)
        async with self._connection(self._readers, "reading from") as connection:
            try:
                rows = await connection.fetch(statement, *args)
            except UNFIT_TEXT:
                rows = await connection.fetch(statement, *clean_value(tuple(args), SURROGATES_AND_NUL))
        return [tuple(row) for row in rows]

    # -- work and workers ---------------------------------------------------------------------------------------------

    async def _rows(self, doing: str, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        """One statement that changes rows, in a transaction of its own."""
        async with self._connection(self._writers, doing) as connection:
            for left in reversed(range(TRIES)):
                try:
                    return [tuple(row) for row in await connection.fetch(sql, *args)]
                except AGAIN:
                    if not left:
                        raise
                    await asyncio.sleep(random.uniform(0.001, 0.02))
        return []

    async def claim(self, worker: str, now: int, limit: int) -> list[tuple[Any, ...]]:
        return in_turn(await self._rows("claiming jobs in", CLAIM, worker, now, limit))

    async def claim_lost(self, worker: str, limit: int) -> list[tuple[Any, ...]]:
        return in_turn(await self._rows("claiming jobs in", CLAIM_LOST, worker, limit))

    async def release(self, job_ids: Sequence[str], worker: str) -> None:
        await self._rows("releasing jobs in", RELEASE, list(job_ids), worker, self._id)

    async def compact(self) -> bool:
        return False  # its own vacuum does

    async def enlist(self, worker: str, host: str, pid: int, boot_id: str, lease_s: float) -> None:
        await self._rows("enlisting in", END_LAPSED)
        sql = f"INSERT INTO workers VALUES ($1, $2, $3, $4, {NOW}, {NOW} + $5::bigint, 0)"
        await self._rows("enlisting in", sql, worker, host, pid, boot_id, round(lease_s * 1_000_000))

    async def renew(self, worker: str, lease_s: float) -> None:
        sql = f"UPDATE workers SET lease_until = {NOW} + $2::bigint WHERE id = $1 AND ended = 0 RETURNING id"
        if not await self._rows("renewing a lease in", sql, worker, round(lease_s * 1_000_000)):
            raise Fenced
        await self._rows("renewing a lease in", END_LAPSED)

    async def retire(self, worker: str) -> None:
        await self._rows("retiring from", f"UPDATE workers SET ended = {NOW} WHERE id = $1 AND ended = 0", worker)

    def on_wake(self, wake: Callable[[], None]) -> None:
        self._listener.wakes.append(wake)


async def _keep_as_it_is(connection: asyncpg.Connection) -> None:
    """Connections are given back clean, so the pool need not spend a round trip on it."""


class _Listener:
    """Calls every function of `wakes` when somebody else commits, and after each reconnection (something may have been missed).
    `own` is the name under which this store notifies, so that it does not wake itself."""

    def __init__(self, url: str, own: str) -> None:
        self.url = url
        self.own = own
        self.wakes: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen(), name="postgres-listen")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _listen(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._listen_once()
                pause_s = FIRST_PAUSE_S
            except FAULTS:
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _listen_once(self) -> None:
        connection = await asyncpg.connect(self.url, timeout=10, server_settings={"application_name": "astrarium-listen"})
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda *_: lost.set())
            await connection.add_listener("astrarium", self._heard)
            self._wake()
            await lost.wait()
        finally:
            connection.terminate()

    def _heard(self, _connection: object, _pid: int, _channel: str, sender: object) -> None:
        if sender != self.own:
            self._wake()

    def _wake(self) -> None:
        for wake in self.wakes:
            wake()
