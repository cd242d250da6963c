"""How something that runs elsewhere is ended: a signal at once and again each 5 s, KILL after the grace, then it is let go."""

from __future__ import annotations

import asyncio
import contextlib
import signal as signals
from collections.abc import Awaitable, Callable

SIGNAL_AGAIN_S = 5.0
LET_GO_AFTER_S = 5.0
"""After KILL, what still does not end is out of reach: a dead machine, a frozen engine."""


class Ending:
    """`send` signals it and does not raise; `let_go` breaks off the waiting for it."""

    def __init__(self, send: Callable[[int], Awaitable[None]], let_go: Callable[[], None]) -> None:
        self._send = send
        self._let_go = let_go
        self._task: asyncio.Task[None] | None = None
        self._grace_ends_s = float("inf")
        self._shorter = asyncio.Event()

    @property
    def begun(self) -> bool:
        return self._task is not None

    def begin(self, signal: int, grace_s: float) -> None:
        """Begin, or shorten the grace."""
        self._grace_ends_s = min(self._grace_ends_s, asyncio.get_running_loop().time() + grace_s)
        self._shorter.set()
        if self._task is None:
            self._task = asyncio.create_task(self._end(signal))

    def close(self) -> None:
        """It has ended."""
        if self._task is not None:
            self._task.cancel()

    async def _end(self, signal: int) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._grace_ends_s - loop.time()) > 0:
            self._shorter.clear()
            await self._send(signal)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, SIGNAL_AGAIN_S)):
                    await self._shorter.wait()
        await self._send(signals.SIGKILL)
        await asyncio.sleep(LET_GO_AFTER_S)
        self._let_go()
