"""What a credential is exchanged for: tokens for one workspace.

People exchange what they signed in with; who holds a refresh token of ours, that; a program its API key (OAuth 2.0 client credentials).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ....errors import Forbidden, Invalid, NotFound, Unauthenticated
from ....kernel.audit import act
from ....kernel.engine import Engine
from ....kernel.types import Actor, Scope
from ....web.caller import PERSONAL, Caller
from ..audit.refusal import Refusals
from ..catalog import KEY, USER
from ..identity import Identity
from ..role import known_capabilities
from ..token import Session
from ..workspace.body import parse_actor
from ..workspace.directory import Directory
from .renewal import Renewals, refused
from .scoped import Passes
from .signing import TOKEN_S

NOT_A_MEMBER = "Not a member of the requested workspace"


class Granted(msgspec.Struct, frozen=True):
    """A token for a workspace. `refresh` is empty where none was made; `scope` are the only capabilities it is good for, empty = all."""

    token: str
    refresh: str = ""
    scope: str = ""
    lasts_s: int = TOKEN_S


class Grants:
    """Exchanges of one server."""

    def __init__(
        self,
        engine: Engine,
        identity: Identity,
        directory: Directory,
        passes: Passes,
        renewals: Renewals,
        refusals: Refusals,
    ) -> None:
        self._engine = engine
        self._identity = identity
        self._directory = directory
        self._passes = passes
        self._renewals = renewals
        self._refusals = refusals

    async def exchange(self, caller: Caller, workspace: str, session: Session | None) -> Granted:
        """A token for the workspace, and a refresh token for who has a session to renew it in. Raises `Forbidden`."""
        if caller.actor.kind != USER:
            raise Forbidden(
                f"{caller.shown} cannot exchange its credential", hint="an API key gives a token by POST /api/v1/auth/token"
            )
        try:
            await self._directory.enter(caller, workspace)
        except NotFound:
            await self._refused(caller.actor, workspace)
        token = await self._make(caller.actor, workspace)
        refresh = ""
        if session is not None and (holder := await self._passes.holder(caller.actor, workspace)):
            refresh = await self._renewals.begin(caller.actor, workspace, holder.turn, session)
        return Granted(token, refresh)

    async def _make(self, actor: Actor, workspace: str, narrow: frozenset[str] | None = None) -> str:
        token = await self._passes.make(actor, workspace, narrow)
        if token is None:
            await self._refused(actor, workspace)
        await self._engine.submit(act(Scope(workspace, ""), actor, "auth.token_issued", f"workspace:{workspace}"))
        return token or ""

    async def _refused(self, actor: Actor, workspace: str) -> None:
        await self._engine.submit(act(PERSONAL, actor, "auth.exchange_refused", f"workspace:{workspace}"))
        raise Forbidden(NOT_A_MEMBER)

    async def refresh(self, token: str, workspace: str = "") -> Granted:
        """The next token by a refresh token, for its workspace or another one. Raises `Invalid` (`invalid_grant`), `Forbidden`."""
        family = await self._renewals.look(token)
        actor, wanted = parse_actor(family.actor), workspace or family.workspace
        holder = await self._passes.holder(actor, wanted)
        if holder is None and workspace:
            await self._refused(actor, workspace)
        if holder is None or holder.turn != family.turn:
            raise refused("its owner is not in the workspace any more, or has ended their sessions")
        renewed = await self._renewals.renew(token, workspace)
        return Granted(await self._make(renewed.actor, renewed.workspace), renewed.token)

    async def by_key(self, client_id: str, client_secret: str, scope: str, address: str = "") -> Granted:
        """A token for who holds an API key. `client_id` is its id or what is shown of it. Raises `Unauthenticated` (`invalid_client`),
        `Invalid` (`invalid_scope`)."""
        caller = await self._holder_of(client_id, client_secret, address)
        asked = known_capabilities(scope.split())
        unknown = [name for name in scope.split() if not known_capabilities((name,))]
        if unknown:
            raise Invalid(f"there is no capability {unknown[0][:40]!r}", code="invalid_scope", hint="docs/words.md lists them")
        beyond = sorted(one for one in asked if not caller.may(one))
        if beyond:
            raise Invalid(f"the key may not {beyond[0]}", code="invalid_scope", hint="leave it out, or use another key")
        token = await self._make(caller.actor, caller.scope.workspace, asked or None)
        return Granted(token, "", " ".join(sorted(asked)))

    async def _holder_of(self, client_id: str, secret: str, address: str) -> Caller:
        caller = None
        if secret.startswith("sk_"):
            try:
                caller = await self._identity.authenticate(secret)
            except Unauthenticated:
                caller = None
        if caller is None or caller.actor.kind != KEY or client_id not in _names(caller.actor.id, secret):
            await self._refusals.failed(f"client:{client_id[:64]}", address, Actor(KEY, ""))
            raise Unauthenticated("client_id and client_secret are not an API key's id and text", code="invalid_client")
        return caller


def _names(id_: str, text: str) -> Iterable[str]:
    """By what a key may be called: its id, or what `/api/v2` or the workspace's list shows of its text."""
    return (id_, text[:8], text[3:11])
