"""What works on the engine though it is made before it."""

from __future__ import annotations

import asyncio

from ....kernel.engine import Engine


class Bound:
    """`bind` hands in the engine; a job that comes due before, as after a restart, waits in `engine` until then."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._bound = asyncio.Event()

    def bind(self, engine: Engine) -> None:
        self._engine = engine
        self._bound.set()

    async def engine(self) -> Engine:
        while self._engine is None:
            await self._bound.wait()
        return self._engine
