"""What a run answers to an order: events, or a refusal. Pure; the memo of the router is never changed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..errors import Invalid, NotFound, Problem, Refused
from ..kernel.types import Facts, SlotGranted
from ..spec.expand import Variables
from ..spec.graph import Retry
from ..spec.retry import may_retry, retry_delay_s, settle_retry
from .birth import Events, begin, closing, fork_run, import_run, is_teller, queue_slot, start_run
from .children import children_output
from .fold import as_json
from .message import (
    AnswerAsk,
    AnswerGiven,
    ChildEnded,
    ChildrenSpawned,
    EndChild,
    EndTry,
    ForkRun,
    ImportRun,
    LoseTry,
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
    RunStopping,
    StartRun,
    StartTry,
    StepAsked,
    StepDelayed,
    StepEnded,
    StepMarked,
    StepStarted,
    StopRun,
    TimeOutAsk,
    TimeOutRun,
)
from .ports import StepOutcome
from .routing.port import Ended, MoveOn, Visit
from .state import RunState, Step

NOT_SUCCESS = frozenset(("failed", "timed_out", "broken", "lost"))


def slot_granted(state: RunState, command: SlotGranted, facts: Facts) -> Events:
    if state.status != "queued" or command.name != queue_slot(state.queue):
        return []
    if state.round > 1 and state.prepared:
        return resume_round(state)
    return begin(state.known, state.memo, state.document, state.known.graph.prepare is not None and not state.prepared)


def resume_round(state: RunState) -> Events:
    moves = state.known.router.begin(state.known.plan, state.memo, state.document)
    return [RunBegan(tuple(moves)), *closing(moves)]


def prepared(state: RunState, command: Resolved, facts: Facts) -> Events:
    if state.prepared or state.known.graph.prepare is None or state.status in ("ended", "queued"):
        return []
    if command.error:
        return [RunPrepared(command), RunEnded("failed", "prepare")]
    if command.unmet:
        return [RunPrepared(command), RunEnded("cancelled", "precondition")]
    if state.status == "stopping":
        return [RunPrepared(command), RunEnded(state.stop_outcome or "cancelled", state.stop_reason)]
    moves = state.known.router.begin(state.known.plan, state.memo, state.document)
    return [RunPrepared(command, tuple(moves)), *closing(moves), *resting(state, None)]


def resting(state: RunState, ended: Step | None) -> Events:
    """A pausing run is paused once nothing of it executes."""
    if state.status != "pausing":
        return []
    busy = any(step.status == "running" for step in state.steps.values() if step is not ended)
    return [] if busy else [RunPaused()]


def start_try(state: RunState, command: StartTry, facts: Facts) -> Events:
    step = state.steps.get(command.no)
    if state.status not in ("running", "stopping") or step is None or step.status not in ("offered", "delayed"):
        return []  # the run moved on: nobody owes this job any more
    if step.status == "delayed" and step.due > facts.now:
        raise Refused(f"step {command.no} of run {state.run} is not due yet")
    return [StepStarted(command.no, step.try_no + 1, command.worker)]


def end_try(state: RunState, command: EndTry, facts: Facts) -> Events:
    step = state.steps.get(command.no)
    if step is None or step.status != "running" or step.try_no != command.try_no:
        return []  # a late or repeated report: the try is not the running one
    goes_on = state.status != "stopping"
    if command.ask is not None and goes_on:
        return ask(state, step, command, facts)
    if command.children is not None and goes_on:
        return spawn(state, step, command)
    if goes_on and command.again_in_s is not None:
        at = facts.now + int(command.again_in_s * 1_000_000)
        return [
            StepDelayed(step.no, at, "repeat", command.error, command.exit_code, command.output),
            *resting(state, step),
        ]
    if goes_on and command.outcome in NOT_SUCCESS and command.retry_in_s is not None and step.retries < command.retry_limit:
        at = facts.now + int(command.retry_in_s * 1_000_000)
        return [StepDelayed(step.no, at, "retry", command.error, command.exit_code), *resting(state, step)]
    return end_step(
        state, step,
        StepEnded(
            step.no, command.outcome, (), command.output, command.patch, command.exit_code, command.error,
            command.tolerated, command.marked, command.passed, command.partial,
        ),
    )  # fmt: skip


def end_step(state: RunState, step: Step, end: StepEnded) -> Events:
    """The end of a step with the moves that follow."""
    ended = Ended(step.node, step.no, end.outcome, end.tolerated, end.marked, end.passed, end.partial)
    document = {**state.document, **end.patch} if end.patch else state.document
    moves = state.known.router.advance(state.known.plan, state.memo, ended, document)
    events: Events = [end]
    if moves:
        msgspec.structs.force_setattr(end, "moves", tuple(moves))  # still ours alone: nobody has seen it
        events.extend(closing(moves, state))
    if state.status == "pausing" and len(events) == 1:
        events.extend(resting(state, step))
    return events


def ask(state: RunState, step: Step, command: EndTry, facts: Facts) -> Events:
    assert command.ask is not None
    until = facts.now + int(command.ask.timeout_s * 1_000_000) if command.ask.timeout_s else 0
    told: tuple[MoveOn, ...] = ()
    if not state.asking:
        nodes = state.known.nodes
        told = tuple(
            Visit(node, node)
            for node in range(len(nodes))
            if nodes[node].phase == "on_wait" and (node not in state.steps or state.steps[node].status in ("idle", "done"))
        )
    return [StepAsked(step.no, command.ask, until, told), *resting(state, step)]


def answer_ask(state: RunState, command: AnswerAsk, facts: Facts) -> Events:
    step = state.steps.get(command.no)
    if step is None or step.status != "asking" or step.ask is None:
        raise Refused(f"step {command.no} is not waiting for an answer", code="not_waiting")
    given = AnswerGiven(command.no, command.by, command.approve, command.answer, command.reason)
    if not command.approve:
        return [given, *end_step(state, step, StepEnded(step.no, "rejected", error=command.reason or "rejected"))]
    missing = [name for name in step.ask.schema.get("required", ()) if not command.answer.get(name)]
    if missing:
        problems = [Problem(f"input {name!r} is required", path=f"inputs.{name}") for name in missing]
        raise Invalid(f"missing input: {', '.join(missing)}", problems)
    schema = step.ask.schema
    strange = [] if schema.get("additionalProperties", True) else [name for name in command.answer if name not in schema["properties"]]
    if strange:
        # An answer becomes environment of later steps: a name nobody asked for could be PATH.
        problems = [Problem(f"input {name!r} is not asked for", path=f"inputs.{name}") for name in strange]
        raise Invalid(f"unknown input: {', '.join(strange)}", problems, hint=f"asked for: {', '.join(schema['properties']) or 'nothing'}")
    approvals = 1 + len({one["by"] for one in step.answers if one.get("approve")} - {command.by})
    if approvals < step.ask.needed:
        return [given]
    output = as_json(command.answer) if command.answer else None
    return [given, *end_step(state, step, StepEnded(step.no, output=output, patch=command.answer or None))]


def time_out_ask(state: RunState, command: TimeOutAsk, facts: Facts) -> Events:
    step = state.steps.get(command.no)
    if step is None or step.status != "asking" or step.until != command.until or step.ask is None:
        return []
    return end_step(state, step, StepEnded(step.no, step.ask.on_timeout, error="nobody answered in time"))


def lose_try(state: RunState, command: LoseTry, facts: Facts) -> Events:
    """A dead worker's try: again if that is safe or tries are left, else the step is lost (house rule of lost tries)."""
    step = state.steps.get(command.no)
    if step is None or step.status != "running" or (command.try_no and command.try_no != step.try_no):
        return []
    if state.status == "stopping":
        return end_step(state, step, StepEnded(step.no, "cancelled", error=command.reason))
    if command.again:
        return [StepDelayed(step.no, facts.now, "lost", command.reason), *resting(state, step)]
    retry = state.known.nodes[step.node].retry
    rule = settle_retry(retry, Variables()) if retry is not None and is_plain(retry) else None
    if rule is not None and may_retry(rule, step.retries, None):
        at = facts.now + int(retry_delay_s(rule, step.retries) * 1_000_000)
        return [StepDelayed(step.no, at, "retry", command.reason), *resting(state, step)]
    tolerate = state.known.nodes[step.node].tolerate
    tolerated = tolerate is not None and tolerate.failure
    return end_step(state, step, StepEnded(step.no, "lost", error=command.reason, tolerated=tolerated))


