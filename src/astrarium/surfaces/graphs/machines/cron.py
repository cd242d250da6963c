"""A cron trigger of a graph as a life: when it fires next, and that it fired.

Times come from the expression alone; a job with a date is the clock. So a time that passed while no server ran comes due late, once: the
next one is counted from now (Stargraph 0.8: contract 6, at most one catch-up, looking back one day).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from ....kernel.machine import Machine, Move
from ....kernel.types import Effect, Facts, Job, JobDone, Scope
from ....spec.cron import next_slot, parse_cron

FIRE_JOB = "fire_graph"
LATE_US = 60_000_000
"""Later than this a time was missed."""
LOOK_BACK_US = 86_400_000_000


class CronPlan(msgspec.Struct, frozen=True):
    """What a trigger says. `zone` is an IANA name."""

    graph_id: str
    expr: str
    zone: str = "UTC"
    params: dict[str, Any] = {}
    missed: Literal["fire_once_catchup", "skip"] = "fire_once_catchup"


class SetCron(msgspec.Struct, frozen=True, tag=True):
    """The trigger as its file has it; None = it is gone."""

    plan: CronPlan | None


class FireCron(msgspec.Struct, frozen=True, tag=True):
    """The time `slot` (microseconds) was dealt with. `run`: what was begun; `why` it was not."""

    slot: int
    run: str = ""
    why: str = ""


class CronSet(msgspec.Struct, frozen=True, tag=True):
    plan: CronPlan | None
    next: int


class CronFired(msgspec.Struct, frozen=True, tag=True):
    slot: int
    next: int
    run: str = ""
    why: str = ""


class CronState(msgspec.Struct):
    """`next` 0 = never."""

    stream: str
    plan: CronPlan | None = None
    next: int = 0


def following(plan: CronPlan, now: int) -> int:
    """The first time after `now`, in microseconds; 0 = none."""
    found = next_slot(parse_cron(plan.expr), datetime.fromtimestamp(now / 1_000_000, UTC), ZoneInfo(plan.zone))
    return round(found.timestamp() * 1_000_000) if found is not None else 0


def is_missed(plan: CronPlan, slot: int, now: int) -> bool:
    """Whether a time that comes due now is not to be fired any more."""
    late = now - slot
    return late > LOOK_BACK_US or (plan.missed == "skip" and late > LATE_US)


class CronMachine(Machine[CronState]):
    name = "graphcron"
    events = (CronSet, CronFired)
    table = (
        Move("trigger", ("off", "on"), (SetCron,), CronSet, ("off", "on")),
        Move("trigger", ("on",), (FireCron,), CronFired, ("on", "off")),
    )

    def new(self, stream: str, scope: Scope) -> CronState:
        return CronState(stream)

    def decide(self, state: CronState, command: Any, facts: Facts) -> list[Any]:
        if isinstance(command, SetCron):
            if command.plan == state.plan:
                return []
            return [CronSet(command.plan, following(command.plan, facts.now) if command.plan is not None else 0)]
        if state.plan is None or command.slot != state.next:
            return []
        return [CronFired(command.slot, following(state.plan, max(facts.now, command.slot)), command.run, command.why)]

    def status(self, state: CronState, event: Any) -> str:
        return "on" if state.plan is not None and state.next else "off"

    def evolve(self, state: CronState, event: Any, at: int) -> None:
        if isinstance(event, CronSet):
            state.plan = event.plan
        state.next = event.next

    def react(self, state: CronState, event: Any, at: int) -> Iterable[Effect]:
        id_ = f"{state.stream}/fire"
        return [Job(id_, FIRE_JOB, state.stream, {"slot": state.next}, state.next)] if state.next else [JobDone(id_)]

    def dump(self, state: CronState) -> bytes:
        return msgspec.json.encode([state.plan, state.next])

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> CronState:
        plan, next_ = msgspec.json.decode(data, type=tuple[CronPlan | None, int])
        return CronState(stream, plan, next_)
