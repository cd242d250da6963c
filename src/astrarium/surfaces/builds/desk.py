"""What the routes order. Each call is one transaction; what it returns is durable."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from ...errors import Forbidden, NotFound, Refused
from ...kernel.engine import Engine
from ...kernel.record.artifact import Artifact
from ...kernel.record.entry import read_entry
from ...kernel.types import Command, Scope
from ...spec.ids import uuid7
from ...web.caller import Caller
from ..tenancy.access.at_hand import AtHand
from ..tenancy.workspace.body import ENVIRONMENT, environment_body
from . import field, wire
from .life import ASSET, TASK
from .machines.build import BuildState, EndBuild, StartBuild, build_row, build_stream
from .machines.file import DropFile, PutFile
from .machines.lock import AcquireLock, LockAcquired, ReleaseLock, RenewLock, lock_stream
from .machines.report import (
    IN_BUILD,
    AddUpstreams,
    AwaitLock,
    CancelTask,
    CompleteTask,
    FailTask,
    NewAsset,
    PutAssets,
    RegisterTask,
    ResumeTask,
    SkipTask,
    StartTask,
    SuspendTask,
)
from .machines.state import TaskState
from .machines.task import GIVES, task_stream
from .plan.desk import Plans
from .views import build as build_views
from .views import lock as lock_views
from .views import task as task_views
from .work.load import Loader
from .work.name import build_name
from .work.removal import remove_build

PERSON = "user"
Report = StartTask | CompleteTask | FailTask | SuspendTask | ResumeTask | CancelTask | SkipTask | AwaitLock
_BODY = "SELECT data FROM things WHERE hash = ?"


class Desk:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store
        self.plans = Plans(engine)
        self._loader = Loader(engine)
        self._most_locks: AtHand[int] = AtHand(self._look_up_limit, engine)
        self._most_locks.rests_on(engine.registry, ENVIRONMENT)

    # -- builds ---------------------------------------------------------------------------------------------------------

    async def create_build(self, caller: Caller, body: wire.CreateBuild) -> wire.Build:
        """Raises `Invalid`."""
        roots = field.check_ids(body.root_task_ids, "root_task_ids")
        description = field.check_text(body.description, "description")
        commit = field.check_text(body.commit_hash, "commit_hash")
        user = str(caller.actor) if caller.actor.kind == PERSON else ""
        id_ = uuid7()
        await self._submit(caller, build_stream(id_), StartBuild(build_name(), description, commit, roots, user))
        state = await self.build(caller, id_)
        made = (await build_views.show_builds(self.store, [build_row(state)]))[0]
        return wire.echoed(made, body)

    async def build(self, caller: Caller, id_: str) -> BuildState:
        """A build of the caller's environment. Raises `NotFound`, `Forbidden`."""
        try:
            state: BuildState | None = await self.engine.state(build_stream(id_), caller.scope)
        except NotFound:  # it is of another workspace
            state = None
        if state is None:
            raise NotFound("Build not found")
        if state.kept.environment != caller.scope.environment:
            raise Forbidden("Build does not belong to this environment")
        return state

    async def end_build(self, caller: Caller, id_: str, order: EndBuild) -> wire.Build:
        """Raises `NotFound`, `Forbidden`."""
        await self.build(caller, id_)
        await self._submit(caller, build_stream(id_), order)
        return await build_views.read_build(self.store, id_)

    async def delete_build(self, caller: Caller, id_: str) -> None:
        """Take an ended build out of the store; its tasks stay. Raises `NotFound`, `Forbidden`, `Refused`, `Conflict`."""
        await remove_build(self.engine, caller, await self.build(caller, id_))

    # -- tasks ----------------------------------------------------------------------------------------------------------

    async def register(self, caller: Caller, build: str, body: wire.CreateTask) -> wire.Task:
        """Raises `Invalid`, `NotFound`, `Forbidden`."""
        order, data = _registration(build, body, "")
        await self.build(caller, build)
        stream = task_stream(caller.scope.environment, body.task_id)
        await self._loader.bring(stream, caller.scope)
        await self.engine.submit(Command(stream, order, caller.scope, caller.actor), ((TASK, data),))
        state = await self._task(caller.scope, body.task_id)
        return task_views.task_of(state, await self._body(state, order.body, data))

    async def register_all(self, caller: Caller, build: str, bodies: Sequence[wire.CreateTask]) -> list[TaskState]:
        """Many tasks at once, or none of them; returned in their order. Raises `Invalid`, `NotFound`, `Forbidden`."""
        field.check_most(len(bodies), field.BULK_MAX, "tasks")
        made = [_registration(build, body, f"tasks.{place}.") for place, body in enumerate(bodies)]
        await self.build(caller, build)
        streams = [task_stream(caller.scope.environment, body.task_id) for body in bodies]
        await self.engine.memory.load_many(streams, caller.scope)
        commands = [Command(stream, order, caller.scope, caller.actor) for stream, (order, _) in zip(streams, made, strict=True)]
        if commands:
            await self.engine.submit_all(commands, [(TASK, data) for _, data in made])
        return [await self._task(caller.scope, body.task_id) for body in bodies]

    async def body_of(self, state: TaskState) -> bytes:
        """The parameters of a task."""
        return bytes((await self.store.read(_BODY, (state.kept.body,)))[0][0])

    async def report(self, caller: Caller, task_id: str, order: Report) -> wire.TaskReport:
        """What became of a task in a build. Raises `NotFound`, `Forbidden`."""
        await self.build(caller, order.build)
        await self._order(caller, task_id, order)
        gives = GIVES.get(type(order))
        status = IN_BUILD[gives] if gives is not None else "failed" if isinstance(order, FailTask) else ""
        return wire.TaskReport(task_id, status or await task_views.status_in_build(self.store, order.build, task_id))

    async def add_upstreams(self, caller: Caller, build: str, task_id: str, body: wire.AddDependencies) -> wire.TaskDependencies:
        """Raises `Invalid`, `NotFound`, `Forbidden`."""
        upstreams = field.check_ids(body.upstream_task_ids, "upstream_task_ids")
        await self.build(caller, build)
        await self._order(caller, task_id, AddUpstreams(build, upstreams, body.is_dynamic))
        state = await self._task(caller.scope, task_id)
        return wire.TaskDependencies(task_id, sorted(state.kept.upstreams or ()))

    async def put_assets(
        self, caller: Caller, build: str, task_id: str, bodies: Sequence[wire.CreateAsset]
    ) -> list[wire.TaskAsset]:
        """Raises `Invalid`, `NotFound`, `Forbidden`."""
        field.check_most(len(bodies), field.ASSETS_MAX, "assets")
        assets, things = [], []
        for place, body in enumerate(bodies):
            field.check_text(body.name, f"{place}.name", field.NAME_MAX, 1)
            data = field.check_object(body.body, f"{place}.body")
            assets.append(NewAsset(uuid7(), body.type, body.name, hashlib.sha256(data).hexdigest(), len(data)))
            things.append((ASSET, data))
        await self.build(caller, build)
        await self._order(caller, task_id, PutAssets(build, tuple(assets)), things)
        places = list(dict.fromkeys((asset.kind, asset.name) for asset in assets))
        return await task_views.read_named_assets(self.store, caller.scope, task_id, places)

    async def put_file(self, caller: Caller, build: str, task_id: str, file: Artifact) -> Artifact:
        """Attach a file whose bytes are put; as it is then known. Raises `NotFound`, `Forbidden`, `TooMuch`."""
        await self.build(caller, build)
        await self._order(caller, task_id, PutFile(build, file))
        return (await self.task(caller, task_id)).kept.files.get(file.name, file)

    async def drop_file(self, caller: Caller, task_id: str, name: str) -> None:
        """Raises `NotFound`."""
        await self._order(caller, task_id, DropFile(name))

    async def task(self, caller: Caller, task_id: str) -> TaskState:
        """A task of the caller's environment. Raises `NotFound`."""
        state = await self._task(caller.scope, task_id)
        if not state.kept.id:
            raise NotFound("Task not found")
        return state

    # -- locks ----------------------------------------------------------------------------------------------------------

    async def acquire_lock(self, caller: Caller, name: str, body: wire.AcquireTaskLock) -> wire.TaskLockGrant:
        """Raises `Invalid`, `Held`, `TooMuch`."""
        ttl_s = field.check_ttl(body.ttl_seconds)
        most = await self._most_locks.get(f"{caller.scope.workspace}/{caller.scope.environment}") or 0
        order = AcquireLock(body.owner_id, ttl_s, most, body.check_task_completion)
        try:
            receipt = await self._submit(caller, lock_stream(caller.scope.environment, name), order)
        except Refused as refused:
            if refused.code == "already_completed":
                return wire.TaskLockGrant("already_completed", False, None)
            raise
        event: LockAcquired = receipt.events[0]
        return wire.TaskLockGrant("acquired", True, lock_views.granted(caller.scope, name, event, ttl_s))

    async def renew_lock(self, caller: Caller, name: str, body: wire.RenewTaskLock) -> None:
        """Raises `Invalid`, `Refused`."""
        order = RenewLock(body.owner_id, field.check_ttl(body.ttl_seconds))
        await self._submit(caller, lock_stream(caller.scope.environment, name), order)

    async def release_lock(self, caller: Caller, name: str, body: wire.ReleaseTaskLock) -> None:
        """Give a lock back; with a build, the task of that name is completed by it in the same transaction. Raises `Invalid`,
        `Refused`, `NotFound`, `Forbidden`."""
        scope = caller.scope
        commands = [Command(lock_stream(scope.environment, name), ReleaseLock(body.owner_id), scope, caller.actor)]
        if body.task_completed and body.build_id:
            await self.build(caller, body.build_id)
            stream = task_stream(scope.environment, name)
            if await self.engine.state(stream, scope) is not None:
                commands.append(Command(stream, CompleteTask(body.build_id), scope, caller.actor))
        await self.engine.submit_all(commands)

    async def _look_up_limit(self, key: str) -> int:
        """How many locks may be held in an environment at once, 0 = no limit."""
        workspace, _, environment = key.partition("/")
        entry = await read_entry(self.store, workspace, ENVIRONMENT, environment)
        return 0 if entry is None else environment_body(entry).max_concurrent_locks

    # -- the way to the engine ------------------------------------------------------------------------------------------

    async def _submit(self, caller: Caller, stream: str, order: Any) -> Any:
        return await self.engine.submit(Command(stream, order, caller.scope, caller.actor))

    async def _order(self, caller: Caller, task_id: str, order: Any, things: Sequence[tuple[str, bytes]] = ()) -> None:
        stream = task_stream(caller.scope.environment, task_id)
        await self._loader.bring(stream, caller.scope)
        await self.engine.submit(Command(stream, order, caller.scope, caller.actor), things)

    async def _task(self, scope: Scope, task_id: str) -> TaskState:
        state: TaskState | None = await self.engine.state(task_stream(scope.environment, task_id), scope)
        if state is None:
            raise NotFound("Task not found")
        return state

    async def _body(self, state: TaskState, sent: str, data: bytes) -> bytes:
        return data if state.kept.body == sent else await self.body_of(state)


def _registration(build: str, body: wire.CreateTask, path: str) -> tuple[RegisterTask, bytes]:
    data = field.check_object(body.task_data, f"{path}task_data")
    field.check_id(body.task_id, f"{path}task_id")
    field.check_text(body.task_name, f"{path}task_name", field.NAME_MAX, 1)
    field.check_text(body.task_namespace, f"{path}task_namespace", field.NAME_MAX)
    field.check_text(body.version, f"{path}version", field.NAME_MAX)
    field.check_text(body.output_uri, f"{path}output_uri")
    upstreams = field.check_ids(body.dependency_task_ids, f"{path}dependency_task_ids")
    digest = hashlib.sha256(data).hexdigest()
    order = RegisterTask(build, uuid7(), body.task_name, digest, body.task_namespace, body.version, body.output_uri, upstreams)
    return order, data
