"""Environments of a workspace, their API keys and target roots."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ....kernel.record.entry import Entry
from ...operation import Operation, answer, expecting, read_body
from .. import wire
from ..catalog import key_body, key_name
from ..room import Tenancy
from ..workspace.body import actor_id, environment_body, root_body, shown_id
from ..workspace.sdk import sdk_environment
from .entry import (
    ENVIRONMENT,
    ENVIRONMENT_ITEM,
    KEY_PATH,
    READ,
    REVOKED,
    ROOT,
    WORKSPACE,
    WRITE,
    done,
    enter,
    environment_of,
    flag,
    moment,
    path_id,
    row,
)


def _environment(entry: Entry) -> wire.Environment:
    body = environment_body(entry)
    return wire.Environment(
        shown_id(entry.id), shown_id(entry.workspace), body.title, entry.name, body.description,
        max_concurrent_locks=body.max_concurrent_locks or None,
    )  # fmt: skip


def _key(entry: Entry, tenancy: Tenancy) -> dict[str, Any]:
    body, used = key_body(entry), tenancy.identity.used_at(entry)
    return {
        "id": entry.id, "environment_id": shown_id(body.environment), "name": key_name(entry), "key_prefix": body.mark,
        "created_by_id": actor_id(entry.created_by), "created_at": moment(entry.created_at),
        "last_used_at": moment(used) if used else None, "revoked_at": moment(entry.dropped_at) if entry.dropped_at else None,
    }  # fmt: skip


def _root(entry: Entry) -> wire.TargetRoot:
    body = root_body(entry)
    return wire.TargetRoot(entry.id, shown_id(body.environment), body.label, body.uri_prefix, moment(entry.created_at))


# -- environments --------------------------------------------------------------------------------------------------------


async def get_environments(request: Request) -> Response:
    tenancy, caller = await enter(request)
    return answer([_environment(entry) for entry in await tenancy.environments.all(caller.scope.workspace)])


async def create_environment(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.CreateEnvironment)
    return answer(_environment(await tenancy.environments.create(caller, body.name, body.slug, body.description)), 201)


async def get_environment(request: Request) -> Response:
    tenancy, caller = await enter(request)
    entry = await environment_of(request, tenancy, caller)
    return answer(_environment(entry), version=entry.version)


async def change_environment(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.ChangeEnvironment)
    id_ = path_id(request, "environment_id")
    with expecting(request) as version:
        entry = await tenancy.environments.change(
            caller, id_, body.name, body.description, version, max_locks=body.max_concurrent_locks
        )
    return answer(_environment(entry), version=entry.version)


async def delete_environment(request: Request) -> Response:
    tenancy, caller = await enter(request)
    with expecting(request) as version:
        await tenancy.environments.delete(caller, path_id(request, "environment_id"), version)
    return done()


# -- API keys ------------------------------------------------------------------------------------------------------------


async def get_keys(request: Request) -> Response:
    tenancy, caller = await enter(request)
    environment = await environment_of(request, tenancy, caller)
    found = await tenancy.environments.keys(caller.scope.workspace, environment.id, revoked=flag(request, REVOKED.name))
    return answer([wire.EnvironmentKey(**_key(entry, tenancy)) for entry in found])


async def create_key(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.CreateEnvironmentKey)
    entry, text = await tenancy.environments.create_key(caller, path_id(request, "environment_id"), body.name, body.role)
    return answer(wire.MadeEnvironmentKey(**_key(entry, tenancy), key=text), 201)


async def revoke_key(request: Request) -> Response:
    tenancy, caller = await enter(request)
    await tenancy.environments.revoke_key(caller, path_id(request, "environment_id"), path_id(request, "key_id"))
    return done()


# -- target roots --------------------------------------------------------------------------------------------------------


async def get_roots(request: Request) -> Response:
    tenancy, caller = await enter(request)
    environment = await environment_of(request, tenancy, caller)
    return answer([_root(entry) for entry in await tenancy.environments.roots(caller.scope.workspace, environment.id)])


async def create_root(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.CreateTargetRoot)
    environment = path_id(request, "environment_id")
    return answer(_root(await tenancy.environments.create_root(caller, environment, body.name, body.uri_prefix)), 201)


async def get_root(request: Request) -> Response:
    tenancy, caller = await enter(request)
    environment, root = path_id(request, "environment_id"), path_id(request, "root_id")
    entry = await tenancy.environments.root(caller.scope.workspace, environment, root)
    return answer(_root(entry), version=entry.version)


async def change_root(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.ChangeTargetRoot)
    environment, root = path_id(request, "environment_id"), path_id(request, "root_id")
    with expecting(request) as version:
        entry = await tenancy.environments.change_root(caller, environment, root, body.name, body.uri_prefix, version)
    return answer(_root(entry), version=entry.version)


async def delete_root(request: Request) -> Response:
    tenancy, caller = await enter(request)
    with expecting(request) as version:
        await tenancy.environments.delete_root(caller, path_id(request, "environment_id"), path_id(request, "root_id"), version)
    return done()


async def get_own_roots(request: Request) -> Response:
    """Where results lie, for the registry's own clients: the roots of the environment the caller works in."""
    tenancy, caller = await enter(request)
    found = await tenancy.environments.roots(caller.scope.workspace, caller.scope.environment)
    return answer([wire.TargetRootPlace(body.label, body.uri_prefix) for entry in found for body in [root_body(entry)]])


