"""Claims, tasks, executions, limits and ticks, as clients of plans send them and are told of them (see `wire`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Raw

from .wire import PlanItem, PlanMembers, Strict

# -- claims ------------------------------------------------------------------------------------------------------------


class TaskClaim(Strict):
    """`claim` false: the holder of a claim tells more about itself."""

    execution_id: UUID
    claim: bool = True
    claim_ttl_seconds: int | None = None
    executor: str | None = None
    executor_ref: str | None = None
    executor_metadata: dict[str, Any] | None = None
    limit_keys: list[str] | None = None


class ExecutionRef(Strict):
    execution_id: UUID


class ExecutionFailure(Strict):
    execution_id: UUID
    error_message: str | None = None


class ClaimRenewal(Strict):
    execution_id: UUID
    claim_ttl_seconds: int | None = None


class ExecutionStop(Strict):
    outcome: Literal["stopped", "lost"] = "stopped"


class TaskTransition(msgspec.Struct):
    """`applied` false: it was so already."""

    applied: bool
    status: str
    execution_id: str | None
    claim_expires_at: str | None


class TaskYield(Strict):
    """`yielded` are hashes among the items; `suspend`: the task waits for them and lets go."""

    execution_id: UUID
    deployment_id: UUID
    batch_id: UUID
    items: Annotated[list[PlanItem], Meta(min_length=1)]
    yielded: list[str]
    suspend: bool


class YieldedTasks(msgspec.Struct):
    members: PlanMembers
    dynamic_edges_created: int
    status: str
    execution_id: str | None
    claim_expires_at: str | None
    replayed: bool


class NewPlanArtifact(Strict):
    type: Literal["markdown", "json"]
    name: str
    body: Raw


class NewPlanArtifacts(Strict):
    artifacts: list[NewPlanArtifact]
    execution_id: UUID | None = None


# -- tasks and executions ----------------------------------------------------------------------------------------------


class TaskInstance(msgspec.Struct):
    id: str
    deployment_id: str
    settings_hash: str
    instance_hash: str
    body: Raw
    expanded_at: str | None
    created_at: str


class PlannedTask(msgspec.Struct):
    task_id: str
    task_namespace: str
    task_name: str
    version: str | None
    output_uri: str | None
    status: str
    status_at: str
    started_at: str | None
    completed_at: str | None
    error_message: str | None
    claim_expires_at: str | None
    claim_plan_id: str | None
    claim_build_id: str | None
    execution_id: str | None


class PlannedTaskDetail(PlannedTask):
    instances: list[TaskInstance] = []


class PlannedTasks(msgspec.Struct):
    tasks: list[PlannedTask]
    next_cursor: str | None


class TaskExecution(msgspec.Struct):
    id: str
    task_id: str
    build_id: str
    plan_id: str
    instance_id: str
    executor: str | None
    executor_ref: str | None
    executor_metadata: dict[str, Any] | None
    in_current_plan: bool
    started_at: str
    claim_released_at: str | None
    claim_outcome: str | None
    ended_at: str | None
    outcome: str | None


class BuildExecutions(msgspec.Struct):
    build_id: str
    executions: list[TaskExecution]


class TaskExecutions(msgspec.Struct):
    task_id: str
    executions: list[TaskExecution]


class PlanEvent(msgspec.Struct):
    id: str
    event_type: str
    created_at: str
    build_id: str
    plan_id: str | None
    execution_id: str | None
    task_id: str | None
    report_applied: bool
    error_message: str | None
    event_metadata: dict[str, Any] | None


class PlanEvents(msgspec.Struct):
    events: list[PlanEvent]


# -- limits ------------------------------------------------------------------------------------------------------------


class LimitChange(Strict):
    max_concurrent: Annotated[int, Meta(ge=0, le=1_000_000)]


class ConcurrencyLimit(msgspec.Struct):
    key: str
    max_concurrent: int


class LimitHolder(msgspec.Struct):
    task_id: str
    task_name: str
    build_id: str
    plan_id: str
    execution_id: str
    started_at: str


class ConcurrencyLimitUse(ConcurrencyLimit):
    in_use: int
    holders: list[LimitHolder] | None


class ConcurrencyLimits(msgspec.Struct):
    limits: list[ConcurrencyLimitUse]


# -- ticks -------------------------------------------------------------------------------------------------------------


class ReactiveMeta(Strict):
    app_name: str
    tick_kwargs: dict[str, Any] | None = None


class BuildNotice(msgspec.Struct):
    """`scheduler_live` null where it was not asked for."""

    build_id: str
    needs_tick: bool
    scheduler_live: bool | None


class WakeCandidate(msgspec.Struct):
    build_id: str
    reactive_app_name: str


class WakeCandidates(msgspec.Struct):
    builds: list[WakeCandidate]


class SchedulerLease(msgspec.Struct):
    build_id: str
    held: bool
    expires_at: str | None


class TickSummary(msgspec.Struct):
    id: str
    build_id: str
    outcome: str
    summary: dict[str, Any]
    created_at: str


class TickSummaries(msgspec.Struct):
    build_id: str
    summaries: list[TickSummary]


class StalledBuild(msgspec.Struct):
    build_id: str
    reactive_app_name: str
    reason: Literal["flagged_unserved", "lease_lapsed"]
    since: str


class StalledBuilds(msgspec.Struct):
    older_than_seconds: int
    builds: list[StalledBuild]
