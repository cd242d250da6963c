"""Builds: made, listed, ended."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ...operation import Query, answer, read_body
from .. import wire
from ..field import check_most
from ..machines.build import STATUSES, EndBuild, Outcome
from ..views.build import list_builds, read_build, read_graph
from ..views.event import list_build_events
from ..views.task import list_build_tasks, task_of
from .entry import BUILD, PAGING, PART, READ, WRITE, build_id, enter, page_of, part_of, row, status_of, text_of

BY = Query("triggered_by_user_id", "Who ended it, by the id their identity provider knows.")
ERROR = Query("error_message", "What went wrong.")
REASON = Query("reason", "Why.")
ID_ONLY = Query("id_only", "Answer with ids only.", "boolean")
BULK_MAX = 1000


async def create_build(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await desk.create_build(caller, await read_body(request, wire.CreateBuild, required=False)), 201)


async def get_builds(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await list_builds(desk.store, caller.scope, page_of(request), status_of(request, STATUSES)))


async def get_build(request: Request) -> Response:
    desk, caller = await enter(request)
    id_ = build_id(request)
    await desk.build(caller, id_)
    return answer(await read_build(desk.store, id_))


async def _end(request: Request, outcome: Outcome, reason: str = "") -> Response:
    desk, caller = await enter(request)
    error = text_of(request, reason) if reason else None
    order = EndBuild(outcome, error, text_of(request, BY.name) or "")
    return answer(await desk.end_build(caller, build_id(request), order))


async def complete_build(request: Request) -> Response:
    return await _end(request, "completed")


async def fail_build(request: Request) -> Response:
    return await _end(request, "failed", ERROR.name)


async def cancel_build(request: Request) -> Response:
    return await _end(request, "cancelled")


async def exit_build(request: Request) -> Response:
    return await _end(request, "exit_early", REASON.name)


async def delete_build(request: Request) -> Response:
    desk, caller = await enter(request)
    await desk.delete_build(caller, build_id(request))
    return Response(status_code=204)


async def get_tasks(request: Request) -> Response:
    desk, caller = await enter(request)
    id_ = build_id(request)
    await desk.build(caller, id_)
    return answer(await list_build_tasks(desk.store, caller.scope, id_, part_of(request)))


async def register_task(request: Request) -> Response:
    desk, caller = await enter(request)
    id_ = build_id(request)
    return answer(await desk.register(caller, id_, await read_body(request, wire.CreateTask)), 201)


async def register_tasks(request: Request) -> Response:
    desk, caller = await enter(request)
    id_ = build_id(request)
    body = await read_body(request, wire.CreateTasks)
    check_most(len(body.tasks), BULK_MAX, "tasks")
    states = await desk.register_all(caller, id_, body.tasks)
    if request.query_params.get(ID_ONLY.name, "").lower() in ("true", "1"):
        return answer(wire.TaskRefs([wire.TaskRef(state.kept.id, state.task_id) for state in states]), 201)
    return answer(wire.TaskBatch([task_of(state, await desk.body_of(state)) for state in states]), 201)


async def get_events(request: Request) -> Response:
    desk, caller = await enter(request)
    id_, part = build_id(request), part_of(request)
    await desk.build(caller, id_)
    return answer(await list_build_events(desk.store, caller.scope, id_, part))


async def get_graph(request: Request) -> Response:
    desk, caller = await enter(request)
    id_ = build_id(request)
    await desk.build(caller, id_)
    return answer(await read_graph(desk.store, caller.scope, id_))


STATUS = Query("status", "Only builds of this status.", choices=STATUSES)
OPERATIONS = (
    row("POST", "/builds", "createBuild", "Start a build", create_build, WRITE, body=wire.CreateBuild, body_required=False,
        answer=wire.Build, status=201, idempotent=True),
    row("GET", "/builds", "listBuilds", "List builds, the newest first", get_builds, READ, 422, query=(*PAGING, STATUS),
        answer=wire.BuildList),
    row("GET", BUILD, "getBuild", "Get a build", get_build, READ, answer=wire.Build),
    row("DELETE", BUILD, "deleteBuild", "Delete a build that has ended; its tasks stay", delete_build, WRITE, 409, status=204),
    row("POST", BUILD + "/complete", "completeBuild", "Say that a build is done", complete_build, WRITE, query=(BY,),
        answer=wire.Build),
    row("POST", BUILD + "/fail", "failBuild", "Say that a build failed", fail_build, WRITE, query=(ERROR, BY), answer=wire.Build),
    row("POST", BUILD + "/cancel", "cancelBuild", "Say that a build was cancelled", cancel_build, WRITE, query=(BY,),
        answer=wire.Build),
    row("POST", BUILD + "/exit-early", "exitBuildEarly", "Say that a build's driver left it to others", exit_build, WRITE,
        query=(REASON,), answer=wire.Build),
    row("GET", BUILD + "/tasks", "listBuildTasks", "List the tasks of a build, with their status over all builds", get_tasks, READ,
        query=PART, answer=list[wire.TaskWithStatus]),
    row("POST", BUILD + "/tasks", "registerTask", "Register a task in a build", register_task, WRITE, body=wire.CreateTask,
        answer=wire.Task, status=201),
    row("POST", BUILD + "/tasks/bulk", "registerTasks", "Register up to 1000 tasks in a build, all or none", register_tasks, WRITE,
        query=(ID_ONLY,), body=wire.CreateTasks, answer=wire.TaskBatch, status=201),
    row("GET", BUILD + "/events", "listBuildEvents", "List what happened in a build, the oldest first", get_events, READ, query=PART,
        answer=list[wire.BuildEvent]),
    row("GET", BUILD + "/graph", "getBuildGraph", "The tasks of a build and their dependencies", get_graph, READ,
        answer=wire.BuildGraph),
)  # fmt: skip
