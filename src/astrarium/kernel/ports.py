"""What the kernel asks of a store, and the kernel's own tables.

A store keeps rows, the event log and stream heads, and commits a `Batch` whole or not at all. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from .types import Table, table

JOBS = table(
    "jobs",
    "id",
    "id workspace environment kind stream not_before:int priority:int attempt:int owner body:json",
)
LEASES = table("leases", "stream worker", "stream worker workspace environment")
SLOTS = table("slots", "workspace name holder", "workspace name holder state priority:int at:int until:int fence:int number:int")
RECEIPTS = table("receipts", "workspace key", "workspace key fingerprint stream seq:int at:int")
SNAPSHOTS = table("snapshots", "stream", "stream seq:int workspace environment data:bytes")
THINGS = table("things", "hash", "hash kind at:int data:bytes")
WORKERS = table("workers", "id", "id host pid:int boot_id started_at:int lease_until:int ended:int")
AUDIT = table("audit", "workspace number", "workspace number:int at:int actor act subject detail:json previous hash")
COUNTERS = table("counters", "workspace name subject mark", "workspace name subject mark since:int amount:int+")

KERNEL_TABLES = (JOBS, LEASES, SLOTS, RECEIPTS, SNAPSHOTS, THINGS, WORKERS, AUDIT, COUNTERS)


class StaleHeads(Exception):
    """Heads moved since the batch was decided: `moved` maps stream → its present sequence number. Nothing was inserted."""

    def __init__(self, moved: dict[str, int]) -> None:
        super().__init__(f"moved: {', '.join(sorted(moved)[:5])}")
        self.moved = moved


class Fenced(Exception):
    """This worker's lease was taken over: it may not write any more."""


class NewEvent(msgspec.Struct):
    """An event in a batch; the position is given by the store at commit."""

    workspace: str
    stream: str
    seq: int
    at: int
    type: str
    v: int
    actor: str
    body: bytes
    position: int = 0


class Batch:
    """Everything one transaction writes.

    `heads`: stream → sequence number it was decided on (verified under lock); `moved`: stream → new sequence number.
    `rows`: table → key values → whole row (upsert); `gone`: table → keys to delete; a key is in one of the two, the later wish wins.
    `prune`: (stream, last sequence number) whose events leave the log."""

    __slots__ = ("events", "gone", "heads", "moved", "prune", "rows")

    def __init__(self) -> None:
        self.heads: dict[str, int] = {}
        self.moved: dict[str, int] = {}
        self.events: list[NewEvent] = []
        self.rows: dict[Table, dict[Any, tuple[Any, ...]]] = {}
        self.gone: dict[Table, dict[Any, None]] = {}
        self.prune: list[tuple[str, int]] = []

    def put(self, of: Table, row: tuple[Any, ...]) -> None:
        """Upsert a whole row, or add to it where the table counts; its key is the leading column, or the tuple of the leading key
        columns."""
        width = len(of.key)
        key = row[0] if width == 1 else row[:width]
        rows = self.rows.get(of)
        if rows is None:
            rows = self.rows[of] = {}
        if of.adds and key in rows:
            row = tuple(old + new if column.adds else old for column, old, new in zip(of.columns, rows[key], row, strict=True))
        rows[key] = row
        gone = self.gone.get(of)
        if gone:
            gone.pop(key, None)

    def drop(self, of: Table, key: Any) -> None:
        """Delete the row with this key (a plain value, or a tuple for a key of several columns)."""
        rows = self.rows.get(of)
        if rows:
            rows.pop(key, None)
        gone = self.gone.get(of)
        if gone is None:
            gone = self.gone[of] = {}
        gone[key] = None

    def __bool__(self) -> bool:
        return bool(self.events or self.rows or self.gone or self.prune or self.moved)


class Store(Protocol):
    """A database. `shared` = other processes may write to it, so heads are verified and work is claimed under lock."""

    dialect: str
    shared: bool

    async def open(self) -> None:
        """Take the writer's lock (embedded), create or migrate the schema. Raises `Unavailable` with a clear sentence for a newer
        schema, a second writer, a read-only folder, an unreachable server."""

    async def close(self) -> None:
        """Finish what is being written and let go."""

    async def write(self, batch: Batch, worker: str) -> None:
        """Commit the batch whole, durably. Positions are given to its events. Raises `StaleHeads`, `Fenced`, `Unavailable`."""

    async def read(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read committed rows. `?` placeholders in both dialects; json columns come back as text, bytes as bytes."""

    async def claim(self, worker: str, now: int, limit: int) -> list[tuple[Any, ...]]:
        """Take ownership of up to `limit` due jobs that have no owner; whole job rows, highest priority and longest due first.
        `not_before` is compared with `now`."""

    async def claim_lost(self, worker: str, limit: int) -> list[tuple[Any, ...]]:
        """Take over up to `limit` jobs whose owner is not a live worker: owner becomes `worker`, attempt grows by one."""

    async def release(self, job_ids: Sequence[str], worker: str) -> None:
        """Give claimed jobs back (owner empty) without carrying them out."""

    async def compact(self) -> bool:
        """Give some space of removed rows back to the disk, in one short turn; whether there is more to give. A database that does so
        by itself has nothing to do."""

    async def enlist(self, worker: str, host: str, pid: int, boot_id: str, lease_s: float) -> None:
        """Record a live worker. Embedded: every other worker ends (the lock proves it). Shared: workers whose lease is over end."""

    async def renew(self, worker: str, lease_s: float) -> None:
        """Extend the lease by the store's clock, and end the workers whose lease is over. Raises `Fenced` if we are one."""

    async def retire(self, worker: str) -> None:
        """The worker ends in good order."""

    def on_wake(self, wake: Callable[[], None]) -> None:
        """Shared stores call `wake` (in the loop's thread) whenever another process committed."""
