"""The life of a plan: one build's wish under one scope (deployment and settings), and its members, each a task in one instance.

Members come until the plan is sealed; afterwards only what a member turned out to need. A member may be given up, and what needs it with
it; nobody leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from .....errors import Bug, NotFound, Refused
from .....kernel.machine import Machine, Move
from .....kernel.types import NOTHING_NEEDED, Facts, Needs, Row, Scope
from .row import BUILD_SETTINGS, PLAN_MEMBERS

Admission = Literal["root", "static", "dynamic", "closure"]
Reason = Literal["operator", "discovery_failed", "upstream_excluded"]


def plan_stream(id_: str) -> str:
    return f"plan:{id_}"


class Admitted(msgspec.Struct, frozen=True, array_like=True):
    """A task to be a member, in the instance of this hash."""

    task: str
    hash: str
    by: Admission


# -- commands ---------------------------------------------------------------------------------------------------------


class CreatePlan(msgspec.Struct, frozen=True, tag=True):
    """`settings` is the hash of `body`."""

    build: str
    deployment: str
    settings: str
    body: dict[str, str]


class AdmitMembers(msgspec.Struct, frozen=True, tag=True):
    members: tuple[Admitted, ...]


class SealPlan(msgspec.Struct, frozen=True, tag=True):
    """From here on the plan is what it is."""


class RetirePlan(msgspec.Struct, frozen=True, tag=True):
    """Its build is to be deleted."""


class ExcludeMembers(msgspec.Struct, frozen=True, tag=True):
    """Give up a member, and what needs it (`others`)."""

    task: str
    reason: Reason
    others: tuple[str, ...] = ()


# -- events -----------------------------------------------------------------------------------------------------------


class PlanCreated(msgspec.Struct, frozen=True, tag=True):
    environment: str
    build: str
    deployment: str
    settings: str
    body: dict[str, str]


class MembersAdmitted(msgspec.Struct, frozen=True, tag=True):
    members: tuple[Admitted, ...]


class PlanClosed(msgspec.Struct, frozen=True, tag=True):
    """It is sealed."""


class MembersExcluded(msgspec.Struct, frozen=True, tag=True):
    tasks: tuple[str, ...]
    reason: Reason


class PlanRetired(msgspec.Struct, frozen=True, tag=True):
    pass


EVENTS = (PlanCreated, MembersAdmitted, PlanClosed, MembersExcluded, PlanRetired)


# -- state ------------------------------------------------------------------------------------------------------------


class Member(msgspec.Struct, omit_defaults=True):
    hash: str
    by: str
    at: int
    root: bool = False
    excluded_at: int = 0
    excluded_reason: str = ""


class Plan(msgspec.Struct, omit_defaults=True):
    """What is written out of a plan; `members` by task."""

    environment: str = ""
    build: str = ""
    deployment: str = ""
    settings: str = ""
    created_at: int = 0
    sealed_at: int = 0
    retired: bool = False
    members: dict[str, Member] = {}

    @property
    def status(self) -> str:
        if self.retired:
            return "ended"
        return "sealed" if self.sealed_at else "open" if self.build else "new"


class PlanState:
    """A plan in memory, with the rows that are to be written."""

    __slots__ = ("id", "kept", "rows", "scope")

    def __init__(self, stream: str, scope: Scope, kept: Plan | None = None) -> None:
        self.id = stream.partition(":")[2]
        self.scope = scope
        self.kept = kept if kept is not None else Plan()
        self.rows: list[Row] = []


class PlanMachine(Machine[PlanState]):
    name = "plan"
    events = EVENTS
    tables = (PLAN_MEMBERS, BUILD_SETTINGS)
    table = (
        Move("plan", ("new",), (CreatePlan,), PlanCreated, ("open",)),
        Move("plan", ("open",), (AdmitMembers,), MembersAdmitted, ("open",)),
        Move("plan", ("sealed",), (AdmitMembers,), MembersAdmitted, ("sealed",)),
        Move("plan", ("open",), (SealPlan,), PlanClosed, ("sealed",)),
        Move("plan", ("open",), (ExcludeMembers,), MembersExcluded, ("open",)),
        Move("plan", ("sealed",), (ExcludeMembers,), MembersExcluded, ("sealed",)),
        Move("plan", ("open", "sealed"), (RetirePlan,), PlanRetired, ("ended",)),
    )

    def new(self, stream: str, scope: Scope) -> PlanState:
        return PlanState(stream, scope)

    def needs(self, state: PlanState, command: Any) -> Needs:
        return Needs((f"build:{command.build}",)) if isinstance(command, CreatePlan) else NOTHING_NEEDED

    def decide(self, state: PlanState, command: Any, facts: Facts) -> list[Any]:
        kept = state.kept
        if isinstance(command, CreatePlan):
            return _create(state, command, facts)
        if isinstance(command, RetirePlan):
            return [PlanRetired()] if kept.build and not kept.retired else []
        if not kept.build or kept.retired:
            raise NotFound(f"there is no plan {state.id}", code="unknown_plan")
        if isinstance(command, AdmitMembers):
            return _admit(kept, command)
        if isinstance(command, SealPlan):
            return [] if kept.sealed_at else [PlanClosed()]
        if isinstance(command, ExcludeMembers):
            return _exclude(kept, command)
        raise Bug(f"a plan knows no {type(command).__name__}")

    def status(self, state: PlanState, event: Any) -> str:
        return state.kept.status

    def evolve(self, state: PlanState, event: Any, at: int) -> None:
        kept = state.kept
        if isinstance(event, PlanCreated):
            kept.environment, kept.build, kept.created_at = event.environment, event.build, at
            kept.deployment, kept.settings = event.deployment, event.settings
            state.rows.append((BUILD_SETTINGS, (kept.environment, kept.settings, msgspec.json.encode(event.body))))
        elif isinstance(event, MembersAdmitted):
            for one in event.members:
                member = kept.members.setdefault(one.task, Member(one.hash, one.by, at))
                member.root = member.root or one.by == "root"
                state.rows.append(member_row(state, one.task))
        elif isinstance(event, PlanClosed):
            kept.sealed_at = at
        elif isinstance(event, PlanRetired):
            kept.retired = True
        else:
            for place, task in enumerate(event.tasks):
                member = kept.members[task]
                member.excluded_at, member.excluded_reason = at, "upstream_excluded" if place else event.reason
                state.rows.append(member_row(state, task))

    def rows(self, state: PlanState) -> Iterable[Row]:
        made, state.rows = state.rows, []
        return made

    def dump(self, state: PlanState) -> bytes:
        return msgspec.json.encode(state.kept)

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> PlanState:
        return PlanState(stream, scope, msgspec.json.decode(data, type=Plan))

    def ended(self, state: PlanState) -> bool:
        return state.kept.retired


def _create(state: PlanState, command: CreatePlan, facts: Facts) -> list[Any]:
    """The build has taken it up before, in the same transaction, unless it has another of that scope."""
    kept = state.kept
    if kept.build:
        if not kept.retired and (kept.build, kept.deployment, kept.settings) == (
            command.build,
            command.deployment,
            command.settings,
        ):
            return []
        raise Refused(f"plan {state.id} is another's", code="plan_id_conflict", hint="use a new id")
    build = facts.streams.get(f"build:{command.build}")
    if build is not None and state.id not in build.kept.plans:
        raise Refused("the build has a plan of this scope already", code="plan_exists")
    return [PlanCreated(state.scope.environment, command.build, command.deployment, command.settings, command.body)]


def _admit(kept: Plan, command: AdmitMembers) -> list[Any]:
    new: dict[str, Admitted] = {}
    for one in command.members:
        member = kept.members.get(one.task)
        known = member.hash if member is not None else new[one.task].hash if one.task in new else ""
        if known and known != one.hash:
            told = f"the plan has another instance of task {one.task}"
            raise Refused(told, code="instance_conflict", details={"task_id": one.task})
        if not known and kept.sealed_at and one.by == "static":
            raise Refused("the plan is sealed", code="plan_sealed", details={"task_id": one.task})
        if not known or (one.by == "root" and member is not None and not member.root):
            new[one.task] = one
    return [MembersAdmitted(tuple(new.values()))] if new else []


def _exclude(kept: Plan, command: ExcludeMembers) -> list[Any]:
    member = kept.members.get(command.task)
    if member is None:
        raise NotFound(f"task {command.task} is no member of the plan", code="unknown_member")
    if member.excluded_reason:
        return []
    others = (task for task in command.others if task in kept.members and not kept.members[task].excluded_reason)
    tasks = tuple(dict.fromkeys((command.task, *others)))
    return [MembersExcluded(tasks, command.reason)]


def member_row(state: PlanState, task: str) -> Row:
    one = state.kept.members[task]
    where = (state.id, task, state.kept.environment, one.hash, int(one.root), one.by, one.at)
    return (PLAN_MEMBERS, (*where, one.excluded_at, one.excluded_reason))
