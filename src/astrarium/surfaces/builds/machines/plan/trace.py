"""What claims leave in a task: who held them, how they ended, and the places they take in limits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from .....kernel.types import Effect, Row, SlotAsk, SlotFree
from ..kept import Execution, Kept
from ..report import TaskCancelled, TaskCompleted, TaskFailed, TaskSkipped, TaskStarted, TaskSuspended
from .claim import limit_slot, yield_key
from .fact import (
    ClaimRenewed,
    ExecutionDescribed,
    ExecutionStopped,
    InstanceExpanded,
    InstanceRegistered,
    ReportRecorded,
    TaskInterrupted,
    TaskInvalidated,
    TaskObserved,
    TaskPreempted,
    TaskRetried,
    TaskYielded,
)
from .instance import execution_row, link

ENDS: dict[type, tuple[str, str]] = {
    TaskCompleted: ("completed", "completed"),
    TaskFailed: ("failed", "failed"),
    TaskSuspended: ("suspended", "suspended"),
    TaskInterrupted: ("interrupted", "interrupted"),
    TaskCancelled: ("cancelled", "cancelled"),
    TaskObserved: ("completed", "lapsed"),
    TaskRetried: ("pending", "lapsed"),
    TaskSkipped: ("skipped", "lapsed"),
    TaskInvalidated: ("pending", "lapsed"),
}
"""Events that end whatever claim there is: the status the task gets, and how the claim ended."""
REPORTS = (TaskCompleted, TaskFailed, TaskSuspended, TaskInterrupted)
"""Events in which an execution tells its own end."""
MOVED = (TaskStarted, ClaimRenewed, TaskPreempted, ExecutionDescribed)
"""Events after which the end of a claim is another."""


class Place(msgspec.Struct, frozen=True):
    environment: str
    task_id: str


def begin(kept: Kept, place: Place, event: TaskStarted, at: int) -> list[Row]:
    """A claim is granted; one that was not let go is taken over. Without an execution (an older client) there is no claim."""
    rows = let_go(kept, place, "taken_over", at)
    kept.execution, kept.claim_until, kept.claim_plan, kept.held = event.execution, event.claim_until, event.plan, event.keys
    if event.execution:
        kept.current, kept.error = event.execution, None
        kept.executions[event.execution] = Execution(
            event.build, event.plan, event.instance, at, event.executor, event.executor_ref, event.metadata
        )
        rows.append(_row(kept, place, event.execution))
    return rows


def let_go(kept: Kept, place: Place, outcome: str, at: int) -> list[Row]:
    """The claim is over, if there is one."""
    one, id_ = kept.executions.get(kept.execution), kept.execution
    kept.execution, kept.claim_until, kept.claim_plan, kept.preempted_at, kept.held = "", 0, "", 0, ()
    if one is None or one.released_at:
        return []
    one.released_at, one.claim_outcome = at, outcome
    return [_row(kept, place, id_)]


def ended(kept: Kept, place: Place, id_: str, outcome: str, at: int) -> list[Row]:
    """An execution is over, as it or an operator says."""
    one = kept.executions.get(id_)
    if one is None:
        return []
    one.ended_at, one.outcome = at, outcome
    return [_row(kept, place, id_)]


def note(kept: Kept, place: Place, event: Any, at: int) -> list[Row]:
    """An event that leaves the task's status as it is."""
    kind = type(event)
    if kind is InstanceRegistered or kind is InstanceExpanded:
        return link(kept, place.environment, place.task_id, event, at)
    if kind is ExecutionStopped or kind is ReportRecorded:
        return ended(kept, place, event.execution, event.outcome, at)
    if kind is ClaimRenewed:
        kept.claim_until, kept.preempted_at = event.claim_until, 0
    elif kind is TaskPreempted:
        kept.claim_until, kept.preempted_at = event.claim_until, at
    elif kind is TaskYielded:
        kept.yields[yield_key(event.execution, event.batch)] = {**event.result, "edges": event.edges, "until": kept.claim_until}
        return link(kept, place.environment, place.task_id, event, at, dynamic=True)
    elif kind is ExecutionDescribed:
        one = kept.executions[event.execution]
        one.executor = event.executor if event.executor is not None else one.executor
        one.executor_ref = event.executor_ref if event.executor_ref is not None else one.executor_ref
        one.metadata = event.metadata if event.metadata is not None else one.metadata
        if event.claim_until:
            kept.claim_until, kept.preempted_at = event.claim_until, 0
        return [_row(kept, place, event.execution)]
    else:
        return link(kept, place.environment, place.task_id, event, at)
    return []


def holds(environment: str, kept: Kept, freed: tuple[str, ...], event: Any) -> Iterable[Effect]:
    """The places of a claim in its limits: given back when it ends, taken anew when its end moves. A start was decided with room for
    it; what was decided has its place, whoever came in between."""
    effects: list[Effect] = [SlotFree(limit_slot(environment, key)) for key in freed]
    if type(event) in MOVED:
        effects += [SlotAsk(limit_slot(environment, key), 0, until=kept.claim_until, over=True) for key in kept.held]
    return effects


def _row(kept: Kept, place: Place, id_: str) -> Row:
    one = kept.executions[id_]
    metadata = msgspec.json.encode(one.metadata) if one.metadata is not None else None
    return execution_row(place.environment, place.task_id, id_, one, metadata)
