"""What becomes of tasks in a build: reports of its driver, later dependencies, assets."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ...operation import Endpoint, Query, answer, read_body
from .. import wire
from ..machines.report import (
    AwaitLock,
    CancelTask,
    CompleteTask,
    FailTask,
    ResumeTask,
    SkipTask,
    StartTask,
    SuspendTask,
)
from ..views.task import as_artifact
from .entry import BUILD_TASK, WRITE, build_id, enter, row, task_id, text_of

ERROR = Query("error_message", "What went wrong.")
OWNER = Query("lock_owner", "Who holds the lock.")


def _told(order: type[StartTask | CompleteTask | SuspendTask | ResumeTask | CancelTask | SkipTask]) -> Endpoint:
    async def report(request: Request) -> Response:
        desk, caller = await enter(request)
        return answer(await desk.report(caller, task_id(request), order(build_id(request))))

    return report


async def fail_task(request: Request) -> Response:
    desk, caller = await enter(request)
    order = FailTask(build_id(request), error=text_of(request, ERROR.name))
    return answer(await desk.report(caller, task_id(request), order))


async def await_lock(request: Request) -> Response:
    desk, caller = await enter(request)
    order = AwaitLock(build_id(request), owner=text_of(request, OWNER.name) or "")
    return answer(await desk.report(caller, task_id(request), order))


async def add_dependencies(request: Request) -> Response:
    desk, caller = await enter(request)
    build, task = build_id(request), task_id(request)
    return answer(await desk.add_upstreams(caller, build, task, await read_body(request, wire.AddDependencies)))


async def _put(request: Request) -> list[wire.TaskAsset]:
    desk, caller = await enter(request)
    build, task = build_id(request), task_id(request)
    return await desk.put_assets(caller, build, task, await read_body(request, list[wire.CreateAsset]))


async def put_assets(request: Request) -> Response:
    return answer(wire.TaskAssets(await _put(request)), 201)


async def put_artifacts(request: Request) -> Response:
    return answer(wire.TaskArtifacts([as_artifact(asset) for asset in await _put(request)]), 201)


OPERATIONS = (
    row("POST", BUILD_TASK + "/start", "startTask", "Say that a task runs", _told(StartTask), WRITE, answer=wire.TaskReport),
    row("POST", BUILD_TASK + "/complete", "completeTask", "Say that a task is done", _told(CompleteTask), WRITE,
        answer=wire.TaskReport),
    row("POST", BUILD_TASK + "/fail", "failTask", "Say that a task failed", fail_task, WRITE, query=(ERROR,),
        answer=wire.TaskReport),
    row("POST", BUILD_TASK + "/suspend", "suspendTask", "Say that a task waits for tasks it found out it needs", _told(SuspendTask),
        WRITE, answer=wire.TaskReport),
    row("POST", BUILD_TASK + "/resume", "resumeTask", "Say that a task goes on", _told(ResumeTask), WRITE, answer=wire.TaskReport),
    row("POST", BUILD_TASK + "/cancel", "cancelTask", "Say that a task was cancelled", _told(CancelTask), WRITE,
        answer=wire.TaskReport),
    row("POST", BUILD_TASK + "/skip", "skipTask", "Say that a task is not done in this build", _told(SkipTask), WRITE,
        answer=wire.TaskReport),
    row("POST", BUILD_TASK + "/waiting-for-lock", "awaitTaskLock", "Say that a task waits for a lock", await_lock, WRITE,
        query=(OWNER,), answer=wire.TaskReport),
    row("POST", BUILD_TASK + "/dependencies", "addTaskDependencies", "Add dependencies found out later", add_dependencies, WRITE,
        body=wire.AddDependencies, answer=wire.TaskDependencies),
    row("POST", BUILD_TASK + "/assets", "putTaskAssets", "Attach assets to a task; one of a type and name replaces the one there is",
        put_assets, WRITE, 413, body=list[wire.CreateAsset], answer=wire.TaskAssets, status=201),
    row("POST", BUILD_TASK + "/artifacts", "putTaskArtifacts", "The same as assets, under their later name", put_artifacts, WRITE, 413,
        body=list[wire.CreateAsset], answer=wire.TaskArtifacts, status=201),
)  # fmt: skip
