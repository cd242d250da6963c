"""Who an actor is to other people: an address and a name."""

from __future__ import annotations

import msgspec

from ....kernel.ports import Store
from ....kernel.record.entry import Entry, list_entries, read_entry
from ....kernel.types import Actor
from ....web.caller import LOCAL_OWNER, PERSONAL, Caller
from ..catalog import USER

NO_DOMAIN = "localhost"
"""What stands behind the @ for users who have no address of their own."""


class Person(msgspec.Struct, frozen=True):
    """`email` is empty for what is no user: a key, a token of the settings. `reachable`: nobody says it may be somebody else's."""

    actor: str
    email: str
    name: str
    external_id: str
    reachable: bool = True


def _of_user(entry: Entry) -> Person:
    """An account's own address is the one in its body, else its name where that is one."""
    email = entry.body.get("email") or (entry.name if "@" in entry.name else f"{entry.name}@{NO_DOMAIN}")
    name = entry.body.get("display_name") or entry.name
    return Person(f"{USER}:{entry.id}", email, name, entry.body.get("external_id") or entry.id, entry.body.get("email_verified", True))


def _of_other(actor: Actor, name: str) -> Person:
    """The owner of the machine has an address as a user has; others have none."""
    email = f"{name}@{NO_DOMAIN}" if actor == LOCAL_OWNER.actor else ""
    return Person(str(actor), email, name, str(actor))


async def person_of(store: Store, caller: Caller) -> Person:
    """The person who calls."""
    if caller.actor.kind == USER:
        entry = await read_entry(store, PERSONAL.workspace, USER, caller.actor.id)
        if entry is not None:
            return _of_user(entry)
    return _of_other(caller.actor, caller.shown)


async def people(store: Store) -> dict[str, Person]:
    """All users of this server, by actor."""
    made = [_of_user(entry) for entry in await list_entries(store, PERSONAL.workspace, USER)]
    return {person.actor: person for person in made}


def known_person(actor: Actor, users: dict[str, Person]) -> Person | None:
    """One of `users`, or who is none; None for a user whose account is gone."""
    found = users.get(str(actor))
    if found is None and (actor.kind != USER or actor == LOCAL_OWNER.actor):
        return _of_other(actor, actor.id)
    return found
