"""Lives a request is about, brought into memory in company: one read for all requests that wait at a time."""

from __future__ import annotations

import asyncio

from ....kernel.engine import Engine
from ....kernel.types import Scope


class Loader:
    """Of one engine. A life that is at hand costs nothing."""

    def __init__(self, engine: Engine) -> None:
        self._memory = engine.memory
        self._wanted: dict[Scope, set[str]] = {}
        self._next: dict[Scope, asyncio.Task[None]] = {}
        self._reading: dict[Scope, asyncio.Task[None]] = {}

    async def bring(self, stream: str, scope: Scope) -> None:
        """Raises `Unavailable` when the store cannot be read."""
        if stream in self._memory.hot:
            return
        self._wanted.setdefault(scope, set()).add(stream)
        task = self._next.get(scope)
        if task is None:
            task = self._next[scope] = asyncio.create_task(self._load(scope, self._reading.get(scope)), name="astrarium-load")
        await asyncio.shield(task)  # a client that leaves must not take the others' answer along

    async def _load(self, scope: Scope, before: asyncio.Task[None] | None) -> None:
        """When the read before is over, one for all who came meanwhile."""
        if before is not None:
            await asyncio.wait({before})
        me = self._reading[scope] = self._next.pop(scope)
        try:
            await self._memory.load_many(sorted(self._wanted.pop(scope)), scope)
        finally:
            if self._reading.get(scope) is me:
                del self._reading[scope]
