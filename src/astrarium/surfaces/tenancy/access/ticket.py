"""Tickets for streams: a browser cannot send a header with a WebSocket or an EventSource, so it shows a ticket in the address.

A ticket is good once and for half a minute, at any server of the database: it is signed, and its use is recorded under its own key.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from ....errors import Forbidden
from ....kernel.audit import act
from ....kernel.engine import Engine
from ....kernel.types import Actor, Scope
from ....spec.ids import uuid7
from ....web.caller import EVERYTHING, LOCAL_OWNER, PERSONAL, Caller
from ..catalog import KEY, USER
from ..role import CAPABILITIES, capabilities_in
from ..token import KeyRing
from .challenge import Challenge
from .scoped import Passes

PURPOSE = "ticket"
TICKET_S = 30
MICROS = 1_000_000


class Ticket(msgspec.Struct, frozen=True):
    """Whose it is, and what it is good for: None = all they may do."""

    id: str
    kind: str
    actor: str
    workspace: str
    environment: str
    role: str
    name: str
    confined: bool = False
    narrow: list[str] | None = None


class Tickets:
    """Makes tickets and takes them."""

    def __init__(self, engine: Engine, ring: KeyRing, passes: Passes, challenge: Challenge) -> None:
        self._engine = engine
        self._ring = ring
        self._passes = passes
        self._challenge = challenge

    def make(self, caller: Caller, capabilities: Collection[str] | None = None) -> str:
        """A ticket for the caller; with `capabilities` for these alone. Raises `Forbidden` for one they do not have."""
        beyond = sorted(one for one in capabilities or () if one not in CAPABILITIES or not caller.may(one))
        if beyond:
            raise Forbidden(f"{caller.shown} may not {beyond[0][:40]}, so no ticket can be good for it")
        narrow = None if caller.capabilities is EVERYTHING else sorted(caller.capabilities)
        scope, actor = caller.scope, caller.actor
        ticket = Ticket(
            uuid7(), actor.kind, actor.id, scope.workspace, scope.environment, caller.role, caller.name, caller.confined,
            narrow if capabilities is None else sorted(capabilities),
        )  # fmt: skip
        return self._ring.stamp(PURPOSE, msgspec.to_builtins(ticket), self._engine.clock.now() + TICKET_S * MICROS)

    async def take(self, text: str) -> Caller:
        """The caller a ticket stands for, once. Raises `Unauthenticated` for one that is over, was used, or whose owner is gone."""
        said = self._ring.read_stamp(PURPOSE, text, self._engine.clock.now())
        if said is None:
            raise self._challenge.invalid("the ticket is over, or none of ours", expired=True)
        ticket = msgspec.convert(said, Ticket)
        actor, scope = Actor(ticket.kind, ticket.actor), Scope(ticket.workspace, ticket.environment)
        caller = await self._present(ticket, actor, scope)
        used = act(PERSONAL, actor, "auth.ticket_used", f"{PURPOSE}:{ticket.id}")
        receipt = await self._engine.submit(msgspec.structs.replace(used, key=f"{PURPOSE}/{ticket.id}"))
        if receipt.replayed:
            raise self._challenge.invalid("the ticket was used before")
        return caller

    async def _present(self, ticket: Ticket, actor: Actor, scope: Scope) -> Caller:
        """Who has an entry must still be there, and may what they may by now; the others are what the settings say."""
        may = EVERYTHING if ticket.narrow is None else frozenset(ticket.narrow)
        if actor == LOCAL_OWNER.actor or ticket.kind not in (USER, KEY):
            return Caller(actor, scope, ticket.role, may, ticket.name, ticket.confined)
        holder = await self._passes.holder(actor, ticket.workspace)
        if holder is None or 0 < holder.expires_at <= self._engine.clock.now():
            raise self._challenge.invalid("whose the ticket is, is not here any more")
        now = capabilities_in(ticket.workspace, holder.caller.role, ticket.environment)
        return Caller(actor, scope, holder.caller.role, now & may, ticket.name, ticket.confined)
