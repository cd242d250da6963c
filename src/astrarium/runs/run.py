"""The one life all graphs share, as a machine: its table, and what follows from its events.

`decide` holds the answers to orders, `fold` the fold, `row` what readers are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from ..errors import Bug
from ..kernel.machine import Machine, Move
from ..kernel.types import (
    NOTHING_NEEDED,
    Count,
    Effect,
    Facts,
    Job,
    JobDone,
    Needs,
    Row,
    Scope,
    SlotAsk,
    SlotFree,
    SlotGranted,
    Then,
)
from ..spec import notice
from ..spec.graph import NoticeOn
from . import message as m
from .birth import active_slot, alias_slot, id_slot, queue_slot
from .decide.table import DECISIONS
from .fold.life import note_line
from .fold.table import FOLDS
from .message import EndTry, StartTry
from .row import RUNS, STEPS, TABLES, run_row, step_row
from .state import RunState, StepStatus, dump_graph, dump_state, load_state

RUN = "run"
STEP = "step"
ALIVE = ("running", "pausing", "paused", "stopping")
BEFORE = ("queued", "parked")
OPEN_STEP = ("step ready", "step offered", "step running", "step delayed", "step asking", "step parent")
ENDS = (m.EndTry, m.LoseTry, m.AnswerAsk, m.TimeOutAsk, m.EndChild, m.StopRun, m.TimeOutRun, m.ExpireFan)
BEGINS = (m.StartRun, m.ForkRun, SlotGranted)
CLOSES = (*BEGINS, m.Resolved, *ENDS, m.ReopenRun)

TABLE = (
    Move(RUN, ("new",), (m.StartRun,), m.RunCreated, ("queued",)),
    Move(RUN, ("new",), (m.ForkRun,), m.RunForked, ("queued",)),
    Move(RUN, ("new",), (m.ImportRun,), m.RunImported, ("ended",)),
    Move(RUN, ("queued",), BEGINS, m.RunBegan, ("running",)),
    Move(RUN, ("running", "pausing", "paused", "stopping"), (m.Resolved, m.StartRun), m.RunPrepared, ALIVE),
    Move(RUN, (*ALIVE, *BEFORE), CLOSES, m.RunEnded, ("ended",)),
    Move(RUN, ("running",), (m.PauseRun,), m.RunPausing, ("pausing",)),
    Move(RUN, ("queued",), (m.PauseRun,), m.RunPausing, ("parked",)),
    Move(RUN, ("pausing",), (m.PauseRun, m.Resolved, *ENDS), m.RunPaused, ("paused",)),
    Move(RUN, ("parked",), (m.PauseRun,), m.RunPaused, ("parked",)),
    Move(RUN, ("pausing", "paused"), (m.ResumeRun,), m.RunResumed, ("running",)),
    Move(RUN, ("parked",), (m.ResumeRun,), m.RunResumed, ("queued",)),
    *(Move(RUN, (status,), (m.LeavePlace,), m.RunStoodAside, (status,)) for status in ("running", "paused")),
    Move(RUN, ("running",), (SlotGranted,), m.RunWentOn, ("running",)),
    Move(RUN, (*ALIVE, *BEFORE), (m.StopRun, m.TimeOutRun), m.RunStopping, ("stopping",)),
    Move(RUN, ("ended", "paused"), (m.ReopenRun,), m.RunReopened, ("running", "queued")),
    *(Move(RUN, (status,), (m.ExpireFan,), m.FanExpired, (status,)) for status in ("running", "pausing", "paused")),
    Move(STEP, ("step offered", "step delayed"), (m.StartTry,), m.StepStarted, ("step running",)),
    Move(STEP, ("step running",), (m.EndTry, m.LoseTry), m.StepDelayed, ("step delayed",)),
    Move(STEP, ("step parent",), (m.EndChild,), m.StepDelayed, ("step delayed",)),
    Move(STEP, ("step running",), (m.EndTry,), m.StepAsked, ("step asking",)),
    Move(STEP, ("step ready",), CLOSES, m.StepAsked, ("step asking",)),
    Move(STEP, OPEN_STEP, ENDS, m.StepDropped, ("step done",)),
    Move(STEP, ("step asking",), (m.AnswerAsk,), m.AnswerGiven, ("step asking",)),
    Move(STEP, ("step running",), (m.EndTry,), m.ChildrenSpawned, ("step parent",)),
    Move(STEP, ("step parent",), (m.EndChild,), m.ChildEnded, ("step parent",)),
    Move(STEP, OPEN_STEP, ENDS, m.StepEnded, ("step done",)),
    *(Move(RUN, (status,), (m.RenameRun,), m.RunRenamed, (status,)) for status in (*ALIVE, *BEFORE, "ended")),
    Move(STEP, ("step none", "step idle", "step done"), (m.MarkStep,), m.StepMarked, ("step done", "step idle")),
)
STEP_STATUS = {status: f"step {status}" for status in get_args(StepStatus)}
GOES_ON = (m.RunResumed, m.RunWentOn)
STEP_EVENTS = frozenset(move.gives for move in TABLE if move.subject == STEP)


class RunMachine(Machine[RunState]):
    """Doors out of an end: `ReopenRun`, `MarkStep`; which outcomes they are open for is the graph's `doors`."""

    name = "run"
    events = m.EVENTS
    table = TABLE
    tables = TABLES
    creates = (m.StartRun, m.ForkRun, m.ImportRun)

    def new(self, stream: str, scope: Scope) -> RunState:
        return RunState(run=stream.partition(":")[2], scope=scope)

    def references(self, events: Sequence[Any]) -> tuple[str, ...]:
        for event in events[:1]:
            if type(event) is m.RunCreated:
                return (event.start.graph,)
            if type(event) is m.RunForked:
                return (event.fork.start.graph,)
            if type(event) is m.RunImported:
                return (event.run.start.graph,)
        return ()

    def provide(self, state: RunState, things: Mapping[str, Any]) -> None:
        for definition in things.values():
            state.known = definition

    def needs(self, state: RunState, command: Any) -> Needs:
        kind = type(command)
        if kind is StartTry:
            return NOTHING_NEEDED
        if kind is EndTry:
            return self._ending(state)
        if kind is m.StartRun or kind is m.ForkRun:
            start: m.StartRun = command if kind is m.StartRun else command.start
            slots = [active_slot(start.surface, start.name)] if start.surface else []
            if start.chosen:
                slots.append(alias_slot(start))
            if start.queue:
                slots.append(queue_slot(start.queue))
            return Needs(slots=tuple(slots), things=(start.graph,))
        if kind is m.ImportRun:
            return Needs(things=(command.start.graph,))
        if kind is m.RenameRun:
            named = tuple(slot for name in (state.name, command.name) for slot in named_slots(state, name))
            return Needs(at_hand=(*self._ending(state).at_hand, *named))
        if kind is SlotGranted:
            return Needs(slots=(command.name,), at_hand=self._ending(state).at_hand)
        if kind is m.ReopenRun and command.queue:
            return Needs(at_hand=(*self._ending(state).at_hand, queue_slot(command.queue)))
        return self._ending(state)

    def _ending(self, state: RunState) -> Needs:
        """A run may end with this command, and then gives its slots back."""
        if not state.surface:
            return NOTHING_NEEDED
        if state.ending is None or len(state.ending.at_hand) != 1 + bool(state.queue):
            slots = [active_slot(state.surface, state.name)]
            if state.queue:
                slots.append(queue_slot(state.queue))
            state.ending = Needs(at_hand=tuple(slots))
        return state.ending

    def decide(self, state: RunState, command: Any, facts: Facts) -> list[Any]:
        decision = DECISIONS.get(type(command))
        if decision is None:
            raise Bug(f"a run knows no {type(command).__name__}")
        if state.status == "new" and type(command) in self.creates:
            start = command if type(command) is m.StartRun else command.start
            state.known = facts.things[start.graph]
        state.fresh, state.let_go, state.fans, state.passed = [], [], [], []
        return decision(state, command, facts)

    def status(self, state: RunState, event: Any) -> str:
        if type(event) in STEP_EVENTS:
            step = state.steps.get(event.no)
            return STEP_STATUS[step.status] if step is not None else "step none"
        return state.status

    def evolve(self, state: RunState, event: Any, at: int) -> None:
        FOLDS[type(event)](state, event, at)
        if state.aside:
            note_line(state, at)

    def react(self, state: RunState, event: Any, at: int) -> Iterable[Effect]:
        follow = REACTIONS.get(type(event))
        effects: Sequence[Effect] = follow(state, event, at) if follow is not None else ()
        if state.fans:
            effects = [*effects, *fan_timers(state)]
        if state.passed:
            effects = [*(JobDone(timer_id(state, due)) for due in state.passed), *effects]
            state.passed = []
        if state.queue and (state.aside or state.rests):
            effects = [*effects, *place_in_queue(state)]
        if not state.fresh:
            return effects
        jobs: list[Job] = []
        delay_us = int(state.known.graph.delay_s * 1_000_000)
        for no in state.fresh:
            step = state.steps[no]
            due = step.due if step.status == "delayed" else at + delay_us if delay_us else 0
            jobs.append(Job(f"{state.run}/{no}", "run_step", f"run:{state.run}", {"no": no}, due, state.priority))
        state.fresh = []
        if type(event) in GOES_ON:  # what was asked for before the pause may still have its row
            return [*(JobDone(job.id) for job in jobs), *jobs, *effects]
        return [*jobs, *effects]

    def owed(self, state: RunState, worker: str) -> Iterable[Job]:
        stream = f"run:{state.run}"
        for step in state.steps.values():
            if step.status == "running" and step.worker == worker:
                yield Job(f"{state.run}/{step.no}", "run_step", stream, {"no": step.no}, 0, state.priority)

    def rows(self, state: RunState) -> Iterable[Row]:
        made: list[Row] = [(STEPS, step_row(state, state.steps[no])) for no in state.touched]
        state.touched.clear()
        if state.told:
            made = [*state.told, *made]
            state.told = []
        if state.run_touched:
            state.run_touched = False
            made.append((RUNS, run_row(state)))
        return made

    def dump(self, state: RunState) -> bytes:
        return dump_state(state)

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> RunState:
        definition = things.get(dump_graph(data))
        return load_state(stream.partition(":")[2], scope, data, definition)

    def dump_references(self, data: bytes) -> tuple[str, ...]:
        graph = dump_graph(data)
        return (graph,) if graph else ()

    def ended(self, state: RunState) -> bool:
        return state.status == "ended"

    def rests(self, state: RunState) -> bool:
        return state.rests


