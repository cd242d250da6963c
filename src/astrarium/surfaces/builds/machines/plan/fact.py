"""What happens to a task that is a member of plans, beside what any build may report of it (`machines.report`)."""

from __future__ import annotations

from typing import Any

import msgspec

from .. import report


class _Fact(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    build: str
    execution: str = ""
    plan: str = ""


class InstanceRegistered(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """`key` = scope and hash; `upstreams` None = not expanded."""

    key: str
    body: str
    upstreams: tuple[tuple[str, str], ...] | None = None


class InstanceExpanded(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    key: str
    upstreams: tuple[tuple[str, str], ...]


class TaskDiverged(_Fact, frozen=True, omit_defaults=True, tag=True):
    """An instance that was expanded was told of with more upstreams."""

    key: str = ""
    upstreams: tuple[tuple[str, str], ...] = ()


class TaskObserved(_Fact, frozen=True, omit_defaults=True, tag=True):
    """Its output is there."""


class TaskInvalidated(_Fact, frozen=True, omit_defaults=True, tag=True):
    """Its output was there and is no more; seen at `observed_at`."""

    observed_at: int = 0


class TaskInterrupted(_Fact, frozen=True, omit_defaults=True, tag=True):
    error: str | None = None


class TaskRetried(_Fact, frozen=True, omit_defaults=True, tag=True):
    pass


class TaskPreempted(_Fact, frozen=True, omit_defaults=True, tag=True):
    claim_until: int = 0


class TaskYielded(_Fact, frozen=True, omit_defaults=True, tag=True):
    """`edges` counts the upstreams that were new."""

    batch: str = ""
    key: str = ""
    upstreams: tuple[tuple[str, str], ...] = ()
    edges: int = 0
    result: dict[str, Any] = {}


class ReportRecorded(_Fact, frozen=True, omit_defaults=True, tag=True):
    """An execution told how it ended after its claim was gone: history, not state."""

    outcome: str = ""
    error: str | None = None


class ClaimRenewed(_Fact, frozen=True, omit_defaults=True, tag=True):
    claim_until: int = 0


class ExecutionDescribed(_Fact, frozen=True, omit_defaults=True, tag=True):
    """`claim_until` 0 = as it was."""

    claim_until: int = 0
    executor: str | None = None
    executor_ref: str | None = None
    metadata: dict[str, Any] | None = None


class ExecutionStopped(_Fact, frozen=True, omit_defaults=True, tag=True):
    outcome: str = ""


EVENTS = (
    *report.EVENTS, InstanceRegistered, InstanceExpanded, TaskDiverged, TaskObserved, TaskInvalidated, TaskInterrupted, TaskRetried,
    TaskPreempted, TaskYielded, ReportRecorded, ClaimRenewed, ExecutionDescribed, ExecutionStopped,
)  # fmt: skip
TYPES: dict[type, str] = report.TYPES | {
    TaskDiverged: "task_structure_diverged",
    TaskObserved: "task_observed_complete",
    TaskInvalidated: "task_invalidated",
    TaskInterrupted: "task_interrupted",
    TaskRetried: "task_retried",
    TaskPreempted: "task_preempted",
    TaskYielded: "task_yielded",
}
"""How an event is called in lists of events; the others are not told there."""
IN_BUILD: dict[type, str] = report.IN_BUILD | {
    TaskObserved: "completed",
    TaskInvalidated: "pending",
    TaskInterrupted: "interrupted",
    TaskRetried: "pending",
}
"""The status inside one build after an event; the others leave it as it is."""
QUIET = (InstanceRegistered, InstanceExpanded, ClaimRenewed, ExecutionDescribed, ExecutionStopped)
"""Facts about a task's claims and structure that leave it as it is, and are not told in lists of events."""
