"""The end of a step, with what follows from it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..birth import Events, following
from ..fold.move import ended_of
from ..message import RunEnded, RunPaused, StepDropped, StepEnded
from ..routing.port import Chose, Close, MoveOn
from ..routing.rules.state import WRONG_STATE, Shape
from ..state import ANCHOR_EVERY, RunState, Step, dump_anchor


def end_step(state: RunState, step: Step, end: StepEnded, now: int) -> Events:
    """The end of a step with the moves that follow."""
    known = state.known
    if known.shape is not None and end.patch:
        end = fitting(known.shape, end)
    if known.shape is not None and step.no >= max(state.anchor_due, ANCHOR_EVERY):
        end = msgspec.structs.replace(end, anchor=msgspec.Raw(dump_anchor(state, state.memo.open)))
    moves = known.router.advance(known.plan, state.memo, ended_of(step, end), state.document)
    events: Events = [end]
    if moves:
        msgspec.structs.force_setattr(end, "moves", tuple(moves))  # still ours alone: nobody has seen it
        if type(moves[-1]) is Close and not end.error and known.shape is not None:
            msgspec.structs.force_setattr(end, "error", why_ended(moves))
        events.extend(following(moves, now, state))
    return paused_after(state, events, step)


def paused_after(state: RunState, events: Events, *ended: Step) -> Events:
    """Adds that a pausing run is paused, if nothing of it executes after these events."""
    if state.status == "pausing" and type(events[-1]) is not RunEnded:
        events.extend(resting(state, *ended, *(state.steps[event.no] for event in events if type(event) is StepDropped)))
    return events


def why_ended(moves: Sequence[MoveOn]) -> str:
    """Why a step that went well is the last one of a run that did not: the decision says it best."""
    return next((move.reason for move in moves if type(move) is Chose and move.kind == "fail"), "")


def fitting(shape: Shape, end: StepEnded) -> StepEnded:
    """A patch that would make the state one the schema does not know breaks the step, and is not taken."""
    problems = list(shape.problems(end.patch or {}))
    if not problems:
        return end
    said = "; ".join(problem.message for problem in problems)
    return msgspec.structs.replace(end, outcome="broken", patch=None, error=f"{WRONG_STATE}: {said}", code=WRONG_STATE)


def resting(state: RunState, *ended: Step) -> Events:
    """A pausing run is paused once nothing of it executes."""
    if state.status != "pausing":
        return []
    busy = any(step.status == "running" for step in state.steps.values() if step not in ended)
    return [] if busy else [RunPaused()]