def is_plain(retry: Retry) -> bool:
    """Whether a policy's numbers are known without the try's variables. One with exit codes does not cover a lost try."""
    return not retry.exit_codes and all("$" not in str(part) and "`" not in str(part) for part in (retry.limit, retry.interval_s))


def spawn(state: RunState, step: Step, command: EndTry) -> Events:
    assert command.children is not None
    if not command.children:
        output = children_output((), (), command.parallel)
        return end_step(state, step, StepEnded(step.no, output=output))
    spawned = ChildrenSpawned(
        step.no, command.children, command.max_active, command.parallel, command.tolerated, command.marked,
        command.retry_in_s, command.retry_limit,
    )  # fmt: skip
    return [spawned, *resting(state, step)]


def end_child(state: RunState, command: EndChild, facts: Facts) -> Events:
    step = state.steps.get(command.no)
    if step is None or step.status != "parent" or step.children is None:
        return []
    children = step.children
    if command.index >= children.next or children.states[command.index].outcome is not None:
        return []
    if command.round != state.round and (not command.key or command.key != children.specs[command.index].key):
        return []
    ended = ChildEnded(command.no, command.index, command.run, command.outcome, command.outputs, command.error)
    more = children.next < len(children.specs) and state.status != "stopping"
    if children.open > 1 or more:
        return [ended]
    return [ended, *end_parent(state, step, ended, facts)]


