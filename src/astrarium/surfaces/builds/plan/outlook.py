"""Members given up: excluded by hand or because they cannot be looked up, or skipped because what they need failed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from ....errors import Refused
from ....kernel.types import Command
from ....web.caller import Caller
from .. import field
from ..machines.build import TERMINAL, EndBuild, build_stream
from ..machines.plan.generation import active_of
from ..machines.plan.member import ExcludeMembers, MembersExcluded, Reason, plan_stream
from ..machines.plan.order import SkipMember
from ..machines.task import task_stream
from ..work.release import release_claims
from . import wire
from .desk import Plans
from .views.plan import read_graph

BLOCKING = ("failed", "cancelled", "skipped")
SKIPPED = ("pending", "suspended", "interrupted")


class Outlook:
    def __init__(self, plans: Plans) -> None:
        self.plans = plans

    async def exclude(self, caller: Caller, plan_id: str, task: str, reason: Reason, told: str | None) -> wire.PlanExclusion:
        """Give up a member and what needs it; a build whose root is given up fails. What is completed blocks nobody. Raises `NotFound`."""
        field.check_text(told, "reason")
        claims = self.plans.claims
        plan = await claims.member(caller, plan_id, task)
        graph = await read_graph(self.plans.store, caller.scope, plan_id)
        status = {node.task_id: node.status for node in graph.members}
        down = _needing(graph)
        reached, edge = {task}, [task] if status.get(task) != "completed" else []
        while edge:
            new = [one for one in down.get(edge.pop(), ()) if one not in reached and status[one] != "completed"]
            reached.update(new)
            edge += new
        order = ExcludeMembers(task, reason, tuple(sorted(reached - {task})))
        orders = [Command(plan_stream(plan_id), order, caller.scope, caller.actor)]
        roots = sorted(one for one in reached if plan.kept.members[one].root)
        build = await self.plans.build(caller, plan.kept.build)
        fails = bool(roots) and build.kept.status not in TERMINAL and not plan.kept.members[task].excluded_reason
        if fails:
            end = EndBuild("failed", f"a root was excluded: {told or reason}", sticky=True)
            orders.append(Command(build_stream(build.id), end, caller.scope, caller.actor))
        receipts = await self.plans.engine.submit_all(orders)
        gone = [one for event in receipts[0].events if isinstance(event, MembersExcluded) for one in event.tasks]
        if fails:
            await release_claims(self.plans.engine, caller.scope, build.id)
        return wire.PlanExclusion(plan_id, gone, [one for one in roots if one in gone], fails and bool(gone))

    async def skip_blocked(self, caller: Caller, build_id: str) -> wire.SkippedTasks:
        """Skip members of the active plan that need one that failed, was cancelled or skipped. Raises `NotFound`."""
        build = await self.plans.build(caller, build_id)
        plan = active_of(build.kept.plans)
        if not plan or build.kept.status in ("cancelled", "completed"):
            return wire.SkippedTasks(plan or None, [])
        graph = await read_graph(self.plans.store, caller.scope, plan)
        status = {node.task_id: node.status for node in graph.members}
        down = _needing(graph)
        blocked, edge = [], [task for task, how in status.items() if how in BLOCKING]
        while edge:
            for one in down.get(edge.pop(), ()):
                if status[one] in SKIPPED:
                    status[one] = "skipped"
                    blocked.append(one)
                    edge.append(one)
        skipped = []
        for task in sorted(blocked):
            order = Command(task_stream(caller.scope.environment, task), SkipMember(build_id, plan), caller.scope, caller.actor)
            with contextlib.suppress(Refused):  # somebody started or finished it meanwhile
                if (await self.plans.engine.submit(order)).events:
                    skipped.append(task)
        return wire.SkippedTasks(plan, skipped)


def _needing(graph: wire.PlanGraph) -> Mapping[str, list[str]]:
    """Task → the tasks that need it."""
    task_of = {node.instance_id: node.task_id for node in graph.members}
    found: dict[str, list[str]] = {}
    for edge in graph.edges:
        found.setdefault(task_of[edge.upstream_instance_id], []).append(task_of[edge.downstream_instance_id])
    return found
