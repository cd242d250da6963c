"""What runs keep between their steps: made by the first step that asks, closed when its run or the worker ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..ports import Kept


class Keep:
    """The kept things of this worker's runs. Nothing here is durable: whoever makes a thing that outlives the process leaves a
    note by which the next one finds it."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[str, asyncio.Task[Kept]]] = {}

    def __contains__(self, run: object) -> bool:
        return run in self._runs

    async def find(self, run: str, key: str, make: Callable[[], Awaitable[Kept]]) -> Kept:
        """The thing, made once however many steps ask at the same time. Raises what `make` raises, to all who wait; the next
        one to ask tries again. A step that is cancelled meanwhile does not take the thing away from the others."""
        things = self._runs.setdefault(run, {})
        if key not in things:
            things[key] = asyncio.ensure_future(_made(make))
        task = things[key]
        try:
            return await asyncio.shield(task)
        except BaseException:
            if task.done() and (task.cancelled() or task.exception() is not None) and things.get(key) is task:
                del things[key]
            raise

    async def close(self, run: str) -> None:
        """Close what this run keeps; what is still being made is broken off."""
        for task in list(self._runs.pop(run, {}).values()):
            if not task.done():
                task.cancel()
            done = (await asyncio.gather(task, return_exceptions=True))[0]
            if not isinstance(done, BaseException):
                await done.close()

    async def close_all(self) -> None:
        """The worker ends."""
        await asyncio.gather(*(self.close(run) for run in list(self._runs)))


async def _made(make: Callable[[], Awaitable[Kept]]) -> Kept:
    return await make()