def end_parent(state: RunState, step: Step, last: ChildEnded, facts: Facts) -> Events:
    """All children let go have ended: the step ends with what they made."""
    children = step.children
    assert children is not None
    states = list(children.states)
    states[last.index] = msgspec.structs.replace(
        states[last.index], run=last.run, outcome=last.outcome, outputs=last.outputs, error=last.error
    )
    output = children_output(children.specs, states, children.parallel)
    outcomes = [child.outcome for child in states]
    if state.status == "stopping":
        return end_step(state, step, StepEnded(step.no, "cancelled", output=output))
    bad = [child for child in states if child.outcome not in ("succeeded", "partial")]
    if not bad:
        return end_step(state, step, StepEnded(step.no, output=output, partial="partial" in outcomes))
    error = next((child.error for child in bad if child.error), f"{len(bad)} of {len(states)} child runs did not succeed")
    if children.retry_in_s is not None and step.retries < children.retry_limit:
        at = facts.now + int(children.retry_in_s * 1_000_000)
        return [StepDelayed(step.no, at, "retry", error)]
    outcome: StepOutcome = "rejected" if all(child.outcome == "rejected" for child in bad) else "failed"
    end = StepEnded(step.no, outcome, output=output, error=error, tolerated=children.tolerated, marked=children.marked)
    return end_step(state, step, end)


def stop_run(state: RunState, command: StopRun, facts: Facts) -> Events:
    if command.if_queued and state.status != "queued":
        stands = "has ended" if state.status == "ended" else f"is {state.status}"
        raise Refused(f"run {state.alias} of {state.name} is not queued: it {stands}", code="not_queued")
    if state.status == "ended":
        raise Refused(f"run {state.alias} of {state.name} is not running", code="not_running")
    grace_s = command.grace_s if command.grace_s is not None else state.known.graph.stop_grace_s
    if state.status == "stopping":
        grace_s = min(grace_s, state.stop_grace_s)
        return [RunStopping(command.outcome, command.reason, command.mode, grace_s)]
    stopping = RunStopping(command.outcome, command.reason, command.mode, grace_s)
    unprepared = state.known.graph.prepare is not None and not state.prepared
    if state.status == "queued" or unprepared:
        return [stopping, RunEnded(command.outcome, command.reason)]
    return stop_steps(state, stopping)


