"""Our tokens for workspaces: signed with RS256, good for ten minutes and one workspace.

Stardag's claims (`sub`, `workspace_id`) and Stargraph's (`user_id`, `tenant_id`, `roles`, `permissions`) say the same. What counts is what
is true when the token is used: whose it is must still be there and in the workspace, and has the role they have there now.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from ....config import Settings
from ....kernel.engine import Engine
from ....kernel.machine import Registry
from ....kernel.record.entry import find_entry, read_entry
from ....kernel.types import Actor, Scope
from ....spec.ids import uuid7
from ....web.caller import LOCAL_OWNER, PERSONAL, Caller
from ..catalog import KEY, USER, key_body, key_name, user_body
from ..role import ROLES, capabilities_in, known_capabilities, parts_of
from ..workspace.body import MEMBER, actor_id, known_id, shown_id
from .at_hand import AtHand
from .challenge import Challenge
from .signing import MICROS, TOKEN_S, Signers

AUDIENCE = "astrarium"
ISSUER = "astrarium"
"""Who our tokens are from where no public address is set."""


class Pass(msgspec.Struct, frozen=True):
    """What a token for a workspace says: whose (kind and id of the actor), where, for which count of a user's sessions, until when
    (microseconds UTC). `narrow`: the only capabilities it is good for; None = all its holder has."""

    kind: str
    id: str
    workspace: str
    turn: int
    until: int
    narrow: frozenset[str] | None = None


class Holder(msgspec.Struct, frozen=True):
    """Who holds tokens for a workspace, as they are in it now. `expires_at` is that of a key, 0 = never."""

    turn: int
    expires_at: int
    caller: Caller


class Passes:
    """Makes such tokens and reads them."""

    def __init__(self, engine: Engine, settings: Settings, signers: Signers, challenge: Challenge, registry: Registry) -> None:
        self._engine = engine
        self._signers = signers
        self._challenge = challenge
        self.issuer = settings.public_url.rstrip("/") or ISSUER
        self._holders: AtHand[Holder] = AtHand(self._look_up, engine)
        self._holders.rests_on(registry, USER, KEY, MEMBER)

    async def _look_up(self, key: str) -> Holder | None:
        kind, workspace, id_ = key.split("/", 2)
        return await (self._key(workspace, id_) if kind == KEY else self._user(workspace, Actor(kind, id_)))

    async def _key(self, workspace: str, id_: str) -> Holder | None:
        entry = await read_entry(self._engine.store, workspace, KEY, id_)
        if entry is None:
            return None
        body = key_body(entry)
        may = capabilities_in(workspace, body.role, body.environment)
        scope = Scope(workspace, body.environment)
        return Holder(0, body.expires_at, Caller(Actor(KEY, id_), scope, body.role, may, key_name(entry), True))

    async def _user(self, workspace: str, actor: Actor) -> Holder | None:
        store, turn, name, role = self._engine.store, 0, actor.id, ""
        if actor != LOCAL_OWNER.actor:
            entry = await read_entry(store, PERSONAL.workspace, USER, actor.id)
            if entry is None:
                return None
            body = user_body(entry)
            turn, name = body.turn, entry.name
            role = body.role if workspace == PERSONAL.workspace and body.role in ROLES else ""
        member = await find_entry(store, workspace, MEMBER, str(actor))
        role = str(member.body["role"]) if member is not None else role
        if not role:
            return None
        scope = Scope(workspace, PERSONAL.environment if workspace == PERSONAL.workspace else "")
        return Holder(turn, 0, Caller(actor, scope, role, capabilities_in(workspace, role), name, True))

    async def holder(self, actor: Actor, workspace: str) -> Holder | None:
        """The actor as they are in the workspace; None where they are nobody."""
        return await self._holders.get(f"{actor.kind}/{workspace}/{actor.id}")

    async def make(self, actor: Actor, workspace: str, narrow: Collection[str] | None = None) -> str | None:
        """A token for the actor, who must be in the workspace: None where they are not. Raises `Unavailable`."""
        holder = await self.holder(actor, workspace)
        if holder is None:
            return None
        caller, now = holder.caller, self._engine.clock.now() // MICROS
        may = caller.capabilities if narrow is None else caller.capabilities & frozenset(narrow)
        claims = {
            "sub": actor.id, "workspace_id": shown_id(workspace), "iss": self.issuer, "aud": AUDIENCE, "iat": now,
            "exp": now + TOKEN_S, "jti": uuid7(), "user_id": actor_id(str(actor)), "tenant_id": shown_id(workspace),
            "roles": [parts_of(caller.role)[0]], "permissions": sorted(may), "kind": actor.kind, "turn": holder.turn,
            "narrow": narrow is not None,
        }  # fmt: skip
        return await self._signers.sign(claims)

    async def read(self, token: str, kid: str) -> Pass | None:
        """What a token of ours says; None when none of our keys signed it. Whether it is over is for `open` to see."""
        claims = await self._signers.read(token, kid, self.issuer, AUDIENCE)
        if claims is None:
            return None
        narrow = known_capabilities(claims["permissions"]) if claims["narrow"] else None
        workspace = known_id(claims["workspace_id"])
        return Pass(claims["kind"], claims["sub"], workspace, claims["turn"], claims["exp"] * MICROS, narrow)

    async def open(self, shown: Pass) -> Caller:
        """The caller a token stands for, as they are now. Raises `Unauthenticated`."""
        now = self._engine.clock.now()
        if shown.until <= now:
            raise self._challenge.invalid("it is over; get another one", expired=True)
        holder = await self._holders.get(f"{shown.kind}/{shown.workspace}/{shown.id}")
        if holder is None or holder.turn != shown.turn or 0 < holder.expires_at <= now:
            raise self._challenge.invalid("whose it is, is not in the workspace any more, or has ended their sessions")
        if shown.narrow is None:
            return holder.caller
        return msgspec.structs.replace(holder.caller, capabilities=holder.caller.capabilities & shown.narrow)
