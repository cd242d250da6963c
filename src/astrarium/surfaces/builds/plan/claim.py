"""What drivers order of tasks: starts, reports, renewals, yields; and what a build that ended still claims is let go."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from ....errors import Invalid, NotFound, Refused
from ....kernel.engine import Engine
from ....kernel.types import Command, Receipt
from ....spec.ids import uuid7
from ....web.caller import Caller
from .. import field
from ..life import ASSET
from ..machines.kept import instance_key
from ..machines.plan.claim import yield_key
from ..machines.plan.fact import ReportRecorded, TaskYielded
from ..machines.plan.member import PlanState, plan_stream
from ..machines.plan.order import (
    CancelClaim,
    ClaimTask,
    DescribeExecution,
    PreemptExecution,
    RenewClaim,
    Reported,
    ReportExecution,
    RetryTask,
    SkipMember,
    StopExecution,
    YieldTask,
)
from ..machines.report import NewAsset, PutAssets
from ..machines.state import TaskState
from ..machines.task import task_stream
from ..views import task as task_views
from ..views.text import moment_or_none
from ..wire import TaskArtifacts
from . import wire, wire_task
from .admission import Admissions, members_of
from .item import read_items

TTL_S = 3600
KEYS_MAX = 100
_EXECUTION = "SELECT task_id FROM executions WHERE environment = ? AND id = ?"
Simple = type[RetryTask | SkipMember | CancelClaim]


async def known_life(engine: Engine, caller: Caller, stream: str, what: str, id_: str) -> Any:
    """The state of a life of the caller's environment. Raises `NotFound` (`unknown_` and what it is)."""
    told = NotFound(f"there is no {what} {id_}", code=f"unknown_{what}")
    try:
        state = await engine.state(stream, caller.scope)
    except NotFound:  # it is of another workspace
        raise told from None
    if state is None or state.kept.environment != caller.scope.environment:
        raise told
    return state


