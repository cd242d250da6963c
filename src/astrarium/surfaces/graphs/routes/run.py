"""Runs of graphs: begun, listed, looked at, compared."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ....errors import Invalid, Problem
from ...operation import Query
from .. import wire
from ..views import query
from ..views.checkpoint import compare, list_steps, show_step
from ..views.status import Condition, parse_statuses, with_source, with_statuses
from .entry import (
    ITEMS,
    MOST_ITEMS,
    MOST_OFFSET,
    RUN,
    answer,
    check_open,
    desk_of,
    enter,
    entered_run,
    parse_count,
    parse_time,
    read_fields,
    row,
)

KEY_HEADER = "Idempotency-Key"
KEY = Query(KEY_HEADER, "Begins one run for each key in 24 hours; the body's `idempotency_key` says the same.")
REPLAY = {"idempotent_replay": "true"}
MOST_KEY = 512


def key_of(request: Request, ask: wire.StartGraphRun) -> str:
    """The idempotency key of the body, or of the header. Raises `Invalid`."""
    given, header = ask.idempotency_key or "", request.headers.get(KEY_HEADER, "").strip()
    if given and header and given != header:
        problem = Problem("differs from the header Idempotency-Key", path="body.idempotency_key")
        raise Invalid(problem.message, [problem])
    key = given or header
    if len(key) > MOST_KEY or "\0" in key:
        problem = Problem(f"must have at most {MOST_KEY} characters, and no NUL", path="body.idempotency_key")
        raise Invalid(problem.message, [problem])
    return key


async def start_run(request: Request) -> Response:
    desk, caller = await enter(request)
    ask, ignored = await read_fields(request, wire.StartGraphRun)
    check_open(request)
    begun = await desk.start(caller, ask, key_of(request, ask))
    told = wire.StartedGraphRun(begun.run, begun.status)
    return answer(told, 202, ignored, **(REPLAY if begun.replayed else {}))


async def list_runs(request: Request) -> Response:
    desk, caller = await enter(request)
    asked, store = request.query_params, desk.engine.store
    limit, offset = parse_count(request, "limit", ITEMS, 1, MOST_ITEMS), parse_count(request, "offset", 0, 0, MOST_OFFSET)
    where: list[Condition] = [("workspace = ? AND surface = ? AND parent_run = ''", [caller.scope.workspace, query.SURFACE])]
    where += await narrowed(request)
    total = await query.count_runs(store, where)
    if asked.get("cursor"):
        where, offset = [*where, query.parse_cursor(asked["cursor"])], 0
    found = await query.run_rows(store, where, limit + 1, offset)
    rows = found[:limit]
    cursor = query.cursor_after(rows[-1]) if len(found) > limit else None
    return answer(wire.GraphRunsPage(await desk.views.summaries(rows), total, limit, offset, cursor))


async def narrowed(request: Request) -> list[Condition]:
    """What the query narrows the list to. Raises `Invalid`."""
    asked, where = request.query_params, list[Condition]()
    if asked.get("status"):
        where.append(with_statuses(parse_statuses(asked["status"])))
    if asked.get("trigger_source"):
        where.append(with_source(asked["trigger_source"]))
    for name, sign in (("since", ">="), ("until", "<")):
        at = parse_time(request, name)
        if at is not None:
            where.append((f"created_at {sign} ?", [at]))
    if asked.get("graph_id"):
        where.append(("name = ?", [asked["graph_id"]]))
    if asked.get("parent_run_id"):
        desk, caller = await enter(request)
        parent = (await desk.row(caller, asked["parent_run_id"])).id
        where.append(("forked_from = ?", [parent]))
    return where


async def get_run(request: Request) -> Response:
    desk, _, found = await entered_run(request)
    told = await desk.views.summary(found)
    told.last_event_seq = await request.app.state.graph_streams.last_seq(found)
    return answer(told)


async def get_steps(request: Request) -> Response:
    desk, _, found = await entered_run(request)
    after, limit = parse_count(request, "after_step", -1, 0, MOST_OFFSET), parse_count(request, "limit", MOST_ITEMS, 1, MOST_ITEMS)
    return answer(await list_steps(desk.engine, found, after, limit))


async def get_step(request: Request) -> Response:
    desk, _, found = await entered_run(request)
    text = request.path_params["step"]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        problem = Problem(f"must be a whole number, not {text[:40]!r}", path="path.step")
        raise Invalid(problem.message, [problem])
    return answer(await show_step(desk.engine, found, int(text), request.query_params.get("branch_id", "")))


async def get_diff(request: Request) -> Response:
    desk, caller, found = await entered_run(request)
    against = request.query_params.get("against", "")
    if not against:
        problem = Problem("is required: the run to compare with", path="query.against")
        raise Invalid(f"against {problem.message}", [problem])
    logs = request.app.state.graph_streams.logs
    return answer(await compare(desk_of(request).engine, logs, found, await desk.row(caller, against)))


TIME = {"format": "date-time"}
BOUNDS = (
    Query("limit", "Most items.", "integer", more={"minimum": 1, "maximum": MOST_ITEMS, "default": ITEMS}),
    Query("offset", "Items left out, newest first.", "integer", more={"minimum": 0, "maximum": MOST_OFFSET, "default": 0}),
    Query("cursor", "The `cursor` of the page before; `offset` is ignored then."),
)
FILTERS = (
    Query("status", "Only runs of these statuses, separated by commas."),
    Query("since", "Only runs started at this time or later (ISO 8601; without an offset UTC).", more=TIME),
    Query("until", "Only runs started before this time.", more=TIME),
    Query("trigger_source", "Only runs started like this.", choices=("manual", "cron", "webhook")),
    Query("graph_id", "Only runs of this graph."),
    Query("parent_run_id", "Only counterfactuals of this run."),
)
OPERATIONS = (
    row("POST", "/runs", "startGraphRun", "Start a run of a graph", start_run, needs="runs:start", body=wire.StartGraphRun,
        answer=wire.StartedGraphRun, status=202, failures=(404, 409, 503), headers=(KEY,)),
    row("GET", "/runs", "listGraphRuns", "List runs of graphs, newest first", list_runs, needs="runs:read", query=(*FILTERS, *BOUNDS),
        answer=wire.GraphRunsPage),
    row("GET", RUN, "getGraphRun", "Get a run, of a graph or of a DAG", get_run, needs="runs:read", answer=wire.GraphRun),
    row("GET", RUN + "/steps", "listGraphRunSteps", "The checkpoints of a run, in order", get_steps, needs="runs:read",
        query=(Query("after_step", "Only those behind this step: the last one of the page before.", "integer"),
               Query("limit", "About so many, 1 to 1000 (1000): branches of one step are not parted.", "integer")),
        answer=list[wire.CheckpointView], failures=(404, 409)),
    row("GET", RUN + "/steps/{step}", "getGraphRunStep", "The run as it was when a step had ended", get_step, needs="runs:read",
        query=(Query("branch_id", "The state of this branch; without it, after the branches were one way again."),),
        answer=wire.CheckpointView, failures=(404, 409)),
    row("GET", RUN + "/diff", "diffGraphRuns", "How another run differs from this one", get_diff, needs="runs:read",
        query=(Query("against", "The other run.", required=True),), answer=wire.RunDifference, failures=(404, 409)),
)  # fmt: skip
