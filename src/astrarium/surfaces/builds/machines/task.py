"""The life of a task in an environment: registered once, wanted by many builds, driven from outside.

Over all builds `completed` is sticky: reports that are not guarded by a claim do not undo it (Stardag, Feb 2026). There, a task that
is suspended still counts as running, and one that is skipped in a build as it was; only an execution's own reports say more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ....errors import NotFound, Refused
from ....kernel.machine import Machine, Move
from ....kernel.record.artifact import ARTIFACTS
from ....kernel.types import NOTHING_NEEDED, Count, Effect, Facts, Needs, Row, Scope, SlotGranted
from . import file
from .fold import fold, state_row
from .kept import STATUSES, Kept
from .plan import claim, instance, trace
from .plan.fact import (
    EVENTS,
)
from .plan.move import MOVES
from .plan.order import ClaimTask, RegisterInstance
from .plan.row import BUILD_ACTIVITY, EXECUTIONS, INSTANCE_EDGES, INSTANCES
from .report import (
    AddUpstreams,
    AssetsPut,
    AwaitLock,
    CancelTask,
    CompleteTask,
    FailTask,
    LockAwaited,
    NewAsset,
    PutAssets,
    RegisterTask,
    ResumeTask,
    SkipTask,
    StartTask,
    SuspendTask,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskReferenced,
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
    TASK_STATES,
    TASK_VALUES,
    TASKS,
)
from .state import TaskState

COUNTER = "builds.tasks"
"""Counts the tasks of an environment (the subject)."""
GIVES: dict[type, type] = {
    StartTask: TaskStarted,
    CompleteTask: TaskCompleted,
    SuspendTask: TaskSuspended,
    ResumeTask: TaskResumed,
    CancelTask: TaskCancelled,
    SkipTask: TaskSkipped,
}
"""Reports that become events of the same fields."""




def task_stream(environment: str, task_id: str) -> str:
    return f"task:{environment}/{task_id}"


def _any(asked: type, gives: type, becomes: str) -> tuple[Move, ...]:
    """From any status; a completed task stays so."""
    others = tuple(status for status in STATUSES if status != "completed")
    return (
        Move("task", others, (asked,), gives, (becomes,)),
        Move("task", ("completed",), (asked,), gives, ("completed",)),
    )


def _same(asked: type, gives: type) -> tuple[Move, ...]:
    """In any status, which stays."""
    return tuple(Move("task", (status,), (asked,), gives, (status,)) for status in STATUSES)


TABLE = (
    Move("task", ("new",), (RegisterTask,), TaskRegistered, ("pending",)),
    *_same(RegisterTask, TaskReferenced),
    *_same(AddUpstreams, UpstreamsAdded),
    *_same(PutAssets, AssetsPut),
    *_any(StartTask, TaskStarted, "running"),
    *_any(ResumeTask, TaskResumed, "running"),
    *_any(FailTask, TaskFailed, "failed"),
    *_any(CancelTask, TaskCancelled, "cancelled"),
    Move("task", STATUSES, (CompleteTask,), TaskCompleted, ("completed",)),
    *_same(SuspendTask, TaskSuspended),
    Move("task", ("running",), (SuspendTask,), TaskSuspended, ("suspended",)),
    *_same(SkipTask, TaskSkipped),
    *_same(AwaitLock, LockAwaited),
    *_same(file.PutFile, file.FilePut),
    *_same(file.DropFile, file.FileDropped),
    *MOVES,
)


# -- state ------------------------------------------------------------------------------------------------------------


class TaskMachine(Machine[TaskState]):
    name = "task"
    events = (*EVENTS, *file.EVENTS)
    tables = (
        TASKS, TASK_STATES, BUILD_TASKS, BUILD_TASK_STATES, TASK_EDGES, BUILD_EVENTS, TASK_ASSETS, TASK_VALUES, SEARCH_KEYS,
        BUILD_ACTIVITY, EXECUTIONS, INSTANCES, INSTANCE_EDGES, ARTIFACTS,
    )  # fmt: skip
    table = TABLE

    def new(self, stream: str, scope: Scope) -> TaskState:
        return TaskState(stream, scope)

    def needs(self, state: TaskState, command: Any) -> Needs:
        """The things that will be searched for, and what a start depends on."""
        kind = type(command)
        if kind is ClaimTask:
            return claim.needs_of(state.kept, state.environment, command)
        if kind is RegisterInstance:
            return instance.needs_of(state.kept, state.environment, command)
        if kind is RegisterTask:
            return NOTHING_NEEDED if state.kept.id else Needs(things=(command.body,))
        if kind is PutAssets:
            return Needs(things=tuple(one.body for one in command.assets))
        return claim.places_of(state.kept, state.environment)

    def decide(self, state: TaskState, command: Any, facts: Facts) -> list[Any]:
        kept, kind = state.kept, type(command)
        state.values = facts.things
        if kind is RegisterInstance:
            return instance.decide(kept, state.task_id, command, facts)
        if kind in claim.DECIDE:
            return claim.decide(kept, (state.environment, state.task_id), command, facts)
        if kind is SlotGranted:
            return []
        if kind is RegisterTask:
            if kept.id:
                return [TaskReferenced(command.build)]
            return [TaskRegistered(*(getattr(command, name) for name in RegisterTask.__struct_fields__))]
        if not kept.id:
            raise NotFound("Task not found")
        if kind is AddUpstreams:
            known = kept.upstreams or ()
            added = tuple(dict.fromkeys(one for one in command.upstreams if one not in known))
            return [UpstreamsAdded(command.build, added, command.dynamic)] if added else []
        if kind is PutAssets:
            return [AssetsPut(command.build, _known(command.assets, kept))] if command.assets else []
        if kind in file.ORDERS:
            return file.decide(kept, command)
        if command.execution:
            _check_claim(state, command, facts.now)
        made = _event_of(command)
        repeated = kept.last == type(made).__name__ and kept.last_build == command.build and kept.execution == command.execution
        if repeated and (kind is not FailTask or kept.error == command.error):
            return []  # told again
        return [made]

    def status(self, state: TaskState, event: Any) -> str:
        return state.kept.status or "new"

    def evolve(self, state: TaskState, event: Any, at: int) -> None:
        fold(state, event, at)

    def react(self, state: TaskState, event: Any, at: int) -> Iterable[Effect]:
        if type(event) is TaskRegistered:
            return (Count(COUNTER, state.environment, ""),)
        if type(event) in file.EVENTS:
            return file.react(state.place, event)
        return trace.holds(state.environment, state.kept, state.freed, event)

    def rows(self, state: TaskState) -> Iterable[Row]:
        if not state.touched:
            return ()
        state.touched = False
        made, state.rows = state.rows, []
        made.append((TASK_STATES, state_row(state)))
        return made

    def dump(self, state: TaskState) -> bytes:
        return msgspec.json.encode(state.kept, order="deterministic")

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> TaskState:
        return TaskState(stream, scope, msgspec.json.decode(data, type=Kept))


# -- deciding ---------------------------------------------------------------------------------------------------------


def _event_of(command: Any) -> Any:
    if isinstance(command, FailTask):
        return TaskFailed(command.build, command.execution, error=command.error)
    if isinstance(command, AwaitLock):
        return LockAwaited(command.build, command.execution, owner=command.owner)
    if isinstance(command, StartTask):
        return TaskStarted(command.build, command.execution, command.plan, command.claim_until)
    return GIVES[type(command)](command.build, command.execution)


def _check_claim(state: TaskState, command: Any, now: int) -> None:
    """Whether an execution may say this. A lapsed claim is still its own until another takes it."""
    kept = state.kept
    if isinstance(command, StartTask):
        if kept.status == "completed":
            raise Refused("the task is completed already", code="task_already_completed")
        if state.claimed(now) and kept.execution != command.execution:
            raise Refused("another execution holds the claim of the task", code="task_already_running")
        if kept.status == "failed":
            raise Refused("the task has failed; retry it first", code="task_not_actionable")
    elif kept.execution != command.execution:
        raise Refused("the execution does not hold the claim of the task (any more)", code="execution_not_current")


def _known(assets: Iterable[NewAsset], kept: Kept) -> tuple[NewAsset, ...]:
    """Assets under the UUIDs they have; of several of a kind and name in one order the last one counts."""
    known = kept.assets or {}
    last = {asset.place: asset for asset in assets}
    return tuple(msgspec.structs.replace(asset, id=known[place][0]) if place in known else asset for place, asset in last.items())
