"""Folding a run's events into its state. Never fails, never thinks: routers only count here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .message import (
    AnswerGiven,
    ChildEnded,
    ChildrenSpawned,
    Inherited,
    RunBegan,
    RunCreated,
    RunEnded,
    RunForked,
    RunImported,
    RunPaused,
    RunPausing,
    RunPrepared,
    RunRenamed,
    RunReopened,
    RunResumed,
    RunStopping,
    StartRun,
    StepAsked,
    StepDelayed,
    StepEnded,
    StepMarked,
    StepStarted,
)
from .routing.port import Close, Ended, MoveOn, Skip, Visit
from .state import Children, ChildState, RunState, Step

HOLDS_ROOM = frozenset(("offered", "running", "delayed", "parent"))
"""A step in one of these counts against the run's `max_active_steps`."""


def created(state: RunState, start: StartRun, at: int) -> None:
    state.graph, state.name, state.surface, state.alias = start.graph, start.name, start.surface, start.alias
    state.params, state.trigger, state.labels = start.params, start.trigger, start.labels
    state.queue, state.queue_limit, state.priority = start.queue, start.queue_limit, start.priority
    state.chosen, state.parent, state.depth, state.rerun_of = start.chosen, start.parent, start.depth, start.rerun_of
    state.root = start.root or state.run
    state.status, state.round = "queued", 1
    state.created_at = at
    state.queued_at = at if start.queue and not start.at_once else 0
    definition = state.known
    state.memo = definition.router.fresh(definition.plan)
    state.run_touched = True


def on_created(state: RunState, event: RunCreated, at: int) -> None:
    created(state, event.start, at)


def on_forked(state: RunState, event: RunForked, at: int) -> None:
    fork = event.fork
    created(state, fork.start, at)
    state.forked_from = fork.source
    state.prepared = not fork.prepare
    state.document = dict(fork.document)
    if fork.resolved is not None:
        state.resolved = fork.resolved
    definition = state.known
    if fork.memo is not None:
        state.memo = definition.router.load(definition.plan, fork.memo)
    inherit(state, fork.steps, inherited=True)


def inherit(state: RunState, steps: Sequence[Inherited], *, inherited: bool) -> None:
    """Steps that ended before this life began."""
    for kept in steps:
        state.steps[kept.no] = Step(
            kept.no, kept.node, "done", outcome=kept.outcome, output=kept.output, exit_code=kept.exit_code, inherited=inherited,
            origin=kept.origin, started_at=kept.started_at, ended_at=kept.ended_at, try_no=kept.try_no, passes=kept.passes,
            retries=kept.retries, tolerated=kept.tolerated, marked=kept.marked, passed=kept.passed, partial=kept.partial,
            error=kept.error, answers=list(kept.answers),
        )  # fmt: skip
        for given in kept.answers:
            state.inputs.update({key: str(value) for key, value in given.get("answer", {}).items()})
        state.touched.add(kept.no)
        if kept.output is not None:
            state.made.append(kept.no)


def on_imported(state: RunState, event: RunImported, at: int) -> None:
    past = event.run
    created(state, past.start, at)
    state.status, state.outcome, state.reason = "ended", past.outcome, past.reason
    state.created_at, state.queued_at, state.began_at, state.ended_at = past.created_at, past.queued_at, past.began_at, past.ended_at
    state.prepared = past.resolved is not None
    if past.resolved is not None:
        state.resolved = past.resolved
    if past.memo is not None:
        state.memo = state.known.router.load(state.known.plan, past.memo)
    inherit(state, past.steps, inherited=False)


def on_began(state: RunState, event: RunBegan, at: int) -> None:
    state.status = "running"
    state.began_at = at
    state.due = at + int(state.known.graph.timeout_s * 1_000_000) if state.known.graph.timeout_s else 0
    state.run_touched = True
    if event.moves:
        take_moves(state, None, event.moves, at)


def on_prepared(state: RunState, event: RunPrepared, at: int) -> None:
    # What could not be resolved, or was unmet, is asked again by the next round.
    state.prepared = not (event.resolved.error or event.resolved.unmet)
    state.resolved = event.resolved
    state.run_touched = True
    take_moves(state, None, event.moves, at)


