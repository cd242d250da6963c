"""What orders of plans and executions may give, and what a task becomes by it: rows of its table."""

from __future__ import annotations

from .....kernel.machine import Move
from ..kept import STATUSES
from ..report import (
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskReferenced,
    TaskRegistered,
    TaskSkipped,
    TaskStarted,
    TaskSuspended,
)
from .fact import (
    ClaimRenewed,
    ExecutionDescribed,
    ExecutionStopped,
    InstanceExpanded,
    InstanceRegistered,
    ReportRecorded,
    TaskDiverged,
    TaskInterrupted,
    TaskInvalidated,
    TaskObserved,
    TaskPreempted,
    TaskRetried,
    TaskYielded,
)
from .order import (
    CancelClaim,
    ClaimTask,
    DescribeExecution,
    PreemptExecution,
    ReleaseClaim,
    RenewClaim,
    ReportExecution,
    RetryTask,
    SkipMember,
    StopExecution,
    YieldTask,
)
from .order import RegisterInstance as Register

OPEN = ("pending", "suspended", "interrupted", "cancelled", "skipped", "running")
UNDONE = (*OPEN, "failed")


def _same(asked: type, *gives: type) -> tuple[Move, ...]:
    """In any status, which stays."""
    return tuple(Move("task", (status,), (asked,), given, (status,)) for status in STATUSES for given in gives)


MOVES = (
    Move("task", ("new",), (Register,), TaskRegistered, ("pending",)),
    *_same(Register, TaskReferenced, InstanceRegistered, InstanceExpanded, TaskDiverged),
    Move("task", UNDONE, (Register,), TaskObserved, ("completed",)),
    Move("task", ("completed",), (Register,), TaskInvalidated, ("pending",)),
    Move("task", OPEN, (ClaimTask,), TaskStarted, ("running",)),
    *_same(DescribeExecution, ExecutionDescribed),
    *_same(ReportExecution, ReportRecorded),
    Move("task", ("running",), (ReportExecution,), TaskCompleted, ("completed",)),
    Move("task", ("running",), (ReportExecution,), TaskFailed, ("failed",)),
    Move("task", ("running",), (ReportExecution,), TaskSuspended, ("suspended",)),
    Move("task", ("running",), (ReportExecution,), TaskInterrupted, ("interrupted",)),
    *_same(PreemptExecution, TaskPreempted),
    *_same(RenewClaim, ClaimRenewed),
    Move("task", UNDONE, (RetryTask,), TaskRetried, ("pending",)),
    Move("task", OPEN, (SkipMember,), TaskSkipped, ("skipped",)),
    Move("task", ("running",), (CancelClaim, ReleaseClaim, StopExecution), TaskCancelled, ("cancelled",)),
    *_same(StopExecution, ExecutionStopped),
    *_same(YieldTask, TaskYielded),
    Move("task", ("running",), (YieldTask,), TaskSuspended, ("suspended",)),
)
