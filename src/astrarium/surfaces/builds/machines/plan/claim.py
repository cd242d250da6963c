"""Claims on a task: which execution works on it, and until when. Decided by the registry's clock alone.

A claim is live until its time is over. Then anybody may take the task over, once; until somebody does, the late holder's report still
counts. An execution that lost its claim is fenced off: what it reports is recorded and changes nothing (Stardag 0.28, `/api/v2`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .....errors import Invalid, NotFound, Refused
from .....kernel.types import NOTHING_NEEDED, Facts, Needs
from ..kept import Kept, claimed
from ..report import TaskCancelled, TaskCompleted, TaskFailed, TaskSkipped, TaskStarted, TaskSuspended
from .fact import (
    ClaimRenewed,
    ExecutionDescribed,
    ExecutionStopped,
    ReportRecorded,
    TaskInterrupted,
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

SECOND = 1_000_000
TTL_MAX_S = 86_400
GRACE_S = 120
"""So long a preempted execution has to come back."""
ACTIONABLE = ("pending", "suspended", "interrupted", "cancelled", "skipped")
"""Statuses a task may be started from, beside a running one whose claim is over."""
SKIPPABLE = ("pending", "suspended", "interrupted", "running")


def limit_stream(environment: str, key: str) -> str:
    return f"limit:{environment}/{key}"


def limit_slot(environment: str, key: str) -> str:
    """The slot all live claims of a key hold."""
    return f"limit:{environment}/{key}"


def needs_of(kept: Kept, environment: str, command: ClaimTask) -> Needs:
    """A start depends on its build, its plan, the tasks its instance needs, and its limits."""
    instance = kept.instances.get(command.instance)
    upstreams = set(instance.upstreams.values()) if instance is not None and instance.upstreams else ()
    streams = [f"build:{command.build}", f"plan:{command.plan}", *(f"task:{environment}/{task}" for task in sorted(upstreams))]
    streams += [limit_stream(environment, key) for key in command.keys]
    slots = tuple(limit_slot(environment, key) for key in command.keys)
    return Needs(tuple(streams), slots, at_hand=places_of(kept, environment).at_hand)


def places_of(kept: Kept, environment: str) -> Needs:
    """The places in limits that its claim holds, which may be given back."""
    return Needs(at_hand=tuple(limit_slot(environment, key) for key in kept.held)) if kept.held else NOTHING_NEEDED


def decide(kept: Kept, place: tuple[str, str], command: Any, facts: Facts) -> list[Any]:
    """`place` = environment and task id."""
    if not kept.id:
        raise NotFound(f"no task {place[1]} is registered here", code="unknown_task")
    return DECIDE[type(command)](kept, place, command, facts)


def _claim(kept: Kept, place: tuple[str, str], command: ClaimTask, facts: Facts) -> list[Any]:
    live = claimed(kept, facts.now)
    if live and kept.execution == command.execution:
        return []
    if kept.status == "completed":
        raise Refused("the task is completed already", code="task_already_completed")
    if live:
        raise Refused("another execution holds the claim of the task", code="task_already_running")
    if kept.status == "failed":
        raise Refused("the task has failed", code="task_not_actionable", hint="retry it first")
    if command.execution in kept.executions:
        raise Refused(f"execution {command.execution} was used before", code="execution_superseded", hint="start with a new id")
    _check_plan(place[1], command, facts.streams)
    _check_upstreams(kept, place[0], command, facts.streams)
    full = [key for key in command.keys if _is_full(place, key, facts)]
    if full:
        raise Refused("concurrency limits are reached", code="concurrency_limit_reached", details={"keys": full})
    until = facts.now + _ttl(command.ttl_s)
    return [
        TaskStarted(
            command.build, command.execution, command.plan, until, command.instance, command.executor, command.executor_ref,
            command.metadata, command.keys,
        )
    ]  # fmt: skip


def _ttl(seconds: int) -> int:
    if not 0 < seconds <= TTL_MAX_S:
        raise Invalid(f"claim_ttl_seconds must be 1 to {TTL_MAX_S}, not {seconds}", code="invalid_claim_ttl")
    return seconds * SECOND


def _check_plan(task_id: str, command: ClaimTask, streams: Mapping[str, Any]) -> None:
    build, plan = streams.get(f"build:{command.build}"), streams.get(f"plan:{command.plan}")
    made = build.kept.plans.get(command.plan) if build is not None else None
    if build is None or made is None or not made.active:
        raise Refused("the plan is not the active one of its build", code="plan_superseded")
    status = build.kept.status
    if status != "running":
        raise Refused(f"the build is {status}", code="build_not_running", details={"build_status": status})
    member = plan.kept.members.get(task_id) if plan is not None else None
    if member is None:
        raise NotFound(f"task {task_id} is no member of the plan", code="unknown_member")
    if member.excluded_reason:
        raise Refused("the task is excluded from the plan", code="member_excluded")


def _check_upstreams(kept: Kept, environment: str, command: ClaimTask, streams: Mapping[str, Any]) -> None:
    instance = kept.instances.get(command.instance)
    if instance is None or instance.upstreams is None:
        told = "what the task needs was not registered"
        raise Refused(told, code="upstream_incomplete", details={"reason": "not_expanded"})
    open_ = []
    for task in dict.fromkeys(instance.upstreams.values()):
        state = streams.get(f"task:{environment}/{task}")
        if state is None or state.kept.status != "completed":
            open_.append(task)
    if open_:
        raise Refused("a task it needs is not completed", code="upstream_incomplete", details={"task_ids": open_})


def _is_full(place: tuple[str, str], key: str, facts: Facts) -> bool:
    limit, slot = facts.streams.get(limit_stream(place[0], key)), facts.slots.get(limit_slot(place[0], key))
    if limit is None or limit.kept.most < 0:
        return False
    holders = set(slot.holders if slot is not None else ()) - {f"task:{place[0]}/{place[1]}"}
    return len(holders) >= limit.kept.most


def _check_holder(kept: Kept, plan: str) -> None:
    if kept.claim_plan != plan:
        raise Refused("the claim was granted through another plan", code="not_claim_holder")


def _describe(kept: Kept, place: tuple[str, str], command: DescribeExecution, facts: Facts) -> list[Any]:
    execution = kept.executions.get(command.execution)
    if execution is None:
        raise Refused(f"no execution {command.execution} of this task", code="unknown_execution")
    if kept.execution != command.execution or execution.ended_at:
        raise Refused("the execution does not hold the claim of the task", code="execution_not_current")
    _check_holder(kept, command.plan)
    until = facts.now + _ttl(command.ttl_s) if kept.preempted_at else 0
    told = (command.executor, command.executor_ref, command.metadata)
    known = (execution.executor, execution.executor_ref, execution.metadata)
    if not until and all(new is None or new == old for new, old in zip(told, known, strict=True)):
        return []
    return [ExecutionDescribed(execution.build, command.execution, command.plan, until, *told)]


def _report(kept: Kept, place: tuple[str, str], command: ReportExecution, facts: Facts) -> list[Any]:
    execution = kept.executions.get(command.execution)
    if execution is None:
        raise Refused(f"no execution {command.execution} of this task", code="unknown_execution")
    if execution.ended_at:
        raise Refused(f"the execution ended already: {execution.outcome}", code="execution_already_ended")
    who = (command.build, command.execution)
    if kept.execution != command.execution:
        return [ReportRecorded(*who, command.plan, command.outcome, command.error)]
    _check_holder(kept, command.plan)
    if command.outcome == "completed":
        return [TaskCompleted(*who, command.plan)]
    if command.outcome == "failed":
        return [TaskFailed(*who, command.plan, command.error)]
    if command.outcome == "interrupted":
        return [TaskInterrupted(*who, command.plan, command.error)]
    return [TaskSuspended(*who, command.plan)]


def _preempt(kept: Kept, place: tuple[str, str], command: PreemptExecution, facts: Facts) -> list[Any]:
    if kept.execution != command.execution or not claimed(kept, facts.now):
        raise Refused("the execution does not hold the claim of the task", code="execution_not_current")
    _check_holder(kept, command.plan)
    if kept.preempted_at:
        return []
    until = min(kept.claim_until, facts.now + GRACE_S * SECOND)
    return [TaskPreempted(kept.executions[command.execution].build, command.execution, command.plan, until)]


def _renew(kept: Kept, place: tuple[str, str], command: RenewClaim, facts: Facts) -> list[Any]:
    if kept.execution != command.execution or not claimed(kept, facts.now):
        execution = kept.executions.get(command.execution)
        outcome = execution.claim_outcome or None if execution is not None else None
        raise Refused(
            "the execution does not hold the claim of the task", code="claim_not_held", details={"claim_outcome": outcome}
        )
    until = facts.now + _ttl(command.ttl_s)
    return [ClaimRenewed(kept.executions[command.execution].build, command.execution, kept.claim_plan, until)]


def _retry(kept: Kept, place: tuple[str, str], command: RetryTask, facts: Facts) -> list[Any]:
    _check_free(kept, facts.now)
    return [] if kept.status == "pending" else [TaskRetried(command.build, "", command.plan)]


def _check_free(kept: Kept, now: int) -> None:
    if kept.status == "completed":
        raise Refused("the task is completed already", code="task_already_completed")
    if claimed(kept, now):
        raise Refused("an execution holds the claim of the task", code="task_already_running")


def _skip(kept: Kept, place: tuple[str, str], command: SkipMember, facts: Facts) -> list[Any]:
    if kept.status == "skipped":
        return []
    _check_free(kept, facts.now)
    if kept.status not in SKIPPABLE:
        raise Refused(f"the task is {kept.status}", code="task_not_skippable")
    return [TaskSkipped(command.build, "", command.plan)]


def _cancel(kept: Kept, place: tuple[str, str], command: CancelClaim, facts: Facts) -> list[Any]:
    if not claimed(kept, facts.now):
        return []
    if kept.executions[kept.execution].build != command.build:
        raise Refused("another build holds the claim of the task", code="not_claim_holder")
    return [TaskCancelled(command.build, kept.execution, command.plan)]


def _release(kept: Kept, place: tuple[str, str], command: ReleaseClaim, facts: Facts) -> list[Any]:
    execution = kept.executions.get(kept.execution)
    if execution is None or execution.build != command.build:
        return []
    return [TaskCancelled(command.build, kept.execution, kept.claim_plan, "released")]


def _stop(kept: Kept, place: tuple[str, str], command: StopExecution, facts: Facts) -> list[Any]:
    execution = kept.executions.get(command.execution)
    if execution is None:
        raise NotFound(f"no execution {command.execution}", code="unknown_execution")
    made: list[Any] = []
    if not execution.ended_at:
        made.append(ExecutionStopped(execution.build, command.execution, execution.plan, command.outcome))
    if kept.execution == command.execution:
        made.append(TaskCancelled(execution.build, command.execution, execution.plan))
    return made


def _yield(kept: Kept, place: tuple[str, str], command: YieldTask, facts: Facts) -> list[Any]:
    if yield_key(command.execution, command.batch) in kept.yields:
        return []
    if kept.execution != command.execution:
        raise Refused("the execution does not hold the claim of the task", code="execution_not_current")
    _check_holder(kept, command.plan)
    if command.instance not in kept.instances:
        raise NotFound("the task has no such instance", code="unknown_member")
    known = kept.instances[command.instance].upstreams or {}
    added = tuple(one for one in dict.fromkeys(command.upstreams) if one[0] not in known)
    who = (command.build, command.execution, command.plan)
    made: list[Any] = [TaskYielded(*who, command.batch, command.instance, added, len(added), command.result)]
    return [*made, TaskSuspended(*who)] if command.suspend else made


def yield_key(execution: str, batch: str) -> str:
    return f"{execution}/{batch}"


DECIDE: dict[type, Callable[[Kept, tuple[str, str], Any, Facts], list[Any]]] = {
    ClaimTask: _claim,
    DescribeExecution: _describe,
    ReportExecution: _report,
    PreemptExecution: _preempt,
    RenewClaim: _renew,
    RetryTask: _retry,
    SkipMember: _skip,
    CancelClaim: _cancel,
    ReleaseClaim: _release,
    StopExecution: _stop,
    YieldTask: _yield,
}
