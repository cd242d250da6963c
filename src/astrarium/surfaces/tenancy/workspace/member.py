"""Members of a workspace and the invites that make more of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ....errors import Forbidden, Invalid, NotFound, Problem, Refused
from ....kernel.audit import act
from ....kernel.record.entry import Entry, find_handle, list_entries, read_entry
from ....kernel.types import Command, Scope
from ....spec.ids import uuid7
from ....web.caller import PERSONAL, Caller
from ..catalog import NOBODY, USER, user_body
from ..role import OWNER, limited, parts_of, shown_role, workspace_role
from .body import ENVIRONMENT, INVITE, MEMBER, InviteBody, MemberBody, check_email, invite_body, parse_actor, workspace_body
from .directory import Directory, drop, in_words, put
from .person import Person, known_person, people, person_of

OWN = "workspaces:own"
"""The capability to delete a workspace, and to make and unmake owners."""


class Member(msgspec.Struct, frozen=True):
    """`entry` is the membership; None for an account of this server that is in the personal workspace by its own role."""

    id: str
    person: Person
    role: str
    entry: Entry | None


class Members:
    """Who is in a workspace. A caller is one that entered it (`Directory.enter`)."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._engine = directory.engine

    async def all(self, workspace: str) -> list[Member]:
        """The members, those by an entry first, the oldest first; memberships of accounts that are gone do not count."""
        store = self._engine.store
        users = await people(store)
        made = []
        for entry in await self._directory.parts(workspace, MEMBER):
            person = known_person(parse_actor(entry.name), users)
            if person is not None:
                made.append(Member(entry.id, person, str(entry.body["role"]), entry))
        if workspace == PERSONAL.workspace:
            known = {member.person.actor for member in made}
            for account in await list_entries(store, workspace, USER):
                person = users.get(f"{USER}:{account.id}")
                role = user_body(account).role
                if person is not None and person.actor not in known and role != NOBODY:
                    made.append(Member(account.id, person, role, None))
        return made

    async def _one(self, caller: Caller, id_: str) -> tuple[Member, int]:
        """A member, and how many owners there are."""
        members = await self.all(caller.scope.workspace)
        found = next((member for member in members if member.id == id_), None)
        if found is None:
            raise NotFound("Member not found")
        return found, sum(member.role == OWNER for member in members)

    async def change(self, caller: Caller, id_: str, role: str, environments: Sequence[str] | None = None) -> Member:
        """Give a member another role, `owner`, `admin` or `member`, in some environments (elsewhere they see what a viewer sees) or in
        all; None leaves that as it is where the role stays. Raises `Invalid`, `NotFound`, `Forbidden`."""
        given = workspace_role(role)

        async def plan(home: Entry) -> list[Command]:
            member, owners = await self._one(caller, id_)
            await self._check_environments(caller, given, environments or ())
            if OWNER in (given, member.role) and not caller.may(OWN):
                raise Forbidden("Only owners can modify owner roles")
            if member.role == OWNER != given and owners == 1:
                raise Invalid("Cannot demote the last owner")
            entry = _entry(member)
            name, within = parts_of(member.role)
            stays = shown_role(name) == role
            kept = limited(name if stays else given, within if stays and environments is None else environments or ())
            return [
                put(caller.scope, caller, MEMBER, id_, entry.name, MemberBody(kept), handle=entry.handle, expect=entry.version),
                act(caller.scope, caller.actor, "member.changed", f"{MEMBER}:{id_}", member=entry.name, role=kept),
            ]

        await self._directory.arrange(caller, plan)
        return (await self._one(caller, id_))[0]

    async def _check_environments(self, caller: Caller, role: str, environments: Sequence[str]) -> None:
        if environments and role == OWNER:
            told = "an owner is one in every environment"
            raise Invalid(f"environments: {told}", [Problem(told, path="environments")])
        known = {entry.id for entry in await self._directory.parts(caller.scope.workspace, ENVIRONMENT)} if environments else set()
        if not known.issuperset(environments):
            raise NotFound("Environment not found")

    async def remove(self, caller: Caller, id_: str) -> None:
        """Raises `NotFound`, `Forbidden`, `Invalid`."""

        async def plan(home: Entry) -> list[Command]:
            member, owners = await self._one(caller, id_)
            if member.role == OWNER and not caller.may(OWN):
                raise Forbidden("Only owners can remove owners")
            if member.role == OWNER and owners == 1:
                raise Invalid("Cannot remove the last owner")
            entry = _entry(member)
            return [
                drop(caller, entry),
                act(caller.scope, caller.actor, "member.removed", f"{MEMBER}:{id_}", member=entry.name),
            ]

        await self._directory.arrange(caller, plan)


