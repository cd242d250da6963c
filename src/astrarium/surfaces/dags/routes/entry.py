"""What all routes of `/api/v2` begin with: who calls, which run a path means, and the queries they share."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from ....errors import Invalid, Problem
from ....web.caller import Caller, caller_of
from ...operation import Endpoint, Operation, Query
from ..desk import Desk
from ..views import query
from ..views.query import RunRow

LOCAL_NODE = "local"
NODE = Query("remoteNode", "Which server answers; only `local` is known.")
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


async def enter(request: Request) -> tuple[Desk, Caller]:
    """The desk and the caller; a remote node other than this server is unknown. Raises `Invalid`, `Unauthenticated`."""
    node = request.query_params.get("remoteNode") or LOCAL_NODE
    if node != LOCAL_NODE:
        raise Invalid(f"there is no remote node {node[:80]!r}", [Problem("only `local` is known", path="remoteNode")])
    return desk_of(request), await caller_of(request)


async def run_row(request: Request, desk: Desk, caller: Caller) -> RunRow:
    """The run a path names, or the sub-run below it."""
    path = request.path_params
    row = await query.find_run(desk.engine.store, caller.scope, path["name"], path["dagRunId"])
    if "subDAGRunId" in path:
        row = await query.find_sub_run(desk.engine.store, row, path["subDAGRunId"])
    return row


def row(
    method: str, path: str, id_: str, summary: str, act: Endpoint, *, query: tuple[Query, ...] = (), **more: Any
) -> Operation:
    failures = more.pop("failures", (404,) if "{" in path else ())
    return Operation(method, path, id_, summary, act, query=(*query, NODE), failures=failures, **more)
