"""Workspaces below HTTP: what is made at the first start, rules that span several entries, and changes at the same time."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from astrarium.errors import AstrariumError, Forbidden, Invalid, NotFound, Refused
from astrarium.kernel.audit import verify_chain
from astrarium.kernel.clock import HandClock
from astrarium.kernel.engine import Engine
from astrarium.kernel.types import Actor
from astrarium.spec.ids import uuid7
from astrarium.surfaces.tenancy.role import OWNER, capabilities_in, capabilities_of
from astrarium.surfaces.tenancy.room import Tenancy
from astrarium.surfaces.tenancy.workspace.body import (
    MEMBER,
    MemberBody,
    check_email,
    check_slug,
    environment_body,
    known_id,
    shown_id,
)
from astrarium.surfaces.tenancy.workspace.directory import NewWorkspace, put
from astrarium.web.caller import LOCAL_OWNER, PERSONAL, Caller
from tests.surfaces.tenancy.conftest import Open

PASSWORD = "correct-horse"


async def count(engine: Engine, sql: str) -> int:
    return int((await engine.store.read(sql))[0][0])


async def user(tenancy: Tenancy, name: str, role: str = "manager") -> Caller:
    entry = await tenancy.users.create(LOCAL_OWNER, name, PASSWORD, role)
    return Caller(Actor("user", entry.id), PERSONAL, role, capabilities_of(role), name)


async def team(tenancy: Tenancy, caller: Caller = LOCAL_OWNER, slug: str = "team") -> Caller:
    """The caller in a workspace they made."""
    made = await tenancy.directory.create(caller, NewWorkspace("Team", slug))
    return await tenancy.directory.enter(caller, made.id)


async def outcomes(*doing: Any) -> tuple[int, list[AstrariumError]]:
    """How many succeeded, and how the others were refused."""
    ended = await asyncio.gather(*doing, return_exceptions=True)
    refused = [one for one in ended if isinstance(one, AstrariumError)]
    assert len(refused) == sum(isinstance(one, BaseException) for one in ended), ended
    return len(ended) - len(refused), refused


async def test_of_workspaces_made_at_once_no_more_than_the_limit_come_about(open_tenancy: Open, url: str) -> None:
    async with open_tenancy(url=url, max_workspaces=2) as (tenancy, engine):
        anna, ben = await user(tenancy, "anna"), await user(tenancy, "ben")
        making = [
            tenancy.directory.create(caller, NewWorkspace("T", f"{caller.name}-{number}"))
            for number in range(4)
            for caller in (anna, ben)
        ]
        good, refused = await outcomes(*making)
        assert good == 4 and {type(error) for error in refused} == {Forbidden}
        assert await count(engine, "SELECT count(*) FROM entries WHERE kind = 'workspace' AND created_by <> 'user:local'") == 4


async def test_a_limited_role_counts_where_it_says(open_tenancy: Open) -> None:
    async with open_tenancy() as (tenancy, engine):
        anna, ben = await user(tenancy, "anna"), await user(tenancy, "ben")
        home = await team(tenancy, anna)
        place = await tenancy.environments.create(home, "Production", "production", None)
        [other] = [entry for entry in await tenancy.environments.all(home.scope.workspace) if entry.id != place.id]
        body = MemberBody("operator")
        order = put(home.scope, anna, MEMBER, uuid7(), str(ben.actor), body, handle=str(ben.actor))
        await engine.submit(order)
        [member] = [one for one in await tenancy.members.all(home.scope.workspace) if one.person.actor == str(ben.actor)]
        with pytest.raises(NotFound, match="Environment not found"):
            await tenancy.members.change(home, member.id, "admin", [str(uuid4())])
        with pytest.raises(Invalid, match="owner"):
            await tenancy.members.change(home, member.id, "owner", [place.id])
        changed = await tenancy.members.change(home, member.id, "admin", [place.id])
        assert changed.role == f"admin@{place.id}"
        kept = await tenancy.members.change(home, member.id, "admin")
        assert kept.role == changed.role, "what is not said stays"

        async def may(environment: str, capability: str) -> bool:
            return (await tenancy.directory.enter(ben, home.scope.workspace, environment)).may(capability)

        assert await may(place.id, "workspaces:write") and await may(place.id, "builds:write")
        for environment in (other.id, ""):
            assert await may(environment, "builds:read") and not await may(environment, "builds:write")
            assert not await may(environment, "workspaces:write")
        assert (await tenancy.places.enter(ben, place.id)).may("builds:write")
        assert not (await tenancy.places.enter(ben, other.id)).may("builds:write")
        freed = await tenancy.members.change(home, member.id, "admin", [])
        assert freed.role == "admin" and await may("", "workspaces:write")


async def test_a_token_for_a_workspace_stays_in_it_and_a_narrow_one_narrow(open_tenancy: Open) -> None:
    async with open_tenancy() as (tenancy, _):
        anna = await user(tenancy, "anna")
        home = await team(tenancy, anna)
        other = await team(tenancy, anna, "other")
        [place] = await tenancy.environments.all(home.scope.workspace)
        for narrow, may in ((("workspaces:read", "builds:read"), False), (None, True)):
            token = await tenancy.passes.make(anna.actor, home.scope.workspace, narrow)
            assert token is not None
            caller = await tenancy.identity.authenticate(token)
            entered = await tenancy.directory.enter(caller, home.scope.workspace)
            assert entered.may("workspaces:read") and entered.may("workspaces:own") is may
            for stays in (caller, entered):
                with pytest.raises(NotFound, match="Workspace not found"):
                    await tenancy.directory.enter(stays, other.scope.workspace)
            inside = await tenancy.places.enter(caller, place.id)
            assert inside.may("builds:read") and inside.may("builds:write") is may


async def test_a_key_may_not_do_more_than_who_made_it(open_tenancy: Open) -> None:
    async with open_tenancy() as (tenancy, _):
        anna = await user(tenancy, "anna")
        home = await team(tenancy, anna)
        [place] = await tenancy.environments.all(home.scope.workspace)
        for role, capability, may in (
            ("viewer", "builds:write", False),
            ("metrics", "metrics:read", True),
            ("member", "builds:write", True),
        ):
            _, text = await tenancy.environments.create_key(home, place.id, "k", role)
            caller = await tenancy.identity.authenticate(text)
            assert caller.may(capability) is may and caller.scope.environment == place.id
        admin = msgspec.structs.replace(home, role="admin", capabilities=capabilities_in(home.scope.workspace, "admin"))
        with pytest.raises(Forbidden, match="promotion:approve"):
            await tenancy.environments.create_key(admin, place.id, "k", "approver")
        with pytest.raises(Invalid, match="must be one of"):
            await tenancy.environments.create_key(home, place.id, "k", "king")


async def test_the_personal_workspace_is_made_once(open_tenancy: Open, url: str) -> None:
    for worker in ("w1", "w2"):
        async with open_tenancy(worker, url=url, auth="none") as (tenancy, engine):
            [(entry, role)] = await tenancy.directory.mine(LOCAL_OWNER)
            assert (entry.id, entry.name, role, entry.version) == ("personal", "personal", OWNER, 1)
            [environment] = await tenancy.environments.all("personal")
            assert (environment.id, environment.name) == (PERSONAL.environment, PERSONAL.environment)
            assert [root.body["label"] for root in await tenancy.environments.roots("personal", "local")] == ["default"]
            entered = await tenancy.directory.enter(LOCAL_OWNER, "personal")
            assert entered == LOCAL_OWNER and entered.may("workspaces:own")
            assert await count(engine, "SELECT count(*) FROM audit WHERE act = 'workspace.created'") == 1


def test_the_owners_places_have_uuids_outside() -> None:
    assert shown_id("personal") != shown_id("local")
    for name in ("personal", "local"):
        assert len(shown_id(name)) == 36 and known_id(shown_id(name)) == name
    other = "01a20266-4d3a-7350-a52e-cae0d351a6c5"
    assert shown_id(other) == known_id(other) == other


@pytest.mark.parametrize("slug", ["", "a", "-a", "a-", "A", "ä1", "a b", "x" * 65, "ab\n", "_a"])
def test_what_is_no_slug(slug: str) -> None:
    with pytest.raises(Invalid, match="Slug must be"):
        check_slug(slug)


def test_slugs_and_addresses() -> None:
    assert [check_slug(slug) for slug in ("ab", "a-b_c", "1" * 64)] == ["ab", "a-b_c", "1" * 64]
    assert check_email(" Anna@example.org ") == "Anna@example.org"
    for wrong in ("", "anna", "a@b c", "@", "a@\x00b", "x" * 300 + "@y"):
        with pytest.raises(Invalid, match="e-mail"):
            check_email(wrong)


async def test_of_two_creations_of_one_slug_one_wins(open_tenancy: Open, url: str) -> None:
    async with open_tenancy(url=url) as (tenancy, engine):
        anna = await user(tenancy, "anna")
        before = await count(engine, "SELECT count(*) FROM entries")
        won, refused = await outcomes(*(tenancy.directory.create(anna, NewWorkspace("Team", "team")) for _ in range(5)))
        assert won == 1 and {error.message for error in refused} == {"Workspace slug already exists"}
        assert await count(engine, "SELECT count(*) FROM entries") == before + 3, "workspace, owner, environment; no scraps"
        inside = await tenancy.directory.enter(anna, (await tenancy.directory.mine(anna))[1][0].id)
        won, refused = await outcomes(*(tenancy.environments.create(inside, "Prod", "prod", None) for _ in range(5)))
        assert won == 1 and {error.message for error in refused} == {"Environment slug already exists in this workspace"}


async def test_environments_made_at_once_have_an_order(open_tenancy: Open, url: str) -> None:
    async with open_tenancy(url=url, max_environments=5) as (tenancy, _):
        inside = await team(tenancy)
        won, refused = await outcomes(*(tenancy.environments.create(inside, "E", f"e{n}", None) for n in range(8)))
        assert won == 4 and {error.message for error in refused} == {"Workspace can have at most 5 environments"}
        found = await tenancy.environments.all(inside.scope.workspace)
        assert [environment_body(entry).order_index for entry in found] == [0, 1, 2, 3, 4]


async def test_the_last_environment_and_the_last_owner_stay_whoever_asks_at_once(open_tenancy: Open, url: str) -> None:
    async with open_tenancy(url=url) as (tenancy, _):
        anna, ben = await user(tenancy, "anna"), await user(tenancy, "ben")
        inside = await team(tenancy, anna)
        workspace = inside.scope.workspace
        await tenancy.environments.create(inside, "Prod", "prod", None)
        ids = [entry.id for entry in await tenancy.environments.all(workspace)]
        won, refused = await outcomes(*(tenancy.environments.delete(inside, id_) for id_ in ids))
        assert won == 1 and [error.message for error in refused] == ["Cannot delete the last environment"]
        assert len(await tenancy.environments.all(workspace)) == 1
        invite = await tenancy.invites.create(inside, "ben@localhost", "owner")
        await tenancy.invites.accept(ben, invite.id)
        other = await tenancy.directory.enter(ben, workspace)
        first, second = [member.id for member in await tenancy.members.all(workspace)]
        won, refused = await outcomes(tenancy.members.remove(inside, second), tenancy.members.change(other, first, "admin"))
        assert won == 1 and len(refused) == 1 and "the last owner" in refused[0].message
        assert sum(member.role == OWNER for member in await tenancy.members.all(workspace)) == 1


async def test_what_a_deleted_workspace_leaves(open_tenancy: Open, url: str) -> None:
    async with open_tenancy(url=url) as (tenancy, engine):
        inside = await team(tenancy)
        workspace = inside.scope.workspace
        [environment] = await tenancy.environments.all(workspace)
        _, key = await tenancy.environments.create_key(inside, environment.id, "ci")
        await tenancy.environments.create_root(inside, environment.id, "default", "s3://x")
        await tenancy.invites.create(inside, "eve@example.org", "member")
        assert (await tenancy.identity.authenticate(key)).scope.environment == environment.id

        async def nothing(scope: Any) -> str:
            return ""

        async def builds(scope: Any) -> str:
            return "running builds"

        with pytest.raises(Refused, match="Cannot delete a workspace with running builds"):
            await tenancy.directory.delete(inside, builds)
        await tenancy.directory.delete(inside, nothing)
        with pytest.raises(AstrariumError, match="not valid"):
            await tenancy.identity.authenticate(key)
        with pytest.raises(NotFound, match="Workspace not found"):
            await tenancy.directory.enter(LOCAL_OWNER, workspace)
        with pytest.raises(NotFound):
            await tenancy.environments.create(inside, "Late", "late", None)
        live = f"SELECT count(*) FROM entries WHERE dropped_at = 0 AND (workspace = '{workspace}' OR id = '{workspace}')"
        assert await count(engine, live) == 0
        await team(tenancy)  # the slug is free again


async def test_other_surfaces_may_keep_an_environment(open_tenancy: Open) -> None:
    async with open_tenancy() as (tenancy, _):
        inside = await team(tenancy)
        made = await tenancy.environments.create(inside, "Prod", "prod", None)

        async def targets(scope: Any) -> str:
            return "targets" if scope.environment == made.id else ""

        tenancy.environments.busy.append(targets)
        with pytest.raises(Refused, match="Cannot delete an environment with targets"):
            await tenancy.environments.delete(inside, made.id)
        assert await tenancy.environments.get(inside.scope.workspace, made.id)


async def test_each_change_is_an_act_in_the_chain_of_its_workspace(open_tenancy: Open) -> None:
    async with open_tenancy() as (tenancy, engine):
        inside = await team(tenancy)
        workspace = inside.scope.workspace
        made = await tenancy.environments.create(inside, "Prod", "prod", None)
        entry, text = await tenancy.environments.create_key(inside, made.id, "ci")
        await tenancy.environments.revoke_key(inside, made.id, entry.id)
        await tenancy.environments.delete(inside, made.id)
        await tenancy.directory.change(inside, "Crew", None)
        rows = await engine.store.read("SELECT * FROM audit WHERE workspace = ? ORDER BY number", (workspace,))
        assert [row[4] for row in rows] == [
            "workspace.created", "environment.created", "key.created", "key.revoked", "environment.deleted", "workspace.changed",
        ]  # fmt: skip
        assert {row[3] for row in rows} == {"user:local"} and text[10:] not in str(rows)
        assert verify_chain([(*row[:6], json.loads(row[6]), *row[7:]) for row in rows]) is None


async def test_a_key_belongs_to_one_environment(open_tenancy: Open, clock: HandClock) -> None:
    async with open_tenancy() as (tenancy, _):
        inside = await team(tenancy)
        [environment] = await tenancy.environments.all(inside.scope.workspace)
        first, text = await tenancy.environments.create_key(inside, environment.id, "ci")
        second, _ = await tenancy.environments.create_key(inside, environment.id, "ci")
        assert text.startswith(f"sk_{environment.id[:6]}_") and len(text) == 42 and first.id != second.id
        caller = await tenancy.identity.authenticate(text)
        assert (caller.name, caller.scope.workspace) == ("ci", inside.scope.workspace)
        assert not caller.may("dags:read") and not caller.may("runs:start") and caller.may("workspaces:read")
        with pytest.raises(Forbidden, match="An API key"):
            await tenancy.directory.create(caller, NewWorkspace("X", "by-key"))
        with pytest.raises(NotFound, match="Workspace not found"):
            await tenancy.directory.enter(caller, "personal")


async def test_membership_is_looked_at_whatever_a_token_says(open_tenancy: Open) -> None:
    async with open_tenancy() as (tenancy, _):
        anna, ben = await user(tenancy, "anna"), await user(tenancy, "ben")
        inside = await team(tenancy, anna)
        workspace = inside.scope.workspace
        invite = await tenancy.invites.create(inside, "ben@localhost", "admin")
        await tenancy.invites.accept(ben, invite.id)
        token = await tenancy.directory.enter(ben, workspace)
        assert [role for _, role in await tenancy.directory.mine(token)] == ["admin"]
        await tenancy.members.remove(inside, (await tenancy.members.all(workspace))[1].id)
        with pytest.raises(NotFound, match="Workspace not found"):
            await tenancy.directory.enter(token, workspace)
        assert await tenancy.directory.mine(token) == []


@pytest.mark.postgres
async def test_two_servers_agree_about_a_slug_and_the_last_environment(open_tenancy: Open, postgres_database: str) -> None:
    async with (
        open_tenancy("w1", postgres_database, auth="none") as (first, _),
        open_tenancy("w2", postgres_database, auth="none") as (second, _),
    ):
        new = NewWorkspace("Team", "team")
        won, refused = await outcomes(*(one.directory.create(LOCAL_OWNER, new) for one in (first, second)))
        assert won == 1 and [error.message for error in refused] == ["Workspace slug already exists"]
        inside = await first.directory.enter(LOCAL_OWNER, (await first.directory.mine(LOCAL_OWNER))[1][0].id)
        await second.environments.create(inside, "Prod", "prod", None)
        ids = [entry.id for entry in await first.environments.all(inside.scope.workspace)]
        won, refused = await outcomes(first.environments.delete(inside, ids[0]), second.environments.delete(inside, ids[1]))
        assert won == 1 and [error.message for error in refused] == ["Cannot delete the last environment"]
