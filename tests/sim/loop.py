"""An event loop without a wall clock: time is the hand clock's, and whenever nothing is left to do the world is told."""

from __future__ import annotations

import asyncio
import math
import selectors
from typing import Any

from astrarium.kernel.clock import HandClock


class _Selector(selectors.SelectSelector):
    """Never waits: a loop that would wait has come to rest."""

    loop: SimLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None or timeout > 0:
            self.loop.come_to_rest()
        return []


class SimLoop(asyncio.SelectorEventLoop):
    """One thread, no sockets, no waiting: the same seed gives the same order of everything."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self._resting: asyncio.Future[None] | None = None
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.clock.now() / 1_000_000

    def come_to_rest(self) -> None:
        if self._resting is None:
            raise RuntimeError("nothing can happen any more and nobody waits for that")
        if not self._resting.done():
            self._resting.set_result(None)

    async def rest(self) -> None:
        """Wait until everything that can happen without time passing has happened."""
        self._resting = self.create_future()
        try:
            await self._resting
        finally:
            self._resting = None

    def next_at(self) -> int | None:
        """When the next timer is due, the loop's own or the clock's, in microseconds."""
        own = min((handle.when() for handle in self._scheduled if not handle.cancelled()), default=None)  # type: ignore[attr-defined]
        found = [at for at in (self.clock.next_at(), None if own is None else math.ceil(own * 1_000_000) + 1) if at is not None]
        return min(found, default=None)
