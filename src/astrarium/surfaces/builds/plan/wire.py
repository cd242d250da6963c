"""What clients of plans send and are told. Requests refuse fields they do not know; a client ignores those of answers it does not know.
Times are ISO 8601; ids are UUIDs made by the client, except tasks' and instances' hashes, which are their own."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, Raw

from ..machines.plan.deployment import DeploymentKind

Moment = Annotated[datetime, Meta(tz=True)]
Seconds = Annotated[int, Meta(ge=5, le=3600)]


class PlanRefusal(msgspec.Struct):
    """`detail` is `{code, message, …}`; for wrong fields a list of `{type, loc, msg, input}`; for who may not, a text."""

    detail: Any


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A request: what it does not know is refused."""


# -- deployments and settings ------------------------------------------------------------------------------------------


class NewDeployment(Strict):
    kind: DeploymentKind
    code_id: str
    id: UUID | None = None
    app_name: str | None = None
    image_id: str | None = None
    modal_app_id: str | None = None


class DeploymentActivation(Strict):
    modal_app_id: str | None = None
    image_id: str | None = None


class BuildDeployment(msgspec.Struct, kw_only=True):
    """`created` only where one is registered."""

    id: str
    kind: str
    app_name: str
    code_id: str
    image_id: str | None
    modal_app_id: str | None
    generation: int
    deployed_at: str
    activated_at: str | None
    is_current: bool


class RegisteredDeployment(BuildDeployment, kw_only=True):
    created: bool


class BuildDeployments(msgspec.Struct):
    deployments: list[BuildDeployment]


class BuildSettings(msgspec.Struct):
    hash: str
    body: dict[str, str]


# -- builds ------------------------------------------------------------------------------------------------------------


class NewPlannedBuild(Strict):
    root_task_ids: Annotated[list[str], Meta(min_length=1)]
    id: UUID | None = None
    name: str | None = None
    description: str | None = None
    executor_metadata: dict[str, Any] | None = None


class BuildResumption(Strict):
    """Without `deployment_id` no plan is looked for."""

    deployment_id: UUID | None = None
    settings: dict[str, str] = {}
    executor_metadata: dict[str, Any] | None = None


class BuildCompletion(Strict):
    force: bool = False


class BuildFailure(Strict):
    error_message: str | None = None


class PlannedBuild(msgspec.Struct):
    id: str
    name: str
    description: str | None
    status: str
    root_task_ids: list[str]
    created_at: str
    started_at: str | None
    completed_at: str | None
    last_active_at: str
    is_resumed: bool
    status_triggered_by_user_id: str | None
    executor_metadata: dict[str, Any] | None
    reactive_app_name: str | None
    reactive_tick_kwargs: dict[str, Any] | None
    error_message: str | None


class PlannedBuilds(msgspec.Struct):
    builds: list[PlannedBuild]
    total: int
    next_cursor: str | None


# -- plans -------------------------------------------------------------------------------------------------------------


class PlanItem(Strict):
    """A task in one instance. `declared_upstreams` are hashes of instances; null = what it needs was not looked up."""

    task_id: str
    task_name: str
    instance_hash: str
    body: Raw
    observed_at: Moment
    task_namespace: str = ""
    version: str | None = None
    output_uri: str | None = None
    declared_upstreams: list[str] | None = None
    observed_complete: bool = False


class NewPlan(Strict):
    plan_id: UUID
    deployment_id: UUID
    roots: Annotated[list[PlanItem], Meta(min_length=1)]
    settings: dict[str, str] = {}


class NewPlanMembers(Strict):
    items: list[PlanItem]


class BuildPlan(msgspec.Struct, kw_only=True):
    id: str
    build_id: str
    deployment_id: str
    settings_hash: str
    generation: int
    activated_at: str | None
    sealed_at: str | None
    superseded_at: str | None
    created: bool = False


class ResumedBuild(msgspec.Struct):
    build: PlannedBuild
    plan: BuildPlan | None
    changed: bool


class PlanDetail(msgspec.Struct, kw_only=True):
    id: str
    build_id: str
    deployment_id: str
    settings_hash: str
    generation: int
    activated_at: str | None
    sealed_at: str | None
    superseded_at: str | None
    deployment: BuildDeployment | None
    created_at: str
    is_active: bool
    member_count: int
    root_count: int
    excluded_count: int
    member_counts: dict[str, int]


class PlanList(msgspec.Struct):
    build_id: str
    plans: list[PlanDetail]


class PlanMembers(msgspec.Struct):
    """What was new. All zero when it was told before."""

    tasks_created: int = 0
    instances_created: int = 0
    members_admitted: int = 0
    closure_admitted: int = 0
    edges_created: int = 0
    completed: int = 0
    invalidated: int = 0
    diverged: int = 0


class FrontierTask(msgspec.Struct, omit_defaults=True):
    """The last three only of tasks that can be started or run."""

    task_id: str
    instance_id: str
    instance_hash: str
    status: str
    is_root: bool
    body: Raw
    attempts: int | None = None
    interruptions: int | None = None
    restart_expected_by: str | None = None


class PlanRootTasks(msgspec.Struct):
    plan_id: str
    build_id: str
    deployment_id: str
    settings_hash: str
    roots: list[FrontierTask]


class ClosureClash(msgspec.Struct):
    task_id: str
    fields: list[str]


class PlanClosure(msgspec.Struct):
    admitted: int
    conflicts: list[ClosureClash]
    build_failed: bool


class BuildFrontier(msgspec.Struct):
    build_id: str
    plan_id: str | None
    deployment_id: str | None
    settings_hash: str | None
    sealed: bool
    plan_complete: bool
    build_status: str
    reactive_app_name: str | None
    reactive_tick_kwargs: dict[str, Any] | None
    runnable: list[FrontierTask]
    discovery_jobs: list[FrontierTask]
    running: list[FrontierTask]
    closure: PlanClosure | None


class SkippedTasks(msgspec.Struct):
    plan_id: str | None
    skipped: list[str]


class PlanGraphNode(msgspec.Struct):
    task_id: str
    instance_id: str
    instance_hash: str
    task_namespace: str
    task_name: str
    status: str
    is_root: bool
    admitted_by: str
    excluded_at: str | None
    excluded_reason: str | None
    attempts: int
    interruptions: int


class PlanGraphEdge(msgspec.Struct):
    upstream_instance_id: str
    downstream_instance_id: str
    is_dynamic: bool


class PlanGraph(msgspec.Struct):
    plan_id: str
    build_id: str
    deployment_id: str
    settings_hash: str
    members: list[PlanGraphNode]
    edges: list[PlanGraphEdge]


class MemberExclusion(Strict):
    reason: str | None = None


class DiscoveryFailure(Strict):
    error: str


class PlanExclusion(msgspec.Struct):
    plan_id: str
    excluded: list[str]
    roots_excluded: list[str]
    build_failed: bool
