"""Who calls, what they may do, and where their work lands. `server` hands in how a credential becomes a caller; routes only ask for
the caller, and the gate in front of them (`surfaces/operation`) for what the caller may do."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import Forbidden, Unauthenticated
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
    them; `actor` is what records say. `confined`: the credential is good for its workspace only, whatever others they are in."""

    actor: Actor
    scope: Scope
    role: str = ""
    capabilities: frozenset[str] = frozenset()
    name: str = ""
    confined: bool = False

    def may(self, capability: str) -> bool:
        return capability in self.capabilities or self.capabilities is EVERYTHING

    @property
    def shown(self) -> str:
        """What people are told who it was."""
        return self.name or self.actor.id


LOCAL_OWNER = Caller(Actor("user", "local"), PERSONAL, "admin", EVERYTHING, "local")

Authenticate = Callable[[str], Awaitable[Caller]]
"""(credential, empty when none was presented) → caller. Raises `Unauthenticated`."""
TellRefused = Callable[["HTTPConnection", Unauthenticated], Awaitable[None]]
"""Hears of requests that were refused because of who makes them, before the refusal is answered."""


async def authenticate_local(credential: str) -> Caller:
    """Everybody who reaches the loopback port is the local owner. A credential that is presented must be valid all the same,
    and none can be: silently ignoring it would hide a client that talks to the wrong server."""
    if credential:
        raise Unauthenticated(
            "the credential is not valid here: this server has no sign-in", hint="send the request without a key or token"
        )
    return LOCAL_OWNER


CARRIERS = frozenset((b"x-api-key", b"authorization", b"cookie"))
"""Headers that may carry a credential."""
SESSION_COOKIE = "astrarium_session"
COOKIE_SCHEME = "cookie "
"""Begins a credential that came in the cookie of a signed-in browser."""
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


def cookie_credential(connection: HTTPConnection) -> str:
    """What the browser's session cookie carries; empty without one. Raises `Forbidden` when a page of another origin may have made the
    browser send it along: with what changes something, and with sockets, which such a page could read."""
    if "cookie" not in connection.headers or not (token := connection.cookies.get(SESSION_COOKIE, "")):
        return ""
    safe = connection.scope["type"] == "http" and connection.scope["method"] in SAFE_METHODS
    if not safe and not from_own_page(connection.headers):
        raise Forbidden(
            "a request with the session cookie must come from a page of this server", code="cross_site",
            hint="send a token as `Authorization: Bearer …`",
        )  # fmt: skip
    return COOKIE_SCHEME + token


def from_own_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of this server made the request: itself, and an old one by the origin."""
    site = headers.get("sec-fetch-site", "")
    if site:
        return site == "same-origin"
    return headers.get("origin", "").partition("://")[2] == headers.get("host", "") != ""


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
    known: Caller | None = connection.scope.get("state", {}).get("caller")
    if known is None:
        authenticate: Authenticate = getattr(connection.app.state, "authenticate", authenticate_local)
        shown = not CARRIERS.isdisjoint([name for name, _ in connection.scope["headers"]])
        credential = credential_of(connection.headers) or cookie_credential(connection) if shown else ""
        known = await remember(connection, authenticate(credential))
    return known


async def take_ticket(connection: HTTPConnection) -> bool:
    """Whether a ticket in the address (`?ticket=`) showed who opens a stream: browsers send no header of ours with those. A credential in
    a header counts more. Raises `Unauthenticated` for a ticket that is not good (any more)."""
    ticket = connection.query_params.get("ticket", "")
    if not ticket or credential_of(connection.headers):
        return False
    take: Authenticate | None = getattr(connection.app.state, "take_ticket", None)
    if take is None:
        raise Unauthenticated("this server gives no tickets", hint="send the token as `Authorization: Bearer …`")
    await remember(connection, take(ticket))
    return True


@contextlib.contextmanager
def counted(connection: HTTPConnection) -> Iterator[None]:
    """What is refused to somebody who is nobody counts as a stranger's request. Raises `TooOften`."""
    limits: Limits | None = getattr(connection.app.state, "limits", None)
    try:
        yield
    except Unauthenticated:
        if limits is not None:
            limits.take_stranger(connection)
        raise


async def remember(connection: HTTPConnection, found: Awaitable[Caller]) -> Caller:
    """Wait for who is `found` to call, count the request as theirs, and keep them as its caller. One who is nobody counts as a stranger."""
    limits: Limits | None = getattr(connection.app.state, "limits", None)
    tell: TellRefused | None = getattr(connection.app.state, "tell_refused", None)
    state: Any = connection.state
    try:
        known: Caller = await found
    except Unauthenticated as error:
        if limits is not None:
            limits.take_stranger(connection)
        if "credential" in error.details and connection.headers.get("x-api-key"):
            error.details["credential"] = "key"
        if tell is not None:
            await tell(connection, error)
        raise
    if limits is not None:
        limits.take(connection, f"{known.scope.workspace}/{known.actor}")
    state.caller = known
    return known
