"""The life of a DAG file's schedule: which slot is next, and what became of those before.

A slot is decided once: the decision and the run it starts are one transaction, and the next slot's job is born in it. All that is
computed from cron expressions is in the events, so a fold never asks a time zone again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ....errors import Bug, Refused
from ....kernel.machine import Machine, Move
from ....kernel.types import Effect, Facts, Job, JobDone, Row, Scope, table
from .plan import NOTHING, ON_TIME_S, SECOND, Next, Plan, judge, missed_starts, next_of
from .slot import (
    ANY_VERSION,
    EVENTS,
    DecideAfter,
    DecideSlot,
    EndStopping,
    MissSlots,
    ScheduleSet,
    ScheduleSuspended,
    SetSchedule,
    SlotDeferred,
    SlotFired,
    SlotSkipped,
    SlotsMissed,
    StoppingEnded,
    SuspendSchedule,
)

SLOT_JOB = "schedule_slot"
"""Decide a slot that came due, or one that is caught up on."""
STOPPING_JOB = "schedule_stopping"
"""Wait until the runs an act stopped are over."""
AFTER_JOB = "schedule_after"
"""Start what an act put off until then."""
MOVED = "moved"
REST_S = 2
"""A file that was gone or broken for no longer than this was being written: slots that came due meanwhile are still decided."""

SCHEDULES = table(
    "schedules",
    "workspace name",
    "workspace name environment dag file status suspended:int plan:json zone next_at:int next_acts next_start:int backlog:int"
    " last_slot:int last_act last_decision last_why last_run decided_at:int trouble",
)


ANY = ("new", "idle", "on", "suspended", "broken", "gone")
BEGUN = ANY[1:]
ON = ("on",)
TABLE = (
    Move("schedule", ANY, (SetSchedule,), ScheduleSet, BEGUN),
    Move("schedule", ANY, (SuspendSchedule,), ScheduleSuspended, BEGUN),
    Move("schedule", ON, (MissSlots,), SlotsMissed, ON),
    Move("schedule", ON, (DecideSlot, DecideAfter), SlotFired, ON),
    Move("schedule", ON, (DecideSlot, DecideAfter), SlotSkipped, ON),
    Move("schedule", ON, (DecideSlot,), SlotDeferred, ON),
    Move("schedule", ON, (EndStopping,), StoppingEnded, ON),
)


# -- state ------------------------------------------------------------------------------------------------------------


class Pending(msgspec.Struct, frozen=True, omit_defaults=True):
    """A start that waits: for `stopped` runs to be over, then until `due`."""

    slot: int
    act: str
    stopped: tuple[str, ...]
    wait_s: int = 0
    params: str = ""
    rerun_of: str = ""
    due: int = 0


class Last(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest decision."""

    slot: int = 0
    act: str = ""
    decision: str = ""
    why: str = ""
    run: str = ""
    at: int = 0


class Kept(msgspec.Struct, omit_defaults=True):
    """What is written out of a schedule. `version` counts its events. `rested_at`: when its file was lost or broken; slots after
    `rested_from` were not decided then."""

    version: int = 0
    plan: Plan | None = None
    trouble: str = ""
    suspended: bool = False
    gone: bool = False
    next: Next = NOTHING
    backlog: tuple[int, ...] = ()
    pending: Pending | None = None
    last: Last = Last()
    rested_at: int = 0
    rested_from: int = 0


