"""Webhooks: a token for one DAG file, with which a stranger may enqueue its runs and nothing else.

An entry of the kind `webhook`, named after the file; what is stored of the token is a keyed hash.
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from ....errors import Forbidden, NotFound, Unauthenticated
from ....kernel.engine import Engine
from ....kernel.record.entry import DropEntry, Entry, PutEntry, drop_entry, find_entry, list_entries, put_entry
from ....kernel.types import Actor
from ....spec.ids import uuid7
from ....web.caller import PERSONAL, Caller
from ...tenancy.identity import Identity
from ...tenancy.role import OPERATOR
from ...tenancy.token import KeyRing
from .. import wire
from ..catalog import strip_suffix
from ..desk import Desk

WEBHOOK = "webhook"
PREFIX = "dagu_wh_"
SHOWN = 12
"""Characters of a token that are shown later (Dagu 1.30): its prefix and four random ones."""
RANDOM_BYTES = 32
PARAMETER = "WEBHOOK_PAYLOAD"
BODY_MAX = 1024 * 1024


class Webhooks:
    """The webhooks of the DAG files of one server."""

    def __init__(self, engine: Engine, ring: KeyRing) -> None:
        self._engine = engine
        self._ring = ring

    async def all(self, caller: Caller) -> list[Entry]:
        return await list_entries(self._engine.store, caller.scope.workspace, WEBHOOK)

    async def get(self, caller: Caller, file_name: str) -> Entry:
        """Raises `NotFound`, in the same words whether there is such a DAG or not."""
        name = strip_suffix(file_name)
        entry = await find_entry(self._engine.store, caller.scope.workspace, WEBHOOK, name)
        if entry is None:
            raise NotFound(f"there is no webhook for the DAG {name[:80]!r}")
        return entry

    async def create(self, caller: Caller, stem: str) -> tuple[Entry, str]:
        """A webhook for a DAG file, and its token. Raises `Refused` (`already_exists`)."""
        token, given = self._new_token(True)
        order = PutEntry(stem, **given, by=str(caller.actor), expect=0)
        entry = await put_entry(self._engine, caller.scope, caller.actor, WEBHOOK, uuid7(), order, "webhook.created", dag=stem)
        return entry, token

    async def regenerate(self, caller: Caller, file_name: str) -> tuple[Entry, str]:
        """Another token; the old one is not valid any more. Raises `NotFound`."""
        entry = await self.get(caller, file_name)
        token, given = self._new_token(entry.body["enabled"])
        order = PutEntry(entry.name, **given, by=str(caller.actor), expect=entry.version)
        return await self._put(caller, entry, order, "webhook.regenerated"), token

    async def toggle(self, caller: Caller, file_name: str, enabled: bool) -> Entry:
        """Raises `NotFound`."""
        entry = await self.get(caller, file_name)
        order = PutEntry(entry.name, {**entry.body, "enabled": enabled}, str(caller.actor), expect=entry.version)
        return await self._put(caller, entry, order, "webhook.enabled" if enabled else "webhook.disabled")

    async def drop(self, caller: Caller, file_name: str) -> None:
        """Raises `NotFound`."""
        entry = await self.get(caller, file_name)
        order = DropEntry(str(caller.actor), entry.version)
        await drop_entry(self._engine, caller.scope, caller.actor, WEBHOOK, entry.id, order, "webhook.deleted", dag=entry.name)

    def _new_token(self, enabled: bool) -> tuple[str, dict[str, Any]]:
        token = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
        return token, {"body": {"enabled": enabled, "prefix": token[:SHOWN]}, "verifier": self._ring.seal(token)}

    async def _put(self, caller: Caller, entry: Entry, order: PutEntry, what: str) -> Entry:
        return await put_entry(self._engine, caller.scope, caller.actor, WEBHOOK, entry.id, order, what, dag=entry.name)

    async def drop_with(self, caller: Caller, stem: str) -> None:
        """The file is deleted: a later one of its name is not opened by the token of this one."""
        try:
            await self.drop(caller, stem)
        except NotFound:
            return  # it had none

    # -- being called ---------------------------------------------------------------------------------------------------

    async def admit(self, file_name: str, token: str, identity: Identity) -> Caller:
        """Who presents the token of a DAG's webhook: one who may start its runs. Raises `Unauthenticated`, `NotFound`, and
        `Forbidden` for a webhook that is switched off."""
        if not token.startswith(PREFIX):
            raise Unauthenticated("a webhook wants its token as `Authorization: Bearer dagu_wh_…`", code="auth.unauthorized")
        anybody = Caller(Actor(WEBHOOK, ""), PERSONAL)
        entry = await self.get(anybody, file_name)
        if not self._ring.opens(entry.verifier, token):
            raise Unauthenticated("the token is not the one of this webhook", code="auth.token_invalid")
        if not entry.body["enabled"]:
            raise Forbidden(f"the webhook of {entry.name} is disabled")
        identity.note_use(WEBHOOK, entry.id, entry.used_at, PERSONAL, self._engine.clock.now())
        return Caller(Actor(WEBHOOK, entry.id), PERSONAL, OPERATOR, frozenset(("runs:start",)), f"webhook of {entry.name}")


async def trigger(desk: Desk, caller: Caller, file_name: str, call: wire.webhook.Call) -> wire.webhook.Called:
    """Put a run into the DAG's queue, with the payload as the parameter `WEBHOOK_PAYLOAD`. Raises as `Desk.start_dag`."""
    entry = await desk.find(file_name)
    payload = msgspec.json.encode(call.payload if call.payload is not None else {}).decode()
    params = msgspec.json.encode({PARAMETER: payload}).decode()
    ask = wire.queue.EnqueueDag(params=params, dag_run_id=call.dag_run_id or None)
    run = await desk.start_dag(caller, file_name, ask, edited=False)
    return wire.webhook.Called(run, entry.name)
