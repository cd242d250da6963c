"""Who calls, workspaces, members and invites."""

from __future__ import annotations

from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from ....kernel.record.entry import Entry
from ...operation import answer, expecting, read_body
from .. import wire
from ..role import parts_of, shown_role
from ..workspace.body import actor_id, check_uuid, invite_body, known_id, shown_id, workspace_body
from ..workspace.directory import NewWorkspace
from ..workspace.member import Member
from ..workspace.person import person_of
from .entry import CREATE, INVITE, MEMBER, MY_INVITE, OWN, READ, WORKSPACE, WORKSPACES, WRITE, done, enter, path_id, row


def _role(role: str) -> wire.Role:
    return cast(wire.Role, shown_role(role))


def _workspace(entry: Entry) -> dict[str, Any]:
    body = workspace_body(entry)
    return {
        "id": shown_id(entry.id), "name": body.title, "slug": entry.name, "description": body.description,
        "is_personal": body.personal,
    }  # fmt: skip


def _member(member: Member) -> wire.WorkspaceMember:
    person, within = member.person, [shown_id(id_) for id_ in parts_of(member.role)[1]]
    return wire.WorkspaceMember(member.id, actor_id(person.actor), person.email, person.name, _role(member.role), within)


def _invite(entry: Entry) -> wire.WorkspaceInvite:
    body = invite_body(entry)
    return wire.WorkspaceInvite(entry.id, body.email, _role(body.role), "pending", body.invited_by or None)


# -- who calls -----------------------------------------------------------------------------------------------------------


async def get_me(request: Request) -> Response:
    tenancy, caller = await enter(request)
    person = await person_of(tenancy.directory.engine.store, caller)
    found = await tenancy.directory.mine(caller)
    workspaces = [
        wire.MyWorkspace(shown_id(entry.id), body.title, entry.name, _role(role), body.personal)
        for entry, role in found
        for body in [workspace_body(entry)]
    ]
    account = wire.Account(actor_id(person.actor), person.external_id, person.email, person.name)
    return answer(wire.Profile(account, workspaces))


async def get_my_invites(request: Request) -> Response:
    tenancy, caller = await enter(request)
    return answer(
        [
            wire.MyInvite(
                entry.id, shown_id(entry.workspace), workspace_body(workspace).title, _role(body.role), body.invited_by or None
            )
            for entry, workspace in await tenancy.invites.mine(caller)
            for body in [invite_body(entry)]
        ]
    )


async def accept_invite(request: Request) -> Response:
    tenancy, caller = await enter(request)
    return answer(wire.Workspace(**_workspace(await tenancy.invites.accept(caller, path_id(request, "invite_id")))))


async def decline_invite(request: Request) -> Response:
    tenancy, caller = await enter(request)
    await tenancy.invites.decline(caller, path_id(request, "invite_id"))
    return done()


# -- workspaces ----------------------------------------------------------------------------------------------------------


async def create_workspace(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.CreateWorkspace)
    new = NewWorkspace(
        body.name, body.slug, body.description, body.initial_environment_name or "Default",
        body.initial_environment_slug or "default", body.initial_target_root_name or "", body.initial_target_root_uri or "",
    )  # fmt: skip
    return answer(wire.Workspace(**_workspace(await tenancy.directory.create(caller, new))), 201)


async def get_workspace(request: Request) -> Response:
    tenancy, caller = await enter(request)
    workspace = caller.scope.workspace
    entry = await tenancy.directory.get(workspace)
    members, environments = await tenancy.members.all(workspace), await tenancy.environments.all(workspace)
    shown = wire.WorkspaceDetail(**_workspace(entry), member_count=len(members), environment_count=len(environments))
    return answer(shown, version=entry.version)


async def change_workspace(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.ChangeNamed)
    with expecting(request) as version:
        entry = await tenancy.directory.change(caller, body.name, body.description, version)
    return answer(wire.Workspace(**_workspace(entry)), version=entry.version)


async def delete_workspace(request: Request) -> Response:
    tenancy, caller = await enter(request)
    with expecting(request) as version:
        await tenancy.directory.delete(caller, tenancy.environments.in_use, version)
    return done()


# -- members and invites -------------------------------------------------------------------------------------------------


async def get_members(request: Request) -> Response:
    tenancy, caller = await enter(request)
    return answer([_member(member) for member in await tenancy.members.all(caller.scope.workspace)])


async def change_member(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.ChangeMember)
    given = body.environments
    within = None if given is None else [known_id(check_uuid(id_, "environments")) for id_ in given]
    return answer(_member(await tenancy.members.change(caller, path_id(request, "member_id"), body.role, within)))


async def remove_member(request: Request) -> Response:
    tenancy, caller = await enter(request)
    await tenancy.members.remove(caller, path_id(request, "member_id"))
    return done()


async def get_invites(request: Request) -> Response:
    tenancy, caller = await enter(request)
    return answer([_invite(entry) for entry in await tenancy.invites.all(caller)])


async def create_invite(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.CreateInvite)
    return answer(_invite(await tenancy.invites.create(caller, body.email, body.role)), 201)


async def revoke_invite(request: Request) -> Response:
    tenancy, caller = await enter(request)
    await tenancy.invites.revoke(caller, path_id(request, "invite_id"))
    return done()


OPERATIONS = (
    row("GET", "/me", "getProfile", "Who calls, and their workspaces", get_me, "self", answer=wire.Profile),
    row("GET", "/me/invites", "listMyInvites", "Pending invites for the caller's address", get_my_invites, "self",
        answer=list[wire.MyInvite]),
    row("POST", WORKSPACES, "createWorkspace", "Make a workspace, with a first environment", create_workspace, CREATE, 409,
        body=wire.CreateWorkspace, answer=wire.Workspace, status=201),
    row("POST", MY_INVITE + "/accept", "acceptInvite", "Become a member", accept_invite, "self", 409, answer=wire.Workspace),
    row("POST", MY_INVITE + "/decline", "declineInvite", "Decline an invite", decline_invite, "self", status=204),
    row("GET", WORKSPACE, "getWorkspace", "Get a workspace", get_workspace, READ, answer=wire.WorkspaceDetail),
    row("PATCH", WORKSPACE, "updateWorkspace", "Change a workspace's name or description", change_workspace, WRITE,
        body=wire.ChangeNamed, answer=wire.Workspace),
    row("DELETE", WORKSPACE, "deleteWorkspace", "Delete a workspace and all it consists of", delete_workspace, OWN, 400, 409,
        status=204),
    row("GET", WORKSPACE + "/members", "listMembers", "List members", get_members, READ, answer=list[wire.WorkspaceMember]),
    row("PATCH", MEMBER, "updateMember", "Give a member another role", change_member, WRITE, 400, body=wire.ChangeMember,
        answer=wire.WorkspaceMember),
    row("DELETE", MEMBER, "removeMember", "Remove a member", remove_member, WRITE, 400, status=204),
    row("GET", WORKSPACE + "/invites", "listInvites", "List pending invites", get_invites, WRITE,
        answer=list[wire.WorkspaceInvite]),
    row("POST", WORKSPACE + "/invites", "createInvite", "Invite an address", create_invite, WRITE, 409, body=wire.CreateInvite,
        answer=wire.WorkspaceInvite, status=201),
    row("DELETE", INVITE, "revokeInvite", "Take an invite back", revoke_invite, WRITE, status=204),
)  # fmt: skip
