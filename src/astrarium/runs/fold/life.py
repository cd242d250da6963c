"""What an event means for the run as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from ..message import (
    FanExpired,
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
    RunStoodAside,
    RunStopping,
    RunWentOn,
    StartRun,
)
from ..routing.rules.memo import open_memo
from ..row import STEPS, step_row
from ..state import RunState, Step
from .move import promote, take_moves
from .step import let_go


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
    if definition.shape is not None:
        state.document = definition.shape.complete(start.state)
        open_memo(state.memo, start.alias or state.run, start.said)
    state.run_touched = True


def on_created(state: RunState, event: RunCreated, at: int) -> None:
    created(state, event.start, at)


def on_forked(state: RunState, event: RunForked, at: int) -> None:
    fork = event.fork
    created(state, fork.start, at)
    state.forked_from = fork.source
    state.prepared = not fork.prepare
    if fork.document:
        state.document = dict(fork.document)
    state.overrides, state.answers, state.answered_by = fork.overrides, dict(fork.answers), fork.by
    if fork.resolved is not None and fork.resolved != state.resolved:  # equal ones are one, so that every process dumps the same
        state.resolved = fork.resolved
    definition = state.known
    if fork.memo is not None:
        state.memo = definition.router.load(definition.plan, fork.memo)
        if definition.shape is not None:
            open_memo(state.memo, fork.start.alias or state.run, fork.start.said)
    inherit(state, fork.steps, inherited=True)


def inherit(state: RunState, steps: Sequence[Inherited], *, inherited: bool) -> None:
    """Steps that ended before this life began."""
    for kept in steps:
        state.steps[kept.no] = Step(
            kept.no, kept.node, "done", outcome=kept.outcome, output=kept.output, exit_code=kept.exit_code, inherited=inherited,
            origin=kept.origin, started_at=kept.started_at, ended_at=kept.ended_at, try_no=kept.try_no, passes=kept.passes,
            retries=kept.retries, tolerated=kept.tolerated, marked=kept.marked, passed=kept.passed, partial=kept.partial,
            error=kept.error, answers=list(kept.answers), at=kept.at, branch=kept.branch, patch=kept.patch,
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
    state.created_at, state.queued_at, state.began_at, state.ended_at = (
        past.created_at,
        past.queued_at,
        past.began_at,
        past.ended_at,
    )
    state.prepared = past.resolved is not None
    if past.resolved is not None:
        state.resolved = past.resolved
    if past.memo is not None:
        state.memo = state.known.router.load(state.known.plan, past.memo)
    inherit(state, past.steps, inherited=False)


def on_began(state: RunState, event: RunBegan, at: int) -> None:
    state.status, state.aside, state.paused_at = "running", False, 0
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


def on_pausing(state: RunState, event: RunPausing, at: int) -> None:
    if state.status == "queued":
        state.status, state.aside = "parked", True
    else:
        state.status = "pausing"
    state.run_touched = True


def on_paused(state: RunState, event: RunPaused, at: int) -> None:
    if state.status != "parked":
        state.status = "paused"
    state.paused_at = state.paused_at or at
    state.run_touched = True


def on_resumed(state: RunState, event: RunResumed, at: int) -> None:
    count_on(state, at)
    state.run_touched = True
    state.status = "queued" if state.status == "parked" else "running"
    if not state.aside:
        go_on(state)


def on_stood_aside(state: RunState, event: RunStoodAside, at: int) -> None:
    state.aside = True


def on_went_on(state: RunState, event: RunWentOn, at: int) -> None:
    state.aside = False
    count_on(state, at)
    state.run_touched = True
    go_on(state)


def note_line(state: RunState, at: int) -> None:
    """Time in line is not the run's own."""
    if not state.in_line:
        if state.status == "running":
            count_on(state, at)
    elif not state.paused_at:
        state.paused_at = at
        state.run_touched = True


def count_on(state: RunState, at: int) -> None:
    """Time is the run's own again."""
    if state.due and 0 < state.paused_at < at:
        state.passed.append(state.due)
        state.due += at - state.paused_at
    state.paused_at = 0


def go_on(state: RunState) -> None:
    """Jobs that came due meanwhile were let go: ask for all of them again."""
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
    if event.back is not None:
        state.memo = definition.router.load(definition.plan, event.back.memo)
        state.document = dict(event.back.document)
    definition.router.reset(definition.plan, state.memo, event.step)
    state.round = event.round
    state.parent = event.parent or state.parent
    for no in event.reset:
        step = state.steps.get(no)
        if step is not None and no in state.touched:  # how it ended in the round before is still to be told
            state.told.append((STEPS, step_row(state, step)))
        if step is not None and definition.shape is not None:
            del state.steps[no]
            state.touched.discard(no)
        elif step is not None:
            state.steps[no] = Step(no, step.node, "idle", round=event.round)
            state.touched.add(no)
    forgotten = set(event.reset)
    state.made = [no for no in state.made if no not in forgotten]
    state.outcome, state.reason = None, ""
    state.anchor_due = 0
    state.stop_outcome, state.stop_reason = None, ""
    waits = bool(event.queue) and not event.at_once
    state.status = "queued" if waits else "running"
    state.queue, state.queue_limit = event.queue, event.queue_limit
    state.ending = None
    state.aside = False
    state.queued_at = at if waits else 0
    state.began_at = at
    state.ended_at = 0
    state.ready, state.active, state.asking, state.paused_at = [], 0, 0, 0
    if state.due:
        state.passed.append(state.due)
    state.due = at + int(definition.graph.timeout_s * 1_000_000) if definition.graph.timeout_s else 0
    state.run_touched = True
    if event.moves:
        take_moves(state, None, event.moves, at)


def on_renamed(state: RunState, event: RunRenamed, at: int) -> None:
    state.name = event.name
    state.ending = None
    state.run_touched = True


def on_expired(state: RunState, event: FanExpired, at: int) -> None:
    take_moves(state, None, event.moves, at)
