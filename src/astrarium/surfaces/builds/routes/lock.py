"""Locks: leases on a name in an environment, mostly on a task's id."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...operation import Query, answer, read_body
from ...tenancy.routes.entry import flag
from .. import wire
from ..field import LOCK_MAX, check_id
from ..views.lock import list_locks, read_lock
from ..views.task import is_completed
from .entry import LOCK, READ, WRITE, enter, parse_uuid, row, task_id

EXPIRED = Query("include_expired", "Also locks whose lease is over and nobody took.", "boolean")


def lock_name(request: Request) -> str:
    return check_id(request.path_params["lock_name"], "path.lock_name", LOCK_MAX)


async def acquire_lock(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.AcquireTaskLock)
    body.owner_id = parse_uuid(body.owner_id, "owner_id")
    return answer(await desk.acquire_lock(caller, lock_name(request), body))


async def renew_lock(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.RenewTaskLock)
    body.owner_id = parse_uuid(body.owner_id, "owner_id")
    await desk.renew_lock(caller, lock_name(request), body)
    return answer(wire.TaskLockRenewed(True))


async def release_lock(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.ReleaseTaskLock)
    build = parse_uuid(body.build_id, "build_id") if body.build_id else None
    body = msgspec.structs.replace(body, owner_id=parse_uuid(body.owner_id, "owner_id"), build_id=build)
    await desk.release_lock(caller, lock_name(request), body)
    return answer(wire.TaskLockReleased(True))


async def get_locks(request: Request) -> Response:
    desk, caller = await enter(request)
    after = 0 if flag(request, EXPIRED.name) else desk.engine.clock.now()
    locks = await list_locks(desk.store, caller.scope, after)
    return answer(wire.TaskLocks(locks, len(locks)))


async def get_lock(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await read_lock(desk.store, caller.scope, lock_name(request)))


async def get_completion(request: Request) -> Response:
    desk, caller = await enter(request)
    task = task_id(request)
    return answer(wire.TaskCompletion(task, await is_completed(desk.store, caller.scope, task)))


OPERATIONS = (
    row("GET", "/locks", "listTaskLocks", "List locks that are held, the newest first", get_locks, READ, 422, query=(EXPIRED,),
        answer=wire.TaskLocks),
    row("GET", LOCK, "getTaskLock", "Get a lock that is held", get_lock, READ, answer=wire.TaskLock),
    row("POST", LOCK + "/acquire", "acquireTaskLock", "Take a lock, or take it again as its owner", acquire_lock, WRITE, 423, 429,
        body=wire.AcquireTaskLock, answer=wire.TaskLockGrant),
    row("POST", LOCK + "/renew", "renewTaskLock", "Hold a lock for longer", renew_lock, WRITE, 409, body=wire.RenewTaskLock,
        answer=wire.TaskLockRenewed),
    row("POST", LOCK + "/release", "releaseTaskLock", "Give a lock back", release_lock, WRITE, 409, body=wire.ReleaseTaskLock,
        answer=wire.TaskLockReleased),
    row("GET", "/locks/tasks/{task_id}/completion-status", "getTaskCompletion", "Whether a task is completed", get_completion, READ,
        answer=wire.TaskCompletion),
)  # fmt: skip
