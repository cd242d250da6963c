"""What the entries of a workspace hold, how they are named, and the rules of their fields.

Clients of the build registry know all of it by UUIDs. The workspace and environment of the machine's owner have plain names inside
(`web.caller.PERSONAL`); outside they are shown as UUIDs derived from these names.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from functools import lru_cache

import msgspec

from ....errors import Invalid, Problem
from ....kernel.record.entry import Entry
from ....kernel.types import Actor, Scope
from ....web.caller import PERSONAL

WORKSPACE, MEMBER, INVITE, ENVIRONMENT, ROOT = "workspace", "member", "invite", "environment", "target_root"
DIRECTORY = Scope("directory", "")
"""Where the entries of the workspaces themselves are: their slugs are unique on the whole server."""

TITLE_MAX, TEXT_MAX, URI_MAX, EMAIL_MAX = 255, 2000, 512, 254
SLUG_MIN, SLUG_MAX = 2, 64
COUNT_MAX = 1_000_000
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+")
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class WorkspaceBody(msgspec.Struct, frozen=True):
    """The entry's name is the slug; `title` is what people read."""

    title: str
    description: str | None = None
    personal: bool = False


class MemberBody(msgspec.Struct, frozen=True):
    """The entry's name and handle are the actor, `user:<id>`."""

    role: str


class InviteBody(msgspec.Struct, frozen=True):
    """The entry's name and handle are the address in lower case; a pending invite is a live entry."""

    email: str
    role: str
    invited_by: str
    """The address of who invited."""


class EnvironmentBody(msgspec.Struct, frozen=True):
    """The entry's name is the slug, its handle the id; `order_index` is the place among the workspace's environments, from 0.
    `max_concurrent_locks`: locks of the build registry that may be held at once, 0 = no limit."""

    title: str
    description: str | None = None
    order_index: int = 0
    max_concurrent_locks: int = 0


class RootBody(msgspec.Struct, frozen=True):
    """The entry's name is `<environment>/<label>`."""

    environment: str
    label: str
    uri_prefix: str


def workspace_body(entry: Entry) -> WorkspaceBody:
    return msgspec.convert(entry.body, WorkspaceBody)


def invite_body(entry: Entry) -> InviteBody:
    return msgspec.convert(entry.body, InviteBody)


def environment_body(entry: Entry) -> EnvironmentBody:
    return msgspec.convert(entry.body, EnvironmentBody)


def root_body(entry: Entry) -> RootBody:
    return msgspec.convert(entry.body, RootBody)


def root_name(environment: str, label: str) -> str:
    return f"{environment}/{label}"


# -- ids -----------------------------------------------------------------------------------------------------------------


def named_id(text: str) -> str:
    """The UUID that stands for a name."""
    return str(uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16], version=5))


_SHOWN = {
    PERSONAL.workspace: named_id(PERSONAL.workspace),
    PERSONAL.environment: named_id(f"{PERSONAL.workspace}/{PERSONAL.environment}"),
}
_KNOWN = {shown: known for known, shown in _SHOWN.items()}


def shown_id(known: str) -> str:
    """The UUID by which clients know a workspace or an environment."""
    return _SHOWN.get(known, known)


def known_id(shown: str) -> str:
    """The id inside, of a UUID that clients know."""
    return _KNOWN.get(shown, shown)


@lru_cache(maxsize=4096)
def actor_id(actor: str) -> str:
    """The UUID of an actor, `user:<id>`: its own id where that is one."""
    id_ = actor.partition(":")[2]
    return id_ if _is_uuid(id_) else named_id(actor)


def parse_actor(text: str) -> Actor:
    kind, _, id_ = text.partition(":")
    return Actor(kind, id_)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def check_uuid(text: str, path: str) -> str:
    """A UUID in its usual writing. Raises `Invalid`."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        told = "Input should be a valid UUID"
        raise Invalid(f"{path}: {told}", [Problem(told, path=path)]) from None


# -- fields --------------------------------------------------------------------------------------------------------------


def check_slug(text: str, path: str = "slug") -> str:
    """A slug: 2 to 64 lower-case letters, digits, and `-` or `_` between them. Raises `Invalid`."""
    if not _SLUG.fullmatch(text):
        told = "Slug must be lowercase alphanumeric with hyphens or underscores, cannot start or end with hyphen or underscore"
    elif not SLUG_MIN <= len(text) <= SLUG_MAX:
        told = f"Slug must be between {SLUG_MIN} and {SLUG_MAX} characters"
    else:
        return text
    raise Invalid(told, [Problem(told, path=path)])


def check_text(text: str | None, path: str = "description") -> str | None:
    """A text of several lines. Raises `Invalid`."""
    if text is not None and (len(text) > TEXT_MAX or _HIDDEN.search(text)):
        told = f"must have at most {TEXT_MAX} characters, and no control characters but line ends and tabs"
        raise Invalid(f"{path} {told}", [Problem(told, path=path)])
    return text


def check_count(count: int, path: str) -> int:
    """A number of things, 0 = no limit. Raises `Invalid`."""
    if not 0 <= count <= COUNT_MAX:
        told = f"must be 0 to {COUNT_MAX:,}"
        raise Invalid(f"{path} {told}", [Problem(told, path=path)])
    return count


def check_email(text: str) -> str:
    """An address, without the blanks around it. Raises `Invalid`."""
    text = text.strip()
    if len(text) > EMAIL_MAX or not _EMAIL.fullmatch(text):
        told = "must be an e-mail address"
        raise Invalid(f"email {told}", [Problem(told, path="email")])
    return text
