"""Tasks of an environment, whichever builds wanted them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ...operation import Query, answer
from .. import wire
from ..views.event import list_task_events
from ..views.task import as_artifact, list_tasks, read_assets, read_metadata, read_task
from .entry import PAGING, PART, READ, TASK, enter, page_of, part_of, row, task_id, text_of

NAME = Query("task_name", "Only tasks of this name.")
NAMESPACE = Query("task_namespace", "Only tasks of this namespace.")


async def get_tasks(request: Request) -> Response:
    desk, caller = await enter(request)
    name, namespace = text_of(request, NAME.name) or "", text_of(request, NAMESPACE.name)
    return answer(await list_tasks(desk.store, caller.scope, page_of(request), name, namespace))


async def get_task(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await read_task(desk.store, caller.scope, task_id(request)))


async def get_metadata(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await read_metadata(desk.store, caller.scope, task_id(request)))


async def get_assets(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(wire.TaskAssets(await read_assets(desk.store, caller.scope, task_id(request))))


async def get_artifacts(request: Request) -> Response:
    desk, caller = await enter(request)
    found = await read_assets(desk.store, caller.scope, task_id(request))
    return answer(wire.TaskArtifacts([as_artifact(asset) for asset in found]))


async def get_events(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await list_task_events(desk.engine, caller.scope, task_id(request), part_of(request)))


OPERATIONS = (
    row("GET", "/tasks", "listTasks", "List tasks, the newest first", get_tasks, READ, 422, query=(*PAGING, NAME, NAMESPACE),
        answer=wire.TaskList),
    row("GET", TASK, "getTask", "Get a task", get_task, READ, answer=wire.Task),
    row("GET", TASK + "/metadata", "getTaskMetadata", "Get a task as it can be made again from, with its status", get_metadata, READ,
        answer=wire.TaskMetadata),
    row("GET", TASK + "/assets", "listTaskAssets", "List the assets of a task, the oldest first", get_assets, READ,
        answer=wire.TaskAssets),
    row("GET", TASK + "/artifacts", "listTaskArtifacts", "The same as assets, under their later name", get_artifacts, READ,
        answer=wire.TaskArtifacts),
    row("GET", TASK + "/events", "listTaskEvents", "List what happened to a task in all builds, the newest first", get_events, READ,
        query=PART, answer=list[wire.BuildEvent]),
)  # fmt: skip