class ScheduleState:
    __slots__ = ("before", "kept", "name", "scope", "stream", "touched")

    def __init__(self, stream: str, scope: Scope, kept: Kept | None = None) -> None:
        self.stream = stream
        self.name = stream.partition(":")[2]
        self.scope = scope
        self.kept = kept if kept is not None else Kept()
        self.before: dict[str, Job] = {}
        self.touched = False

    @property
    def status(self) -> str:
        kept = self.kept
        if not kept.version:
            return "new"
        if kept.gone:
            return "gone"
        return status_of(kept.plan, kept.trouble, kept.suspended)

    def owed(self) -> dict[str, Job]:
        """The jobs of this state by id."""
        kept, stream = self.kept, self.stream
        if self.status != "on":
            return {}
        made: list[Job] = []
        if kept.next.at:
            body = {"slot": kept.next.at, "act": kept.next.acts[0]}
            made.append(Job(f"{stream}@{body['slot']}/{body['act']}", SLOT_JOB, stream, body, kept.next.at))
        if kept.backlog:
            body = {"slot": kept.backlog[0], "act": "start", "late": True}
            made.append(Job(f"{stream}@{body['slot']}/late", SLOT_JOB, stream, body))
        if kept.pending is not None:
            slot, due = kept.pending.slot, kept.pending.due
            kind, word = (AFTER_JOB, "after") if due else (STOPPING_JOB, "stopping")
            made.append(Job(f"{stream}@{slot}/{word}", kind, stream, {"slot": slot}, due))
        return {job.id: job for job in made}


def status_of(plan: Plan | None, trouble: str, suspended: bool) -> str:
    if suspended:
        return "suspended"
    if trouble:
        return "broken"
    return "on" if plan is not None and not plan.empty else "idle"


# -- answers ----------------------------------------------------------------------------------------------------------


def set_schedule(state: ScheduleState, command: SetSchedule, facts: Facts) -> list[Any]:
    kept = state.kept
    if not kept.version and (command.plan is None or command.plan.empty):
        return []  # a file without a schedule has no such life
    plan = kept.plan if command.trouble else command.plan
    if (plan, command.trouble, command.gone) == (kept.plan, kept.trouble, kept.gone):
        return []
    coming = NOTHING
    if plan is not None and not command.gone and status_of(plan, command.trouble, kept.suspended) == "on":
        coming = renew(state, plan, facts.now)
    return [ScheduleSet(plan, command.trouble, command.gone, coming)]


def renew(state: ScheduleState, plan: Plan, now: int) -> Next:
    """The next slot of a changed plan. A slot that is due and not decided yet is kept if the new plan has it, too."""
    kept = state.kept
    if state.status == "on" and kept.next.at:
        if plan.same_times(kept.plan):
            return kept.next
        if now - ON_TIME_S * SECOND < kept.next.at <= now:
            again = next_of(plan, kept.next.at - 1)
            acts = tuple(act for act in again.acts if act in kept.next.acts)
            if again.at == kept.next.at and acts:
                return Next(again.at, acts, again.start)
    if state.status in ("broken", "gone") and now - kept.rested_at <= REST_S * SECOND:
        return next_of(plan, kept.rested_from)
    return next_of(plan, now)


def suspend(state: ScheduleState, command: SuspendSchedule, facts: Facts) -> list[Any]:
    kept = state.kept
    if kept.suspended == command.suspended:
        return []
    coming = NOTHING
    on = not kept.gone and status_of(kept.plan, kept.trouble, command.suspended) == "on"
    if on and kept.plan is not None:
        coming = next_of(kept.plan, facts.now)
    return [ScheduleSuspended(command.suspended, coming)]


def miss_slots(state: ScheduleState, command: MissSlots, facts: Facts) -> list[Any]:
    kept, until = state.kept, facts.now - ON_TIME_S * SECOND
    if state.status != "on" or kept.plan is None or not kept.next.at or kept.next.at > until:
        return []
    missed = missed_starts(kept.plan, kept.next.at, until, facts.now)
    backlog = missed or kept.backlog
    if kept.plan.catchup == "all":
        backlog = tuple(sorted({*kept.backlog, *missed}))
    return [SlotsMissed(kept.next.at, until, backlog, next_of(kept.plan, until))]


def moved(state: ScheduleState) -> Refused:
    return Refused(f"the schedule of {state.name} moved meanwhile", code=MOVED, hint="look at it again")