# -- what follows ------------------------------------------------------------------------------------------------------


def after_born(state: RunState, event: m.RunCreated | m.RunForked, at: int) -> list[Effect]:
    start, effects = event.start if isinstance(event, m.RunCreated) else event.fork.start, list[Effect]()
    if start.chosen:
        effects.append(SlotAsk(alias_slot(start), 1))
    if start.surface:
        effects.append(SlotAsk(active_slot(start.surface, start.name), 0))
    if start.queue:
        effects.append(SlotAsk(queue_slot(start.queue), start.queue_limit, start.priority, over=start.at_once))
    return effects


def timer_id(state: RunState, due: int) -> str:
    """Each date has a job of its own: the report of one that has come must not end the next."""
    return f"{state.run}/due/{due}"


def run_timer(state: RunState) -> list[Effect]:
    if not state.due:
        return []
    return [Job(timer_id(state, state.due), "run_due", f"run:{state.run}", {"round": state.round}, state.due)]


def fan_timers(state: RunState) -> list[Effect]:
    """A job for each fan that was given a date."""
    made: list[Effect] = [
        Job(f"{state.run}/fan/{place}", "fan_due", f"run:{state.run}", {"at": place, "round": state.round}, due)
        for place, due in state.fans
    ]
    state.fans = []
    return made


