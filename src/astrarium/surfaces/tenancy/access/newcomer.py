"""People an OIDC provider vouches for, as users of this server. The first contact makes the user and a workspace of their own.

Stardag: found by `external_id` (the provider's `sub`), else by the e-mail address, whose `external_id` is then another one: the team has
changed its provider. Address and name follow the token. Making user and workspace is one transaction, so that two first contacts at
once make one of each.
"""

from __future__ import annotations

import logging
import re
import secrets

import msgspec

from ....config import Settings
from ....errors import Conflict, Forbidden, Invalid, NotFound, Refused
from ....kernel.audit import act
from ....kernel.engine import Engine
from ....kernel.record.entry import Entry, PutEntry, entry_stream, find_entry, find_handle, read_entry
from ....kernel.types import Actor, Command
from ....spec.ids import uuid7
from ....web.caller import PERSONAL, Caller
from ..audit.refusal import Refusals
from ..catalog import USER, UserBody, user_body
from ..role import ADMIN, OWNER, capabilities_of
from ..workspace.body import SLUG_MAX, SLUG_MIN, TITLE_MAX, WorkspaceBody, check_email, named_id
from ..workspace.directory import FIRST_ROOT, Directory, NewWorkspace
from .provider import Person, Provider

log = logging.getLogger("astrarium.tenancy")
NAME_MAX = 200
TRIES = 20
_NOT_SLUG = re.compile(r"[^a-z0-9_-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Outsider(msgspec.Struct, frozen=True):
    """Whose a token of the provider is here, and until when it is good (microseconds UTC)."""

    user: str
    until: int


class Outsiders:
    """Tokens of the provider, as credentials."""

    def __init__(self, engine: Engine, provider: Provider, newcomers: Newcomers, refusals: Refusals) -> None:
        self._engine = engine
        self.provider = provider
        self._newcomers = newcomers
        self._refusals = refusals

    async def recognise(self, token: str) -> Outsider:
        """Whose it is: a user made just now, at the first contact. It is recorded, and so are refusals. Raises `Unauthenticated`,
        `Unavailable`, and what `Newcomers.admit` raises."""
        person = await self.provider.read(token)
        try:
            entry = await self._newcomers.admit(person)
        except Forbidden as error:
            await self._refusals.failed(f"subject:{person.subject}", why=error.message)
            raise
        told = act(PERSONAL, Actor(USER, entry.id), "auth.signed_in", f"{USER}:{entry.id}", name=entry.name, way="token")
        await self._engine.submit(told)
        return Outsider(entry.id, person.until)


class Newcomers:
    """Users by what a provider says."""

    def __init__(self, engine: Engine, settings: Settings, directory: Directory) -> None:
        self._engine = engine
        self._directory = directory
        self._role = settings.oidc_role
        self._admins = frozenset(part.strip().lower() for part in settings.oidc_admins.split(",") if part.strip())

    async def admit(self, person: Person) -> Entry:
        """The person's user, made or brought up to date. Raises `Invalid` for a new one without an address, `Forbidden` for one whose
        account was deleted or whose address is somebody else's."""
        for _ in range(TRIES):
            try:
                entry = await self._find(person)
                if entry is None:
                    return await self._make(person)
                return await self._refresh(entry, person)
            except (Refused, Conflict):  # somebody else made or changed it, or the slug is taken: look again
                continue
        raise Conflict("the account is being changed by many at once", hint="repeat the request")

    async def _find(self, person: Person) -> Entry | None:
        for known in await find_handle(self._engine.store, USER, person.subject):
            if known.workspace == PERSONAL.workspace:
                return known
        if not person.email:
            return None
        entry = await find_entry(self._engine.store, PERSONAL.workspace, USER, person.email.lower())
        if entry is not None and not person.email_verified:
            told = f"{person.email} belongs to another account, and the identity provider does not vouch for the address"
            raise Forbidden(told, hint="have the address verified there")
        return entry

    async def _make(self, person: Person) -> Entry:
        if not person.email:
            raise Invalid("Email is required for a new user: the token has no email claim", hint="ask for the scope `email`")
        email, name = check_email(person.email), _label(person.name)
        id_, home = named_id(f"{USER}/{person.subject}"), uuid7()
        known_as = email.lower() if person.email_verified else person.subject
        role = ADMIN if person.email_verified and email.lower() in self._admins else self._role
        body = UserBody(role, 0, person.subject, email, person.email_verified, name, home)
        actor = Actor(USER, id_)
        order = PutEntry(known_as, msgspec.to_builtins(body), str(actor), person.subject, "", expect=0)
        first = (
            Command(entry_stream(USER, id_), order, PERSONAL, actor),
            act(PERSONAL, actor, "user.created", f"{USER}:{id_}", name=known_as, role=role),
        )
        slug = await self._slug(email)
        new = NewWorkspace(f"{name}'s Workspace"[:TITLE_MAX], slug, None, "Local", "local", *FIRST_ROOT)
        caller = Caller(actor, PERSONAL, OWNER, capabilities_of(OWNER), email)
        workspace = WorkspaceBody(new.title, new.description, personal=True)
        try:
            await self._directory.make(caller, home, uuid7(), new, workspace, first)
        except NotFound:
            raise Forbidden("this account was deleted here", hint="ask an admin of this server") from None
        return await self._get(id_)

    async def _slug(self, email: str) -> str:
        """From the local part of an address; with a random end when it is taken."""
        text = _NOT_SLUG.sub("-", email.partition("@")[0].lower()).strip("-_")[: SLUG_MAX - 9].strip("-_")
        taken = len(text) < SLUG_MIN or await self._directory.has_slug(text)
        return f"{text}-{secrets.token_hex(4)}".lstrip("-") if taken else text

    async def _refresh(self, entry: Entry, person: Person) -> Entry:
        """Address and name as the provider has them now; a built-in user whose address it is keeps their role and password. Only an
        address the provider vouches for is what a user is known as, and so found by. Another `sub` ends the older sessions."""
        was = user_body(entry)
        email = person.email if person.email and (person.email_verified or person.subject == was.external_id) else was.email
        name = _label(person.name) if person.claims.keys() & NAMED or not was.display_name else was.display_name
        verified = person.email_verified if person.email else was.email_verified
        body = msgspec.structs.replace(
            was, external_id=person.subject, email=email, email_verified=verified, display_name=name,
            turn=was.turn + (person.subject != was.external_id),
        )  # fmt: skip
        if body == was:
            return entry
        known_as = email.lower() if verified and entry.name in (was.email.lower(), was.external_id) and email else entry.name
        if known_as != entry.name and await find_entry(self._engine.store, PERSONAL.workspace, USER, known_as) is not None:
            log.warning("the address of user %s is another user's by now and stays as it was", entry.id)
            known_as, body = entry.name, msgspec.structs.replace(body, email=was.email, email_verified=was.email_verified)
        actor = Actor(USER, entry.id)
        order = PutEntry(known_as, msgspec.to_builtins(body), str(actor), person.subject, expect=entry.version)
        told = act(PERSONAL, actor, "user.changed", f"{USER}:{entry.id}", name=known_as, role=body.role)
        await self._engine.submit_all((Command(entry_stream(USER, entry.id), order, PERSONAL, actor), told))
        return await self._get(entry.id)

    async def _get(self, id_: str) -> Entry:
        entry = await read_entry(self._engine.store, PERSONAL.workspace, USER, id_)
        if entry is None:
            raise Forbidden("this account was deleted here", hint="ask an admin of this server")
        return entry


NAMED = frozenset(("name", "given_name", "family_name", "preferred_username"))


def _label(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()[:NAME_MAX].strip() or "?"
