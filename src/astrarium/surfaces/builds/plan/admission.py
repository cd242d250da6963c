"""How tasks become members of a plan: what they need is looked up in the plan's scope, and comes along.

What is looked up are things that never leave: instances, their tasks and their edges. So a look into the store before the transaction is as
good as one in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ....errors import Invalid
from ....kernel.engine import Engine
from ....kernel.types import Command, Receipt
from ....web.caller import Caller
from ..life import TASK
from ..machines.plan.fact import InstanceExpanded, InstanceRegistered, TaskDiverged, TaskInvalidated, TaskObserved
from ..machines.plan.member import Admission, AdmitMembers, Admitted, MembersAdmitted, Plan, PlanState, plan_stream
from ..machines.report import TaskRegistered
from ..machines.state import TaskState
from ..machines.task import task_stream
from .item import Told, order_of
from .wire import ClosureClash, PlanClosure, PlanMembers

PART = 400
_SCOPE = "environment = ? AND deployment = ? AND settings = ?"
_KNOWN = f"SELECT hash, task_id FROM instances WHERE {_SCOPE} AND hash IN "
_NEEDS = f"SELECT DISTINCT upstream, upstream_task FROM instance_edges WHERE {_SCOPE} AND downstream IN "


class Prepared(msgspec.Struct):
    """Orders that belong together, and the things they refer to. `tasks`: hash of an instance → its task."""

    orders: list[Command]
    things: list[tuple[str, bytes]]
    tasks: dict[str, str]
    ahead: PlanMembers


class Admissions:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store

    async def prepare(
        self, caller: Caller, plan: PlanState, items: Sequence[Told], by: Admission, dynamic: Iterable[str] = ()
    ) -> Prepared:
        """The orders that register items and admit them, with what they need. Raises `Invalid` (`unknown_upstream_instance`),
        `Refused` (`plan_sealed`)."""
        kept, special = plan.kept, set(dynamic)
        tasks = {member.hash: task for task, member in kept.members.items()}
        tasks |= {told.item.instance_hash: told.item.task_id for told in items}
        wanted = {hash_ for told in items for hash_ in told.upstreams or () if hash_ not in tasks}
        found = dict(await self._read(kept, _KNOWN, wanted))
        if missing := sorted(wanted - found.keys()):
            told_ = f"upstream {missing[0]} is no instance in the scope of the plan"
            raise Invalid(told_, code="unknown_upstream_instance", hint="register upstreams first, or in the same call")
        closure = await self._close(kept, found, tasks)
        tasks |= closure
        admitted = [
            Admitted(told.item.task_id, told.item.instance_hash, "dynamic" if told.item.instance_hash in special else by)
            for told in items
        ]
        if kept.sealed_at and by == "static":
            admitted = _after_seal(kept, items, admitted)
        admitted += [Admitted(task, hash_, "closure") for hash_, task in closure.items()]
        environment = caller.scope.environment
        streams = [task_stream(environment, told.item.task_id) for told in items]
        await self.engine.memory.load_many(streams, caller.scope)
        orders = [
            Command(stream, order_of(told, plan, tasks), caller.scope, caller.actor)
            for stream, told in zip(streams, items, strict=True)
        ]
        orders.append(Command(plan_stream(plan.id), AdmitMembers(tuple(admitted)), caller.scope, caller.actor))
        return Prepared(orders, [(TASK, told.data) for told in items], tasks, self._ahead(environment, plan, items, admitted))

    async def _read(self, kept: Plan, sql: str, hashes: Iterable[str]) -> list[tuple[str, str]]:
        made: list[tuple[str, str]] = []
        wanted = sorted(hashes)
        for start in range(0, len(wanted), PART):
            part = wanted[start : start + PART]
            marks = ",".join("?" * len(part))
            made += await self.store.read(f"{sql}({marks})", (kept.environment, kept.deployment, kept.settings, *part))
        return made

    async def _close(self, kept: Plan, found: dict[str, str], tasks: dict[str, str]) -> dict[str, str]:
        """Instances and all they need that are no members yet."""
        closure, edge = dict(found), dict(found)
        while edge:
            edge = {
                hash_: task for hash_, task in await self._read(kept, _NEEDS, edge) if hash_ not in tasks and hash_ not in closure
            }
            closure |= edge
        return closure

    async def close(self, caller: Caller, plan: PlanState) -> PlanClosure:
        """Admit what members need by now and is no member: another build may have found out more about an instance."""
        kept, admitted = plan.kept, 0
        members, clashes = kept.members, dict[str, None]()
        edge: list[str] = [member.hash for member in members.values()]
        while edge:
            new: dict[str, Admitted] = {}
            for hash_, task in await self._read(kept, _NEEDS, edge):
                there = members[task].hash if task in members else new[task].hash if task in new else ""
                if not there:
                    new[task] = Admitted(task, hash_, "closure")
                elif there != hash_:
                    clashes[task] = None
            edge = [one.hash for one in new.values()]
            if new:
                order = AdmitMembers(tuple(new.values()))
                receipt = await self.engine.submit(Command(plan_stream(plan.id), order, caller.scope, caller.actor))
                admitted += sum(len(event.members) for event in receipt.events)
        return PlanClosure(admitted, [ClosureClash(task, []) for task in clashes], False)

    def _ahead(self, environment: str, plan: PlanState, items: Sequence[Told], admitted: Sequence[Admitted]) -> PlanMembers:
        """What the orders will change, as far as it can be told before: an answer that is to be kept with them says so."""
        made, kept, hot = PlanMembers(), plan.kept, self.engine.memory.hot
        for told in items:
            life = hot.get(task_stream(environment, told.item.task_id))
            state: TaskState | None = life.state if life is not None and life.seq else None
            known = None
            if state is not None:
                known = state.kept.instances.get(f"{kept.deployment}/{kept.settings}/{told.item.instance_hash}")
            made.tasks_created += state is None
            made.instances_created += known is None
            made.edges_created += len(set(told.upstreams or ()) - set((known.upstreams if known is not None else None) or ()))
            made.completed += told.item.observed_complete and (state is None or state.kept.status != "completed")
        new = [one for one in admitted if one.task not in kept.members]
        made.closure_admitted = sum(one.by == "closure" for one in new)
        made.members_admitted = len(new) - made.closure_admitted
        return made


def _after_seal(kept: Plan, items: Sequence[Told], admitted: list[Admitted]) -> list[Admitted]:
    """A sealed plan takes what its members turn out to need, and nothing else."""
    by_hash = {told.item.instance_hash: told for told in items}
    reached = [told for told in items if told.item.task_id in kept.members]
    needed: set[str] = set()
    while reached:
        for hash_ in reached.pop().upstreams or ():
            if hash_ in by_hash and hash_ not in needed:
                needed.add(hash_)
                reached.append(by_hash[hash_])
    return [
        msgspec.structs.replace(one, by="closure") if one.task not in kept.members and one.hash in needed else one
        for one in admitted
    ]


def members_of(receipts: Iterable[Receipt]) -> PlanMembers:
    """What orders changed."""
    made = PlanMembers()
    for receipt in receipts:
        for event in receipt.events:
            if isinstance(event, TaskRegistered):
                made.tasks_created += 1
            elif isinstance(event, InstanceRegistered):
                made.instances_created += 1
            elif isinstance(event, TaskObserved):
                made.completed += 1
            elif isinstance(event, TaskInvalidated):
                made.invalidated += 1
            elif isinstance(event, TaskDiverged):
                made.diverged += 1
            elif isinstance(event, MembersAdmitted):
                closure = sum(one.by == "closure" for one in event.members)
                made.closure_admitted += closure
                made.members_admitted += len(event.members) - closure
            if isinstance(event, InstanceRegistered | InstanceExpanded | TaskDiverged):
                made.edges_created += len(event.upstreams or ())
    return made
