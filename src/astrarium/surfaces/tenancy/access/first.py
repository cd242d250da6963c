"""The first admin by a link: a server with built-in users and none of them yet prints one at its start.

Who opens it within an hour chooses a name and a password. It works once: the first user comes with a mark that there was one.
"""

from __future__ import annotations

import msgspec

from ....errors import Forbidden, Refused
from ....kernel.engine import Engine
from ....kernel.record.entry import Entry, PutEntry, entry_stream, list_entries, read_entry
from ....kernel.types import Actor, Command
from ....spec.ids import uuid7
from ....web.caller import EVERYTHING, PERSONAL, Caller
from ..catalog import USER, Users
from ..role import ADMIN
from ..token import KeyRing

PURPOSE, MARK, MARK_ID = "set-up", "set_up", "first"
LINK_S = 3600
MICROS = 1_000_000
BY_LINK = Caller(Actor("link", ""), PERSONAL, ADMIN, EVERYTHING, "set-up link")
OVER = "the set-up link is over or was used"


class First:
    """The one time a user is made without one."""

    def __init__(self, engine: Engine, ring: KeyRing, users: Users) -> None:
        self._engine = engine
        self._ring = ring
        self._users = users

    async def is_open(self) -> bool:
        """Whether nobody has been here yet."""
        store = self._engine.store
        if await read_entry(store, PERSONAL.workspace, MARK, MARK_ID) is not None:
            return False
        return not await list_entries(store, PERSONAL.workspace, USER)

    def link(self) -> str:
        """The secret part of a link."""
        return self._ring.stamp(PURPOSE, {"id": uuid7()}, self._engine.clock.now() + LINK_S * MICROS)

    async def check(self, text: str) -> None:
        """Raises `Forbidden`."""
        if self._ring.read_stamp(PURPOSE, text, self._engine.clock.now()) is None or not await self.is_open():
            raise Forbidden(OVER, hint="`astrarium admin create` makes users on the server's machine")

    async def make(self, text: str, name: str, password: str) -> Entry:
        """The first admin. Raises `Forbidden`, `Invalid`."""
        await self.check(text)
        mark = PutEntry("", msgspec.to_builtins({"name": name}), str(BY_LINK.actor), expect=0)
        marking = Command(entry_stream(MARK, MARK_ID), mark, PERSONAL, BY_LINK.actor)
        try:
            return await self._users.create(BY_LINK, name, password, ADMIN, (marking,))
        except Refused:
            raise Forbidden(OVER, hint="sign in") from None
