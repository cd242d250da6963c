"""Token buckets, one for each caller: for what costs more than a request."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ....errors import TooOften

KEPT = 10_000
"""Callers counted at once; those not seen for longest are forgotten first."""


class Forked(TooOften):
    """Stargraph 0.8's words for it."""

    code = "counterfactual_rate_limit_exceeded"


class Buckets:
    """`per_minute` tokens at most, filled up at that rate."""

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._now = now
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> None:
        """Raises `TooOften`."""
        now = self._now()
        tokens, at = self._left.pop(key, (float(self.per_minute), now))
        tokens = min(self.per_minute, tokens + (now - at) * self.per_minute / 60)
        if len(self._left) >= KEPT:
            del self._left[next(iter(self._left))]
        self._left[key] = (tokens - 1 if tokens >= 1 else tokens, now)
        if tokens < 1:
            wait_s = max(1, math.ceil((1 - tokens) * 60 / self.per_minute))
            raise Forked(Forked.code, retry_after_s=wait_s)
