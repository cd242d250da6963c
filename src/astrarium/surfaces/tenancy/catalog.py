"""The named entries of this surface: built-in users and API keys. Rules of what they may be; not who may change them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from ...errors import Forbidden, Invalid, NotFound, Problem, Unauthenticated
from ...kernel.audit import act
from ...kernel.engine import Engine
from ...kernel.record.entry import DropEntry, Entry, PutEntry, drop_entry, entry_stream, list_entries, put_entry, read_entry
from ...kernel.types import Actor, Command, Scope
from ...spec.ids import uuid7
from ...web.caller import Caller
from .password import Passwords, check_password
from .role import check_role
from .token import KeyRing, new_key

USER, KEY = "user", "key"
NOBODY = "none"
NAME_MAX, KEY_NAME_MAX, DESCRIPTION_MAX = 64, 100, 500
SHOWN = 8
"""Characters of a key that are shown later (Dagu 1.30)."""
HANDLE = 18
"""Characters a key is found by: its mark and 48 random bits; 144 secret ones follow."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class UserBody(msgspec.Struct, frozen=True):
    """`role` is the one on this server itself, with its DAG files; NOBODY has none there. `turn` counts the ends of all sessions: a
    token of an earlier turn is not valid any more. The others are of people an OIDC provider knows: its `sub`, their address and
    whether the provider vouches for it, how they are called, and the id of their personal workspace."""

    role: str
    turn: int = 0
    external_id: str = ""
    email: str = ""
    email_verified: bool = True
    display_name: str = ""
    home: str = ""


class KeyBody(msgspec.Struct, frozen=True):
    """`expires_at` in microseconds UTC, 0 = never. `label` is the name of a key whose entry has none: names of keys that were made in
    an environment need not be unique. `mark` are the eight characters after `sk_`."""

    role: str
    environment: str
    prefix: str
    description: str = ""
    expires_at: int = 0
    label: str = ""
    mark: str = ""


def user_body(entry: Entry) -> UserBody:
    return msgspec.convert(entry.body, UserBody)


def key_body(entry: Entry) -> KeyBody:
    return msgspec.convert(entry.body, KeyBody)


def key_name(entry: Entry) -> str:
    """What people call a key."""
    return entry.name or key_body(entry).label


def check_label(text: str, path: str, most: int, *, least: int = 1) -> str:
    """A name or description people read. Raises `Invalid`."""
    if not least <= len(text) <= most or _CONTROL.search(text) or text != text.strip():
        told = f"must have {least} to {most} characters, none of them a control character, and no blanks at its ends"
        raise Invalid(f"{path} {told}", [Problem(told, path=path)])
    return text


class Users:
    """Built-in users of the caller's workspace."""

    def __init__(self, engine: Engine, passwords: Passwords) -> None:
        self._engine = engine
        self._passwords = passwords

    async def all(self, caller: Caller) -> list[Entry]:
        return await list_entries(self._engine.store, caller.scope.workspace, USER)

    async def get(self, caller: Caller, id_: str) -> Entry:
        """Raises `NotFound`."""
        return _found(await read_entry(self._engine.store, caller.scope.workspace, USER, id_), USER, id_)

    async def create(self, caller: Caller, name: str, password: str, role: str, along: Sequence[Command] = ()) -> Entry:
        """Make a user, and carry out what goes `along`: both or neither. Raises `Invalid`, `Refused` (`already_exists`)."""
        check_label(name, "username", NAME_MAX)
        body = UserBody(check_role(role))
        verifier = await self._passwords.make(check_password(password))
        order, id_ = PutEntry(name, msgspec.to_builtins(body), str(caller.actor), "", verifier, expect=0), uuid7()
        making = Command(entry_stream(USER, id_), order, caller.scope, caller.actor)
        told = act(caller.scope, caller.actor, "user.created", f"{USER}:{id_}", name=name, role=role)
        await self._engine.submit_all((making, told, *along))
        return await self.get(caller, id_)

    async def change(self, caller: Caller, id_: str, name: str | None, role: str | None) -> Entry:
        """Raises `Invalid`, `NotFound`, `Refused` (`already_exists`), `Conflict`."""
        entry = await self.get(caller, id_)
        body = user_body(entry)
        name = check_label(name, "username", NAME_MAX) if name is not None else entry.name
        body = msgspec.structs.replace(body, role=check_role(role)) if role is not None else body
        order = PutEntry(name, msgspec.to_builtins(body), str(caller.actor), expect=entry.version)
        return await put_entry(
            self._engine, caller.scope, caller.actor, USER, id_, order, "user.changed", name=name, role=body.role
        )

    async def drop(self, caller: Caller, id_: str) -> None:
        """Raises `NotFound`, and `Forbidden` for one's own account (Dagu 1.30)."""
        entry = await self.get(caller, id_)
        if caller.actor.kind == USER and caller.actor.id == id_:
            raise Forbidden("nobody can delete their own account", hint="ask another admin")
        order = DropEntry(str(caller.actor), entry.version)
        await drop_entry(self._engine, caller.scope, caller.actor, USER, id_, order, "user.deleted", name=entry.name)

    async def reset_password(self, caller: Caller, id_: str, password: str) -> None:
        """Give a user another password; their sessions end. Raises `Invalid`, `NotFound`."""
        check_password(password, "newPassword")
        await self._set_password(caller, await self.get(caller, id_), password, "user.password_reset")

    async def change_password(self, caller: Caller, entry: Entry, current: str, password: str) -> None:
        """Change one's own password; all sessions end. Raises `Invalid`, and `Unauthenticated` when `current` is wrong."""
        check_password(password, "newPassword")
        if not await self._passwords.matches(entry.verifier, current):
            raise Unauthenticated("the current password is wrong", code="auth.unauthorized")
        await self._set_password(caller, entry, password, "user.password_changed")

    async def _set_password(self, caller: Caller, entry: Entry, password: str, what: str) -> None:
        verifier = await self._passwords.make(password)
        body = user_body(entry)
        body = msgspec.structs.replace(body, turn=body.turn + 1)
        order = PutEntry(entry.name, msgspec.to_builtins(body), str(caller.actor), "", verifier, expect=entry.version)
        await put_entry(self._engine, caller.scope, caller.actor, USER, entry.id, order, what, name=entry.name)


