"""What an event means for its step."""

from __future__ import annotations

from typing import Any

from ...kernel.record.artifact import RUN, artifact_row
from ..message import (
    AnswerGiven,
    ChildEnded,
    ChildrenSpawned,
    StepAsked,
    StepDelayed,
    StepDropped,
    StepEnded,
    StepMarked,
    StepStarted,
)
from ..routing.rules.budget import add_used
from ..state import ANCHOR_EVERY, ANCHOR_STEP_BYTES, Children, ChildState, RunState, Step
from .move import ended_of, promote, shift, take_moves


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
    if event.used:
        step.used = step.used or {}
        add_used(step.used, event.used)
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
        event.retry_in_s, event.retry_limit, [ChildState() for _ in event.children], fields=event.fields,
    )  # fmt: skip
    state.let_go = []
    let_go(state, event.no, step.children)


def let_go(state: RunState, no: int, children: Children) -> None:
    """Start children, as many as may be open at once; none while the run pauses, stops, or waits for its place."""
    if state.status != "running" or state.aside:
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
    child.state, child.used = event.state, event.used
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
    if event.artifacts:
        state.told.extend(artifact_row(state.scope, RUN, state.run, made, at) for made in event.artifacts)
    if state.known.shape is not None:
        step.code, step.patch = event.code, event.patch
        if event.anchor:
            state.anchor_due = event.no + max(ANCHOR_EVERY, len(bytes(event.anchor)) // ANCHOR_STEP_BYTES)
    if event.patch and not step.branch:
        state.document.update(event.patch)
    take_moves(state, ended_of(step, event), event.moves, at)


def on_dropped(state: RunState, event: StepDropped, at: int) -> None:
    step = state.steps[event.no]
    if event.no in state.ready:
        state.ready.remove(event.no)
    shift(state, step, "done")
    step.outcome, step.ended_at, step.children = "cancelled", at, None
    step.started_at = step.started_at or at
    promote(state)


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
