"""Moves are counted: steps come to be, and room is made for those that may start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..message import (
    StepEnded,
)
from ..ports import Used
from ..routing.port import Abort, Ended, Fan, Merge, MoveOn, Question, Skip, Visit
from ..routing.rules.budget import add_used
from ..state import RunState, Step

HOLDS_ROOM = frozenset(("offered", "running", "delayed", "parent"))
"""A step in one of these counts against the run's `max_active_steps`."""


def take_moves(state: RunState, ended: Ended | None, moves: Sequence[MoveOn], at: int) -> None:
    """Count an end and its moves, and make room for what may start."""
    definition = state.known
    definition.router.fold(definition.plan, state.memo, ended, moves)
    for move in moves:
        if isinstance(move, Visit):
            step = state.steps[move.no] = Step(move.no, move.node, round=state.round)
            if move.at >= 0:
                step.at, step.branch = move.at, move.branch
            if move.after_s:
                step.status, step.due = "delayed", at + int(move.after_s * 1_000_000)
                state.active += 1
                state.fresh.append(move.no)
                state.touched.add(move.no)
            else:
                state.ready.append(move.no)
        elif isinstance(move, Skip | Abort):
            step = Step(move.no, move.node, "done", round=state.round, started_at=at, ended_at=at)
            step.outcome = "skipped" if isinstance(move, Skip) else "aborted"
            state.steps[move.no] = step
            state.touched.add(move.no)
        elif (further := FURTHER.get(type(move))) is not None:
            further(state, move, at)
    promote(state)


def on_merge(state: RunState, move: Merge, at: int) -> None:
    state.document.update(move.patch)


def on_fan(state: RunState, move: Fan, at: int) -> None:
    if move.deadline_s:
        state.fans.append((move.at, at + int(move.deadline_s * 1_000_000)))


def on_question(state: RunState, move: Question, at: int) -> None:
    state.steps[move.no] = Step(move.no, move.node, round=state.round, at=move.at, started_at=at)


FURTHER: dict[type, Callable[[RunState, Any, int], None]] = {Merge: on_merge, Fan: on_fan, Question: on_question}


def promote(state: RunState) -> None:
    """Offer visited steps, as many as `max_active_steps` allows; nothing new while the run pauses, or waits for its place."""
    if not state.ready or not state.goes:
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


def ended_of(step: Step, event: StepEnded) -> Ended:
    return Ended(
        step.node, step.no, event.outcome, event.tolerated, event.marked, event.passed, event.partial, event.code, event.goto,
        event.patch, event.answer, with_tries(step, event.used), event.said, step.retries + 1,
    )  # fmt: skip


def with_tries(step: Step, used: Used | None) -> Used | None:
    """What a step used, its tries that were repeated included."""
    if not step.used:
        return used
    total = dict(step.used)
    add_used(total, used)
    return total
