"""Refresh tokens: each is good once and gives the next of its family. One that was used before is shown by two who have it, the owner and
a thief: the whole family ends.

A family is an entry that knows how many of it were used. The token itself says which it is, under our signature, so none is stored.
"""

from __future__ import annotations

import contextlib
import re

import msgspec

from ....errors import Conflict, Invalid, NotFound
from ....kernel.audit import act
from ....kernel.engine import Engine
from ....kernel.record.entry import DropEntry, Entry, PutEntry, entry_stream, find_handle, read_entry
from ....kernel.types import Actor, Command
from ....spec.ids import uuid7
from ....web.caller import PERSONAL
from ..catalog import USER
from ..token import KeyRing, Session
from ..workspace.body import parse_actor

FAMILY = "refresh"
PREFIX = "rt_"
_TOKEN = re.compile(r"rt_([0-9a-f-]{36})\.(\d{1,9})\.([0-9a-f]+)\.([0-9a-f]+)")


class FamilyBody(msgspec.Struct, frozen=True):
    """Whose it is, for which count of their sessions and which workspace, how many of it were used, until when it is good
    (microseconds UTC), and the session it came from."""

    actor: str
    workspace: str
    turn: int
    used: int
    until: int
    session: str = ""


class Renewed(msgspec.Struct, frozen=True):
    """Whose token was shown, and the next one."""

    actor: Actor
    workspace: str
    turn: int
    token: str


def refused(why: str) -> Invalid:
    return Invalid(f"the refresh token is not valid: {why}", code="invalid_grant", hint="sign in again")


class Renewals:
    """The families of this database."""

    def __init__(self, engine: Engine, ring: KeyRing) -> None:
        self._engine = engine
        self._ring = ring

    def _text(self, family: str, number: int) -> str:
        id_, _, digest = self._ring.seal(f"{FAMILY}/{family}/{number}").partition(":")
        return f"{PREFIX}{family}.{number}.{id_}.{digest}"

    async def begin(self, actor: Actor, workspace: str, turn: int, session: Session) -> str:
        """The first token of a family, which is good as long as the session."""
        family = uuid7()
        body = FamilyBody(str(actor), workspace, turn, 0, session.until, session.id)
        order = PutEntry("", msgspec.to_builtins(body), str(actor), str(actor), expect=0)
        await self._engine.submit(Command(entry_stream(FAMILY, family), order, PERSONAL, actor))
        return self._text(family, 0)

    async def look(self, token: str) -> FamilyBody:
        """What a token that may be used is about; one that was used before ends its family. Raises `Invalid` (`invalid_grant`)."""
        return _body(await self._shown(token))

    async def _shown(self, token: str) -> Entry:
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            raise refused("it is none of ours")
        family, number = parts[1], int(parts[2])
        if not self._ring.opens(f"{parts[3]}:{parts[4]}", f"{FAMILY}/{family}/{number}"):
            raise refused("it is none of ours")
        entry = await read_entry(self._engine.store, PERSONAL.workspace, FAMILY, family)
        if entry is None:
            raise refused("it was revoked")
        body = _body(entry)
        if body.until <= self._engine.clock.now():
            raise refused("it has expired")
        if number != body.used:
            await self._revoke(entry)
            raise refused("it was used before; all that came of it is revoked")
        return entry

    async def renew(self, token: str, workspace: str = "") -> Renewed:
        """Take a token, and give the next one, for another workspace when one is given. Raises `Invalid` (`invalid_grant`)."""
        entry = await self._shown(token)
        was, family = _body(entry), entry.id
        body = msgspec.structs.replace(was, used=was.used + 1, workspace=workspace or was.workspace)
        order = PutEntry("", msgspec.to_builtins(body), body.actor, expect=entry.version)
        try:
            await self._engine.submit(Command(entry_stream(FAMILY, family), order, PERSONAL, parse_actor(body.actor)))
        except Conflict:
            await self._revoke(entry)
            raise refused("it was used twice at once; all that came of it is revoked") from None
        except NotFound:
            raise refused("it was revoked") from None
        return Renewed(parse_actor(body.actor), body.workspace, body.turn, self._text(family, body.used))

    async def _revoke(self, entry: Entry) -> None:
        actor = parse_actor(_body(entry).actor)
        commands = (
            Command(entry_stream(FAMILY, entry.id), DropEntry(str(actor)), PERSONAL, actor),
            act(PERSONAL, actor, "auth.refresh_reused", f"{FAMILY}:{entry.id}"),
        )
        try:
            await self._engine.submit_all(commands)
        except NotFound:
            return  # revoked already

    async def end_all(self, session: Session) -> None:
        """End what came of a session."""
        actor = Actor(USER, session.user)
        for entry in await find_handle(self._engine.store, FAMILY, str(actor)):
            if _body(entry).session == session.id:
                with contextlib.suppress(NotFound):  # revoked meanwhile
                    await self._engine.submit(Command(entry_stream(FAMILY, entry.id), DropEntry(str(actor)), PERSONAL, actor))

    async def end(self, token: str) -> None:
        """End the family of a token, where it is one of ours."""
        parts = _TOKEN.fullmatch(token)
        if parts is None or not self._ring.opens(f"{parts[3]}:{parts[4]}", f"{FAMILY}/{parts[1]}/{int(parts[2])}"):
            return
        entry = await read_entry(self._engine.store, PERSONAL.workspace, FAMILY, parts[1])
        if entry is not None:
            actor = parse_actor(_body(entry).actor)
            commands = (
                Command(entry_stream(FAMILY, entry.id), DropEntry(str(actor), entry.version), PERSONAL, actor),
                act(PERSONAL, actor, "auth.signed_out", f"{FAMILY}:{entry.id}"),
            )
            await self._engine.submit_all(commands)


def _body(entry: Entry) -> FamilyBody:
    return msgspec.convert(entry.body, FamilyBody)
