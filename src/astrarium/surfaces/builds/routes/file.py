"""Files of a task, and a look at its output. (An addition: Stardag keeps small documents only.)"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ....config.check import split_places
from ....errors import Invalid, NotFound, Problem
from ....spec.ids import uuid7
from ....store.blob.artifact import Artifacts, check_name
from ....store.blob.media import preview_of, type_of
from ...artifact import artifact_answer
from ...operation import Query, answer
from ...tenancy.routes.entry import flag
from ...tenancy.workspace.body import root_body
from .. import wire
from ..views.file import list_files, read_file, show_file, show_preview, show_put
from ..work.output import Outputs
from .entry import BUILD_TASK, READ, TASK, WRITE, build_id, enter, row, task_id

FORM = "application/x-www-form-urlencoded"
"""What command-line clients call bytes whose type they were not told."""
OCTETS = "application/octet-stream"
PREVIEW_DEFAULT, PREVIEW_MOST = 64 * 1024, 1024 * 1024
PREVIEW = Query("preview_bytes", "Answer with a look at the first bytes, up to 1048576, in place of the content.", "integer")
INLINE = Query("inline", "Ask a browser to show it, where that is harmless.", "boolean")
MAX_BYTES = Query("max_bytes", "Bytes to look at, up to 1048576 (65536).", "integer")


def file_name(request: Request) -> str:
    """The file of the path. Raises `Invalid`."""
    with placed("path.name"):
        return check_name(request.path_params["name"])


@contextmanager
def placed(path: str) -> Iterator[None]:
    """What is wrong is told of this place of the request."""
    try:
        yield
    except Invalid as error:
        problems = [
            msgspec.structs.replace(one, path="header.content-type" if "type" in one.path else path) for one in error.problems
        ]
        raise Invalid(error.message, problems, hint=error.hint) from None


def bytes_of(request: Request, query: Query, default: int) -> int:
    """How much is to be shown. Raises `Invalid`."""
    given = request.query_params.get(query.name, "")
    if not given:
        return default
    if not (given.isascii() and given.isdigit() and len(given) < 9 and 1 <= int(given) <= PREVIEW_MOST):
        problem = Problem(f"must be a number from 1 to {PREVIEW_MOST}", path=f"query.{query.name}")
        raise Invalid(f"{query.name} {problem.message}", [problem])
    return int(given)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        yield piece


async def put_file(request: Request) -> Response:
    desk, caller = await enter(request)
    build, task, name = build_id(request), task_id(request), file_name(request)
    await desk.build(caller, build)
    known = (await desk.task(caller, task)).kept.files.get(name)
    artifacts: Artifacts = request.app.state.artifacts
    told = request.headers.get("content-type", "")
    with placed("path.name"):
        made = await artifacts.put(_pieces(request), name, "" if told == FORM else told, key=name, id_=uuid7())
    put = await desk.put_file(caller, build, task, made)
    answered = answer(show_put(put), 200 if known else 201)
    answered.headers["etag"] = f'"{put.blake3}"'
    return answered


async def get_files(request: Request) -> Response:
    desk, caller = await enter(request)
    task = task_id(request)
    await desk.task(caller, task)
    return answer(wire.TaskFiles([show_file(one) for one in await list_files(desk.store, caller.scope, task)]))


async def get_file(request: Request) -> Response:
    desk, caller = await enter(request)
    task, name = task_id(request), file_name(request)
    await desk.task(caller, task)
    found = await read_file(desk.store, caller.scope, task, name)
    artifacts: Artifacts = request.app.state.artifacts
    if PREVIEW.name in request.query_params:
        shown = await artifacts.preview(found.sha256, bytes_of(request, PREVIEW, PREVIEW_DEFAULT))
        return answer(show_preview(shown, found.content_type))
    return artifact_answer(request, artifacts, found, inline=flag(request, INLINE.name))


async def delete_file(request: Request) -> Response:
    desk, caller = await enter(request)
    task, name = task_id(request), file_name(request)
    await desk.drop_file(caller, task, name)
    return Response(status_code=204)


async def get_output(request: Request) -> Response:
    desk, caller = await enter(request)
    state = await desk.task(caller, task_id(request))
    most, uri = bytes_of(request, MAX_BYTES, PREVIEW_DEFAULT), state.kept.output_uri
    if not uri:
        raise NotFound("the task names no output")
    state_ = request.app.state
    roots = await state_.tenancy.environments.roots(caller.scope.workspace, caller.scope.environment)
    outputs = Outputs(split_places(state_.settings.output_roots), state_.settings.data_dir)
    begun = await outputs.read(uri, [root_body(entry).uri_prefix for entry in roots], most)
    shown = show_preview(preview_of(begun.data, begun.size), type_of(uri.rpartition("/")[2]))
    return answer(wire.TaskOutput(state.task_id, uri, shown))


FILES, FILE = TASK + "/files", TASK + "/files/{name}"
OPERATIONS = (
    row("PUT", BUILD_TASK + "/files/{name}", "putTaskFile", "Attach a file to a task; one of the same name is replaced", put_file, WRITE,
        413, 422, takes=OCTETS, answer=wire.TaskFilePut, status=201),
    row("GET", FILES, "listTaskFiles", "List the files of a task, by name", get_files, READ, answer=wire.TaskFiles),
    row("GET", FILE, "getTaskFile", "Fetch a file of a task: its bytes, also in ranges, or a look at them", get_file, READ, 416,
        query=(PREVIEW, INLINE), media=OCTETS),
    row("DELETE", FILE, "deleteTaskFile", "Remove a file of a task", delete_file, WRITE, status=204),
    row("GET", TASK + "/output", "previewTaskOutput", "Look at the beginning of a task's output, where the server may read it", get_output,
        READ, 409, query=(MAX_BYTES,), answer=wire.TaskOutput),
)  # fmt: skip