def decide_slot(state: ScheduleState, command: DecideSlot, facts: Facts) -> list[Any]:
    kept = state.kept
    if state.status != "on" or kept.plan is None or command.version not in (ANY_VERSION, kept.version):
        raise moved(state)
    here = kept.backlog[:1] == (command.slot,) if command.late else kept.next.at == command.slot
    if not here or command.act != ("start" if command.late else kept.next.acts[0]):
        raise moved(state)
    if command.slot > facts.now:
        raise Refused(f"slot {command.slot} of {state.name} is not due yet")
    slot, act, way, coming = command.slot, command.act, "late" if command.late else "", kept.next
    if not command.late:
        coming = msgspec.structs.replace(coming, acts=coming.acts[1:]) if coming.acts[1:] else next_of(kept.plan, slot)
    verdict = judge(kept.plan, act, command.late, kept.pending is not None, command.found)
    if verdict.does == "skip":
        return [SlotSkipped(slot, act, verdict.why, way, coming)]
    if verdict.does == "defer":
        wait_s = kept.plan.restart_wait_s if act == "restart" else 0
        return [SlotDeferred(slot, act, command.found.running, way, wait_s, command.params, command.rerun_of, coming)]
    stopped = command.found.running if act == "stop" else ()
    return [SlotFired(slot, act, way, command.run, stopped, coming)]


def end_stopping(state: ScheduleState, command: EndStopping, facts: Facts) -> list[Any]:
    pending = state.kept.pending
    if state.status != "on" or pending is None or pending.slot != command.slot or pending.due:
        return []
    return [StoppingEnded(pending.slot, facts.now + pending.wait_s * SECOND)]


def decide_after(state: ScheduleState, command: DecideAfter, facts: Facts) -> list[Any]:
    kept, pending = state.kept, state.kept.pending
    if (
        state.status != "on"
        or pending is None
        or pending.slot != command.slot
        or command.version not in (ANY_VERSION, kept.version)
    ):
        raise moved(state)
    if not pending.due or pending.due > facts.now:
        raise Refused(f"what slot {command.slot} of {state.name} put off is not due yet")
    if command.problem:
        return [SlotSkipped(pending.slot, pending.act, command.problem, "after", kept.next)]
    return [SlotFired(pending.slot, pending.act, "after", command.run, next=kept.next)]


DECISIONS: dict[type, Any] = {
    SetSchedule: set_schedule,
    SuspendSchedule: suspend,
    MissSlots: miss_slots,
    DecideSlot: decide_slot,
    EndStopping: end_stopping,
    DecideAfter: decide_after,
}


# -- fold -------------------------------------------------------------------------------------------------------------


def fold_set(kept: Kept, event: ScheduleSet, at: int) -> None:
    if kept.next.at and (event.trouble or event.gone):
        kept.rested_at, kept.rested_from = at, kept.next.at - 1 if kept.next.at <= at else at
    on = status_of(event.plan, event.trouble, kept.suspended) == "on" and not event.gone
    if not on or (event.plan is not None and not event.plan.same_times(kept.plan)):
        kept.backlog = ()
    if not on:
        kept.pending = None
    kept.plan, kept.trouble, kept.gone, kept.next = event.plan, event.trouble, event.gone, event.next


def fold_suspended(kept: Kept, event: ScheduleSuspended, at: int) -> None:
    kept.suspended, kept.next = event.suspended, event.next
    if event.suspended:
        kept.backlog, kept.pending = (), None


def fold_missed(kept: Kept, event: SlotsMissed, at: int) -> None:
    kept.backlog, kept.next = event.backlog, event.next
    kept.last = Last(event.since, "start", "missed", "no server was there", at=at)


