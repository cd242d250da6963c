"""The plans of a build, one for each scope it was wanted under. The first is active from birth, a later one when it is sealed; the one
before is superseded then. A resumed build goes back to the plan of its scope.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .....errors import NotFound, Refused
from .....kernel.types import Row
from .row import PLANS

# -- commands ---------------------------------------------------------------------------------------------------------


class AddPlan(msgspec.Struct, frozen=True, tag=True):
    plan: str
    deployment: str
    settings: str


class ActivatePlan(msgspec.Struct, frozen=True, tag=True):
    """It is sealed: it is the build's active plan from here on."""

    plan: str


class ResumeBuild(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Let it run again; with `plan` under that one."""

    plan: str = ""
    metadata: dict[str, Any] | None = None


class SetReactive(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Which app schedules the build by ticks."""

    app: str
    kwargs: dict[str, Any] | None = None


# -- events -----------------------------------------------------------------------------------------------------------


class PlanAdded(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    plan: str
    deployment: str
    settings: str
    generation: int
    active: bool = False


class PlanSealed(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """`supersedes` is the plan that was active, empty when this one was."""

    plan: str
    supersedes: str = ""


class BuildResumed(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """`plan` is active again, in place of `supersedes`."""

    plan: str = ""
    supersedes: str = ""
    metadata: dict[str, Any] | None = None


class ReactiveSet(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    app: str
    kwargs: dict[str, Any] | None = None


EVENTS = (PlanAdded, PlanSealed, BuildResumed, ReactiveSet)
ORDERS = (AddPlan, ActivatePlan, ResumeBuild, SetReactive)


class Generation(msgspec.Struct, omit_defaults=True):
    """A plan as its build knows it. Times in microseconds, 0 = not yet."""

    deployment: str
    settings: str
    generation: int
    created_at: int
    activated_at: int = 0
    sealed_at: int = 0
    superseded_at: int = 0

    @property
    def active(self) -> bool:
        return self.activated_at != 0 and self.superseded_at == 0


Plans = dict[str, Generation]


def active_of(plans: Plans) -> str:
    """The active plan, empty without one."""
    return next((id_ for id_, one in plans.items() if one.active), "")


def of_scope(plans: Plans, deployment: str, settings: str) -> str:
    """The plan of a scope, empty without one."""
    return next((id_ for id_, one in plans.items() if (one.deployment, one.settings) == (deployment, settings)), "")


# -- deciding ---------------------------------------------------------------------------------------------------------


def decide(plans: Plans, running: bool, metadata: dict[str, Any] | None, command: Any) -> list[Any]:
    """`running`: whether the build is; `metadata`: what it is known of who drives it."""
    if isinstance(command, AddPlan):
        if of_scope(plans, command.deployment, command.settings):
            return []
        if command.plan in plans:
            raise Refused(f"plan {command.plan} is of another scope", code="plan_id_conflict", hint="use a new id")
        generation = 1 + max((one.generation for one in plans.values()), default=0)
        return [PlanAdded(command.plan, command.deployment, command.settings, generation, generation == 1)]
    if isinstance(command, ActivatePlan):
        return _activate(plans, command.plan)
    return _resume(plans, running, metadata, command)


def _activate(plans: Plans, plan: str) -> list[Any]:
    mine = plans.get(plan)
    if mine is None:
        raise NotFound(f"the build has no plan {plan}", code="unknown_plan")
    if mine.sealed_at:
        return []
    if any(one.generation > mine.generation for one in plans.values()):
        raise Refused("the build has a later plan", code="plan_superseded")
    return [PlanSealed(plan, "" if mine.active else active_of(plans))]


def _resume(plans: Plans, running: bool, metadata: dict[str, Any] | None, command: ResumeBuild) -> list[Any]:
    mine = plans.get(command.plan)
    again = mine is not None and mine.superseded_at != 0
    if running and not again and command.metadata in (None, metadata):
        return []
    return [BuildResumed(command.plan if again else "", active_of(plans) if again else "", command.metadata)]


# -- folding ----------------------------------------------------------------------------------------------------------


def fold(plans: Plans, event: Any, at: int) -> None:
    if isinstance(event, PlanAdded):
        activated = at if event.active else 0
        plans[event.plan] = Generation(event.deployment, event.settings, event.generation, at, activated)
        return
    if isinstance(event, PlanSealed | BuildResumed) and event.supersedes:
        plans[event.supersedes].superseded_at = at
    if isinstance(event, PlanSealed):
        mine = plans[event.plan]
        mine.sealed_at, mine.activated_at = at, mine.activated_at or at
    elif isinstance(event, BuildResumed) and event.plan:
        mine = plans[event.plan]
        mine.superseded_at, mine.activated_at = 0, at


def plan_rows(environment: str, build: str, plans: Plans) -> list[Row]:
    return [
        (
            PLANS,
            (
                id_, environment, build, one.deployment, one.settings, one.generation, one.created_at, one.activated_at, one.sealed_at,
                one.superseded_at,
            ),
        )
        for id_, one in plans.items()
    ]  # fmt: skip
