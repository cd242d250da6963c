"""The paths of `/api/v2`: which words mean which order or view. Nothing here decides anything about a DAG or a run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from ...errors import AstrariumError, Invalid, NotFound, Problem
from ...web.caller import Caller, caller_of
from .. import operation
from ..operation import Operation, Query, answer, read_body
from . import wire
from .catalog import Entry
from .desk import Desk
from .problem import PREFIX
from .views import definition, query
from .views import run as run_views
from .views.catalog import list_dags
from .views.journal import run_log
from .views.log import parse_stream, parse_window, step_log
from .views.query import RunFilter, RunRow
from .views.status import parse_status

HISTORY = 30
"""Runs in the history of a DAG (Dagu 1.30)."""
LOCAL_NODE = "local"


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


async def get_health(request: Request) -> Response:
    desk = desk_of(request)
    parts = {"engine": "unhealthy" if desk.engine.fenced.is_set() else "healthy", "store": "healthy"}
    try:
        await desk.engine.store.read("SELECT 1", ())
    except AstrariumError:
        parts["store"] = "unhealthy"
    status = "healthy" if set(parts.values()) == {"healthy"} else "unhealthy"
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return answer(wire.Health(status, desk.version, desk.uptime_s, now, parts), 200 if status == "healthy" else 503)


# -- definitions -----------------------------------------------------------------------------------------------------------


async def get_dags(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await list_dags(desk.catalog, desk.views, caller.scope, request.query_params))


async def create_dag(request: Request) -> Response:
    desk, _ = await enter(request)
    body = await read_body(request, wire.CreateDag)
    await asyncio.to_thread(desk.catalog.create, body.name, body.spec)
    return answer(wire.Named(body.name), 201)


async def validate_dag(request: Request) -> Response:
    desk, _ = await enter(request)
    body = await read_body(request, wire.ValidateDag)
    try:
        made = await asyncio.to_thread(desk.catalog.compile, body.spec, body.name)
    except Invalid as error:
        return answer(wire.Validation(False, [str(problem) for problem in error.problems] or [error.message]))
    return answer(wire.Validation(True, [], definition.details(made.dag)))


def entry_details(entry: Entry) -> wire.DagDetails | None:
    return definition.details(entry.dag) if entry.dag is not None else None


async def latest_row(desk: Desk, caller: Caller, entry: Entry) -> RunRow | None:
    return (await query.latest_runs(desk.engine.store, caller.scope, [entry.name])).get(entry.name)


async def get_dag(request: Request) -> Response:
    desk, caller = await enter(request)
    entry = await desk.find(request.path_params["fileName"])
    row = await latest_row(desk, caller, entry)
    latest = await desk.views.details(row) if row is not None else run_views.no_details(entry.name)
    local = definition.local_dags(entry.dag) if entry.dag is not None else []
    return answer(wire.DagAnswer(local, latest, False, entry.errors, entry_details(entry)))


async def delete_dag(request: Request) -> Response:
    desk, _ = await enter(request)
    entry = await desk.find(request.path_params["fileName"])
    await asyncio.to_thread(desk.catalog.delete, entry)
    return Response(status_code=204)


async def get_dag_spec(request: Request) -> Response:
    desk, _ = await enter(request)
    entry = await desk.find(request.path_params["fileName"])
    text = await asyncio.to_thread(desk.catalog.text, entry)
    return answer(wire.DagSpec(text, entry.errors, entry_details(entry)))


async def put_dag_spec(request: Request) -> Response:
    desk, _ = await enter(request)
    body = await read_body(request, wire.PutSpec)
    entry = await desk.find(request.path_params["fileName"])
    try:
        await asyncio.to_thread(desk.catalog.replace, entry, body.spec)
    except Invalid as error:
        return answer(wire.Errors([str(problem) for problem in error.problems] or [error.message]))
    return answer(wire.Errors([]))


async def start_dag(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.StartDag, required=False)
    return answer(wire.Started(await desk.start_dag(caller, request.path_params["fileName"], body)))


async def get_dag_history(request: Request) -> Response:
    desk, caller = await enter(request)
    entry = await desk.find(request.path_params["fileName"])
    rows = await query.list_runs(desk.engine.store, caller.scope, RunFilter(name=entry.name), HISTORY)
    return answer(await desk.views.history(rows[::-1]))


async def get_dag_history_run(request: Request) -> Response:
    desk, caller = await enter(request)
    entry = await desk.find(request.path_params["fileName"])
    row = await query.find_run(desk.engine.store, caller.scope, entry.name, request.path_params["dagRunId"])
    return answer(wire.DagRunAnswer(await desk.views.details(row)))


# -- runs ------------------------------------------------------------------------------------------------------------------


def parse_moment(request: Request, name: str) -> int | None:
    """A time of the query, Unix seconds, as microseconds. Raises `Invalid`."""
    text = request.query_params.get(name, "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return int(text) * 1_000_000
    problem = Problem(f"{name} must be a time in Unix seconds, not {text[:40]!r}", path=name)
    raise Invalid(problem.message, [problem])


async def get_runs(request: Request) -> Response:
    desk, caller = await enter(request)
    asked = request.query_params
    until = parse_moment(request, "toDate")
    wanted = RunFilter(
        name=request.path_params.get("name", ""), part=asked.get("name", ""), id_part=asked.get("dagRunId", ""),
        status=parse_status(asked["status"]) if asked.get("status") else None, since=parse_moment(request, "fromDate"),
        until=until + 999_999 if until is not None else None,
    )  # fmt: skip
    rows = await query.list_runs(desk.engine.store, caller.scope, wanted)
    return answer(wire.RunList([desk.views.summary(row) for row in rows]))


async def start_spec(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(wire.Started(await desk.start_spec(caller, await read_body(request, wire.StartSpec))))


async def get_run(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(wire.RunAnswer(await desk.views.details(await run_row(request, desk, caller))))


async def get_run_spec(request: Request) -> Response:
    desk, caller = await enter(request)
    text = await desk.views.spec(await run_row(request, desk, caller))
    if text is None:
        raise NotFound("the text this run was compiled from was not kept")
    return answer(wire.RunSpec(text))


async def get_run_log(request: Request) -> Response:
    desk, caller = await enter(request)
    window = parse_window(request.query_params)
    row = await run_row(request, desk, caller)
    return answer(await run_log(desk.engine, row, await desk.views.graph(row), window))


async def get_outputs(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await desk.views.outputs(await run_row(request, desk, caller)))


async def get_sub_runs(request: Request) -> Response:
    desk, caller = await enter(request)
    row = await run_row(request, desk, caller)
    parent = request.query_params.get("parentSubDAGRunId", "")
    if parent:
        row = await query.find_sub_run(desk.engine.store, row, parent)
    return answer(await desk.views.sub_runs(row))


async def get_step_log(request: Request) -> Response:
    desk, caller = await enter(request)
    window, stream = parse_window(request.query_params), parse_stream(request.query_params)
    row = await run_row(request, desk, caller)
    graph, _, step = await desk.step(row, request.path_params["stepName"])
    return answer(await step_log(desk.files, row, graph, step, stream, window))


async def stop_run(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.StopRun, required=False)
    await desk.stop(caller, await run_row(request, desk, caller), body)
    return answer({})


async def retry_run(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.RetryRun, required=False)
    return answer(wire.Started(await desk.retry(caller, await run_row(request, desk, caller), body)))


async def mark_step(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.MarkStatus)
    await desk.mark(caller, await run_row(request, desk, caller), request.path_params["stepName"], body)
    return answer({})


async def approve_step(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.ApproveStep, required=False)
    row = await run_row(request, desk, caller)
    return answer(await desk.approve(caller, row, request.path_params["stepName"], body))


async def reject_step(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.RejectStep, required=False)
    row = await run_row(request, desk, caller)
    return answer(await desk.reject(caller, row, request.path_params["stepName"], body))


# -- the table -------------------------------------------------------------------------------------------------------------

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
RUN_FILTERS = (
    Query("status", "Number of a status, 0 to 8.", "integer"),
    Query("fromDate", "Runs made at or after this time, Unix seconds.", "integer"),
    Query("toDate", "Runs made until this time, Unix seconds.", "integer"),
    Query("dagRunId", "Part of the run's id."),
)
DAG = "/dags/{fileName}"
RUN = "/dag-runs/{name}/{dagRunId}"
STEP = RUN + "/steps/{stepName}"
SUB = RUN + "/sub-dag-runs/{subDAGRunId}"
SUB_STEP = SUB + "/steps/{stepName}"


def _row(
    method: str, path: str, id_: str, summary: str, act: operation.Endpoint, *, query: tuple[Query, ...] = (), **more: Any
) -> Operation:
    failures = more.pop("failures", (404,) if "{" in path else ())
    return Operation(method, path, id_, summary, act, query=(*query, NODE), failures=failures, **more)


OPERATIONS = (
    _row("GET", "/health", "getHealthStatus", "Whether the server works", get_health, answer=wire.Health, failures=(503,)),
    _row(
        "GET", "/dags", "listDAGs", "List DAG files", get_dags, answer=wire.DagList,
        query=(
            *PAGING, Query("name", "Part of the file's name."), Query("tag", "A tag, whole."),
            Query("sort", "Order by (name).", choices=("name", "nextRun")), Query("order", "(asc)", choices=("asc", "desc")),
        ),
    ),
    _row(
        "POST", "/dags", "createNewDAG", "Create a DAG file", create_dag, body=wire.CreateDag, answer=wire.Named, status=201,
        failures=(400, 409),
    ),
    _row(
        "POST", "/dags/validate", "validateDAGSpec", "Check a DAG text", validate_dag, body=wire.ValidateDag,
        answer=wire.Validation,
    ),
    _row("GET", DAG, "getDAGDetails", "Get a DAG", get_dag, answer=wire.DagAnswer),
    _row("DELETE", DAG, "deleteDAG", "Delete a DAG file", delete_dag, status=204),
    _row("GET", DAG + "/spec", "getDAGSpec", "Get a DAG's text", get_dag_spec, answer=wire.DagSpec),
    _row(
        "PUT", DAG + "/spec", "updateDAGSpec", "Change a DAG's text; with errors nothing is changed", put_dag_spec,
        body=wire.PutSpec, answer=wire.Errors,
    ),
    _row(
        "POST", DAG + "/start", "executeDAG", "Start a run", start_dag, body=wire.StartDag, body_required=False,
        answer=wire.Started, failures=(400, 404, 409),
    ),
    _row("GET", DAG + "/dag-runs", "getDAGDAGRunHistory", "The newest runs of a DAG", get_dag_history, answer=wire.DagHistory),
    _row(
        "GET", DAG + "/dag-runs/{dagRunId}", "getDAGDAGRunDetails", "Get a run of a DAG", get_dag_history_run,
        answer=wire.DagRunAnswer,
    ),
    _row(
        "GET", "/dag-runs", "listDAGRuns", "List runs, newest first", get_runs, answer=wire.RunList,
        query=(*RUN_FILTERS, Query("name", "Part of the DAG's name.")),
    ),
    _row(
        "POST", "/dag-runs", "executeDAGRunFromSpec", "Start a run of a text that is no file", start_spec, body=wire.StartSpec,
        answer=wire.Started, failures=(400, 409),
    ),
    _row(
        "GET", "/dag-runs/{name}", "listDAGRunsByName", "List runs of one DAG", get_runs, answer=wire.RunList,
        query=RUN_FILTERS, failures=(),
    ),
    _row("GET", RUN, "getDAGRunDetails", "Get a run", get_run, answer=wire.RunAnswer),
    _row("GET", RUN + "/spec", "getDAGRunSpec", "The text the run was started from", get_run_spec, answer=wire.RunSpec),
    _row("GET", RUN + "/log", "getDAGRunLog", "The run's own log", get_run_log, answer=wire.Log, query=LINES),
    _row("GET", RUN + "/outputs", "getDAGRunOutputs", "What the run's steps handed on", get_outputs, answer=wire.Outputs),
    _row("POST", RUN + "/stop", "terminateDAGRun", "Stop a run", stop_run, body=wire.StopRun, body_required=False,
         failures=(400, 404)),
    _row(
        "POST", RUN + "/retry", "retryDAGRun", "Retry a run, or with another id start it anew", retry_run, body=wire.RetryRun,
        body_required=False, answer=wire.Started, failures=(400, 404, 409),
    ),
    _row("GET", RUN + "/sub-dag-runs", "getSubDAGRuns", "Runs directly under a run", get_sub_runs, answer=wire.SubRuns,
         query=(Query("parentSubDAGRunId", "Those under this sub-run instead."),)),
    _row("GET", STEP + "/log", "getDAGRunStepLog", "Output of a step", get_step_log, answer=wire.Log, query=(*LINES, STREAM)),
    _row("PATCH", STEP + "/status", "updateDAGRunStepStatus", "Edit a step", mark_step, body=wire.MarkStatus,
         failures=(400, 404)),
    _row("POST", STEP + "/approve", "approveDAGRunStep", "Approve a waiting step", approve_step, body=wire.ApproveStep,
         body_required=False, answer=wire.Approved, failures=(400, 404)),
    _row("POST", STEP + "/reject", "rejectDAGRunStep", "Reject a waiting step", reject_step, body=wire.RejectStep,
         body_required=False, answer=wire.Rejected, failures=(400, 404)),
    _row("GET", SUB, "getSubDAGRunDetails", "Get a sub-run", get_run, answer=wire.RunAnswer),
    _row("GET", SUB + "/log", "getSubDAGRunLog", "A sub-run's own log", get_run_log, answer=wire.Log, query=LINES),
    _row("GET", SUB_STEP + "/log", "getSubDAGRunStepLog", "Output of a sub-run's step", get_step_log, answer=wire.Log,
         query=(*LINES, STREAM)),
    _row("PATCH", SUB_STEP + "/status", "updateSubDAGRunStepStatus", "Edit a sub-run's step", mark_step, body=wire.MarkStatus,
         failures=(400, 404)),
    _row("POST", SUB_STEP + "/approve", "approveSubDAGRunStep", "Approve a sub-run's waiting step", approve_step,
         body=wire.ApproveStep, body_required=False, answer=wire.Approved, failures=(400, 404)),
    _row("POST", SUB_STEP + "/reject", "rejectSubDAGRunStep", "Reject a sub-run's waiting step", reject_step,
         body=wire.RejectStep, body_required=False, answer=wire.Rejected, failures=(400, 404)),
)  # fmt: skip
ROOT_HEALTH = (
    Operation("GET", "/health", "getRootHealth", "Whether the server works", get_health, answer=wire.Health, failures=(503,)),
)
"""The same answer without the prefix, for load balancers and watchdogs."""


def mount(app: FastAPI) -> None:
    """Add this surface to an application. `app.state.dags` must hold its `Desk` before the first request."""
    operation.mount(app, "", ROOT_HEALTH)
    operation.mount(app, PREFIX, OPERATIONS)


def describe(document: dict[str, Any]) -> None:
    """Add this surface to an OpenAPI document."""
    operation.describe(document, "", "dags", ROOT_HEALTH, wire.Error)
    operation.describe(document, PREFIX, "dags", OPERATIONS, wire.Error)
