"""Refused sign-ins and credentials, as the audit log keeps them: each a record, as long as there are few.

Who is nobody can make as many as they like, and must not fill the log or the disk with them. Beyond so many in a minute they are
counted, and the number is one record when the minute is over.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from starlette.requests import HTTPConnection

from ....errors import AstrariumError, Unauthenticated
from ....kernel.audit import act
from ....kernel.engine import Engine
from ....kernel.types import Actor
from ....web.caller import PERSONAL
from ....web.limit import address_of
from ...gate import gate_of

log = logging.getLogger("astrarium.tenancy")
FAILED, REFUSED, COUNTED = "auth.sign_in_failed", "auth.refused", "auth.refusals_counted"
NOBODY = Actor("user", "")
MINUTE_S = 60.0
MOST, MOST_OF_ONE = 60, 30
"""Records in a minute: of all, and of one address."""


class Refusals:
    """Of one server. `run` writes what was only counted."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._minute = 0
        self._written: dict[str, int] = {}
        self._counted = 0
        self._some = asyncio.Event()

    async def failed(self, subject: str, address: str = "", actor: Actor = NOBODY, **detail: Any) -> None:
        """Record a sign-in that was refused, before it is answered."""
        await self._record(FAILED, subject, address, actor, detail)

    async def tell(self, connection: HTTPConnection, error: Unauthenticated) -> None:
        """Record that a request was refused its credential, or had none, where the gate tells of every request that is let in."""
        gate, path = gate_of(connection), connection.scope["path"]
        if gate is not None and gate.listener(path) is not None:
            await self._record(REFUSED, f"path:{path[:200]}", address_of(connection), NOBODY, {"why": error.message[:200]})

    async def _record(self, what: str, subject: str, address: str, actor: Actor, detail: dict[str, Any]) -> None:
        minute = int(self._engine.clock.now() // (MINUTE_S * 1_000_000))
        if minute != self._minute:
            self._minute, self._written = minute, {}
        if sum(self._written.values()) >= MOST or self._written.get(address, 0) >= MOST_OF_ONE:
            self._counted += 1
            self._some.set()
            return
        self._written[address] = self._written.get(address, 0) + 1
        shown = {"address": address} if address else {}
        await self._engine.submit(act(PERSONAL, actor, what, subject, **shown, **detail))

    async def flush(self) -> None:
        """Write how many were only counted. Raises `Unavailable`."""
        count, self._counted = self._counted, 0
        self._some.clear()
        if count:
            try:
                await self._engine.submit(act(PERSONAL, NOBODY, COUNTED, "way:any", count=count))
            except AstrariumError:
                self._counted += count
                self._some.set()
                raise

    async def run(self) -> None:
        """Write at most once a minute, while there is something, until cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(MINUTE_S)
            try:
                await self.flush()
            except AstrariumError as error:
                log.warning("refused sign-ins could not be recorded yet: %s", error)
