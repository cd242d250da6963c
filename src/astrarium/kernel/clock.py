"""Time, as the kernel sees it: one clock a test can turn."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    def now(self) -> int:
        """Microseconds since 1970 UTC; never goes backwards within a process."""

    def call_at(self, at: int, call: Callable[[], None]) -> Timer:
        """Call once at that time, in the running loop."""


class SystemClock:
    """The wall clock, held back from going backwards when the system's time is set."""

    def __init__(self) -> None:
        self._last = 0

    def now(self) -> int:
        self._last = max(self._last, time.time_ns() // 1000)
        return self._last

    def call_at(self, at: int, call: Callable[[], None]) -> Timer:
        delay_s = max(0, at - time.time_ns() // 1000) / 1_000_000
        # One day at most: a far date is asked for again, which also absorbs a clock that was set.
        return asyncio.get_running_loop().call_later(min(delay_s, 86_400), call)


class HandTimer:
    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class HandClock:
    """A clock that moves only when told to: simulated worlds and tests."""

    def __init__(self, start: int = 1_700_000_000_000_000) -> None:
        self._now = start
        self._timers: list[tuple[int, int, HandTimer]] = []
        self._order = itertools.count()

    def now(self) -> int:
        return self._now

    def call_at(self, at: int, call: Callable[[], None]) -> Timer:
        timer = HandTimer(call)
        heapq.heappush(self._timers, (at, next(self._order), timer))
        return timer

    def next_at(self) -> int | None:
        """When the next timer is due; None if there is none."""
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def turn_to(self, at: int) -> None:
        """Move to a time, calling what comes due on the way, in order."""
        while (due := self.next_at()) is not None and due <= at:
            self._now = max(self._now, due)
            call = heapq.heappop(self._timers)[2].call
            if call is not None:
                call()
        self._now = max(self._now, at)

    def turn(self, seconds: float) -> None:
        self.turn_to(self._now + int(seconds * 1_000_000))
