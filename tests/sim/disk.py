"""The store of a world: one database in memory that outlives its servers, and one faulty link to it per server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from astrarium.errors import Unavailable
from astrarium.kernel.clock import HandClock
from astrarium.kernel.ports import Batch, Fenced
from astrarium.kernel.types import Table
from astrarium.store.sqlite import SqliteStore


class Disk:
    """`shared`: several servers write, so leases count and heads are verified (they always are, here)."""

    def __init__(self, clock: HandClock, tables: Sequence[Table], random: Random, *, shared: bool) -> None:
        self.clock = clock
        self.random = random
        self.shared = shared
        self.store = SqliteStore(Path(":memory:"), tables=tables, inline=True, verify=True, now=clock.now)
        self.links: list[Link] = []

    @property
    def writer(self) -> Any:
        return self.store._writer

    def rows(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What is committed, at once."""
        return self.writer.db.execute(sql, args).fetchall()

    def commit(self, batch: Batch, worker: str) -> None:
        if self.shared:
            if not self.alive(worker):
                raise Fenced
            self.writer._worker = worker
        self.writer.write(batch, worker)

    def alive(self, worker: str) -> bool:
        return bool(self.rows("SELECT 1 FROM workers WHERE id = ? AND ended = 0", (worker,)))

    def end_late(self) -> None:
        """What PostgreSQL does with every enlisting and renewal: workers whose lease is over end."""
        now = self.clock.now()
        self.writer.db.execute("UPDATE workers SET ended = ? WHERE ended = 0 AND lease_until < ?", (now, now))

    def enlist(self, worker: str, host: str, pid: int, boot_id: str, lease_s: float) -> None:
        if not self.shared:
            self.writer.enlist(worker, host, pid, boot_id, lease_s)
            return
        self.end_late()
        now = self.clock.now()
        row = (worker, host, pid, boot_id, now, now + round(lease_s * 1_000_000), 0)
        self.writer.db.execute("INSERT INTO workers VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def renew(self, worker: str, lease_s: float) -> None:
        self.end_late()
        if not self.alive(worker):
            raise Fenced
        until = self.clock.now() + round(lease_s * 1_000_000)
        self.writer.db.execute("UPDATE workers SET lease_until = ? WHERE id = ?", (until, worker))

    def wake(self, but: Link) -> None:
        for link in self.links:
            if link is not but and link.alive and link.woken is not None:
                asyncio.get_running_loop().call_soon(link.woken)


class Link:
    """The `Store` one server sees. Every call takes a random number of turns of the loop, so that anything may come between.
    A dead server's calls never return. `armed` is the fault of the next write."""

    dialect = "sqlite"

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.shared = disk.shared
        self.alive = True
        self.armed = ""
        self.woken: Callable[[], None] | None = None
        self.failed: Callable[[str], None] = lambda fault: None
        disk.links.append(self)

    async def _turn(self, most: int) -> None:
        for _ in range(self.disk.random.randrange(most)):
            await asyncio.sleep(0)
        if not self.alive:
            await asyncio.get_running_loop().create_future()

    def _fault(self, which: str) -> None:
        if self.armed == which:
            self.armed = ""
            self.failed(which)
            raise Unavailable(f"the disk is {which} in this world")

    async def open(self) -> None:
        await self._turn(2)

    async def close(self) -> None:
        await self._turn(2)

    async def _change(self, act: Callable[..., Any], *args: Any) -> Any:
        await self._turn(4)
        self._fault("refused")
        result = act(*args)
        await self._turn(4)
        self._fault("doubtful")
        return result

    async def write(self, batch: Batch, worker: str) -> None:
        await self._turn(4)
        self._fault("refused")
        self.disk.commit(batch, worker)
        self.disk.wake(self)
        await self._turn(4)
        self._fault("doubtful")

    async def read(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        await self._turn(3)
        return await self.disk.store.read(sql, args)

    async def claim(self, worker: str, now: int, limit: int) -> list[tuple[Any, ...]]:
        return await self._change(self._claim, self.disk.writer.claim, worker, now, limit)

    async def claim_lost(self, worker: str, limit: int) -> list[tuple[Any, ...]]:
        return await self._change(self._claim, self.disk.writer.claim_lost, worker, limit)

    def _claim(self, act: Callable[..., list[tuple[Any, ...]]], worker: str, *args: Any) -> list[tuple[Any, ...]]:
        return act(worker, *args) if self.disk.alive(worker) else []

    async def release(self, job_ids: Sequence[str], worker: str) -> None:
        await self._change(self.disk.writer.release, job_ids, worker)

    async def enlist(self, worker: str, host: str, pid: int, boot_id: str, lease_s: float) -> None:
        self.disk.enlist(worker, host, pid, boot_id, lease_s)

    async def renew(self, worker: str, lease_s: float) -> None:
        await self._turn(2)
        self.disk.renew(worker, lease_s)

    async def retire(self, worker: str) -> None:
        await self._turn(2)
        self.disk.writer.retire(worker)

    def on_wake(self, wake: Callable[[], None]) -> None:
        self.woken = wake
