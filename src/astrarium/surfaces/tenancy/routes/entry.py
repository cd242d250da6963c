"""What the routes of workspaces begin with: who calls, which workspace and environment a path means, and rows of the table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ....errors import Invalid, Problem
from ....kernel.record.entry import Entry
from ....web.caller import Caller, caller_of
from ...operation import Endpoint, Operation, Query
from ..room import Tenancy
from ..workspace.body import check_uuid, known_id
from ..workspace.sdk import PARAMETER

WORKSPACES = "/workspaces"
WORKSPACE = WORKSPACES + "/{workspace_id}"
MEMBER = WORKSPACE + "/members/{member_id}"
INVITE = WORKSPACE + "/invites/{invite_id}"
MY_INVITE = WORKSPACES + "/invites/{invite_id}"
ENVIRONMENT = WORKSPACE + "/environments/{environment_id}"
KEYS = ENVIRONMENT + "/api-keys"
"""Where keys are made: the answer has a secret, and is never kept."""
KEY_PATH = ENVIRONMENT + "/api-keys/{key_id}"
ROOT = ENVIRONMENT + "/target-roots/{root_id}"
REVOKED = Query("include_revoked", "Whether revoked keys are listed too.", "boolean")
ENVIRONMENT_ITEM = Query(PARAMETER, "Which environment is meant; a key has its own.")

READ, CREATE, WRITE, OWN = "workspaces:read", "workspaces:create", "workspaces:write", "workspaces:own"
DENIALS = {
    READ: "Requires member role or higher",
    WRITE: "Requires admin role or higher",
    OWN: "Requires owner role or higher",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRUE, _FALSE = ("true", "1", "yes", "on", "t", "y"), ("false", "0", "no", "off", "f", "n", "")


def tenancy_of(request: Request) -> Tenancy:
    tenancy: Tenancy = request.app.state.tenancy
    return tenancy


async def enter(request: Request) -> tuple[Tenancy, Caller]:
    """Tenancy, and the caller as they are where the path leads."""
    return tenancy_of(request), await caller_of(request)


def path_id(request: Request, name: str) -> str:
    """The id inside, of a UUID in the path. Raises `Invalid`."""
    return known_id(check_uuid(request.path_params[name], f"path.{name}"))


async def in_workspace(request: Request, caller: Caller) -> Caller:
    """The caller as they are in the workspace of the path. Every id in the path must be one before any is looked up."""
    for name in request.path_params:
        path_id(request, name)
    environment = path_id(request, "environment_id") if "environment_id" in request.path_params else ""
    return await tenancy_of(request).directory.enter(caller, path_id(request, "workspace_id"), environment)


async def environment_of(request: Request, tenancy: Tenancy, caller: Caller) -> Entry:
    """The environment of the path, in the workspace the caller entered. Raises `NotFound`."""
    return await tenancy.environments.get(caller.scope.workspace, path_id(request, "environment_id"))


def flag(request: Request, name: str) -> bool:
    """A query parameter that is true or false. Raises `Invalid`."""
    text = request.query_params.get(name, "").lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    told = "Input should be a valid boolean"
    raise Invalid(f"{name}: {told}", [Problem(told, path=f"query.{name}")])


def moment(micros: int) -> str:
    """ISO 8601 in UTC, with microseconds."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def done() -> Response:
    return Response(status_code=204)


def row(method: str, path: str, id_: str, summary: str, act: Endpoint, needs: str, *failures: int, **more: Any) -> Operation:
    """One operation. Where the path names a workspace, the caller's role in it decides."""
    placed = "{workspace_id}" in path
    refusals = {401, 403, *((404, 422) if "{" in path else ()), *((422,) if "body" in more else ()), *failures}
    return Operation(
        method, path, id_, summary, act, needs=needs, failures=tuple(sorted(refusals)), place=in_workspace if placed else None,
        denial=DENIALS.get(needs, "") if placed else "", idempotent=method != "GET" and WORKSPACES in path and path != KEYS, **more,
    )  # fmt: skip
