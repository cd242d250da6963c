"""How a credential becomes a caller, and how a password becomes a session.

A request costs look-ups in memory and one fast hash, never a password's hash. What is at hand is forgotten as soon as an entry of
its kind changes in this process, and is at most a second old where other servers write to the database as well.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import logging
import secrets
from typing import TYPE_CHECKING

import msgspec

from ...config import Settings
from ...errors import NotFound, Refused, TooOften, Unauthenticated
from ...kernel.audit import act
from ...kernel.engine import Engine
from ...kernel.machine import Registry
from ...kernel.record.entry import (
    Entry,
    PutEntry,
    TouchEntry,
    entry_stream,
    find_entry,
    find_handle,
    read_entry,
)
from ...kernel.types import Actor, Command, Receipt, Scope
from ...lazy import library
from ...web.caller import COOKIE_SCHEME, LOCAL_OWNER, PERSONAL, Caller
from .access.at_hand import KEPT, AtHand
from .access.challenge import Challenge
from .access.newcomer import Outsider, Outsiders
from .access.scoped import Pass, Passes
from .access.ticket import Tickets
from .audit.refusal import Refusals
from .catalog import HANDLE, KEY, NAME_MAX, USER, key_body, key_name, user_body
from .password import Attempts, Passwords
from .role import ADMIN, ROLES, capabilities_in, capabilities_of
from .token import KeyRing, Session
from .workspace.body import MEMBER
from .workspace.person import NO_DOMAIN

if TYPE_CHECKING:
    import jwt
else:
    jwt = library("jwt")

LOG = logging.getLogger("astrarium.tenancy")
SECOND = 1_000_000
ENDED = "ended_session"
"""Sessions that were signed out of: entries until they would have ended by themselves."""
USED_AGAIN_US = 600 * SECOND
"""Between two notes in the store that a key was used; what this process knows better it tells."""

class KnownKey(msgspec.Struct, frozen=True):
    """A key as requests need it."""

    id: str
    verifier: str
    expires_at: int
    used_at: int
    caller: Caller


class KnownUser(msgspec.Struct, frozen=True):
    """`ended` are the sessions they signed out of."""

    turn: int
    caller: Caller
    ended: frozenset[str]


class Identity:
    """One server's way from credentials to callers. `local_token` is what `server.json` holds: who can read that is the owner."""

    def __init__(
        self, engine: Engine, settings: Settings, ring: KeyRing, passwords: Passwords, local_token: str, registry: Registry,
        challenge: Challenge, passes: Passes, tickets: Tickets, outsiders: Outsiders | None, refusals: Refusals,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._settings = settings
        self._ring = ring
        self._passwords = passwords
        self._attempts = Attempts()
        self._refusals = refusals
        self._challenge = challenge
        self._passes = passes
        self._tickets = tickets
        self._outsiders = outsiders
        self._open = is_open(settings)
        self._local_token = local_token.encode()
        self._static_token = settings.auth_token.encode()
        self._keys: AtHand[tuple[KnownKey, ...]] = AtHand(self._look_up_keys, engine)
        self._users: AtHand[KnownUser] = AtHand(self._look_up_user, engine)
        self._keys.rests_on(registry, KEY)
        self._users.rests_on(registry, USER, MEMBER, ENDED)
        self._tokens: dict[str, Session | Pass | Outsider] = {}
        self._used: dict[str, int] = {}
        self._noted: dict[str, int] = {}

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
        if credential.startswith(COOKIE_SCHEME):
            return LOCAL_OWNER if self._open else await self._by_token(credential.removeprefix(COOKIE_SCHEME))
        given = credential.encode("utf-8", "surrogatepass")
        if self._local_token and hmac.compare_digest(given, self._local_token):
            return LOCAL_OWNER
        if self._static_token and hmac.compare_digest(given, self._static_token):
            return Caller(Actor("token", "static"), PERSONAL, ADMIN, capabilities_of(ADMIN), "static token")
        return await self._by_token(credential)

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

    async def _by_token(self, token: str) -> Caller:
        known = self._tokens.get(token)
        if known is None:
            known = await self._read_token(token)
            if len(self._tokens) >= KEPT:
                self._tokens.clear()
            self._tokens[token] = known
        if isinstance(known, Pass):
            return await self._passes.open(known)
        if known.until <= self._engine.clock.now():
            self._tokens.pop(token, None)
            raise self._challenge.invalid("the session has ended; sign in again", expired=True)
        user = await self._users.get(known.user)
        if user is None or (isinstance(known, Session) and (user.turn != known.turn or known.id in user.ended)):
            raise self._challenge.invalid("the session was ended; sign in again")
        return user.caller

    async def _read_token(self, token: str) -> Session | Pass | Outsider:
        """A session or a token for a workspace that we signed, or a token of the provider. Raises `Unauthenticated`."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.InvalidTokenError, ValueError):
            raise self._challenge.invalid() from None
        ours = self._ring.read(token) or await self._passes.read(token, str(header.get("kid", "")))
        if ours is not None:
            return ours
        if self._outsiders is None:
            raise self._challenge.invalid()
        return await self._outsiders.recognise(token)

    async def take_ticket(self, ticket: str) -> Caller:
        """The caller a ticket stands for, once: for routes of streams, whose clients cannot send a header. Raises `Unauthenticated`."""
        return await self._tickets.take(ticket)

    async def _look_up_user(self, id_: str) -> KnownUser | None:
        """Accounts of this server act in its personal workspace; people a provider vouches for in their own, unless they have a role
        here as well."""
        entry = await read_entry(self._engine.store, PERSONAL.workspace, USER, id_)
        if entry is None:
            return None
        body = user_body(entry)
        ended = frozenset(one.id for one in await find_handle(self._engine.store, ENDED, id_))
        if body.role in ROLES or not body.home:
            return KnownUser(body.turn, self._caller_of(entry), ended)
        actor = Actor(USER, id_)
        member = await find_entry(self._engine.store, body.home, MEMBER, str(actor))
        role = str(member.body["role"]) if member is not None else ""
        caller = Caller(actor, Scope(body.home, ""), role, capabilities_in(body.home, role), entry.name)
        return KnownUser(body.turn, caller, ended)

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

    async def sign_in(self, name: str, password: str, address: str = "") -> tuple[Entry, str, int]:
        """The user, a session token, and when it ends (microseconds UTC). Raises `Unauthenticated`, in the same words and time
        whether there is such a user or not; `TooOften` when a name was tried too often, from this address or from anywhere."""
        name = name.removesuffix(f"@{NO_DOMAIN}")
        shown = f"{USER}:{name[:NAME_MAX]}"
        wait_s = self._attempts.begin(shown.lower(), address, self._engine.clock.now())
        if wait_s:
            await self._refusals.failed(shown, address, why="tried too often")
            raise TooOften(f"too many sign-ins of this name were tried; it has to wait {wait_s} s", retry_after_s=wait_s)
        entry = await find_entry(self._engine.store, PERSONAL.workspace, USER, name)
        good = await self._passwords.matches(entry.verifier if entry is not None else "", password)
        if entry is None or not good:
            await self._refusals.failed(shown, address)
            raise Unauthenticated("wrong user name or password", code="auth.unauthorized")
        self._attempts.succeeded(shown.lower(), address)
        token, until = await self.begin_session(entry, "password")
        return entry, token, until

    async def begin_session(self, entry: Entry, way: str) -> tuple[str, int]:
        """A session of a user who showed who they are, and when it ends (microseconds UTC)."""
        now = self._engine.clock.now()
        until = (now // SECOND + self._settings.session_s) * SECOND
        session = Session(entry.id, entry.workspace, user_body(entry).turn, until, secrets.token_hex(8))
        token = self._ring.sign(session, now)
        told = act(PERSONAL, Actor(USER, entry.id), "auth.signed_in", f"user:{entry.id}", name=entry.name, way=way)
        await self._engine.submit(told)
        return token, until

    def session_of(self, credential: str) -> Session | None:
        """The session a request presented; None for what is none of ours, or over."""
        session = self._ring.read(credential.removeprefix(COOKIE_SCHEME))
        return session if session is not None and session.until > self._engine.clock.now() else None

    async def end_session(self, session: Session) -> None:
        """Sign a user out of one session: here at once, at other servers of the database within a second."""
        actor = Actor(USER, session.user)
        order = PutEntry("", {"until": session.until}, str(actor), session.user, expect=0)
        commands = [
            Command(entry_stream(ENDED, session.id), order, PERSONAL, actor),
            act(PERSONAL, actor, "auth.signed_out", f"{USER}:{session.user}"),
        ]
        with contextlib.suppress(Refused):  # signed out of before
            await self._engine.submit_all(commands)

    async def account(self, caller: Caller) -> Entry:
        """The entry of the caller's own account; who is none (the owner of a machine, a key, a token of the settings) is described as
        one. Times of those are 0."""
        if caller.actor.kind == USER:
            entry = await read_entry(self._engine.store, PERSONAL.workspace, USER, caller.actor.id)
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
