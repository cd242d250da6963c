"""What drivers of plans order of builds and plans. Each call is one transaction; what it returns is durable.

Every id comes from the client, so a call that is repeated finds what it made, and changes nothing.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from ....errors import Invalid, NotFound, Refused
from ....kernel.engine import Engine
from ....kernel.types import Command, Receipt
from ....spec.ids import uuid7
from ....web.caller import Caller
from .. import field
from ..machines.build import BuildState, EndBuild, Outcome, StartBuild, build_stream
from ..machines.plan.deployment import LOCAL, ActivateDeployment, RegisterDeployment, deployments_stream
from ..machines.plan.generation import ActivatePlan, AddPlan, ReactiveSet, ResumeBuild, active_of, of_scope
from ..machines.plan.member import CreatePlan, PlanState, SealPlan, plan_stream
from ..machines.state import TaskState
from ..machines.task import task_stream
from ..work.name import build_name
from ..work.release import release_claims
from ..work.removal import remove_build
from . import wire
from .admission import Admissions, members_of
from .claim import Claims, known_life
from .item import CHUNK_MAX, Told, read_items
from .views import build as build_views
from .views import deployment as deployment_views
from .views import plan as plan_views

PERSON = "user"
RESERVED = ("STARDAG_", "MODAL_")
_SPACE = uuid.UUID("d9bc3c1c-6c3b-534d-be75-aaa4c8d71c59")
_OUTSTANDING = (
    "SELECT m.task_id, m.root, m.excluded_reason, s.status FROM plan_members m"
    " JOIN task_states s ON s.environment = m.environment AND s.task_id = m.task_id"
    " WHERE m.plan = ? AND ((m.excluded_reason = '' AND s.status <> 'completed') OR (m.root = 1 AND m.excluded_reason <> ''))"
    " ORDER BY m.task_id"
)


def settings_hash(body: Mapping[str, str]) -> str:
    """The name of settings: a UUID of their JSON, keys sorted, nothing escaped."""
    return str(uuid.uuid5(_SPACE, json.dumps(dict(body), sort_keys=True, separators=(",", ":"), ensure_ascii=False)))


class Plans:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store
        self.admissions = Admissions(engine)
        self.claims = Claims(engine, self.admissions)
        self.reactive: bool | None = None
        """Whether ticks drive any build; None = nobody has looked yet."""
        engine.registry.listen(ReactiveSet, self._on_reactive)

    def _on_reactive(self, stream: str, event: ReactiveSet) -> None:
        self.reactive = True

    # -- deployments ----------------------------------------------------------------------------------------------------

    async def register_deployment(self, caller: Caller, body: wire.NewDeployment) -> wire.RegisteredDeployment:
        """Raises `Invalid`, `Refused` (`deployment_id_conflict`)."""
        local = body.kind == LOCAL
        field.check_id(body.code_id, "code_id", field.NAME_MAX)
        if not local and not (body.id and body.app_name):
            raise field.wrong("a deployment that is not local has an id and an app_name", "app_name" if body.id else "id")
        app = field.check_id(body.app_name or LOCAL, "app_name", field.NAME_MAX)
        for name in ("image_id", "modal_app_id"):
            field.check_text(getattr(body, name), name, field.NAME_MAX)
        id_ = str(body.id) if body.id else uuid7()
        there = await deployment_views.find_deployment(self.store, caller.scope, id_)
        if there is not None and (there.kind, there.code_id) != (body.kind, body.code_id):
            raise Refused(f"deployment {id_} is another's", code="deployment_id_conflict", hint="use a new id")
        stream = deployments_stream(caller.scope.environment, body.kind, body.code_id if local else app)
        receipt = await self._order(caller, stream, RegisterDeployment(id_, app, body.code_id, body.image_id, body.modal_app_id))
        if local:
            state = await self.engine.state(stream, caller.scope)
            id_ = next(iter(state.known)) if state is not None else id_
        shown = await deployment_views.read_deployment(self.store, caller.scope, id_)
        return deployment_views.registered(shown, bool(receipt.events))

    async def activate_deployment(self, caller: Caller, id_: str, body: wire.DeploymentActivation) -> wire.BuildDeployment:
        """Raises `NotFound` (`unknown_deployment`)."""
        there = await deployment_views.read_deployment(self.store, caller.scope, id_)
        name = there.code_id if there.kind == LOCAL else there.app_name
        stream = deployments_stream(caller.scope.environment, there.kind, name)
        await self._order(caller, stream, ActivateDeployment(id_, body.image_id, body.modal_app_id))
        return await deployment_views.read_deployment(self.store, caller.scope, id_)

    # -- builds ---------------------------------------------------------------------------------------------------------

    async def create_build(self, caller: Caller, body: wire.NewPlannedBuild) -> wire.PlannedBuild:
        """A build of a known id is returned as it is. Raises `Invalid`, `Refused` (`build_id_conflict`)."""
        roots = tuple(sorted(field.check_ids(body.root_task_ids, "root_task_ids")))
        name = field.check_text(body.name, "name", field.NAME_MAX, 1) or build_name()
        description = field.check_text(body.description, "description")
        user = str(caller.actor) if caller.actor.kind == PERSON else ""
        id_ = str(body.id) if body.id else uuid7()
        try:
            there: BuildState | None = await self.engine.state(build_stream(id_), caller.scope)
        except NotFound:
            raise Refused(f"build {id_} is another's", code="build_id_conflict", hint="use a new id") from None
        if there is None:
            order = StartBuild(name, description, None, roots, user, body.executor_metadata)
            await self._order(caller, build_stream(id_), order)
        return await self.show_build(caller, id_)

    async def build(self, caller: Caller, id_: str) -> BuildState:
        """A build of the caller's environment. Raises `NotFound` (`unknown_build`)."""
        state: BuildState = await known_life(self.engine, caller, build_stream(id_), "build", id_)
        return state

    async def show_build(self, caller: Caller, id_: str) -> wire.PlannedBuild:
        """Raises `NotFound` (`unknown_build`)."""
        await self.build(caller, id_)
        return await build_views.read_build(self.store, caller.scope, id_)

    async def complete_build(self, caller: Caller, id_: str, force: bool) -> wire.PlannedBuild:
        """Raises `NotFound`, `Refused` (`plan_incomplete`, `build_terminal`). A member that is completed stays so unless its output
        vanishes, so the look at the members may come before the transaction. Those the rows do not say are completed may have been
        since: then their lives know."""
        state = await self.build(caller, id_)
        if state.kept.status == "running" or state.kept.status == "exit_early":
            await self._check_complete(caller, state, force)
        return await self.end_build(caller, id_, "completed")

    async def _check_complete(self, caller: Caller, state: BuildState, force: bool) -> None:
        plan = active_of(state.kept.plans)
        told = "the build's plan is not complete"
        if not plan or not state.kept.plans[plan].sealed_at:
            raise Refused(told, code="plan_incomplete", details={"reason": "not_sealed"})
        rows = await self.store.read(_OUTSTANDING, (plan,))
        if any(root and reason for _, root, reason, _ in rows):
            raise Refused(told, code="plan_incomplete", details={"reason": "root_excluded"})
        environment = caller.scope.environment
        streams = {task_stream(environment, task): task for task, _, reason, _ in rows if not reason}
        await self.engine.memory.load_many(list(streams), caller.scope)
        states = {stream: await self.engine.state(stream, caller.scope) for stream in streams}
        open_ = [streams[stream] for stream, task in states.items() if task is None or task.kept.status != "completed"]
        if open_ and not force:
            raise Refused(told, code="plan_incomplete", details={"reason": "members_incomplete", "task_ids": open_})

    async def end_build(self, caller: Caller, id_: str, outcome: Outcome, error: str | None = None) -> wire.PlannedBuild:
        """What it claims is free for others when this returns. Raises `NotFound`, `Refused` (`build_terminal`)."""
        state = await self.build(caller, id_)
        by = str(caller.actor) if caller.actor.kind == PERSON else ""
        await self._order(caller, build_stream(id_), EndBuild(outcome, error, by, sticky=True))
        if state.kept.plans and outcome != "exit_early":
            await release_claims(self.engine, caller.scope, id_)
        return await build_views.read_build(self.store, caller.scope, id_)

    async def resume_build(self, caller: Caller, id_: str, body: wire.BuildResumption) -> wire.ResumedBuild:
        """Raises `NotFound` (`unknown_build`), `Refused` (`deployment_not_current`)."""
        state = await self.build(caller, id_)
        plan = ""
        if body.deployment_id is not None:
            plan = of_scope(state.kept.plans, str(body.deployment_id), settings_hash(body.settings))
        if plan and state.kept.plans[plan].superseded_at:
            await self._check_current(caller, str(body.deployment_id))
        receipt = await self._order(caller, build_stream(id_), ResumeBuild(plan, body.executor_metadata))
        shown = await build_views.read_build(self.store, caller.scope, id_)
        found = await plan_views.read_plan(self.store, caller.scope, plan) if plan else None
        return wire.ResumedBuild(shown, found, bool(receipt.events))

    async def _check_current(self, caller: Caller, deployment: str) -> None:
        there = await deployment_views.find_deployment(self.store, caller.scope, deployment)
        if there is not None and there.kind != LOCAL and not there.is_current:
            raise Refused("a later deployment of the app is the current one", code="deployment_not_current")

    async def delete_build(self, caller: Caller, id_: str) -> None:
        """Raises `NotFound`, `Refused` (`build_running`)."""
        await remove_build(self.engine, caller, await self.build(caller, id_))

    # -- plans ----------------------------------------------------------------------------------------------------------

    async def plan(self, caller: Caller, id_: str) -> PlanState:
        """A plan of the caller's environment. Raises `NotFound` (`unknown_plan`)."""
        return await self.claims.plan(caller, id_)

    async def create_plan(self, caller: Caller, build_id: str, body: wire.NewPlan) -> wire.BuildPlan:
        """The plan of the scope, if the build has one. Raises `NotFound`, `Invalid`, `Refused`."""
        build = await self.build(caller, build_id)
        roots = read_items(body.roots, "roots")
        if any(told.upstreams is not None for told in roots):
            raise Invalid("roots are told without upstreams", code="root_declared_upstreams", hint="tell of them as members")
        if {told.item.task_id for told in roots} != set(build.kept.roots):
            raise Invalid("roots must be those of the build", code="root_mismatch")
        deployment = str(body.deployment_id)
        await self._check_deployment(caller, deployment)
        check_settings(body.settings)
        settings = settings_hash(body.settings)
        there = of_scope(build.kept.plans, deployment, settings)
        if not there:
            try:
                await self._begin(caller, build_id, str(body.plan_id), deployment, settings, body.settings, roots)
                return await plan_views.read_plan(self.store, caller.scope, str(body.plan_id), created=True)
            except Refused as refused:
                if refused.code != "plan_exists":
                    raise
            there = of_scope((await self.build(caller, build_id)).kept.plans, deployment, settings)
        plan = await self.plan(caller, there)
        known = {member.hash for member in plan.kept.members.values() if member.root}
        if known != {told.item.instance_hash for told in roots}:
            raise Refused("the plan has other instances of its roots", code="root_instance_conflict", hint="start a new build")
        prepared = await self.admissions.prepare(caller, plan, roots, "root")
        await self.engine.submit_all(prepared.orders, prepared.things)
        return await plan_views.read_plan(self.store, caller.scope, there)

    async def _begin(
        self, caller: Caller, build: str, id_: str, deployment: str, settings: str, body: dict[str, str], roots: Sequence[Told]
    ) -> None:
        stream, order = plan_stream(id_), CreatePlan(build, deployment, settings, body)
        try:
            await self.engine.state(stream, caller.scope)
        except NotFound:
            raise Refused(f"plan {id_} is another's", code="plan_id_conflict", hint="use a new id") from None
        plan = PlanState(stream, caller.scope)
        plan.kept.environment, plan.kept.build = caller.scope.environment, build
        plan.kept.deployment, plan.kept.settings = deployment, settings
        prepared = await self.admissions.prepare(caller, plan, roots, "root")
        first = [
            Command(build_stream(build), AddPlan(id_, deployment, settings), caller.scope, caller.actor),
            Command(stream, order, caller.scope, caller.actor),
        ]
        await self.engine.submit_all([*first, *prepared.orders], prepared.things)

    async def _check_deployment(self, caller: Caller, id_: str) -> None:
        there = await deployment_views.find_deployment(self.store, caller.scope, id_)
        if there is None:
            raise Invalid(f"there is no deployment {id_}", code="unknown_deployment", hint="register it first")
        if there.activated_at is None:
            raise Invalid(f"deployment {id_} is not activated", code="deployment_not_activated", hint="activate it first")

    async def register_members(self, caller: Caller, id_: str, body: wire.NewPlanMembers) -> wire.PlanMembers:
        """All or none of up to 1000 items. Raises `NotFound`, `Invalid`, `Refused`."""
        items = read_items(body.items, "items")
        plan = await self.plan(caller, id_)
        if not items:
            return wire.PlanMembers()
        prepared = await self.admissions.prepare(caller, plan, items, "static")
        return members_of(await self.engine.submit_all(prepared.orders, prepared.things))

    async def seal(self, caller: Caller, id_: str) -> wire.BuildPlan:
        """Raises `NotFound`, `Refused` (`instance_conflict`, `plan_incomplete_registration`, `deployment_not_current`,
        `plan_superseded`)."""
        plan = await self.plan(caller, id_)
        kept = plan.kept
        if not kept.sealed_at:
            closure = await self.admissions.close(caller, plan)
            if closure.conflicts:
                task = closure.conflicts[0].task_id
                told = f"the plan needs another instance of task {task} than it has"
                raise Refused(told, code="instance_conflict", details={"task_id": task})
            for task, member in kept.members.items():
                if member.root and not await self._is_expanded(caller, plan, task, member.hash):
                    details = {"reason": "roots_unexpanded", "task_ids": [task]}
                    raise Refused("what a root needs was not registered", code="plan_incomplete_registration", details=details)
            await self._check_current(caller, kept.deployment)
            orders = [
                Command(build_stream(kept.build), ActivatePlan(id_), caller.scope, caller.actor),
                Command(plan_stream(id_), SealPlan(), caller.scope, caller.actor),
            ]
            await self.engine.submit_all(orders)
        return await plan_views.read_plan(self.store, caller.scope, id_)

    async def _is_expanded(self, caller: Caller, plan: PlanState, task: str, hash_: str) -> bool:
        state: TaskState = await self.claims.task(caller, task)
        instance = state.kept.instances[f"{plan.kept.deployment}/{plan.kept.settings}/{hash_}"]
        return instance.upstreams is not None or state.kept.status == "completed"

    async def frontier(self, caller: Caller, build_id: str) -> wire.BuildFrontier:
        """What the build can do next. Raises `NotFound`."""
        state = await self.build(caller, build_id)
        active = active_of(state.kept.plans)
        closure = await self.admissions.close(caller, await self.plan(caller, active)) if active else None
        return await plan_views.read_frontier(self.store, caller.scope, state, active, closure, self.engine.clock.now())

    async def _order(self, caller: Caller, stream: str, order: Any) -> Receipt:
        return await self.engine.submit(Command(stream, order, caller.scope, caller.actor))


def check_settings(settings: Mapping[str, str]) -> None:
    """Raises `Invalid` (`reserved_settings_key`)."""
    field.check_most(len(settings), CHUNK_MAX, "settings")
    for key, value in settings.items():
        if key.startswith(RESERVED):
            raise Invalid(f"settings keys do not begin with {' or '.join(RESERVED)}: {key}", code="reserved_settings_key")
        field.check_text(key, "settings", field.NAME_MAX, 1)
        field.check_text(value, f"settings.{key}")