def prepare_job(state: RunState) -> list[Effect]:
    if state.known.graph.prepare is None or state.prepared:
        return []
    return [Job(f"{state.run}/prepare", "prepare_run", f"run:{state.run}", priority=state.priority)]


def after_began(state: RunState, event: m.RunBegan, at: int) -> list[Effect]:
    return run_timer(state) if event.prepared else [*run_timer(state), *prepare_job(state)]


def after_reopened(state: RunState, event: m.RunReopened, at: int) -> list[Effect]:
    effects: list[Effect] = []
    if state.surface:
        effects.append(SlotAsk(active_slot(state.surface, state.name), 0))
    if state.queue:
        effects.append(SlotAsk(queue_slot(state.queue), state.queue_limit, state.priority, over=event.at_once))
        if not event.at_once:
            return effects
    return [*effects, *run_timer(state), *prepare_job(state)]


def named_slots(state: RunState, name: str) -> list[str]:
    """Slots a run holds under its definition's name: its chosen id, and its being active."""
    slots = [id_slot(state.surface, name, state.alias)] if state.chosen else []
    return [*slots, active_slot(state.surface, name)] if state.surface and state.status != "ended" else slots


def after_renamed(state: RunState, event: m.RunRenamed, at: int) -> list[Effect]:
    limits = [1] if state.chosen else []
    asked = zip(named_slots(state, event.name), [*limits, 0], strict=False)
    return [*(SlotFree(name) for name in named_slots(state, event.before)), *(SlotAsk(name, limit) for name, limit in asked)]


def place_in_queue(state: RunState) -> list[Effect]:
    """A run that rests leaves its place, or the line, to others; one that goes on asks again, with the time it came first. Who did not
    wait then does not now."""
    slot = queue_slot(state.queue)
    if state.rests:
        return [SlotFree(slot), *(run_timer(state) if state.asks else ())] if state.aside else [Then(m.LeavePlace())]
    since = state.queued_at or state.began_at
    return [SlotAsk(slot, state.queue_limit, state.priority, over=not state.queued_at, since=since)] if state.in_line else []


def after_going_on(state: RunState, event: m.RunResumed | m.RunWentOn, at: int) -> list[Effect]:
    if state.in_line:
        return []
    return [*run_timer(state), *prepare_job(state), *start_children(state, event, at)]