def stop_steps(state: RunState, stopping: RunStopping) -> Events:
    """End every open step that no process and no child run holds; those that are held end by themselves."""
    router, plan = state.known.router, state.known.plan
    memo = router.load(plan, router.dump(state.memo))
    router.fold_stop(plan, memo, stopping.outcome, stopping.reason)
    open_ = [step for step in state.steps.values() if step.status not in ("done", "idle") and not is_teller(state, step)]
    idle = [step for step in open_ if not is_held(step)]
    if not open_:
        moves = router.stop(plan, memo, stopping.outcome, stopping.reason)
        return [msgspec.structs.replace(stopping, moves=tuple(moves)), *closing(moves, state)]
    events: Events = [stopping]
    for step in idle:
        ended = Ended(step.node, step.no, "cancelled")
        moves = router.advance(plan, memo, ended, state.document)
        router.fold(plan, memo, ended, moves)
        events.append(StepEnded(step.no, "cancelled", tuple(moves)))
        events.extend(closing(moves, state))
    return events


def is_held(step: Step) -> bool:
    """Whether a process or a child run that is open will end the step. After a pause none may be open though more are to come."""
    return step.status == "running" or (step.status == "parent" and step.children is not None and step.children.open > 0)


def time_out_run(state: RunState, command: TimeOutRun, facts: Facts) -> Events:
    if command.round != state.round or state.status in ("ended", "stopping", "paused", "pausing"):
        return []
    if state.due > facts.now:
        return []
    return stop_run(state, StopRun("failed", "timed_out"), facts)


def pause_run(state: RunState, command: PauseRun, facts: Facts) -> Events:
    if state.status != "running" or not state.known.graph.doors.pause:
        raise Refused(f"run {state.alias} is {state.status}, so it cannot be paused", code="not_running")
    if any(step.status == "running" for step in state.steps.values()):
        return [RunPausing()]
    return [RunPausing(), RunPaused()]


def resume_run(state: RunState, command: ResumeRun, facts: Facts) -> Events:
    if state.status not in ("paused", "pausing"):
        raise Refused(f"run {state.alias} is {state.status}, not paused", code="not_paused")
    return [RunResumed()]


def reopen_run(state: RunState, command: ReopenRun, facts: Facts) -> Events:
    if state.status != "ended":
        raise Refused(f"run {state.alias} of {state.name} has not ended", code="already_running", hint="stop it first")
    if state.outcome not in state.known.graph.doors.reopen_from:
        raise Refused(f"a run that {state.outcome} cannot be reopened", code="not_reopenable")
    number = state.round + 1
    if not state.prepared and state.known.graph.prepare is not None:  # nothing ran yet: no step to choose
        return [
            RunReopened(number, (), None, command.queue, command.queue_limit, command.at_once, parent=command.parent)
        ]
    if command.step is not None and command.step not in state.steps and not 0 <= command.step < len(state.known.nodes):
        raise NotFound(f"run {state.alias} has no step {command.step}")
    router, plan = state.known.router, state.known.plan
    memo = router.load(plan, router.dump(state.memo))
    reset = tuple(router.reset(plan, memo, command.step))
    reopened = RunReopened(
        number, reset, command.step, command.queue, command.queue_limit, command.at_once, parent=command.parent
    )
    if command.queue and not command.at_once:
        return [reopened]
    moves = tuple(router.begin(plan, memo, state.document))
    return [msgspec.structs.replace(reopened, moves=moves), *closing(moves)]


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


Decision = Callable[[RunState, Any, Facts], Events]
DECISIONS: dict[type, Decision] = {
    StartRun: start_run,
    ForkRun: fork_run,
    ImportRun: import_run,
    SlotGranted: slot_granted,
    Resolved: prepared,
    StartTry: start_try,
    EndTry: end_try,
    LoseTry: lose_try,
    AnswerAsk: answer_ask,
    TimeOutAsk: time_out_ask,
    EndChild: end_child,
    StopRun: stop_run,
    TimeOutRun: time_out_run,
    PauseRun: pause_run,
    ResumeRun: resume_run,
    ReopenRun: reopen_run,
    MarkStep: mark_step,
    RenameRun: rename_run,
}