def take_moves(state: RunState, ended: Ended | None, moves: Sequence[MoveOn], at: int) -> None:
    """Count an end and its moves, and make room for what may start."""
    definition = state.known
    definition.router.fold(definition.plan, state.memo, ended, moves)
    for move in moves:
        if type(move) is Visit:
            state.steps[move.no] = Step(move.no, move.node, round=state.round)
            state.ready.append(move.no)
        elif not isinstance(move, Close):
            step = Step(move.no, move.node, "done", round=state.round, started_at=at, ended_at=at)
            step.outcome = "skipped" if type(move) is Skip else "aborted"
            state.steps[move.no] = step
            state.touched.add(move.no)
    promote(state)


def promote(state: RunState) -> None:
    """Offer visited steps, as many as `max_active_steps` allows; nothing new while the run pauses."""
    if not state.ready or state.status not in ("running", "stopping"):
        return
    limit = state.known.graph.max_active_steps
    room = len(state.ready) if limit <= 0 else max(0, limit - state.active)
    for no in state.ready[:room]:
        state.steps[no].status = "offered"
        state.active += 1
        state.fresh.append(no)
    del state.ready[:room]


def shift(state: RunState, step: Step, status: Any) -> None:
    """Move a step to another status, keeping the counts."""
    before = step.status
    state.active += (status in HOLDS_ROOM) - (before in HOLDS_ROOM)
    if status == "asking" or before == "asking" or state.asking:
        # Whether readers see the run as waiting may turn.
        state.asking += (status == "asking") - (before == "asking")
        state.run_touched = True
    step.status = status
    state.touched.add(step.no)


def on_step_started(state: RunState, event: StepStarted, at: int) -> None:
    step = state.steps[event.no]
    shift(state, step, "running")
    step.try_no = event.try_no
    step.worker = event.worker
    if not step.started_at:
        step.started_at = at


def on_step_delayed(state: RunState, event: StepDelayed, at: int) -> None:
    step = state.steps[event.no]
    shift(state, step, "delayed")
    step.due = event.at
    step.error, step.exit_code = event.error, event.exit_code
    if event.why == "retry":
        step.retries += 1
    elif event.why == "repeat":
        step.passes += 1
        step.output = event.output
    state.fresh.append(event.no)


def on_step_asked(state: RunState, event: StepAsked, at: int) -> None:
    step = state.steps[event.no]
    shift(state, step, "asking")
    step.ask, step.until, step.answers = event.ask, event.until, []
    take_moves(state, None, event.moves, at)


def on_answer(state: RunState, event: AnswerGiven, at: int) -> None:
    step = state.steps[event.no]
    given: dict[str, Any] = {"by": event.by, "approve": event.approve, "at": at}
    if event.answer:
        given["answer"] = event.answer
        state.inputs.update({key: str(value) for key, value in event.answer.items()})
    if event.reason:
        given["reason"] = event.reason
    step.answers = [*step.answers, given]
    state.touched.add(event.no)


def on_spawned(state: RunState, event: ChildrenSpawned, at: int) -> None:
    step = state.steps[event.no]
    shift(state, step, "parent")
    step.children = Children(
        event.children, event.max_active, event.parallel, event.tolerated, event.marked,
        event.retry_in_s, event.retry_limit, [ChildState() for _ in event.children],
    )  # fmt: skip
    state.let_go = []
    let_go(state, event.no, step.children)


def let_go(state: RunState, no: int, children: Children) -> None:
    """Start children, as many as may be open at once; none while the run pauses or stops."""
    if state.status != "running":
        return
    most = children.max_active or len(children.specs)
    while children.next < len(children.specs) and children.open < most:
        state.let_go.append((no, children.next))
        children.next += 1
        children.open += 1


def on_child_ended(state: RunState, event: ChildEnded, at: int) -> None:
    children = state.steps[event.no].children
    assert children is not None
    child = children.states[event.index]
    child.run, child.outcome, child.outputs, child.error = event.run, event.outcome, event.outputs, event.error
    children.open -= 1
    state.let_go = []
    let_go(state, event.no, children)


def on_step_ended(state: RunState, event: StepEnded, at: int) -> None:
    step = state.steps[event.no]
    if step.status == "ready":
        state.ready.remove(event.no)
    shift(state, step, "done")
    step.outcome, step.output, step.exit_code, step.error = event.outcome, event.output, event.exit_code, event.error
    step.tolerated, step.marked, step.passed, step.partial = event.tolerated, event.marked, event.passed, event.partial
    step.ended_at = at
    step.passes += 1
    step.children = None
    if not step.started_at:
        step.started_at = at
    if event.output is not None:
        state.made.append(event.no)
    if event.patch:
        state.document.update(event.patch)
    take_moves(state, ended_of(step, event), event.moves, at)


