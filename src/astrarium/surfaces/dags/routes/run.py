"""Runs and sub-runs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ....errors import Invalid, NotFound, Problem
from ...operation import Query, answer, read_body
from .. import wire
from ..catalog import strip_suffix
from ..views import query
from ..views.journal import run_log
from ..views.log import parse_window
from ..views.query import RunFilter
from ..views.status import parse_status
from .entry import LINES, RUN, SUB, enter, row, run_row

RUN_FILTERS = (
    Query("status", "Number of a status, 0 to 8.", "integer"),
    Query("fromDate", "Runs made at or after this time, Unix seconds.", "integer"),
    Query("toDate", "Runs made until this time, Unix seconds.", "integer"),
    Query("dagRunId", "Part of the run's id."),
)


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
    if not rows and strip_suffix(wanted.name) != wanted.name:  # the file's name, where the DAG's is meant
        rows = await query.list_runs(desk.engine.store, caller.scope, wanted._replace(name=strip_suffix(wanted.name)))
    return answer(wire.run.RunList(await desk.views.summaries(rows)))


async def start_spec(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(wire.run.Started(await desk.start_spec(caller, await read_body(request, wire.run.StartSpec))))


async def get_run(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(wire.run.RunAnswer(await desk.views.details(await run_row(request, desk, caller))))


async def get_run_spec(request: Request) -> Response:
    desk, caller = await enter(request)
    text = await desk.views.spec(await run_row(request, desk, caller))
    if text is None:
        raise NotFound("the text this run was compiled from was not kept")
    return answer(wire.run.RunSpec(text))


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


async def stop_run(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.run.StopRun, required=False)
    await desk.stop(caller, await run_row(request, desk, caller), body)
    return answer({})


async def retry_run(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.run.RetryRun, required=False)
    return answer(wire.run.Started(await desk.retry(caller, await run_row(request, desk, caller), body)))


async def fork_run(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.run.ForkRun, required=False)
    return answer(wire.run.Started(await desk.fork(caller, await run_row(request, desk, caller), body)))


OPERATIONS = (
    row(
        "GET", "/dag-runs", "listDAGRuns", "List runs, newest first", get_runs, needs="runs:read", answer=wire.run.RunList,
        query=(*RUN_FILTERS, Query("name", "Part of the DAG's name.")),
    ),
    row(
        "POST", "/dag-runs", "executeDAGRunFromSpec", "Start a run of a text that is no file", start_spec,
        needs="runs:start", body=wire.run.StartSpec,
        answer=wire.run.Started, failures=(400, 409),
    ),
    row(
        "GET", "/dag-runs/{name}", "listDAGRunsByName", "List runs of one DAG", get_runs,
        needs="runs:read", answer=wire.run.RunList,
        query=RUN_FILTERS, failures=(),
    ),
    row("GET", RUN, "getDAGRunDetails", "Get a run", get_run, needs="runs:read", answer=wire.run.RunAnswer),
    row("GET", RUN + "/spec", "getDAGRunSpec", "The text the run was started from", get_run_spec,
        needs="runs:read", answer=wire.run.RunSpec),
    row("GET", RUN + "/log", "getDAGRunLog", "The run's own log", get_run_log,
        needs="runs:read", answer=wire.run.Log, query=LINES),
    row("GET", RUN + "/outputs", "getDAGRunOutputs", "What the run's steps handed on", get_outputs,
        needs="runs:read", answer=wire.run.Outputs),
    row("POST", RUN + "/stop", "terminateDAGRun", "Stop a run", stop_run,
        needs="runs:change", body=wire.run.StopRun, body_required=False,
         failures=(400, 404)),
    row(
        "POST", RUN + "/retry", "retryDAGRun", "Retry a run, or with another id start it anew", retry_run,
        needs="runs:change", body=wire.run.RetryRun,
        body_required=False, answer=wire.run.Started, failures=(400, 404, 409),
    ),
    row("POST", RUN + "/fork", "forkDAGRun", "Fork a run: another run goes on from a step of it, with something different", fork_run,
        needs="runs:start", body=wire.run.ForkRun, body_required=False, answer=wire.run.Started, failures=(400, 404, 409)),
    row("GET", RUN + "/sub-dag-runs", "getSubDAGRuns", "Runs directly under a run", get_sub_runs,
        needs="runs:read", answer=wire.run.SubRuns,
         query=(Query("parentSubDAGRunId", "Those under this sub-run instead."),)),
    row("GET", SUB, "getSubDAGRunDetails", "Get a sub-run", get_run, needs="runs:read", answer=wire.run.RunAnswer),
    row("GET", SUB + "/log", "getSubDAGRunLog", "A sub-run's own log", get_run_log,
        needs="runs:read", answer=wire.run.Log, query=LINES),
)  # fmt: skip
