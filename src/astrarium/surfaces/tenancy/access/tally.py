"""Servers on one database count a caller's requests together.

While anybody asks, each server adds what it counted to shared counters once a second and reads what all counted: one write and one
read a second, however many requests there are. So a caller can exceed a limit by what the other servers let pass in that second,
their bursts at most. When the database cannot be reached, each server goes on with what it knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from ....errors import AstrariumError
from ....kernel.engine import Engine
from ....kernel.ports import COUNTERS
from ....web.limit import Limits

log = logging.getLogger("astrarium.tenancy")
EVERY_S = 1.0
WORKSPACE, NAME = "", "web.requests"
"""Where the counters are: no workspace's, since the caller's is part of the subject."""
COUNTED = "SELECT subject, mark, amount FROM counters WHERE workspace = ? AND name = ?"


class Tally:
    """One server's part."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits

    async def exchange(self) -> None:
        """Tell what was counted here, hear what was counted everywhere, and drop windows that are over. Raises `Unavailable`."""
        told = self._limits.untold()
        if told:
            await self._engine.change(lambda: self._put(told))
        window = int(self._engine.clock.now() // 1_000_000) // self._limits.tier.window_s
        over = []
        for subject, mark, amount in await self._engine.store.read(COUNTED, (WORKSPACE, NAME)):
            if int(mark) < window - 1:
                over.append((WORKSPACE, NAME, subject, mark))
            else:
                self._limits.heard(subject, int(mark), int(amount))
        if over:
            await self._engine.change(lambda: self._drop(over))

    def _put(self, told: list[tuple[str, int, int]]) -> None:
        now = self._engine.clock.now()
        for principal, window, count in told:
            self._engine.filling.batch.put(COUNTERS, (WORKSPACE, NAME, principal, str(window), now, count))

    def _drop(self, keys: list[tuple[str, str, str, str]]) -> None:
        for key in keys:
            self._engine.filling.batch.drop(COUNTERS, key)

    async def run(self) -> None:
        """Exchange while anybody asks, until cancelled."""
        while True:
            await self._limits.touched.wait()
            await asyncio.sleep(EVERY_S)
            try:
                await self.exchange()
            except AstrariumError as error:
                log.warning("requests could not be counted together with other servers: %s", error)


@contextlib.asynccontextmanager
async def shared_limits(engine: Engine, limits: Limits) -> AsyncIterator[None]:
    """Count together with the other servers of the database, where there may be any and limits are kept."""
    if not (engine.store.shared and limits.refuse):
        yield
        return
    task = asyncio.create_task(Tally(engine, limits).run(), name="astrarium-tally")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
