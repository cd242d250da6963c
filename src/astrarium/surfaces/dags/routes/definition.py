"""Definitions: DAG files, their texts, and starting them."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from ....errors import Invalid
from ....web.caller import Caller
from ...operation import Query, answer, read_body
from .. import wire
from ..catalog import Entry
from ..desk import Desk
from ..views import definition, query
from ..views import run as run_views
from ..views.catalog import list_dags
from ..views.query import RunFilter, RunRow
from .entry import DAG, PAGING, enter, row

HISTORY = 30
"""Runs in the history of a DAG (Dagu 1.30)."""


async def get_dags(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await list_dags(desk.catalog, desk.views, caller.scope, request.query_params))


async def create_dag(request: Request) -> Response:
    desk, _ = await enter(request)
    body = await read_body(request, wire.definition.CreateDag)
    await asyncio.to_thread(desk.catalog.create, body.name, body.spec)
    return answer(wire.shape.Named(body.name), 201)


async def validate_dag(request: Request) -> Response:
    desk, _ = await enter(request)
    body = await read_body(request, wire.definition.ValidateDag)
    try:
        made = await asyncio.to_thread(desk.catalog.compile, body.spec, body.name)
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
    return answer(wire.definition.DagAnswer(local, latest, False, entry.errors, entry_details(entry)))


async def delete_dag(request: Request) -> Response:
    desk, _ = await enter(request)
    entry = await desk.find(request.path_params["fileName"])
    await asyncio.to_thread(desk.catalog.delete, entry)
    return Response(status_code=204)


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


OPERATIONS = (
    row(
        "GET", "/dags", "listDAGs", "List DAG files", get_dags, answer=wire.definition.DagList,
        query=(
            *PAGING, Query("name", "Part of the file's name."), Query("tag", "A tag, whole."),
            Query("sort", "Order by (name).", choices=("name", "nextRun")), Query("order", "(asc)", choices=("asc", "desc")),
        ),
    ),
    row(
        "POST", "/dags", "createNewDAG", "Create a DAG file", create_dag, body=wire.definition.CreateDag, answer=wire.shape.Named,
        status=201, failures=(400, 409),
    ),
    row(
        "POST", "/dags/validate", "validateDAGSpec", "Check a DAG text", validate_dag, body=wire.definition.ValidateDag,
        answer=wire.definition.Validation,
    ),
    row("GET", DAG, "getDAGDetails", "Get a DAG", get_dag, answer=wire.definition.DagAnswer),
    row("DELETE", DAG, "deleteDAG", "Delete a DAG file", delete_dag, status=204),
    row("GET", DAG + "/spec", "getDAGSpec", "Get a DAG's text", get_dag_spec, answer=wire.definition.DagSpec),
    row(
        "PUT", DAG + "/spec", "updateDAGSpec", "Change a DAG's text; with errors nothing is changed", put_dag_spec,
        body=wire.definition.PutSpec, answer=wire.shape.Errors,
    ),
    row(
        "POST", DAG + "/start", "executeDAG", "Start a run", start_dag, body=wire.run.StartDag, body_required=False,
        answer=wire.run.Started, failures=(400, 404, 409),
    ),
    row("GET", DAG + "/dag-runs", "getDAGDAGRunHistory", "The newest runs of a DAG", get_dag_history, answer=wire.definition.DagHistory),
    row(
        "GET", DAG + "/dag-runs/{dagRunId}", "getDAGDAGRunDetails", "Get a run of a DAG", get_dag_history_run,
        answer=wire.run.DagRunAnswer,
    ),
)  # fmt: skip