class Keys:
    """API keys of the caller's workspace."""

    def __init__(self, engine: Engine, ring: KeyRing) -> None:
        self._engine = engine
        self._ring = ring

    async def all(self, caller: Caller) -> list[Entry]:
        return await list_entries(self._engine.store, caller.scope.workspace, KEY)

    async def get(self, caller: Caller, id_: str) -> Entry:
        """Raises `NotFound`."""
        return _found(await read_entry(self._engine.store, caller.scope.workspace, KEY, id_), "API key", id_)

    async def create(self, caller: Caller, name: str, role: str, description: str = "", expires_at: int = 0) -> tuple[Entry, str]:
        """A key and its text, which nobody can read again. Raises `Invalid`, `Refused` (`already_exists`)."""
        check_label(name, "name", KEY_NAME_MAX)
        check_label(description, "description", DESCRIPTION_MAX, least=0)
        if expires_at and expires_at <= self._engine.clock.now():
            raise Invalid("expiresAt lies in the past", [Problem("must lie in the future", path="expiresAt")])
        scope = caller.scope
        order, text = self.draft(scope, caller.actor, name, role, description, expires_at)
        entry = await put_entry(self._engine, scope, caller.actor, KEY, uuid7(), order, "key.created", name=name, role=role)
        return entry, text

    def draft(
        self, scope: Scope, actor: Actor, name: str, role: str, description: str = "", expires_at: int = 0, label: str = ""
    ) -> tuple[PutEntry, str]:
        """The order that makes a key in the scope's environment, and the key's text. Raises `Invalid`."""
        text = new_key(scope.workspace, scope.environment)
        body = KeyBody(check_role(role), scope.environment, text[:SHOWN], description, expires_at, label, text[3 : 3 + SHOWN])
        made = PutEntry(name, msgspec.to_builtins(body), str(actor), text[:HANDLE], self._ring.seal(text), expect=0)
        return made, text

    async def change(self, caller: Caller, id_: str, name: str | None, description: str | None, role: str | None) -> Entry:
        """Raises `Invalid`, `NotFound`, `Refused` (`already_exists`), `Conflict`."""
        entry = await self.get(caller, id_)
        body = key_body(entry)
        name = check_label(name, "name", KEY_NAME_MAX) if name is not None else entry.name
        if description is not None:
            check_label(description, "description", DESCRIPTION_MAX, least=0)
            body = msgspec.structs.replace(body, description=description)
        if role is not None:
            body = msgspec.structs.replace(body, role=check_role(role))
        order = PutEntry(name, msgspec.to_builtins(body), str(caller.actor), expect=entry.version)
        return await put_entry(
            self._engine, caller.scope, caller.actor, KEY, id_, order, "key.changed", name=name, role=body.role
        )

    async def drop(self, caller: Caller, id_: str) -> None:
        """Revoke a key. Raises `NotFound`."""
        entry = await self.get(caller, id_)
        order = DropEntry(str(caller.actor), entry.version)
        await drop_entry(self._engine, caller.scope, caller.actor, KEY, id_, order, "key.revoked", name=key_name(entry))


def _found(entry: Entry | None, kind: str, id_: str) -> Entry:
    if entry is None:
        raise NotFound(f"there is no {kind} {id_[:80]!r}")
    return entry
