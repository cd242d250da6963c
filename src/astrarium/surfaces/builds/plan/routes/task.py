"""Tasks over all plans, executions and limits."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from .....kernel.types import Command
from ....operation import Query, answer, read_body
from ...field import NAME_MAX, check_id
from ...machines.kept import STATUSES
from ...machines.plan.claim import limit_stream
from ...machines.plan.limit import RemoveLimit, SetLimit
from ...views.task import as_artifact, read_assets
from ...wire import TaskArtifacts
from .. import wire_task
from ..views.deployment import list_limits
from ..views.task import list_task_events, list_task_executions, list_tasks, read_task
from .entry import (
    CURSOR,
    INCLUDE_ENDED,
    LIMIT,
    MOST,
    READ,
    TASK,
    WRITE,
    enter,
    flag,
    row,
    status_of,
    task_id,
    text_of,
    uuid_of,
    whole,
)

LISTED = 100
STATUS = Query("status", "Only tasks of this status.", choices=STATUSES)
HOLDERS = Query("include_holders", "Also tell who takes a place.", "boolean")
KEY = "/concurrency-limits/{key}"


async def get_tasks(request: Request) -> Response:
    desk, caller = await enter(request)
    limit = whole(request, LIMIT.name, LISTED, MOST)
    status, cursor = status_of(request, STATUSES), text_of(request, CURSOR.name) or ""
    return answer(await list_tasks(desk.store, caller.scope, status, limit, cursor))


async def get_task(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await read_task(desk.store, caller.scope, task_id(request)))


async def get_artifacts(request: Request) -> Response:
    desk, caller = await enter(request)
    task = task_id(request)
    await desk.claims.task(caller, task)
    return answer(TaskArtifacts([as_artifact(one) for one in await read_assets(desk.store, caller.scope, task)]))


async def get_events(request: Request) -> Response:
    desk, caller = await enter(request)
    task = task_id(request)
    await desk.claims.task(caller, task)
    found = await list_task_events(desk.engine, caller.scope, task, whole(request, LIMIT.name, MOST, MOST))
    return answer(wire_task.PlanEvents(found))


async def get_executions(request: Request) -> Response:
    desk, caller = await enter(request)
    task = task_id(request)
    await desk.claims.task(caller, task)
    ended = "include_ended" not in request.query_params or flag(request, INCLUDE_ENDED.name)
    limit = whole(request, LIMIT.name, LISTED, MOST)
    return answer(wire_task.TaskExecutions(task, await list_task_executions(desk.store, caller.scope, task, ended, limit)))


async def renew_claim(request: Request) -> Response:
    desk, caller = await enter(request)
    task = task_id(request)
    await desk.claims.task(caller, task)
    return answer(await desk.claims.renew(caller, task, await read_body(request, wire_task.ClaimRenewal)))


async def stop_execution(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire_task.ExecutionStop, required=False)
    return answer(await desk.claims.stop(caller, uuid_of(request, "execution_id"), body))


async def get_limits(request: Request) -> Response:
    desk, caller = await enter(request)
    now = desk.engine.clock.now()
    return answer(wire_task.ConcurrencyLimits(await list_limits(desk.store, caller.scope, now, flag(request, HOLDERS.name))))


async def set_limit(request: Request) -> Response:
    desk, caller = await enter(request)
    key = check_id(request.path_params["key"], "path.key", NAME_MAX)
    body = await read_body(request, wire_task.LimitChange)
    stream = limit_stream(caller.scope.environment, key)
    await desk.engine.submit(Command(stream, SetLimit(body.max_concurrent), caller.scope, caller.actor))
    return answer(wire_task.ConcurrencyLimit(key, body.max_concurrent))


async def remove_limit(request: Request) -> Response:
    desk, caller = await enter(request)
    key = check_id(request.path_params["key"], "path.key", NAME_MAX)
    stream = limit_stream(caller.scope.environment, key)
    await desk.engine.submit(Command(stream, RemoveLimit(), caller.scope, caller.actor))
    return Response(status_code=204)


OPERATIONS = (
    row("GET", "/tasks", "listPlannedTasks", "List tasks, those that changed last first", get_tasks, READ, query=(STATUS, LIMIT, CURSOR),
        answer=wire_task.PlannedTasks),
    row("GET", TASK, "getPlannedTask", "Get a task and its instances", get_task, READ, answer=wire_task.PlannedTaskDetail),
    row("GET", TASK + "/artifacts", "listPlannedTaskArtifacts", "List the artifacts of a task", get_artifacts, READ,
        answer=TaskArtifacts),
    row("GET", TASK + "/events", "listPlannedTaskEvents", "List what happened to a task, the oldest first", get_events, READ,
        query=(LIMIT,), answer=wire_task.PlanEvents),
    row("GET", TASK + "/executions", "listTaskExecutions", "List the executions of a task, the newest first", get_executions, READ,
        query=(INCLUDE_ENDED, LIMIT), answer=wire_task.TaskExecutions),
    row("POST", TASK + "/claim/renew", "renewTaskClaim", "Hold a claim for longer", renew_claim, WRITE, 409, body=wire_task.ClaimRenewal,
        answer=wire_task.TaskTransition),
    row("POST", "/executions/{execution_id}/stopped", "stopExecution", "State that an execution was stopped or will never report",
        stop_execution, WRITE, body=wire_task.ExecutionStop, body_required=False, answer=wire_task.TaskTransition),
    row("GET", "/concurrency-limits", "listConcurrencyLimits", "List limits by key", get_limits, READ, query=(HOLDERS,),
        answer=wire_task.ConcurrencyLimits),
    row("PUT", KEY, "setConcurrencyLimit", "Say how many tasks of a key may run at once", set_limit, WRITE, body=wire_task.LimitChange,
        answer=wire_task.ConcurrencyLimit),
    row("DELETE", KEY, "removeConcurrencyLimit", "Take a limit away", remove_limit, WRITE, status=204),
)  # fmt: skip