def _entry(member: Member) -> Entry:
    if member.entry is None:
        told = f"{member.person.name} is an account of this server, in this workspace by its own role"
        raise Invalid(told, hint=f"an admin changes it with /api/v2/users/{member.id}")
    return member.entry


class Invites:
    """Invites into workspaces, found by the address of who is invited."""

    def __init__(self, directory: Directory, members: Members) -> None:
        self._directory = directory
        self._members = members
        self._engine = directory.engine

    async def all(self, caller: Caller) -> list[Entry]:
        return await self._directory.parts(caller.scope.workspace, INVITE)

    async def create(self, caller: Caller, email: str, role: str) -> Entry:
        """Invite an address. Raises `Invalid`, `Forbidden`, `Refused`."""
        email, given = check_email(email), workspace_role(role)
        inviting = await person_of(self._engine.store, caller)
        id_, key = uuid7(), email.lower()

        async def plan(home: Entry) -> list[Command]:
            if workspace_body(home).personal:
                raise Forbidden("Cannot invite members to a personal workspace")
            if given == OWNER and not caller.may(OWN):
                raise Forbidden("Only owners can modify owner roles")
            if any(member.person.email.lower() == key for member in await self._members.all(caller.scope.workspace)):
                raise Refused("User is already a member", code="is_member")
            return [
                put(caller.scope, caller, INVITE, id_, key, InviteBody(email, given, inviting.email), handle=key),
                act(caller.scope, caller.actor, "invite.created", f"{INVITE}:{id_}", email=email, role=given),
            ]

        with in_words("Invite already pending for this email"):
            await self._directory.arrange(caller, plan)
        return await self._get(caller.scope.workspace, id_)

    async def _get(self, workspace: str, id_: str) -> Entry:
        entry = await read_entry(self._engine.store, workspace, INVITE, id_)
        if entry is None:
            raise NotFound("Invite not found")
        return entry

    async def revoke(self, caller: Caller, id_: str) -> None:
        """Raises `NotFound`."""
        entry = await self._get(caller.scope.workspace, id_)
        told = act(caller.scope, caller.actor, "invite.revoked", f"{INVITE}:{id_}", email=entry.name)
        await self._engine.submit_all((drop(caller, entry), told))

    # -- who is invited -------------------------------------------------------------------------------------------------

    async def mine(self, caller: Caller) -> list[tuple[Entry, Entry]]:
        """Pending invites for the caller's address, each with the workspace it leads to."""
        person = await person_of(self._engine.store, caller)
        known = person.email if person.reachable else ""
        found = await find_handle(self._engine.store, INVITE, known.lower()) if known else []
        return [(invite, await self._directory.get(invite.workspace)) for invite in found]

    async def _one_of_mine(self, caller: Caller, id_: str) -> tuple[Entry, Entry]:
        for invite, workspace in await self.mine(caller):
            if invite.id == id_:
                return invite, workspace
        raise NotFound("Invite not found")

    async def accept(self, caller: Caller, id_: str) -> Entry:
        """Become a member; the workspace's entry. Raises `NotFound`, `Refused`."""
        invite, workspace = await self._one_of_mine(caller, id_)
        scope, actor, role = Scope(invite.workspace, ""), str(caller.actor), invite_body(invite).role
        member = uuid7()
        commands = (
            drop(caller, invite),
            put(scope, caller, MEMBER, member, actor, MemberBody(role), handle=actor),
            act(scope, caller.actor, "invite.accepted", f"{INVITE}:{id_}", member=member, role=role),
        )
        with in_words("User is already a member"):
            await self._engine.submit_all(commands)
        return workspace

    async def decline(self, caller: Caller, id_: str) -> None:
        """Raises `NotFound`."""
        invite, _ = await self._one_of_mine(caller, id_)
        told = act(Scope(invite.workspace, ""), caller.actor, "invite.declined", f"{INVITE}:{id_}")
        await self._engine.submit_all((drop(caller, invite), told))
