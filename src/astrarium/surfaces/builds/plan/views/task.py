"""Tasks and executions, as drivers of plans are told of them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from .....errors import NotFound
from .....kernel.engine import Engine
from .....kernel.memory import as_bytes
from .....kernel.ports import Store
from .....kernel.types import Scope
from .....web.paging import read_cursor, write_cursor
from ...machines.fold import type_of
from ...machines.plan.fact import ReportRecorded
from ...machines.report import LockAwaited
from ...machines.task import task_stream
from ...views.event import SHOWN
from ...views.text import event_id, moment, moment_or_none
from .. import wire_task

_COLUMNS = (
    "s.task_id, t.namespace, t.name, t.version, t.output_uri, s.status, s.status_at, COALESCE(e.started_at, s.started_at),"
    " s.completed_at, s.error, s.claim_until, s.claim_plan, e.build, s.current, s.execution"
)
_FROM = (
    "FROM task_states s JOIN tasks t ON t.environment = s.environment AND t.task_id = s.task_id"
    " LEFT JOIN executions e ON e.environment = s.environment AND e.id = s.current AND s.current <> ''"
)
_ONE = f"SELECT {_COLUMNS} {_FROM} WHERE s.environment = ? AND s.task_id = ?"
_INSTANCES = (
    "SELECT i.id, i.deployment, i.settings, i.hash, b.data, i.expanded_at, i.created_at FROM instances i JOIN things b ON b.hash = i.body"
    " WHERE i.environment = ? AND i.task_id = ? ORDER BY i.created_at DESC, i.id DESC LIMIT 50"
)
_EXECUTIONS = (
    "SELECT e.id, e.task_id, e.build, e.plan, e.instance, e.executor, e.executor_ref, e.metadata,"
    " CASE WHEN p.activated_at > 0 AND p.superseded_at = 0 THEN 1 ELSE 0 END, e.started_at, e.released_at, e.claim_outcome, e.ended_at,"
    " e.outcome FROM executions e LEFT JOIN plans p ON p.id = e.plan WHERE "
)
_EVENTS = (
    f"SELECT seq, at, type, v, body FROM events WHERE stream = ? AND type IN ({', '.join(repr(name) for name in SHOWN)})"
    " ORDER BY seq DESC LIMIT ?"
)


async def list_tasks(store: Store, scope: Scope, status: str, limit: int, cursor: str) -> wire_task.PlannedTasks:
    """Those whose status changed last first."""
    where, args = "s.environment = ?", [scope.environment]
    if status:
        where, args = where + " AND s.status = ?", [*args, status]
    if cursor:
        where, args = where + " AND (s.status_at, s.task_id) < (?, ?)", [*args, *read_cursor(cursor, "tasks", int, str)]  # type: ignore[list-item]
    sql = f"SELECT {_COLUMNS} {_FROM} WHERE {where} ORDER BY s.status_at DESC, s.task_id DESC LIMIT ?"
    rows = await store.read(sql, (*args, limit + 1))
    page = rows[:limit]
    after = write_cursor("tasks", page[-1][6], page[-1][0]) if len(rows) > len(page) else None
    return wire_task.PlannedTasks([_shown(row) for row in page], after)


def _shown(row: tuple[Any, ...]) -> wire_task.PlannedTask:
    (
        task, namespace, name, version, output, status, status_at, started, completed, error, until, plan, build, current, holder,
    ) = row  # fmt: skip
    done = moment_or_none(completed) if status == "completed" else None
    claimed = bool(holder)
    return wire_task.PlannedTask(
        task, namespace, name, version, output, status, moment(status_at), moment_or_none(started), done, error,
        moment_or_none(until) if claimed else None, plan if claimed else None, build if claimed else None, current or None,
    )  # fmt: skip


async def read_task(store: Store, scope: Scope, task: str) -> wire_task.PlannedTaskDetail:
    """Raises `NotFound` (`unknown_task`)."""
    rows = await store.read(_ONE, (scope.environment, task))
    if not rows:
        raise NotFound(f"there is no task {task}", code="unknown_task")
    instances = [
        wire_task.TaskInstance(id_, deployment, settings, hash_, Raw(bytes(data)), moment_or_none(expanded), moment(created))
        for id_, deployment, settings, hash_, data, expanded, created in await store.read(_INSTANCES, (scope.environment, task))
    ]
    return wire_task.PlannedTaskDetail(**msgspec.structs.asdict(_shown(rows[0])), instances=instances)


async def list_task_executions(store: Store, scope: Scope, task: str, ended: bool, limit: int) -> list[wire_task.TaskExecution]:
    """The newest first."""
    where = "e.environment = ? AND e.task_id = ?" + ("" if ended else " AND e.ended_at = 0")
    return await _executions(store, where, (scope.environment, task), limit)


async def list_build_executions(store: Store, build: str, strays: bool, ended: bool, limit: int) -> list[wire_task.TaskExecution]:
    """The newest first; `strays`: only those of plans that are not the active one."""
    where = "e.build = ?" + ("" if ended else " AND e.ended_at = 0")
    where += " AND NOT (p.activated_at > 0 AND p.superseded_at = 0)" if strays else ""
    return await _executions(store, where, (build,), limit)


async def _executions(store: Store, where: str, args: tuple[Any, ...], limit: int) -> list[wire_task.TaskExecution]:
    rows = await store.read(f"{_EXECUTIONS}{where} ORDER BY e.started_at DESC, e.id DESC LIMIT ?", (*args, limit))
    return [
        wire_task.TaskExecution(
            id_, task, build, plan, instance, executor, ref, msgspec.json.decode(metadata) if metadata else None, bool(current),
            moment(started), moment_or_none(released), claim or None, moment_or_none(ended), outcome or None,
        )
        for (
            id_, task, build, plan, instance, executor, ref, metadata, current, started, released, claim, ended, outcome,
        ) in rows
    ]  # fmt: skip


async def list_task_events(engine: Engine, scope: Scope, task: str, limit: int) -> list[wire_task.PlanEvent]:
    """What happened to a task in all builds, the oldest first; the newest `limit` of them."""
    stream = task_stream(scope.environment, task)
    known = engine.registry.of(stream)
    made = []
    for seq, at, type_, v, body in await engine.store.read(_EVENTS, (stream, limit)):
        event = known.decode(type_, v, as_bytes(body))
        owner = event.owner if isinstance(event, LockAwaited) else ""
        made.append(
            wire_task.PlanEvent(
                event_id(stream, seq, at), type_of(event), moment(at), event.build, event.plan or None,
                getattr(event, "execution", "") or None, task, not isinstance(event, ReportRecorded), getattr(event, "error", None),
                {"lock_owner": owner} if owner else None,
            )
        )  # fmt: skip
    return made[::-1]
