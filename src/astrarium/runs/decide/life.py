"""The run as a whole: begun, paused, resumed, stopped, opened again, edited."""

from __future__ import annotations

import msgspec

from ...errors import NotFound, Refused
from ...kernel.types import Facts, SlotGranted
from ..birth import Events, begin, following, is_teller, queue_slot
from ..message import (
    ExpireFan,
    FanExpired,
    LeavePlace,
    MarkStep,
    PauseRun,
    RenameRun,
    ReopenRun,
    Resolved,
    ResumeRun,
    RunBegan,
    RunEnded,
    RunPaused,
    RunPausing,
    RunPrepared,
    RunRenamed,
    RunReopened,
    RunResumed,
    RunStoodAside,
    RunStopping,
    RunWentOn,
    StepEnded,
    StepMarked,
    StopRun,
    TimeOutRun,
)
from ..routing.port import Ended
from ..routing.rules.budget import EXHAUSTED
from ..row import shown_status
from ..state import RunState, Step
from .end import paused_after, resting

NEVER_S = 1e9
"""The grace of a cooperative stop that was given none: a try that goes on to its end is waited for."""


def slot_granted(state: RunState, command: SlotGranted, facts: Facts) -> Events:
    place = facts.slots.get(command.name)
    left_again = place is not None and f"run:{state.run}" not in place.holders
    if not state.in_line or left_again or command.name != queue_slot(state.queue):
        return []
    if state.status == "running":
        return [RunWentOn()]
    if state.round > 1 and state.prepared:
        return resume_round(state, facts.now)
    prepare = state.known.graph.prepare is not None and not state.prepared
    return begin(state.known, state.memo, state.document, prepare, facts.now)


def resume_round(state: RunState, now: int) -> Events:
    moves = state.known.router.begin(state.known.plan, state.memo, state.document)
    return [RunBegan(tuple(moves)), *following(moves, now)]


def prepared(state: RunState, command: Resolved, facts: Facts) -> Events:
    if state.prepared or state.known.graph.prepare is None or state.status in ("ended", "queued", "parked"):
        return []
    if command.error:
        return [RunPrepared(command), RunEnded("failed", "prepare")]
    if command.unmet:
        return [RunPrepared(command), RunEnded("cancelled", "precondition")]
    if state.status == "stopping":
        return [RunPrepared(command), RunEnded(state.stop_outcome or "cancelled", state.stop_reason)]
    moves = state.known.router.begin(state.known.plan, state.memo, state.document)
    return [RunPrepared(command, tuple(moves)), *following(moves, facts.now), *resting(state)]


def stop_run(state: RunState, command: StopRun, facts: Facts) -> Events:
    if command.if_queued and not state.in_line:
        stands = "has ended" if state.status == "ended" else f"is {shown_status(state)[0]}"
        raise Refused(f"run {state.alias} of {state.name} is not queued: it {stands}", code="not_queued")
    if state.status == "ended":
        raise Refused(f"run {state.alias} of {state.name} is not running", code="not_running")
    grace_s = command.grace_s
    if grace_s is None:
        grace_s = state.known.graph.stop_grace_s if command.mode == "signal" else NEVER_S
    if state.status == "stopping":
        grace_s = min(grace_s, state.stop_grace_s)
        return [RunStopping(command.outcome, command.reason, command.mode, grace_s)]
    stopping = RunStopping(command.outcome, command.reason, command.mode, grace_s)
    unprepared = state.known.graph.prepare is not None and not state.prepared
    if state.status in ("queued", "parked") or unprepared:
        return [stopping, RunEnded(command.outcome, command.reason)]
    return stop_steps(state, stopping, facts.now)


def stop_steps(state: RunState, stopping: RunStopping, now: int) -> Events:
    """End every open step that no process and no child run holds; those that are held end by themselves."""
    router, plan = state.known.router, state.known.plan
    memo = router.load(plan, router.dump(state.memo))
    router.fold_stop(plan, memo, stopping.outcome, stopping.reason)
    open_ = [step for step in state.steps.values() if step.status not in ("done", "idle") and not is_teller(state, step)]
    idle = [step for step in open_ if not is_held(step)]
    if not open_:
        moves = router.stop(plan, memo, stopping.outcome, stopping.reason)
        return [msgspec.structs.replace(stopping, moves=tuple(moves)), *following(moves, now, state)]
    events: Events = [stopping]
    for step in idle:
        ended = Ended(step.node, step.no, "cancelled")
        moves = router.advance(plan, memo, ended, state.document)
        router.fold(plan, memo, ended, moves)
        events.append(StepEnded(step.no, "cancelled", tuple(moves)))
        events.extend(following(moves, now, state))
    return events