KEYS, ROOTS = ENVIRONMENT + "/api-keys", ENVIRONMENT + "/target-roots"
OPERATIONS = (
    row("GET", WORKSPACE + "/environments", "listEnvironments", "List environments", get_environments, READ,
        answer=list[wire.Environment]),
    row("POST", WORKSPACE + "/environments", "createEnvironment", "Make an environment", create_environment, WRITE, 409,
        body=wire.CreateEnvironment, answer=wire.Environment, status=201),
    row("GET", ENVIRONMENT, "getEnvironment", "Get an environment", get_environment, READ, answer=wire.Environment),
    row("PATCH", ENVIRONMENT, "updateEnvironment", "Change an environment's name, description or limit of locks", change_environment,
        WRITE, body=wire.ChangeEnvironment, answer=wire.Environment),
    row("DELETE", ENVIRONMENT, "deleteEnvironment", "Delete an environment with its keys and target roots", delete_environment,
        WRITE, 400, 409, status=204),
    row("GET", KEYS, "listEnvironmentKeys", "List an environment's API keys", get_keys, READ, query=(REVOKED,),
        answer=list[wire.EnvironmentKey]),
    row("POST", KEYS, "createEnvironmentKey", "Make an API key; its text is told once", create_key, WRITE,
        body=wire.CreateEnvironmentKey, answer=wire.MadeEnvironmentKey, status=201),
    row("DELETE", KEY_PATH, "revokeEnvironmentKey", "Revoke an API key", revoke_key, WRITE, status=204),
    row("GET", ROOTS, "listTargetRoots", "List target roots", get_roots, READ, answer=list[wire.TargetRoot]),
    row("POST", ROOTS, "createTargetRoot", "Make a target root", create_root, WRITE, 409, body=wire.CreateTargetRoot,
        answer=wire.TargetRoot, status=201),
    row("GET", ROOT, "getTargetRoot", "Get a target root", get_root, READ, answer=wire.TargetRoot),
    row("PATCH", ROOT, "updateTargetRoot", "Change a target root", change_root, WRITE, 409, body=wire.ChangeTargetRoot,
        answer=wire.TargetRoot),
    row("DELETE", ROOT, "deleteTargetRoot", "Delete a target root", delete_root, WRITE, status=204),
)  # fmt: skip

OWN_ROOTS: Operation = msgspec.structs.replace(
    row("GET", "/target-roots", "listOwnTargetRoots", "The target roots of the environment the caller works in", get_own_roots,
        READ, 400, 404, query=(ENVIRONMENT_ITEM,), answer=list[wire.TargetRootPlace]),
    place=sdk_environment,
)  # fmt: skip
"""In one spelling only."""
