"""The one gate of all surfaces: who calls, who they are where the path leads, whether they may; what is told to the audit log of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec
from starlette.requests import HTTPConnection

from ..errors import Forbidden
from ..web.caller import Caller, caller_of

Place = Callable[[Any, Caller], Awaitable[Caller]]
"""The caller as they are in the workspace or environment a request is about. Raises `NotFound` where they are nobody."""

Denied = Callable[[Caller, str, str, str], Awaitable[None]]
"""(caller, capability, operation id, path): records a denial; awaited before the denial is answered."""

Acted = Callable[[Caller, str, str], Awaitable[None]]
"""(caller, operation id, path): records what was done, before it is answered."""


class Decision(msgspec.Struct, frozen=True):
    """A request that was let in, and how it was answered (101 = a socket that was opened)."""

    caller: Caller
    capability: str
    operation: str
    method: str
    path: str
    status: int
    request_id: str


class Allowed(Protocol):
    """Records requests that were let in, without making them wait."""

    def check(self) -> None:
        """Raises `Unavailable` where nothing more can be recorded: nobody is let in unseen."""

    def note(self, decision: Decision) -> None: ...


class Gate(msgspec.Struct, frozen=True):
    """What the gate of one application goes by. `withheld`: capability → the setting that takes it from everybody. What was done by
    operations that need one of `recorded` is told to `acted`: changes that leave no event of their own. Every request let in below one
    of the paths `allowed_under` is told to `allowed`."""

    denied: Denied
    acted: Acted
    recorded: frozenset[str] = frozenset()
    withheld: Mapping[str, str] = {}
    allowed: Allowed | None = None
    allowed_under: tuple[str, ...] = ()

    def listener(self, path: str) -> Allowed | None:
        """Who wants to know of requests let in at a path."""
        return self.allowed if self.allowed_under and path.startswith(self.allowed_under) else None


def gate_of(connection: HTTPConnection) -> Gate | None:
    gate: Gate | None = getattr(connection.app.state, "gate", None)
    return gate


async def pass_gate(
    connection: HTTPConnection, needs: str, operation: str, place: Place | None = None, denial: str = ""
) -> tuple[Caller, Allowed | None]:
    """The caller of a request or socket, who may do what it is about, and who is to be told how it was answered. Raises
    `Unauthenticated`, `NotFound`, `Forbidden`; `Unavailable` where it could not be recorded."""
    caller = await caller_of(connection)
    if place is not None:
        caller = connection.state.caller = await place(connection, caller)
    await admit(connection, caller, needs, operation, denial)
    gate = gate_of(connection)
    listener = gate.listener(connection.scope["path"]) if gate is not None else None
    if listener is not None:
        listener.check()
    return caller, listener


async def admit(connection: HTTPConnection, caller: Caller, capability: str, operation: str, denial: str = "") -> None:
    """Let a caller pass who has the capability, where no setting takes it from everybody. Else the denial is recorded and `Forbidden`
    raised. An application without a gate (`app.state.gate`) withholds nothing and records nothing."""
    gate = gate_of(connection)
    setting = gate.withheld.get(capability, "") if gate is not None and gate.withheld else ""
    if caller.may(capability) and not setting:
        return
    if gate is not None:
        await gate.denied(caller, capability, operation, connection.url.path)
    if setting:
        raise Forbidden(f"this server does not allow it: the setting {setting} is off")
    if denial:
        raise Forbidden(denial)
    told = f"{caller.shown} (role {caller.role or 'none'}) may not do this: it needs the capability {capability}"
    raise Forbidden(told, hint="ask an admin for a role that has it")


def decided(connection: HTTPConnection, caller: Caller, capability: str, operation: str, status: int) -> Decision:
    """What is told of a request that was let in."""
    method, request_id = connection.scope.get("method", "GET"), getattr(connection.state, "request_id", "")
    return Decision(caller, capability, operation, method, connection.scope["path"], status, request_id)
