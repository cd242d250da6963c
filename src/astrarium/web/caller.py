"""Who calls, what they may do, and where their work lands. `server` hands in how a credential becomes a caller; routes only ask for
the caller, and the gate in front of them (`surfaces/operation`) for what the caller may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import Unauthenticated
from ..kernel.types import Actor, Scope
from .limit import Limits

if TYPE_CHECKING:  # who only names a caller stays free of the web framework
    from starlette.requests import HTTPConnection

PERSONAL = Scope("personal", "local")
"""Where everything lives while there is one local owner."""

EVERYTHING = frozenset(("*",))
"""The capabilities of one who may do whatever there is."""


class Caller(msgspec.Struct, frozen=True):
    """The one who makes a request, the workspace and environment it acts in, and what they may do there. `name` is how people know
    them; `actor` is what records say."""

    actor: Actor
    scope: Scope
    role: str = ""
    capabilities: frozenset[str] = frozenset()
    name: str = ""

    def may(self, capability: str) -> bool:
        return capability in self.capabilities or self.capabilities is EVERYTHING

    @property
    def shown(self) -> str:
        """What people are told who it was."""
        return self.name or self.actor.id


LOCAL_OWNER = Caller(Actor("user", "local"), PERSONAL, "admin", EVERYTHING, "local")

Authenticate = Callable[[str], Awaitable[Caller]]
"""(credential, empty when none was presented) → caller. Raises `Unauthenticated`."""


async def authenticate_local(credential: str) -> Caller:
    """Everybody who reaches the loopback port is the local owner. A credential that is presented must be valid all the same,
    and none can be: silently ignoring it would hide a client that talks to the wrong server."""
    if credential:
        raise Unauthenticated(
            "the credential is not valid here: this server has no sign-in", hint="send the request without a key or token"
        )
    return LOCAL_OWNER


def credential_of(headers: Mapping[str, str]) -> str:
    """What `X-API-Key`, `Authorization: Bearer …` or `Authorization: ApiKey …` carries; other schemes are kept whole."""
    key = headers.get("x-api-key", "").strip()
    if key:
        return key
    value = headers.get("authorization", "").strip()
    scheme, _, rest = value.partition(" ")
    return rest.strip() if scheme.lower() in ("bearer", "apikey") and rest.strip() else value


async def caller_of(connection: HTTPConnection) -> Caller:
    """The caller of a request or socket. The way to authenticate is
    `app.state.authenticate`, the local owner's when the server set none."""
    authenticate: Authenticate = getattr(connection.app.state, "authenticate", authenticate_local)
    state: Any = connection.state
    known: Caller | None = getattr(state, "caller", None)
    if known is None:
        limits: Limits | None = getattr(connection.app.state, "limits", None)
        try:
            known = await authenticate(credential_of(connection.headers))
        except Unauthenticated:
            if limits is not None:
                limits.take_stranger(connection)
            raise
        if limits is not None:
            limits.take(connection, f"{known.scope.workspace}/{known.actor}")
        state.caller = known
    return known
