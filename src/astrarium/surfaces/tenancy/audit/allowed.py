"""Requests that were let in, as the audit log keeps them: each a record of its own, many of them in one transaction.

No request waits for its record. What was noted in the last second is lost when the process is killed; a denial, a sign-in or a change
is not, since those are recorded before they are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

from ....errors import AstrariumError, Unavailable
from ....kernel.audit import act
from ....kernel.engine import Engine
from ....kernel.types import Command
from ...gate import Decision

log = logging.getLogger("astrarium.tenancy")
ACT = "auth.allowed"
EVERY_S = 1.0
BATCH = 500
MOST = 20_000
"""Decisions that may wait to be written; then nobody is let in until some are."""


class Recorder(Protocol):
    """Writes to the audit log what no request waits for."""

    async def run(self) -> None: ...

    async def flush(self) -> None: ...


class AllowedLog:
    """Of one server. `note` and `check` are the gate's, `run` writes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: deque[Decision] = deque()
        self._some = asyncio.Event()
        self._many = asyncio.Event()

    def check(self) -> None:
        """Raises `Unavailable`."""
        if len(self._waiting) >= MOST:
            raise Unavailable(
                "the audit log cannot be written, and nobody is let in unseen", hint="see whether the database works"
            )

    def note(self, decision: Decision) -> None:
        self._waiting.append(decision)
        if not self._some.is_set():
            self._some.set()
        if len(self._waiting) >= BATCH:
            self._many.set()

    async def flush(self) -> None:
        """Write what waits. Raises `Unavailable`, and keeps what could not be written."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                await self._engine.submit_all([_command(decision) for decision in batch])
            except AstrariumError:
                self._waiting.extendleft(reversed(batch))
                raise
        self._some.clear()
        self._many.clear()

    async def run(self) -> None:
        """Write once a second while there is something, sooner when there is much, until cancelled."""
        while True:
            await self._some.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._many.wait()
            try:
                await self.flush()
            except AstrariumError as error:
                log.warning("%s requests could not be recorded yet: %s", len(self._waiting), error)
                await asyncio.sleep(EVERY_S)


def _command(decision: Decision) -> Command:
    caller = decision.caller
    return act(
        caller.scope, caller.actor, ACT, f"operation:{decision.operation}", capability=decision.capability, method=decision.method,
        route=decision.path[:200], status=decision.status, request_id=decision.request_id,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def recording(*recorders: Recorder) -> AsyncIterator[None]:
    """Write while the server works, and the rest at its end."""
    tasks = [asyncio.create_task(one.run(), name="astrarium-audit") for one in recorders]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in recorders:
            await one.flush()
