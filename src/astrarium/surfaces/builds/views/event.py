"""Events of builds and tasks, as clients list them. A build's are rows of its own; a task's are its life's log."""

from __future__ import annotations

from typing import Any

import msgspec

from ....errors import NotFound
from ....kernel.engine import Engine
from ....kernel.memory import as_bytes
from ....kernel.ports import Store
from ....kernel.types import Scope
from ....web.paging import Page
from .. import wire
from ..machines.build import build_stream
from ..machines.fold import type_of
from ..machines.plan.fact import TYPES, ReportRecorded
from ..machines.report import LockAwaited
from ..machines.task import task_stream
from .text import event_id, moment

_OF_BUILD = (
    "SELECT at, task_id, seq, pk, type, error, metadata FROM build_events WHERE build = ?"
    " ORDER BY at, task_id, seq LIMIT ? OFFSET ?"
)
_PK = "SELECT id FROM tasks WHERE environment = ? AND task_id = ?"
SHOWN = sorted(event.__name__ for event in (*TYPES, ReportRecorded))
_OF_TASK = (
    f"SELECT seq, at, type, v, body FROM events WHERE stream = ? AND type IN ({', '.join(repr(name) for name in SHOWN)})"
    " ORDER BY seq DESC LIMIT ? OFFSET ?"
)


async def list_build_events(store: Store, scope: Scope, build: str, page: Page) -> list[wire.BuildEvent]:
    """The oldest first."""
    rows = await store.read(_OF_BUILD, (build, page.size, page.offset))
    made = []
    for at, task_id, seq, pk, type_, error, metadata in rows:
        stream = task_stream(scope.environment, task_id) if task_id else build_stream(build)
        made.append(
            wire.BuildEvent(
                event_id(stream, seq, at),
                build,
                pk or None,
                type_,
                moment(at),
                error,
                msgspec.Raw(metadata) if metadata else None,
            )
        )
    return made


async def list_task_events(engine: Engine, scope: Scope, task_id: str, page: Page) -> list[wire.BuildEvent]:
    """Of all builds, the newest first. Raises `NotFound`."""
    found = await engine.store.read(_PK, (scope.environment, task_id))
    if not found:
        raise NotFound("Task not found")
    stream = task_stream(scope.environment, task_id)
    rows = await engine.store.read(_OF_TASK, (stream, page.size, page.offset))
    known = engine.registry.of(stream)
    return [_shown(known.decode(type_, v, as_bytes(body)), stream, seq, at, found[0][0]) for seq, at, type_, v, body in rows]


def _shown(body: Any, stream: str, seq: int, at: int, pk: str) -> wire.BuildEvent:
    error = getattr(body, "error", None)
    owner = body.owner if type(body) is LockAwaited else ""
    metadata = msgspec.Raw(msgspec.json.encode({"lock_owner": owner})) if owner else None
    return wire.BuildEvent(event_id(stream, seq, at), body.build, pk, type_of(body), moment(at), error, metadata)
