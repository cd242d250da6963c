"""Clocks for schedules: one turned by hand, and one that runs faster than time, alike in every process of this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from astrarium.kernel.clock import Timer


class FastClock:
    """`speed` seconds pass in one; `base` (microseconds) is the moment when the monotonic clock stood at `since`."""

    def __init__(self, base: int, since: float, speed: float) -> None:
        self.base = base
        self.since = since
        self.speed = speed

    def now(self) -> int:
        return self.base + int((time.monotonic() - self.since) * self.speed * 1_000_000)

    def call_at(self, at: int, call: Callable[[], None]) -> Timer:
        delay_s = max(0, at - self.now()) / 1_000_000 / self.speed
        return asyncio.get_running_loop().call_later(delay_s, call)
