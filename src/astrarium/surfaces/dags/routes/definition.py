"""Definitions: DAG files, their texts, and starting them."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from ....errors import Invalid, NotFound, Problem
from ....web.caller import Caller
from ...operation import Query, answer, read_body
from .. import wire
from ..catalog import Entry, strip_suffix
from ..desk import Desk
from ..views import definition, query
from ..views import run as run_views
from ..views.catalog import list_dags, next_start, search_dags, tags_of
from ..views.query import RunFilter, RunRow
from ..views.schedule import UNPLANNED, moment, planned
from ..work.rename import rename_dag
from ..work.retention import CLEANED_AT_ONCE, Keep, Retention
from .access.webhook import webhooks_of
from .entry import DAG, PAGING, enter, row

HISTORY = 30
"""Runs in the history of a DAG (Dagu 1.30)."""


async def get_dags(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await list_dags(desk.catalog, desk.views, caller.scope, request.query_params))


async def get_matches(request: Request) -> Response:
    desk, _ = await enter(request)
    return answer(await asyncio.to_thread(search_dags, desk.catalog, request.query_params.get("q", "")))


async def get_tags(request: Request) -> Response:
    desk, _ = await enter(request)
    return answer(wire.definition.TagList(await asyncio.to_thread(tags_of, desk.catalog), []))


async def create_dag(request: Request) -> Response:
    desk, _ = await enter(request)
    body = await read_body(request, wire.definition.CreateDag)
    await asyncio.to_thread(desk.catalog.create, body.name, body.spec)
    return answer(wire.shape.Named(body.name), 201)


async def validate_dag(request: Request) -> Response:
    desk, _ = await enter(request)
    body = await read_body(request, wire.definition.ValidateDag)
    try:
        made = await asyncio.to_thread(desk.catalog.compile, body.spec, body.name, strict=True)
    except Invalid as error:
        return answer(wire.definition.Validation(False, [str(problem) for problem in error.problems] or [error.message]))
    return answer(wire.definition.Validation(True, [], definition.details(made.dag)))


def entry_details(entry: Entry) -> wire.definition.DagDetails | None:
    return definition.details(entry.dag) if entry.dag is not None else None


async def latest_row(desk: Desk, caller: Caller, entry: Entry) -> RunRow | None:
    return (await query.latest_runs(desk.engine.store, caller.scope, [entry.name])).get(entry.name)


async def get_dag(request: Request) -> Response:
    desk, caller = await enter(request)
    entry = await desk.find(request.path_params["fileName"])
    newest = await latest_row(desk, caller, entry)
    latest = await desk.views.details(newest) if newest is not None else run_views.no_details(entry.name)
    local = definition.local_dags(entry.dag) if entry.dag is not None else []
    plans = await planned(desk.engine.store, caller.scope, [entry.stem])
    plan, start = plans.get(entry.stem, UNPLANNED), next_start(entry, plans)
    found = wire.definition.DagAnswer(
        local, latest, plan.suspended, entry.errors, entry_details(entry), moment(start) if start else "", plan.last
    )
    return answer(found)


async def delete_dag(request: Request) -> Response:
    desk, caller = await enter(request)
    entry = await desk.find(request.path_params["fileName"])
    await asyncio.to_thread(desk.catalog.delete, entry)
    try:
        await desk.find(entry.stem)
    except NotFound:  # another file of that name would go on with it
        await webhooks_of(request)[0].drop_with(caller, entry.stem)
    return Response(status_code=204)


async def rename(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.definition.RenameDag)
    entry = await desk.find(request.path_params["fileName"])
    await rename_dag(desk.engine, desk.catalog, caller, entry, body.new_file_name)
    return answer({})


async def get_dag_spec(request: Request) -> Response:
    desk, _ = await enter(request)
    entry = await desk.find(request.path_params["fileName"])
    text = await asyncio.to_thread(desk.catalog.text, entry)
    return answer(wire.definition.DagSpec(text, entry.errors, entry_details(entry)))


async def put_dag_spec(request: Request) -> Response:
    desk, _ = await enter(request)
    body = await read_body(request, wire.definition.PutSpec)
    entry = await desk.find(request.path_params["fileName"])
    try:
        await asyncio.to_thread(desk.catalog.replace, entry, body.spec)
    except Invalid as error:
        request.state.unchanged = True  # a refusal that is told with 200: nothing for the audit log
        return answer(wire.shape.Errors([str(problem) for problem in error.problems] or [error.message]))
    return answer(wire.shape.Errors([]))


async def start_dag(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.run.StartDag, required=False)
    return answer(wire.run.Started(await desk.start_dag(caller, request.path_params["fileName"], body)))


async def get_dag_history(request: Request) -> Response:
    desk, caller = await enter(request)
    entry = await desk.find(request.path_params["fileName"])
    rows = await query.list_runs(desk.engine.store, caller.scope, RunFilter(name=entry.name), HISTORY)
    return answer(await desk.views.history(rows[::-1]))


async def get_dag_history_run(request: Request) -> Response:
    desk, caller = await enter(request)
    entry = await desk.find(request.path_params["fileName"])
    row = await query.find_run(desk.engine.store, caller.scope, entry.name, request.path_params["dagRunId"])
    return answer(wire.run.DagRunAnswer(await desk.views.details(row)))


async def clean_up(request: Request) -> Response:
    desk, caller = await enter(request)
    ask = await read_body(request, wire.definition.CleanUp, required=False)
    for field, value, least in (("retentionDays", ask.retention_days, 0), ("keepRuns", ask.keep_runs, 1)):
        if value is not None and not least <= value <= 1_000_000:
            problem = Problem(f"{field} must be a whole number from {least} to 1,000,000", path=field)
            raise Invalid(problem.message, [problem])
    retention: Retention = request.app.state.retention
    try:
        name = (await desk.find(request.path_params["fileName"])).name
    except NotFound:  # runs outlive their file
        name = strip_suffix(request.path_params["fileName"])
    keep = await retention.keep(caller.scope.workspace, name)
    if ask.retention_days is not None or ask.keep_runs is not None:
        keep = Keep(-1 if ask.retention_days is None else ask.retention_days, ask.keep_runs or 0)
    done = await retention.clean(caller.scope, name, keep, most=CLEANED_AT_ONCE, dry=ask.dry_run, actor=caller.actor)
    return answer(wire.definition.Cleaned(done.runs, done.more, done.aliases))


OPERATIONS = (
    row(
        "GET", "/dags", "listDAGs", "List DAG files", get_dags, needs="dags:read", answer=wire.definition.DagList,
        query=(
            *PAGING, Query("name", "Part of the file's name."), Query("tag", "A tag, whole."),
            Query("sort", "Order by (name); what has no next run comes last.", choices=("name", "nextRun")),
            Query("order", "(asc)", choices=("asc", "desc")),
        ),
    ),
    row(
        "POST", "/dags", "createNewDAG", "Create a DAG file", create_dag,
        needs="dags:write", body=wire.definition.CreateDag, answer=wire.shape.Named,
        status=201, failures=(400, 409),
    ),
    row(
        "POST", "/dags/validate", "validateDAGSpec", "Check a DAG text", validate_dag,
        needs="dags:read", body=wire.definition.ValidateDag,
        answer=wire.definition.Validation,
    ),
    row(
        "GET", "/dags/search", "searchDAGs", "Search in the texts of DAG files", get_matches, needs="dags:read",
        answer=wire.definition.SearchAnswer, query=(Query("q", "A regular expression (RE2), case ignored; empty finds nothing."),),
        failures=(400,),
    ),
    row("GET", "/dags/tags", "getAllDAGTags", "All tags of DAG files", get_tags,
        needs="dags:read", answer=wire.definition.TagList),
    row("GET", DAG, "getDAGDetails", "Get a DAG", get_dag, needs="dags:read", answer=wire.definition.DagAnswer),
    row("DELETE", DAG, "deleteDAG", "Delete a DAG file", delete_dag, needs="dags:write", status=204),
    row(
        "POST", DAG + "/rename", "renameDAG", "Give a DAG file another name; its runs go along", rename, needs="dags:write",
        body=wire.definition.RenameDag, failures=(400, 404, 409),
    ),
    row("GET", DAG + "/spec", "getDAGSpec", "Get a DAG's text", get_dag_spec, needs="dags:read", answer=wire.definition.DagSpec),
    row(
        "PUT", DAG + "/spec", "updateDAGSpec", "Change a DAG's text; with errors nothing is changed", put_dag_spec,
        needs="dags:write", body=wire.definition.PutSpec, answer=wire.shape.Errors,
    ),
    row(
        "POST", DAG + "/start", "executeDAG", "Start a run", start_dag,
        needs="runs:start", body=wire.run.StartDag, body_required=False,
        answer=wire.run.Started, failures=(400, 404, 409),
    ),
    row("GET", DAG + "/dag-runs", "getDAGDAGRunHistory", "The newest runs of a DAG", get_dag_history,
        needs="dags:read", answer=wire.definition.DagHistory),
    row(
        "GET", DAG + "/dag-runs/{dagRunId}", "getDAGDAGRunDetails", "Get a run of a DAG", get_dag_history_run,
        needs="dags:read", answer=wire.run.DagRunAnswer,
    ),
    row(
        "POST", DAG + "/cleanup", "cleanUpDAGRuns", "Remove old runs, with their logs; never the newest one", clean_up,
        needs="runs:change", body=wire.definition.CleanUp, body_required=False, answer=wire.definition.Cleaned,
        failures=(400, 404),
    ),
)  # fmt: skip