class Claims:
    def __init__(self, engine: Engine, admissions: Admissions) -> None:
        self.engine = engine
        self.admissions = admissions

    # -- looking --------------------------------------------------------------------------------------------------------

    async def plan(self, caller: Caller, id_: str) -> PlanState:
        """A plan of the caller's environment. Raises `NotFound` (`unknown_plan`)."""
        state: PlanState = await known_life(self.engine, caller, plan_stream(id_), "plan", id_)
        return state

    async def member(self, caller: Caller, plan_id: str, task: str) -> PlanState:
        """The plan of a member. Raises `NotFound` (`unknown_plan`, `unknown_member`)."""
        plan = await self.plan(caller, plan_id)
        if task not in plan.kept.members:
            raise NotFound(f"task {task} is no member of plan {plan_id}", code="unknown_member")
        return plan

    async def task(self, caller: Caller, task: str) -> TaskState:
        """Raises `NotFound` (`unknown_task`)."""
        state: TaskState | None = await self.engine.state(task_stream(caller.scope.environment, task), caller.scope)
        if state is None:
            raise NotFound(f"there is no task {task}", code="unknown_task")
        return state

    async def _told(self, caller: Caller, task: str, applied: bool) -> wire_task.TaskTransition:
        kept = (await self.task(caller, task)).kept
        until = moment_or_none(kept.claim_until) if kept.execution else None
        return wire_task.TaskTransition(applied, kept.status, kept.current or None, until)

    async def _order(self, caller: Caller, task: str, order: Any) -> wire_task.TaskTransition:
        receipt = await self._submit(caller, task, order)
        return await self._told(caller, task, bool(receipt.events))

    async def _submit(self, caller: Caller, task: str, order: Any) -> Receipt:
        stream = task_stream(caller.scope.environment, task)
        return await self.engine.submit(Command(stream, order, caller.scope, caller.actor))

    # -- claims ---------------------------------------------------------------------------------------------------------

    async def start(self, caller: Caller, plan_id: str, task: str, body: wire_task.TaskClaim) -> wire_task.TaskTransition:
        """Raises `NotFound`, `Invalid` (`invalid_claim_ttl`), `Refused`: see `machines.plan.claim`."""
        plan = await self.member(caller, plan_id, task)
        ttl_s = TTL_S if body.claim_ttl_seconds is None else body.claim_ttl_seconds
        executor = field.check_text(body.executor, "executor", field.NAME_MAX)
        ref = field.check_text(body.executor_ref, "executor_ref")
        execution, metadata = str(body.execution_id), body.executor_metadata
        if not body.claim:
            return await self._order(caller, task, DescribeExecution(plan_id, execution, ttl_s, executor, ref, metadata))
        field.check_most(len(body.limit_keys or ()), KEYS_MAX, "limit_keys")
        keys = tuple(sorted(field.check_ids(body.limit_keys or (), "limit_keys")))
        kept = plan.kept
        instance = instance_key(kept.deployment, kept.settings, kept.members[task].hash)
        return await self._order(
            caller, task, ClaimTask(kept.build, plan_id, execution, instance, ttl_s, executor, ref, metadata, keys)
        )

    async def report(
        self, caller: Caller, plan_id: str, task: str, execution: str, outcome: Reported, error: str | None = None
    ) -> wire_task.TaskTransition:
        """What comes too late is recorded, and refused. Raises `NotFound`, `Refused`."""
        plan = await self.member(caller, plan_id, task)
        receipt = await self._submit(caller, task, ReportExecution(plan.kept.build, plan_id, execution, outcome, error))
        if any(isinstance(event, ReportRecorded) for event in receipt.events):
            raise Refused("the execution does not hold the claim of the task (any more)", code="execution_not_current")
        return await self._told(caller, task, bool(receipt.events))

    async def preempt(self, caller: Caller, plan_id: str, task: str, execution: str) -> wire_task.TaskTransition:
        """Raises `NotFound`, `Refused`."""
        await self.member(caller, plan_id, task)
        return await self._order(caller, task, PreemptExecution(plan_id, execution))

    async def change(self, caller: Caller, plan_id: str, task: str, order: Simple) -> wire_task.TaskTransition:
        """Retry, skip or cancel a member. Raises `NotFound`, `Refused`."""
        plan = await self.member(caller, plan_id, task)
        return await self._order(caller, task, order(plan.kept.build, plan_id))

    async def renew(self, caller: Caller, task: str, body: wire_task.ClaimRenewal) -> wire_task.TaskTransition:
        """Raises `NotFound`, `Invalid`, `Refused` (`claim_not_held`)."""
        ttl_s = TTL_S if body.claim_ttl_seconds is None else body.claim_ttl_seconds
        return await self._order(caller, task, RenewClaim(str(body.execution_id), ttl_s))

    async def stop(self, caller: Caller, execution: str, body: wire_task.ExecutionStop) -> wire_task.TaskTransition:
        """Raises `NotFound` (`unknown_execution`)."""
        rows = await self.engine.store.read(_EXECUTION, (caller.scope.environment, execution))
        if not rows:
            raise NotFound(f"there is no execution {execution}", code="unknown_execution")
        return await self._order(caller, rows[0][0], StopExecution(execution, body.outcome))

    # -- found out while running ----------------------------------------------------------------------------------------

    async def yield_(self, caller: Caller, plan_id: str, task: str, body: wire_task.TaskYield) -> wire_task.YieldedTasks:
        """Raises `NotFound`, `Invalid`, `Refused`."""
        plan = await self.member(caller, plan_id, task)
        execution, batch = str(body.execution_id), str(body.batch_id)
        if told := await self._replay(caller, task, execution, batch):
            return told
        kept = plan.kept
        if str(body.deployment_id) != kept.deployment:
            raise Refused("the plan is of another deployment", code="deployment_mismatch")
        items = read_items(body.items, "items")
        known = {told.item.instance_hash: told.item.task_id for told in items}
        yielded = tuple(dict.fromkeys(body.yielded))
        if strange := [hash_ for hash_ in yielded if hash_ not in known]:
            raise Invalid(f"{strange[0]} is yielded, and no item", code="unknown_yielded_instance")
        prepared = await self.admissions.prepare(caller, plan, items, "dynamic", yielded)
        instance = instance_key(kept.deployment, kept.settings, kept.members[task].hash)
        order = YieldTask(
            kept.build, plan_id, execution, batch, instance, tuple((hash_, known[hash_]) for hash_ in yielded), body.suspend,
            msgspec.to_builtins(prepared.ahead),
        )  # fmt: skip
        stream = task_stream(caller.scope.environment, task)
        orders = [*prepared.orders, Command(stream, order, caller.scope, caller.actor)]
        receipts = await self.engine.submit_all(orders, prepared.things)
        edges = [event.edges for event in receipts[-1].events if isinstance(event, TaskYielded)]
        if not edges:
            return await self._replay(caller, task, execution, batch) or await self._yielded(caller, task, wire.PlanMembers(), 0)
        return await self._yielded(caller, task, members_of(receipts), edges[0])

    async def _yielded(self, caller: Caller, task: str, members: wire.PlanMembers, edges: int) -> wire_task.YieldedTasks:
        now = await self._told(caller, task, True)
        return wire_task.YieldedTasks(members, edges, now.status, now.execution_id, now.claim_expires_at, False)

    async def _replay(self, caller: Caller, task: str, execution: str, batch: str) -> wire_task.YieldedTasks | None:
        """What a batch was answered before, None for a new one."""
        stored = (await self.task(caller, task)).kept.yields.get(yield_key(execution, batch))
        if stored is None:
            return None
        members = msgspec.convert({name: stored[name] for name in wire.PlanMembers.__struct_fields__}, wire.PlanMembers)
        told = await self._yielded(caller, task, members, stored["edges"])
        return msgspec.structs.replace(told, replayed=True)

    async def put_artifacts(self, caller: Caller, plan_id: str, task: str, body: wire_task.NewPlanArtifacts) -> TaskArtifacts:
        """Raises `Invalid`, `NotFound`."""
        plan = await self.member(caller, plan_id, task)
        field.check_most(len(body.artifacts), field.ASSETS_MAX, "artifacts")
        assets, things = [], []
        for place, one in enumerate(body.artifacts):
            field.check_text(one.name, f"artifacts.{place}.name", field.NAME_MAX, 1)
            data = field.check_object(one.body, f"artifacts.{place}.body")
            assets.append(NewAsset(uuid7(), one.type, one.name, hashlib.sha256(data).hexdigest(), len(data)))
            things.append((ASSET, data))
        stream = task_stream(caller.scope.environment, task)
        order = PutAssets(plan.kept.build, tuple(assets))
        await self.engine.submit(Command(stream, order, caller.scope, caller.actor), things)
        places = list(dict.fromkeys((asset.kind, asset.name) for asset in assets))
        found = await task_views.read_named_assets(self.engine.store, caller.scope, task, places)
        return TaskArtifacts([task_views.as_artifact(one) for one in found])
