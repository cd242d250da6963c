"""Builds, as drivers of plans are told of them: the last active ones first."""

from __future__ import annotations

from typing import Any

import msgspec

from .....kernel.ports import Store
from .....kernel.types import Scope
from .....web.paging import read_cursor, write_cursor
from ...views.text import event_id, moment, moment_or_none
from .. import wire, wire_task

_COLUMNS = (
    "b.id, b.name, b.description, b.status, b.roots, b.created_at, b.started_at, b.completed_at, a.at, d.resumed, b.triggered_by,"
    " d.metadata, d.reactive_app, d.reactive_kwargs, b.error"
)
_FROM = "FROM build_activity a JOIN builds b ON b.id = a.build JOIN build_drives d ON d.build = a.build"
_ONE = f"SELECT {_COLUMNS} {_FROM} WHERE a.build = ?"
_EVENTS = (
    "SELECT at, task_id, seq, type, plan, execution, applied, error, metadata FROM build_events WHERE build = ?"
    " ORDER BY at, task_id, seq LIMIT ?"
)


class Wanted(msgspec.Struct):
    """Which builds: of a status, of an app that schedules them, last active before a time (microseconds)."""

    status: str = ""
    app: str = ""
    before: int = 0
    limit: int = 100
    cursor: str = ""


async def read_build(store: Store, scope: Scope, id_: str) -> wire.PlannedBuild:
    """A build that exists."""
    return _shown((await store.read(_ONE, (id_,)))[0])


async def list_builds(store: Store, scope: Scope, wanted: Wanted) -> wire.PlannedBuilds:
    where, args = "a.environment = ?", [scope.environment]
    for told, condition in ((wanted.status, "b.status = ?"), (wanted.app, "d.reactive_app = ?"), (wanted.before, "a.at <= ?")):
        if told:
            where, args = f"{where} AND {condition}", [*args, told]  # type: ignore[list-item]
    total = int((await store.read(f"SELECT count(*) {_FROM} WHERE {where}", args))[0][0])
    if wanted.cursor:
        where, args = where + " AND (a.at, a.build) < (?, ?)", [*args, *read_cursor(wanted.cursor, "builds", int, str)]  # type: ignore[list-item]
    sql = f"SELECT {_COLUMNS} {_FROM} WHERE {where} ORDER BY a.at DESC, a.build DESC LIMIT ?"
    rows = await store.read(sql, (*args, wanted.limit + 1))
    page = rows[: wanted.limit]
    after = write_cursor("builds", page[-1][8], page[-1][0]) if len(rows) > len(page) else None
    return wire.PlannedBuilds([_shown(row) for row in page], total, after)


def _shown(row: tuple[Any, ...]) -> wire.PlannedBuild:
    id_, name, description, status, roots, created, started, completed, active, resumed, by, metadata, app, kwargs, error = row
    return wire.PlannedBuild(
        id_, name, description, status, msgspec.json.decode(roots, type=list[str]), moment(created), moment_or_none(started),
        moment_or_none(completed), moment(active), bool(resumed), by or None, _document(metadata), app or None, _document(kwargs),
        error if status != "running" else None,
    )  # fmt: skip


def _document(text: str | None) -> dict[str, Any] | None:
    return msgspec.json.decode(text) if text else None


async def list_events(store: Store, scope: Scope, build: str, limit: int) -> list[wire_task.PlanEvent]:
    """What happened in a build, the oldest first."""
    made = []
    for at, task, seq, type_, plan, execution, applied, error, metadata in await store.read(_EVENTS, (build, limit)):
        stream = f"task:{scope.environment}/{task}" if task else f"build:{build}"
        made.append(
            wire_task.PlanEvent(
                event_id(stream, seq, at), type_, moment(at), build, plan or None, execution or None, task or None, bool(applied),
                error, _document(metadata),
            )
        )  # fmt: skip
    return made
