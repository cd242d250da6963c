"""How a credential becomes a caller, and how a password becomes a session.

A request costs look-ups in memory and one fast hash, never a password's hash. What is at hand is forgotten as soon as an entry of
its kind changes in this process, and is at most a second old where other servers write to the database as well.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec

from ...config import Settings
from ...errors import NotFound, Unauthenticated
from ...kernel.audit import act
from ...kernel.engine import Engine
from ...kernel.machine import Registry
from ...kernel.record.entry import (
    Entry,
    EntryDropped,
    EntryPut,
    TouchEntry,
    entry_stream,
    find_entry,
    find_handle,
    kind_and_id,
    read_entry,
)
from ...kernel.types import Actor, Command, Receipt, Scope
from ...web.caller import LOCAL_OWNER, PERSONAL, Caller
from .catalog import HANDLE, KEY, USER, key_body, key_name, user_body
from .password import Lockout, Passwords
from .role import ADMIN, capabilities_in, capabilities_of
from .token import KeyRing, Session

LOG = logging.getLogger("astrarium.tenancy")
SECOND = 1_000_000
FRESH_US = SECOND
"""How old what is at hand may be where other servers write too."""
USED_AGAIN_US = 600 * SECOND
"""Between two notes in the store that a key was used; what this process knows better it tells."""
KEPT = 10_000

T = TypeVar("T")


class AtHand(Generic[T]):
    """What was looked up, by key. `forget` is told of changes; a look-up under way meanwhile is not kept."""

    def __init__(self, look_up: Callable[[str], Awaitable[T | None]], engine: Engine) -> None:
        self._look_up = look_up
        self._engine = engine
        self._known: dict[str, tuple[T, int]] = {}
        self._turn = 0

    async def get(self, key: str) -> T | None:
        known = self._known.get(key)
        if known is not None and (not self._engine.store.shared or self._engine.clock.now() - known[1] < FRESH_US):
            return known[0]
        turn, now = self._turn, self._engine.clock.now()
        found = await self._look_up(key)
        self._known.pop(key, None)
        if found is not None and turn == self._turn:
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[key] = (found, now)
        return found

    def forget(self) -> None:
        self._turn += 1
        self._known.clear()


class KnownKey(msgspec.Struct, frozen=True):
    """A key as requests need it."""

    id: str
    verifier: str
    expires_at: int
    used_at: int
    caller: Caller


class KnownUser(msgspec.Struct, frozen=True):
    turn: int
    caller: Caller


class Challenge:
    """The `WWW-Authenticate` of a refusal, and its words."""

    def __init__(self, settings: Settings) -> None:
        basic = ', Basic realm="astrarium"' if settings.auth_username else ""
        self._schemes = 'Bearer realm="astrarium"' + basic

    def missing(self) -> Unauthenticated:
        return Unauthenticated(
            "this server wants a credential", code="auth.unauthorized", challenge=self._schemes,
            hint="send an API key or a token as `Authorization: Bearer …`; POST /api/v2/auth/login gives a token for a password",
        )  # fmt: skip

    def invalid(
        self, why: str = "it is not known here, or not any more", *, credential: str = "token", expired: bool = False
    ) -> Unauthenticated:
        """`credential`: `key` or `token`; what it is and whether it was valid once are told in `details`, for clients act on it."""
        return Unauthenticated(
            f"the credential is not valid: {why}", code="auth.token_invalid", challenge=self._schemes,
            details={"credential": credential, "expired": expired},
        )  # fmt: skip


class Identity:
    """One server's way from credentials to callers. `local_token` is what `server.json` holds: who can read that is the owner."""

    def __init__(
        self, engine: Engine, settings: Settings, ring: KeyRing, passwords: Passwords, local_token: str, registry: Registry
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._ring = ring
        self._passwords = passwords
        self._lockout = Lockout()
        self._challenge = Challenge(settings)
        self._open = is_open(settings)
        self._local_token = local_token.encode()
        self._static_token = settings.auth_token.encode()
        self._keys: AtHand[tuple[KnownKey, ...]] = AtHand(self._look_up_keys, engine)
        self._users: AtHand[KnownUser] = AtHand(self._look_up_user, engine)
        self._sessions: dict[str, Session] = {}
        self._used: dict[str, int] = {}
        self._noted: dict[str, int] = {}
        for event in (EntryPut, EntryDropped):
            registry.listen(event, self._changed)

    def _changed(self, stream: str, event: Any) -> None:
        kind, _ = kind_and_id(stream)
        if kind == KEY:
            self._keys.forget()
        elif kind == USER:
            self._users.forget()

    # -- requests -------------------------------------------------------------------------------------------------------

    async def authenticate(self, credential: str) -> Caller:
        """Who presents this credential; without one the local owner, where the server is open. Raises `Unauthenticated`."""
        if not credential:
            if self._open:
                return LOCAL_OWNER
            raise self._challenge.missing()
        if credential.startswith("sk_"):
            return await self._by_key(credential)
        if credential[:6].lower() == "basic ":
            return self._by_basic(credential[6:])
        given = credential.encode("utf-8", "surrogatepass")
        if self._local_token and hmac.compare_digest(given, self._local_token):
            return LOCAL_OWNER
        if self._static_token and hmac.compare_digest(given, self._static_token):
            return Caller(Actor("token", "static"), PERSONAL, ADMIN, capabilities_of(ADMIN), "static token")
        return await self._by_session(credential)

    def _by_basic(self, encoded: str) -> Caller:
        """The name and password of the settings (Dagu 1.30: `auth.basic`); built-in users sign in for a token instead."""
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise self._challenge.invalid("it is not base64") from None
        name, password = self._settings.auth_username, self._settings.auth_password
        wanted = f"{name}:{password}".encode()
        if not name or not hmac.compare_digest(given, wanted):
            raise self._challenge.invalid("wrong user name or password")
        return Caller(Actor("basic", name), PERSONAL, ADMIN, capabilities_of(ADMIN), name)

    async def _by_key(self, text: str) -> Caller:
        now = self._engine.clock.now()
        for known in await self._keys.get(text[:HANDLE]) or ():
            if self._ring.opens(known.verifier, text):
                if known.expires_at and known.expires_at <= now:
                    raise self._challenge.invalid("the key has expired", credential="key", expired=True)
                self.note_use(KEY, known.id, known.used_at, known.caller.scope, now)
                return known.caller
        raise self._challenge.invalid(credential="key")

    async def _look_up_keys(self, handle: str) -> tuple[KnownKey, ...] | None:
        made = []
        for entry in await find_handle(self._engine.store, KEY, handle):
            body = key_body(entry)
            scope = Scope(entry.workspace, body.environment)
            caller = Caller(Actor(KEY, entry.id), scope, body.role, capabilities_in(entry.workspace, body.role), key_name(entry))
            made.append(KnownKey(entry.id, entry.verifier, body.expires_at, entry.used_at, caller))
        return tuple(made) or None

    async def _by_session(self, token: str) -> Caller:
        session = self._sessions.get(token)
        if session is None:
            session = self._ring.read(token)
            if session is None:
                raise self._challenge.invalid()
            if len(self._sessions) >= KEPT:
                self._sessions.clear()
            self._sessions[token] = session
        if session.until <= self._engine.clock.now():
            self._sessions.pop(token, None)
            raise self._challenge.invalid("the session has ended; sign in again", expired=True)
        user = await self._users.get(f"{session.workspace}/{session.user}")
        if user is None or user.turn != session.turn:
            raise self._challenge.invalid("the session was ended; sign in again")
        return user.caller

    async def _look_up_user(self, key: str) -> KnownUser | None:
        workspace, _, id_ = key.partition("/")
        entry = await read_entry(self._engine.store, workspace, USER, id_)
        return None if entry is None else KnownUser(user_body(entry).turn, self._caller_of(entry))

    def _caller_of(self, entry: Entry) -> Caller:
        scope = Scope(entry.workspace, PERSONAL.environment)
        role = user_body(entry).role
        return Caller(Actor(USER, entry.id), scope, role, capabilities_of(role), entry.name)

    # -- use ------------------------------------------------------------------------------------------------------------

    def note_use(self, kind: str, id_: str, noted: int, scope: Scope, now: int) -> None:
        """Remember that an entry was used, and write it down now and then, without making the request wait."""
        self._used[id_] = now
        if now - max(noted, self._noted.get(id_, 0)) >= USED_AGAIN_US:
            self._noted[id_] = now
            self._engine.post(Command(entry_stream(kind, id_), TouchEntry(), scope), _told)

    def used_at(self, entry: Entry) -> int:
        """When an entry was last used, as far as this process knows."""
        return max(entry.used_at, self._used.get(entry.id, 0))

    # -- signing in -----------------------------------------------------------------------------------------------------

    async def sign_in(self, name: str, password: str) -> tuple[Entry, str, int]:
        """The user, a session token, and when it ends (microseconds UTC). Raises `Unauthenticated`, in the same words and time
        whether there is such a user or not; after repeated failures a name has to wait."""
        wait_s = self._lockout.wait_s(name, self._engine.clock.now())
        if wait_s:
            raise Unauthenticated(
                f"too many failed sign-ins of this name; it has to wait {wait_s} s", code="auth.unauthorized",
                details={"retryAfter": wait_s},
            )  # fmt: skip
        entry = await find_entry(self._engine.store, PERSONAL.workspace, USER, name)
        good = await self._passwords.matches(entry.verifier if entry is not None else "", password)
        now = self._engine.clock.now()
        if entry is None or not good:
            self._lockout.failed(name, now)
            await self._engine.submit(act(PERSONAL, Actor("user", ""), "auth.sign_in_failed", f"user:{name[:64]}"))
            raise Unauthenticated("wrong user name or password", code="auth.unauthorized")
        self._lockout.succeeded(name)
        until = (now // SECOND + self._settings.session_s) * SECOND
        token = self._ring.sign(Session(entry.id, entry.workspace, user_body(entry).turn, until), now)
        caller = self._caller_of(entry)
        await self._engine.submit(act(caller.scope, caller.actor, "auth.signed_in", f"user:{entry.id}", name=entry.name))
        return entry, token, until

    async def account(self, caller: Caller) -> Entry:
        """The entry of the caller's own account; who is none (the owner of a machine, a key, a token of the settings) is described as
        one. Times of those are 0."""
        if caller.actor.kind == USER:
            entry = await read_entry(self._engine.store, caller.scope.workspace, USER, caller.actor.id)
            if entry is not None:
                return entry
        return Entry(caller.scope.workspace, USER, caller.actor.id, caller.shown, body={"role": caller.role})

    async def denied(self, caller: Caller, capability: str, operation: str, path: str) -> None:
        """Record a denial, before it is answered."""
        detail = {"needs": capability, "path": path[:200], "role": caller.role}
        await self._engine.submit(act(caller.scope, caller.actor, "auth.denied", f"operation:{operation}", **detail))

    async def acted(self, caller: Caller, operation: str, path: str) -> None:
        """Record what an operation did."""
        await self._engine.submit(act(caller.scope, caller.actor, f"api.{operation}", path[:200], role=caller.role))


def is_open(settings: Settings) -> bool:
    """Whether a request without a credential is the local owner's: nobody asked for any way of signing in."""
    return settings.auth == "none" and not settings.auth_token and not settings.auth_username


def _told(receipt: Receipt | None, error: Exception | None) -> None:
    """Nobody waits for a note of use: one that could not be written is the next one's."""
    if error is not None and not isinstance(error, NotFound):
        LOG.warning("the use of a key could not be noted: %s", error)
