"""Plans and their members."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ....operation import answer, read_body
from ...machines.plan.order import CancelClaim, Reported, RetryTask, SkipMember
from ...wire import TaskArtifacts
from .. import wire, wire_task
from ..claim import Simple
from ..views.plan import list_plans, read_detail, read_graph, read_roots
from .entry import BUILD, MEMBER, PLAN, READ, WRITE, enter, outlook_of, row, task_id, uuid_of, wakes_of


async def create_plan(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await desk.create_plan(caller, uuid_of(request, "build_id"), await read_body(request, wire.NewPlan)))


async def get_plans(request: Request) -> Response:
    desk, caller = await enter(request)
    id_ = uuid_of(request, "build_id")
    await desk.build(caller, id_)
    return answer(wire.PlanList(id_, await list_plans(desk.store, caller.scope, id_)))


async def register_members(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await desk.register_members(caller, uuid_of(request, "plan_id"), await read_body(request, wire.NewPlanMembers)))


async def seal_plan(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await desk.seal(caller, uuid_of(request, "plan_id")))


def _read(read: Any) -> Any:
    async def get(request: Request) -> Response:
        desk, caller = await enter(request)
        id_ = uuid_of(request, "plan_id")
        await desk.plan(caller, id_)
        return answer(await read(desk.store, caller.scope, id_))

    return get


def _member(request: Request) -> tuple[str, str]:
    return uuid_of(request, "plan_id"), task_id(request)


async def start_member(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await desk.claims.start(caller, *_member(request), await read_body(request, wire_task.TaskClaim)))


async def _moved(request: Request, told: wire_task.TaskTransition) -> Response:
    """A task is otherwise than it was: other builds that wait for it may go on."""
    if told.applied:
        desk, caller = await enter(request)
        plan = await desk.plan(caller, uuid_of(request, "plan_id"))
        await wakes_of(request).flag_holders(caller, task_id(request), plan.kept.build)
    return answer(told)


def _reported(outcome: Reported) -> Any:
    failed = outcome in ("failed", "interrupted")

    async def report(request: Request) -> Response:
        desk, caller = await enter(request)
        body: Any = await read_body(request, wire_task.ExecutionFailure if failed else wire_task.ExecutionRef)
        error = body.error_message if failed else None
        told = await desk.claims.report(caller, *_member(request), str(body.execution_id), outcome, error)
        return await _moved(request, told)

    return report


async def preempt_member(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire_task.ExecutionRef)
    return answer(await desk.claims.preempt(caller, *_member(request), str(body.execution_id)))


def _changed(order: Simple) -> Any:
    async def change(request: Request) -> Response:
        desk, caller = await enter(request)
        return await _moved(request, await desk.claims.change(caller, *_member(request), order))

    return change


async def yield_member(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await desk.claims.yield_(caller, *_member(request), await read_body(request, wire_task.TaskYield)))


async def exclude_member(request: Request) -> Response:
    _, caller = await enter(request)
    body = await read_body(request, wire.MemberExclusion, required=False)
    return answer(await outlook_of(request).exclude(caller, *_member(request), "operator", body.reason))


async def fail_discovery(request: Request) -> Response:
    _, caller = await enter(request)
    body = await read_body(request, wire.DiscoveryFailure)
    return answer(await outlook_of(request).exclude(caller, *_member(request), "discovery_failed", body.error))


async def put_artifacts(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(
        await desk.claims.put_artifacts(caller, *_member(request), await read_body(request, wire_task.NewPlanArtifacts))
    )


OPERATIONS = (
    row("POST", BUILD + "/plans", "createPlan", "Make the plan of a build under a deployment and settings, or find it", create_plan,
        WRITE, 409, body=wire.NewPlan, answer=wire.BuildPlan),
    row("GET", BUILD + "/plans", "listPlans", "List the plans of a build, the newest first", get_plans, READ, answer=wire.PlanList),
    row("POST", PLAN + "/members", "registerPlanMembers", "Register up to 1000 tasks in a plan, all or none", register_members, WRITE, 409,
        413, body=wire.NewPlanMembers, answer=wire.PlanMembers),
    row("POST", PLAN + "/seal", "sealPlan", "Say that a plan has all its members; it is the active one from then on", seal_plan, WRITE,
        409, answer=wire.BuildPlan),
    row("GET", PLAN, "getPlan", "Get a plan", _read(read_detail), READ, answer=wire.PlanDetail),
    row("GET", PLAN + "/roots", "getPlanRoots", "The roots of a plan", _read(read_roots), READ, answer=wire.PlanRootTasks),
    row("GET", PLAN + "/graph", "getPlanGraph", "The members of a plan and what they need", _read(read_graph), READ,
        answer=wire.PlanGraph),
    row("POST", MEMBER + "/start", "startPlanMember", "Claim a task and start it", start_member, WRITE, 409, body=wire_task.TaskClaim,
        answer=wire_task.TaskTransition),
    row("POST", MEMBER + "/complete", "completePlanMember", "Say that a task is done", _reported("completed"), WRITE, 409,
        body=wire_task.ExecutionRef, answer=wire_task.TaskTransition),
    row("POST", MEMBER + "/fail", "failPlanMember", "Say that a task failed", _reported("failed"), WRITE, 409,
        body=wire_task.ExecutionFailure, answer=wire_task.TaskTransition),
    row("POST", MEMBER + "/interrupt", "interruptPlanMember", "Say that a task was interrupted", _reported("interrupted"), WRITE, 409,
        body=wire_task.ExecutionFailure, answer=wire_task.TaskTransition),
    row("POST", MEMBER + "/suspend", "suspendPlanMember", "Say that a task waits for what it found out it needs", _reported("suspended"),
        WRITE, 409, body=wire_task.ExecutionRef, answer=wire_task.TaskTransition),
    row("POST", MEMBER + "/preempt", "preemptPlanMember", "Say that a task's machine is taken away", preempt_member, WRITE, 409,
        body=wire_task.ExecutionRef, answer=wire_task.TaskTransition),
    row("POST", MEMBER + "/retry", "retryPlanMember", "Let a task be started again", _changed(RetryTask), WRITE, 409,
        answer=wire_task.TaskTransition),
    row("POST", MEMBER + "/skip", "skipPlanMember", "Do not start a task", _changed(SkipMember), WRITE, 409,
        answer=wire_task.TaskTransition),
    row("POST", MEMBER + "/cancel", "cancelPlanMember", "Take the claim of a task back", _changed(CancelClaim), WRITE, 409,
        answer=wire_task.TaskTransition),
    row("POST", MEMBER + "/yield", "yieldPlanMember", "Say what a running task found out it needs", yield_member, WRITE, 409,
        body=wire_task.TaskYield, answer=wire_task.YieldedTasks),
    row("POST", MEMBER + "/exclude", "excludePlanMember", "Give a task up in a plan, and what needs it", exclude_member, WRITE, 409,
        body=wire.MemberExclusion, body_required=False, answer=wire.PlanExclusion),
    row("POST", MEMBER + "/discovery-failed", "failPlanDiscovery", "Say that what a task needs cannot be found out", fail_discovery,
        WRITE, 409, body=wire.DiscoveryFailure, answer=wire.PlanExclusion),
    row("POST", MEMBER + "/artifacts", "putPlanArtifacts", "Attach artifacts to a task", put_artifacts, WRITE, 409,
        body=wire_task.NewPlanArtifacts, answer=TaskArtifacts),
)  # fmt: skip