def is_held(step: Step) -> bool:
    """Whether a process or a child run that is open will end the step. After a pause none may be open though more are to come."""
    return step.status == "running" or (step.status == "parent" and step.children is not None and step.children.open > 0)


def time_out_run(state: RunState, command: TimeOutRun, facts: Facts) -> Events:
    if command.round != state.round or state.status != "running" or state.in_line:
        return []
    if state.due > facts.now:
        return []
    reason = "timed_out" if state.known.shape is None else EXHAUSTED  # a graph of rules has its time from its budget
    return stop_run(state, StopRun("failed", reason), facts)


def pause_run(state: RunState, command: PauseRun, facts: Facts) -> Events:
    if state.status not in ("running", "queued") or not state.known.graph.doors.pause:
        raise Refused(f"run {state.alias} is {shown_status(state)[0]}, so it cannot be paused", code="not_running")
    if state.known.shape is not None and state.asks:
        raise Refused(f"run {state.alias} waits for an answer, so it cannot be paused", code="waiting")
    if any(step.status == "running" for step in state.steps.values()):
        return [RunPausing()]
    return [RunPausing(), RunPaused()]


def leave_place(state: RunState, command: LeavePlace, facts: Facts) -> Events:
    return [RunStoodAside()] if state.rests and not state.aside else []


def resume_run(state: RunState, command: ResumeRun, facts: Facts) -> Events:
    if state.status not in ("paused", "parked", "pausing"):
        raise Refused(f"run {state.alias} is {shown_status(state)[0]}, not paused", code="not_paused")
    return [RunResumed()]


def expire_fan(state: RunState, command: ExpireFan, facts: Facts) -> Events:
    if state.status not in ("running", "pausing", "paused") or command.round != state.round:
        return []
    moves = state.known.router.expire(state.known.plan, state.memo, command.at, state.document)
    if not moves:
        return []
    return paused_after(state, [FanExpired(command.at, tuple(moves)), *following(moves, facts.now, state)])


def reopen_run(state: RunState, command: ReopenRun, facts: Facts) -> Events:
    goes_back = command.back is not None and state.status == "paused"
    if state.status != "ended" and not goes_back:
        raise Refused(f"run {state.alias} of {state.name} has not ended", code="already_running", hint="stop it first")
    if not goes_back and state.outcome not in state.known.graph.doors.reopen_from:
        raise Refused(f"a run that {state.outcome} cannot be reopened", code="not_reopenable")
    number = state.round + 1
    if not state.prepared and state.known.graph.prepare is not None:  # nothing ran yet: no step to choose
        return [RunReopened(number, (), None, command.queue, command.queue_limit, command.at_once, parent=command.parent)]
    if command.step is not None and command.step not in state.steps and not 0 <= command.step < len(state.known.nodes):
        raise NotFound(f"run {state.alias} has no step {command.step}")
    router, plan, back = state.known.router, state.known.plan, command.back
    memo = router.load(plan, back.memo if back is not None else router.dump(state.memo))
    reset = set(router.reset(plan, memo, command.step))
    if back is not None:
        reset.update(no for no in back.later if no in state.steps)
    reopened = RunReopened(
        number, tuple(sorted(reset)), command.step, command.queue, command.queue_limit, command.at_once,
        parent=command.parent, back=back,
    )  # fmt: skip
    if command.queue and not command.at_once:
        return [reopened]
    moves = tuple(router.begin(plan, memo, back.document if back is not None else state.document))
    return [msgspec.structs.replace(reopened, moves=moves), *following(moves, facts.now)]


def mark_step(state: RunState, command: MarkStep, facts: Facts) -> Events:
    if state.status != "ended" or not state.known.graph.doors.mark_step:
        raise Refused(f"run {state.alias} of {state.name} is active: its steps cannot be edited", code="already_running")
    if not 0 <= command.node < len(state.known.nodes):
        raise NotFound(f"run {state.alias} has no step {command.node}")
    return [StepMarked(command.node, command.outcome)]


def rename_run(state: RunState, command: RenameRun, facts: Facts) -> Events:
    if state.status == "new":
        raise NotFound(f"there is no run {state.run}")
    return [RunRenamed(command.name, state.name)] if command.name != state.name else []
