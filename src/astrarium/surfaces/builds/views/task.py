"""Tasks: what they are, how they are, and what is attached to them."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from ....errors import NotFound
from ....kernel.ports import Store
from ....kernel.types import Scope
from ....web.paging import Page
from ...tenancy.workspace.body import shown_id
from .. import wire
from ..machines.state import TaskState
from ..machines.task import COUNTER
from .text import moment, moment_or_none

_IS = "t.id, t.task_id, t.namespace, t.name, b.data, t.version, t.output_uri, t.created_at"
_HOW = "s.status, s.started_at, s.completed_at, s.error, s.assets, s.waiting, s.build"
_ONE = f"SELECT {_IS}, {_HOW} FROM tasks t JOIN things b ON b.hash = t.body" + (
    " JOIN task_states s ON s.environment = t.environment AND s.task_id = t.task_id WHERE t.environment = ? AND t.task_id = ?"
)
_OF_BUILD = (
    f"SELECT {_IS}, {_HOW} FROM build_tasks m"
    " JOIN tasks t ON t.environment = ? AND t.task_id = m.task_id"
    " JOIN task_states s ON s.environment = ? AND s.task_id = m.task_id"
    " JOIN things b ON b.hash = t.body"
    " WHERE m.build = ? ORDER BY t.created_at, t.task_id LIMIT ? OFFSET ?"
)
_ASSETS = (
    "SELECT a.id, a.task_id, a.kind, a.name, b.data, a.created_at, a.content_type, a.size, a.body FROM task_assets a"
    " JOIN things b ON b.hash = a.body WHERE a.environment = ? AND a.task_id = ?"
)
_COUNTED = "SELECT amount FROM counters WHERE workspace = ? AND name = ? AND subject = ? AND mark = ''"
_IN_BUILD = "SELECT status FROM build_task_states WHERE build = ? AND task_id = ?"
_STATUS = "SELECT status FROM task_states WHERE environment = ? AND task_id = ?"


def task_of(state: TaskState, data: bytes) -> wire.Task:
    """A task in memory; `data` are its parameters."""
    kept = state.kept
    return wire.Task(
        kept.id, state.task_id, shown_id(state.environment), kept.namespace, kept.name, Raw(data), kept.version, kept.output_uri,
        moment(kept.created_at),
    )  # fmt: skip


def _task(environment: str, row: tuple[Any, ...]) -> wire.Task:
    id_, task_id, namespace, name, data, version, output_uri, created = row
    return wire.Task(id_, task_id, environment, namespace, name, Raw(data), version, output_uri, moment(created))


def _with_status(environment: str, row: tuple[Any, ...]) -> wire.TaskWithStatus:
    (
        id_,
        task_id,
        namespace,
        name,
        data,
        version,
        output_uri,
        created,
        status,
        started,
        completed,
        error,
        assets,
        waiting,
        build,
    ) = row
    return wire.TaskWithStatus(
        id_, task_id, environment, namespace, name, Raw(data), version, output_uri, moment(created), status,
        moment_or_none(started), moment_or_none(completed), error, assets, bool(waiting), build or None,
    )  # fmt: skip


async def _row(store: Store, scope: Scope, task_id: str) -> tuple[Any, ...]:
    rows = await store.read(_ONE, (scope.environment, task_id))
    if not rows:
        raise NotFound("Task not found")
    return rows[0]


async def read_task(store: Store, scope: Scope, task_id: str) -> wire.Task:
    """Raises `NotFound`."""
    return _task(shown_id(scope.environment), (await _row(store, scope, task_id))[:8])


async def read_metadata(store: Store, scope: Scope, task_id: str) -> wire.TaskMetadata:
    """Raises `NotFound`. A task that was only cancelled is told as it was before (Stardag, Feb 2026)."""
    shown = _with_status(shown_id(scope.environment), await _row(store, scope, task_id))
    status = shown.status
    if status == "cancelled":
        status = "running" if shown.started_at else "pending"
    return wire.TaskMetadata(
        shown.task_id, shown.task_data, shown.task_name, shown.task_namespace, shown.version or "", shown.output_uri, status,
        shown.created_at, shown.started_at, shown.completed_at, shown.error_message,
    )  # fmt: skip


async def count_tasks(store: Store, scope: Scope) -> int:
    """How many tasks the environment has, without counting them."""
    counted = await store.read(_COUNTED, (scope.workspace, COUNTER, scope.environment))
    return int(counted[0][0]) if counted else 0


async def list_tasks(store: Store, scope: Scope, page: Page, name: str, namespace: str | None) -> wire.TaskList:
    """The tasks of an environment, the newest first; those of one name or namespace when given."""
    where, args = "environment = ?", [scope.environment]
    if name:
        where, args = where + " AND name = ?", [*args, name]
    if namespace is not None:
        where, args = where + " AND namespace = ?", [*args, namespace]
    if len(args) > 1:
        total = int((await store.read(f"SELECT count(*) FROM tasks WHERE {where}", args))[0][0])
    else:
        total = await count_tasks(store, scope)
    sql = (
        f"SELECT {_IS} FROM (SELECT * FROM tasks WHERE {where} ORDER BY created_at DESC, task_id DESC LIMIT ? OFFSET ?) t"
        " JOIN things b ON b.hash = t.body ORDER BY t.created_at DESC, t.task_id DESC"
    )
    rows = await store.read(sql, (*args, page.size, page.offset)) if page.offset < total else []
    environment = shown_id(scope.environment)
    return wire.TaskList([_task(environment, row) for row in rows], total, page.number, page.size)


async def list_build_tasks(store: Store, scope: Scope, build: str, page: Page) -> list[wire.TaskWithStatus]:
    """Tasks of a build, in the order they were first registered."""
    rows = await store.read(_OF_BUILD, (scope.environment, scope.environment, build, page.size, page.offset))
    environment = shown_id(scope.environment)
    return [_with_status(environment, row) for row in rows]


async def status_in_build(store: Store, build: str, task_id: str) -> str:
    """The status of a task inside one build."""
    rows = await store.read(_IN_BUILD, (build, task_id))
    return rows[0][0] if rows else "pending"


async def is_completed(store: Store, scope: Scope, task_id: str) -> bool:
    """Whether there is such a task and it is completed."""
    rows = await store.read(_STATUS, (scope.environment, task_id))
    return bool(rows) and rows[0][0] == "completed"


async def read_assets(store: Store, scope: Scope, task_id: str) -> list[wire.TaskAsset]:
    """The assets of a task, the oldest first. Raises `NotFound`."""
    if not await store.read(_STATUS, (scope.environment, task_id)):
        raise NotFound("Task not found")
    rows = await store.read(f"{_ASSETS} ORDER BY a.created_at, a.id", (scope.environment, task_id))
    return [_asset(row) for row in rows]


async def read_named_assets(store: Store, scope: Scope, task_id: str, places: list[tuple[str, str]]) -> list[wire.TaskAsset]:
    """The assets of these kinds and names, in this order."""
    rows = await store.read(_ASSETS, (scope.environment, task_id))
    found = {(row[2], row[3]): row for row in rows}
    return [_asset(found[place]) for place in places if place in found]


def _asset(row: tuple[Any, ...]) -> wire.TaskAsset:
    id_, task_id, kind, name, data, created, content_type, size, sha256 = row
    return wire.TaskAsset(id_, task_id, kind, name, Raw(data), moment(created), content_type, size, sha256)


def as_artifact(asset: wire.TaskAsset) -> wire.TaskArtifact:
    """The same under its later name (Stardag 0.2 and later)."""
    return wire.TaskArtifact(
        asset.id, asset.task_id, asset.asset_type, asset.name, asset.body, asset.created_at, asset.content_type, asset.size,
        asset.sha256,
    )  # fmt: skip
