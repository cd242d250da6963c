"""What all routes of `/api/v2` begin with: who calls, which run a path means, and the queries they share."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ....errors import Invalid, NotFound, Problem
from ....web.caller import Caller, caller_of
from ....web.remote import Remote
from ...operation import Endpoint, Operation, Query
from ..catalog import strip_suffix
from ..desk import Desk
from ..views import query
from ..views.query import RunRow

LOCAL_NODE = "local"
NODE_ITEM = "remoteNode"
NODE = Query(NODE_ITEM, "Which server answers: `local`, or a name in the setting remote_nodes.")
PAGING = (
    Query("page", "Page, from 1.", "integer"),
    Query("perPage", "Items on a page, 1 to 1000 (50); at most 200 are given.", "integer"),
)
LINES = (
    Query("tail", "Only the last so many lines; wins over `head`.", "integer"),
    Query("head", "Only the first so many lines; wins over `offset` and `limit`.", "integer"),
    Query("offset", "First line, from 1.", "integer"),
    Query("limit", "Most lines, at most 10000 (1000).", "integer"),
)
STREAM = Query("stream", "Which output (stdout).", choices=("stdout", "stderr"))
DAG = "/dags/{fileName}"
RUN = "/dag-runs/{name}/{dagRunId}"
STEP = RUN + "/steps/{stepName}"
SUB = RUN + "/sub-dag-runs/{subDAGRunId}"
SUB_STEP = SUB + "/steps/{stepName}"


def desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.dags
    return desk


def remote_of(request: Request) -> str:
    """The remote node a request is for; empty for this server."""
    node = request.query_params.get(NODE_ITEM) or LOCAL_NODE
    return "" if node == LOCAL_NODE else node


async def enter(request: Request) -> tuple[Desk, Caller]:
    """The desk and the caller. Raises `Unauthenticated`."""
    return desk_of(request), await caller_of(request)


def pass_on(act: Endpoint) -> Endpoint:
    """The endpoint for requests that are for this server; those for a remote node are passed on to it."""

    async def acting(request: Request) -> Response:
        name = remote_of(request)
        if not name:
            return await act(request)
        await caller_of(request)
        remote: Remote = request.app.state.remote
        return await remote.pass_on(request, name, NODE_ITEM)

    return acting


def stay(act: Endpoint) -> Endpoint:
    """The endpoint of an operation that is open to everybody: it is never passed on, since a node would take it for ours."""

    async def acting(request: Request) -> Response:
        if remote_of(request):
            problem = Problem("only `local` can be asked for this", path=NODE_ITEM)
            raise Invalid("this operation is not passed on to remote nodes", [problem], hint="ask the other server itself")
        return await act(request)

    return acting


async def run_row(request: Request, desk: Desk, caller: Caller) -> RunRow:
    """The run a path names, or the sub-run below it."""
    path = request.path_params
    name, bare = path["name"], strip_suffix(path["name"])
    try:
        row = await query.find_run(desk.engine.store, caller.scope, name, path["dagRunId"])
    except NotFound:
        if bare == name:
            raise
        row = await query.find_run(desk.engine.store, caller.scope, bare, path["dagRunId"])
    if "subDAGRunId" in path:
        row = await query.find_sub_run(desk.engine.store, row, path["subDAGRunId"])
    return row


def row(
    method: str, path: str, id_: str, summary: str, act: Endpoint, *, query: tuple[Query, ...] = (), **more: Any
) -> Operation:
    """One operation of `/api/v2`. Every path takes `remoteNode`; where the operation needs a capability, it is passed on."""
    failures = more.pop("failures", (404,) if "{" in path else ())
    made = Operation(method, path, id_, summary, act, query=(*query, NODE), failures=failures, **more)
    return msgspec.structs.replace(made, act=pass_on(act) if made.needs else stay(act))