def ended_of(step: Step, event: StepEnded) -> Ended:
    return Ended(step.node, step.no, event.outcome, event.tolerated, event.marked, event.passed, event.partial)


def on_pausing(state: RunState, event: RunPausing, at: int) -> None:
    state.status = "pausing"
    state.run_touched = True


def on_paused(state: RunState, event: RunPaused, at: int) -> None:
    state.status = "paused"
    state.paused_at = at
    state.run_touched = True


def on_resumed(state: RunState, event: RunResumed, at: int) -> None:
    state.status = "running"
    if state.due and state.paused_at:
        state.due += at - state.paused_at
    state.paused_at = 0
    state.run_touched = True
    # Jobs that came due meanwhile were let go: ask for all of them again.
    state.fresh.extend(no for no, step in state.steps.items() if step.status in ("offered", "delayed"))
    state.let_go = []
    for no, step in state.steps.items():
        if step.status == "parent" and step.children is not None:
            let_go(state, no, step.children)
    promote(state)


def on_stopping(state: RunState, event: RunStopping, at: int) -> None:
    definition = state.known
    if state.status != "stopping":
        state.stop_outcome, state.stop_reason = event.outcome, event.reason
        definition.router.fold_stop(definition.plan, state.memo, event.outcome, event.reason)
    state.status = "stopping"
    state.stop_grace_s = event.grace_s
    state.run_touched = True
    take_moves(state, None, event.moves, at)


def on_ended(state: RunState, event: RunEnded, at: int) -> None:
    state.status, state.outcome, state.reason = "ended", event.outcome, event.reason
    state.ended_at = at
    state.run_touched = True


def on_reopened(state: RunState, event: RunReopened, at: int) -> None:
    definition = state.known
    definition.router.reset(definition.plan, state.memo, event.step)
    state.round = event.round
    state.parent = event.parent or state.parent
    for no in event.reset:
        step = state.steps.get(no)
        if step is not None:
            state.steps[no] = Step(no, step.node, "idle", round=event.round)
            state.touched.add(no)
    forgotten = set(event.reset)
    state.made = [no for no in state.made if no not in forgotten]
    state.outcome, state.reason = None, ""
    state.stop_outcome, state.stop_reason = None, ""
    waits = bool(event.queue) and not event.at_once
    state.status = "queued" if waits else "running"
    state.queue, state.queue_limit = event.queue, event.queue_limit
    state.ending = None
    state.queued_at = at if waits else 0
    state.began_at = at
    state.ended_at = 0
    state.ready, state.active, state.asking = [], 0, 0
    state.due = at + int(definition.graph.timeout_s * 1_000_000) if definition.graph.timeout_s else 0
    state.run_touched = True
    if event.moves:
        take_moves(state, None, event.moves, at)


def on_marked(state: RunState, event: StepMarked, at: int) -> None:
    definition = state.known
    step = state.steps.get(event.no)
    node = step.node if step is not None else event.no
    definition.router.mark(definition.plan, state.memo, node, event.outcome)
    if step is None:
        step = state.steps[event.no] = Step(event.no, node, "idle", round=state.round)
    step.outcome = event.outcome
    step.status = "done" if event.outcome is not None else "idle"
    step.tolerated = step.marked = step.passed = False
    step.error = ""
    state.touched.add(event.no)


def on_renamed(state: RunState, event: RunRenamed, at: int) -> None:
    state.name = event.name
    state.ending = None
    state.run_touched = True


Fold = Callable[[RunState, Any, int], None]
FOLDS: dict[type, Fold] = {
    RunCreated: on_created,
    RunForked: on_forked,
    RunImported: on_imported,
    RunBegan: on_began,
    RunPrepared: on_prepared,
    StepStarted: on_step_started,
    StepDelayed: on_step_delayed,
    StepAsked: on_step_asked,
    AnswerGiven: on_answer,
    ChildrenSpawned: on_spawned,
    ChildEnded: on_child_ended,
    StepEnded: on_step_ended,
    RunPausing: on_pausing,
    RunPaused: on_paused,
    RunResumed: on_resumed,
    RunStopping: on_stopping,
    RunEnded: on_ended,
    RunReopened: on_reopened,
    StepMarked: on_marked,
    RunRenamed: on_renamed,
}


def as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

