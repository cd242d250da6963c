"""Reads a folder anew whenever something in it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ....lazy import library
from ....store.log import appears

if TYPE_CHECKING:
    import watchfiles
else:
    watchfiles = library("watchfiles")

log = logging.getLogger("astrarium.graphs")
AGAIN_S = 1.0
"""How long after a failure (the system's limit of watches) it is tried again."""
BURST_MS = 500
STEP_MS = 100


class Watch:
    """`open` begins, `close` ends. `moved` blocks, and is called by a thread. A folder that is not there is waited for."""

    def __init__(self, folder: Path, moved: Callable[[], None]) -> None:
        self._folder = folder
        self._moved = moved
        self._task: asyncio.Task[None] | None = None
        self._complained = ""

    def open(self) -> None:
        self._task = asyncio.create_task(self._follow(), name="astrarium-graphs")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            try:
                await self._once()
            except (OSError, RuntimeError) as error:  # the folder vanished meanwhile, or the system allows no more watches
                if str(error) != self._complained:
                    log.warning("%s cannot be watched: %s", self._folder, error)
                    self._complained = str(error)
                await asyncio.sleep(AGAIN_S)

    async def _once(self) -> None:
        if not self._folder.is_dir():
            await appears(self._folder)
            await asyncio.to_thread(self._moved)
            return
        async for _ in watchfiles.awatch(self._folder, watch_filter=None, debounce=BURST_MS, step=STEP_MS, recursive=True):
            await asyncio.to_thread(self._moved)
            if not self._folder.is_dir():
                return