def notices(state: RunState, on: NoticeOn, at: int, no: int = -1) -> list[Effect]:
    """A job for the notices the graph wants of this: of the run's end or wait, or of a step's failure."""
    graph = state.known.graph
    if not graph.notices or not notice.due(graph, on, state.node(no).name if no >= 0 else ""):
        return []
    what = f"{on}/{no}.{state.steps[no].try_no}" if no >= 0 else on
    body = {"on": on, "no": no, "round": state.round, "at": at, "what": what, "outcome": state.outcome or "", "reason": state.reason}
    return [Job(f"{state.run}/notice/{state.round}/{what}", "send_notices", f"run:{state.run}", body)]


def after_asked(state: RunState, event: m.StepAsked, at: int) -> list[Effect]:
    told = notices(state, "wait", at, event.no)
    if state.answers and state.steps[event.no].place in state.answers:
        return [*told, Job(f"{state.run}/{event.no}/answer", "give_answer", f"run:{state.run}", {"no": event.no})]
    if not event.until:
        return told
    body = {"no": event.no, "until": event.until}
    return [*told, Job(f"{state.run}/{event.no}/ask", "ask_due", f"run:{state.run}", body, event.until)]


def start_children(state: RunState, event: Any, at: int) -> list[Effect]:
    """One job for each child the fold let go."""
    stream, round_no = f"run:{state.run}", state.round
    made: list[Effect] = [
        Job(f"{state.run}/{no}/{index}", "start_child", stream, {"no": no, "index": index, "round": round_no})
        for no, index in state.let_go
    ]
    state.let_go = []
    return made


def after_step_ended(state: RunState, event: m.StepEnded, at: int) -> Sequence[Effect]:
    # A try's own job goes with the command that reported it; a step ended from outside may still have one, an answered one its date.
    effects: list[Effect] = []
    if event.outcome in ("cancelled", "lost"):
        effects.append(JobDone(f"{state.run}/{event.no}"))
    if state.steps[event.no].until:
        effects.append(JobDone(f"{state.run}/{event.no}/ask"))
    if state.known.graph.notices and event.outcome in notice.BAD_STEPS:
        effects.extend(notices(state, "failure", at, event.no))
    return effects


def after_dropped(state: RunState, event: m.StepDropped, at: int) -> list[Effect]:
    """What the step still owed is not wanted any more: its job, its date, its child runs."""
    step, effects = state.steps[event.no], [JobDone(f"{state.run}/{event.no}")]
    if step.until:
        effects.append(JobDone(f"{state.run}/{event.no}/ask"))
    body = {"outcome": "cancelled", "mode": "signal", "grace_s": state.known.graph.stop_grace_s, "no": event.no}
    return [*effects, Job(f"{state.run}/{event.no}/stop", "stop_children", f"run:{state.run}", body)]


def after_stopping(state: RunState, event: m.RunStopping, at: int) -> list[Effect]:
    effects: list[Effect] = [JobDone(timer_id(state, state.due))]
    if any(step.status == "parent" for step in state.steps.values()):
        body = {"outcome": event.outcome, "reason": event.reason, "mode": event.mode, "grace_s": event.grace_s}
        effects.append(Job(f"{state.run}/stop", "stop_children", f"run:{state.run}", body))
    return effects


def after_ended(state: RunState, event: m.RunEnded, at: int) -> list[Effect]:
    effects: list[Effect] = [JobDone(timer_id(state, state.due))] if state.due else []
    if state.surface:
        effects.append(SlotFree(active_slot(state.surface, state.name)))
        counted = "runs" if state.parent is None else "child_runs"
        effects.append(Count(f"{state.surface}.{counted}", state.name, event.outcome))
    if state.queue:
        effects.append(SlotFree(queue_slot(state.queue)))
    if state.parent is not None:
        effects.append(Job(f"{state.run}/tell", "tell_parent", f"run:{state.run}", {"round": state.round}))
    if state.known.graph.tidy and state.parent is None:
        effects.append(Job(f"{state.run}/tidy", "tidy_dag", f"run:{state.run}", {"name": state.name}))
    return [*effects, *notices(state, notice.OUTCOMES[event.outcome], at)]


REACTIONS: dict[type, Any] = {
    m.RunCreated: after_born,
    m.RunForked: after_born,
    m.RunBegan: after_began,
    m.RunReopened: after_reopened,
    m.RunResumed: after_going_on,
    m.RunWentOn: after_going_on,
    m.StepAsked: after_asked,
    m.ChildrenSpawned: start_children,
    m.ChildEnded: start_children,
    m.StepEnded: after_step_ended,
    m.StepDropped: after_dropped,
    m.RunStopping: after_stopping,
    m.RunEnded: after_ended,
    m.RunRenamed: after_renamed,
}