def fold_decided(kept: Kept, event: SlotFired | SlotSkipped | SlotDeferred, at: int) -> None:
    kept.next = event.next
    if event.way == "late":
        kept.backlog = kept.backlog[1:]
    elif event.way == "after":
        kept.pending = None
    kept.last = Last(event.slot, event.act, DECISION_WORDS[type(event)], at=at)


def fold_fired(kept: Kept, event: SlotFired, at: int) -> None:
    fold_decided(kept, event, at)
    kept.last = msgspec.structs.replace(kept.last, run=event.run)


def fold_skipped(kept: Kept, event: SlotSkipped, at: int) -> None:
    fold_decided(kept, event, at)
    kept.last = msgspec.structs.replace(kept.last, why=event.why)


def fold_deferred(kept: Kept, event: SlotDeferred, at: int) -> None:
    fold_decided(kept, event, at)
    kept.last = msgspec.structs.replace(kept.last, why=f"{len(event.stopped)} running")
    kept.pending = Pending(event.slot, event.act, event.stopped, event.wait_s, event.params, event.rerun_of)


def fold_stopped(kept: Kept, event: StoppingEnded, at: int) -> None:
    if kept.pending is not None:
        kept.pending = msgspec.structs.replace(kept.pending, due=event.due)


DECISION_WORDS: dict[type, str] = {SlotFired: "fired", SlotSkipped: "skipped", SlotDeferred: "deferred"}
FOLDS: dict[type, Any] = {
    ScheduleSet: fold_set,
    ScheduleSuspended: fold_suspended,
    SlotsMissed: fold_missed,
    SlotFired: fold_fired,
    SlotSkipped: fold_skipped,
    SlotDeferred: fold_deferred,
    StoppingEnded: fold_stopped,
}


def schedule_row(state: ScheduleState) -> tuple[Any, ...]:
    kept, last, plan = state.kept, state.kept.last, state.kept.plan
    return (
        state.scope.workspace, state.name, state.scope.environment, plan.dag if plan else state.name, plan.file if plan else "",
        state.status, int(kept.suspended), msgspec.json.encode(plan).decode(), plan.zone if plan else "",
        kept.next.at, " ".join(kept.next.acts), kept.next.start, len(kept.backlog),
        last.slot, last.act, last.decision, last.why, last.run, last.at, kept.trouble,
    )  # fmt: skip


class ScheduleMachine(Machine[ScheduleState]):
    """`gone` is its end; a file that comes back opens it again, still suspended if it was."""

    name = "schedule"
    events = EVENTS
    table = TABLE
    tables = (SCHEDULES,)

    def new(self, stream: str, scope: Scope) -> ScheduleState:
        return ScheduleState(stream, scope)

    def decide(self, state: ScheduleState, command: Any, facts: Facts) -> list[Any]:
        decision = DECISIONS.get(type(command))
        if decision is None:
            raise Bug(f"a schedule knows no {type(command).__name__}")
        events: list[Any] = decision(state, command, facts)
        return events

    def status(self, state: ScheduleState, event: Any) -> str:
        return state.status

    def evolve(self, state: ScheduleState, event: Any, at: int) -> None:
        state.before = state.owed()
        FOLDS[type(event)](state.kept, event, at)
        state.kept.version += 1
        state.touched = True

    def react(self, state: ScheduleState, event: Any, at: int) -> Iterable[Effect]:
        before, owed = state.before, state.owed()
        return [
            *(JobDone(id_) for id_ in before if id_ not in owed),
            *(job for id_, job in owed.items() if id_ not in before),
        ]

    def rows(self, state: ScheduleState) -> Iterable[Row]:
        if not state.touched:
            return ()
        state.touched = False
        return [(SCHEDULES, schedule_row(state))]

    def dump(self, state: ScheduleState) -> bytes:
        return msgspec.json.encode(state.kept)

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> ScheduleState:
        return ScheduleState(stream, scope, msgspec.json.decode(data, type=Kept))

    def ended(self, state: ScheduleState) -> bool:
        return state.status == "gone"
