"""What happens to a task, folded into its state: how it is over all builds and in each, and the rows readers see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ....kernel.types import Row
from . import file
from .kept import Kept
from .plan import trace
from .plan.fact import (
    IN_BUILD,
    QUIET,
    TYPES,
    ReportRecorded,
    TaskDiverged,
    TaskInterrupted,
    TaskInvalidated,
    TaskPreempted,
    TaskRetried,
    TaskYielded,
)
from .plan.row import BUILD_ACTIVITY
from .report import (
    AssetsPut,
    LockAwaited,
    TaskCompleted,
    TaskFailed,
    TaskRegistered,
    TaskResumed,
    TaskSkipped,
    TaskStarted,
    TaskSuspended,
    UpstreamsAdded,
)
from .row import (
    BUILD_EVENTS,
    BUILD_TASK_STATES,
    BUILD_TASKS,
    SEARCH_KEYS,
    TASK_ASSETS,
    TASK_EDGES,
    TASK_VALUES,
    TASKS,
)
from .state import TaskState

PARAMETERS = "param."
NOTED = (*QUIET, TaskDiverged, TaskPreempted, TaskYielded, ReportRecorded)
"""Events that leave the status as it is, and change what is known of claims and structure."""


def fold(state: TaskState, event: Any, at: int) -> None:
    """One event into the state, and the rows that follow from it."""
    kept, kind = state.kept, type(event)
    kept.number += 1
    state.touched, held, place = True, kept.held, trace.Place(state.environment, state.task_id)
    state.freed = ()
    if kind in file.EVENTS:
        file.fold(kept, event, state.place, state.rows, at)
        return
    if kind in NOTED:
        state.rows += trace.note(kept, place, event, at)
        _link(state, (task for _, task in getattr(event, "upstreams", None) or ()), int(kind is TaskYielded))
        state.freed = held if kind in trace.MOVED else ()
    if getattr(event, "plan", ""):
        state.rows.append((BUILD_ACTIVITY, (event.build, state.environment, at)))
    if kind in QUIET:
        return
    if kind is UpstreamsAdded:
        _link(state, event.upstreams, int(event.dynamic))
    elif kind is AssetsPut:
        _attach(state, event, at)
    else:
        _tell(state, event, held, at)


def _tell(state: TaskState, event: Any, held: tuple[str, ...], at: int) -> None:
    """An event that is told in lists of events."""
    kept, kind, place = state.kept, type(event), trace.Place(state.environment, state.task_id)
    if kind is TaskRegistered:
        _register(state, event, at)
    state.rows += _move(kept, place, event, at)
    state.freed = held if kind is TaskStarted or not kept.execution else state.freed
    if event.build != kept.last_build:
        state.rows.append((BUILD_TASKS, (event.build, state.task_id)))
    kept.last, kept.last_build = kind.__name__, event.build
    inside = IN_BUILD.get(kind)
    if inside:
        state.rows.append((BUILD_TASK_STATES, (event.build, state.task_id, inside, at)))
    error = getattr(event, "error", None)
    owner = event.owner if kind is LockAwaited else ""
    metadata = msgspec.json.encode({"lock_owner": owner}) if owner else None
    state.rows.append(
        (
            BUILD_EVENTS,
            (
                event.build, at, state.task_id, kept.number, state.workspace, kept.id, type_of(event), error, metadata, event.plan,
                getattr(event, "execution", ""), int(kind is not ReportRecorded),
            ),
        )
    )  # fmt: skip


def type_of(event: Any) -> str:
    """How an event is called in lists of events."""
    return f"task_{event.outcome}" if isinstance(event, ReportRecorded) else TYPES[type(event)]


def _register(state: TaskState, event: TaskRegistered, at: int) -> None:
    kept = state.kept
    kept.id, kept.name, kept.namespace, kept.version = event.id, event.name, event.namespace, event.version
    kept.output_uri, kept.body, kept.created_at = event.output_uri, event.body, at
    kept.status, kept.status_at = "pending", at
    state.rows.append(
        (
            TASKS,
            (
                state.environment, state.task_id, state.workspace, event.id, event.namespace, event.name, event.version,
                event.output_uri, event.body, at,
            ),
        )
    )  # fmt: skip
    _link(state, event.upstreams, 0)
    _index(state, PARAMETERS, event.body, "", new=True)


def _index(state: TaskState, prefix: str, body: str, source: str, *, new: bool) -> None:
    """What is searched for is written when it happens, and not when the log is folded anew: the rows are there by then."""
    for value in state.values.get(body, ()):
        key = f"{prefix}{value.path}"
        where = (state.environment, key, value.text, state.kept.created_at, state.task_id)
        state.rows.append((TASK_VALUES, (*where, value.number, source)))
        state.rows.append((SEARCH_KEYS, (state.environment, key, value.kind, int(new))))


def _link(state: TaskState, upstreams: Iterable[str], dynamic: int) -> None:
    if upstreams:
        kept = state.kept
        kept.upstreams = kept.upstreams or set()
        for upstream in upstreams:
            if upstream not in kept.upstreams:
                kept.upstreams.add(upstream)
                state.rows.append((TASK_EDGES, (state.environment, state.task_id, upstream, dynamic)))


def _attach(state: TaskState, event: AssetsPut, at: int) -> None:
    kept = state.kept
    kept.assets = kept.assets or {}
    for asset in event.assets:
        new = asset.place not in kept.assets
        id_, since = kept.assets.setdefault(asset.place, (asset.id, at))
        _index(state, f"asset.{asset.name}.", asset.body, asset.body, new=new)
        state.rows.append(
            (
                TASK_ASSETS,
                (
                    state.environment, state.task_id, asset.kind, asset.name, state.workspace, id_, event.build, asset.body,
                    asset.size, asset.content_type, since, at,
                ),
            )
        )  # fmt: skip


def _move(kept: Kept, place: trace.Place, event: Any, at: int) -> list[Row]:
    """The status over all builds, and what becomes of the claim."""
    kind, done = type(event), kept.status == "completed"
    if kind is TaskStarted or kind is TaskResumed:
        if done:
            return []
        _become(kept, "running", event.build, at)
        kept.completed_at = 0
        if kind is TaskResumed:
            return trace.let_go(kept, place, "taken_over", at)
        kept.started_at = kept.started_at or at
        return trace.begin(kept, place, event, at)
    if kind is LockAwaited and not done:
        kept.waiting = kept.status == "pending"
    ends = trace.ENDS.get(kind)
    if ends is None or (done and kind is not TaskCompleted and kind is not TaskInvalidated):
        return []
    if (kind is TaskSuspended and not event.execution) or (kind is TaskSkipped and not event.plan):
        return []  # an older client's: only told inside its build
    status, outcome = ends
    _become(kept, status, event.build, at)
    kept.completed_at = at if status in ("completed", "failed", "cancelled") else 0
    if kind is TaskFailed or kind is TaskInterrupted:
        kept.error = event.error
    elif kind is TaskRetried or (kind is TaskCompleted and event.execution):
        kept.error = None
    elif kind is TaskInvalidated:
        kept.invalidated_at = event.observed_at
    rows = trace.let_go(kept, place, getattr(event, "claim", "") or outcome, at)
    return rows + trace.ended(kept, place, event.execution, outcome, at) if kind in trace.REPORTS and event.execution else rows


def _become(kept: Kept, status: str, build: str, at: int) -> None:
    kept.status, kept.status_at, kept.build, kept.waiting = status, at, build, False


def state_row(state: TaskState) -> tuple[Any, ...]:
    kept = state.kept
    return (
        state.environment, state.task_id, kept.status, kept.status_at, kept.started_at, kept.completed_at, kept.error, kept.build,
        int(kept.waiting), len(kept.assets or ()), kept.execution, kept.claim_until, kept.claim_plan,
        kept.last_build, kept.current, kept.preempted_at,
    )  # fmt: skip
