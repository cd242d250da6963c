"""Tries begin and end, and with them steps: what follows is the router's answer."""

from __future__ import annotations

import msgspec

from ...errors import Refused
from ...kernel.types import Facts
from ...spec.expand import Variables
from ...spec.graph import Retry
from ...spec.ir.pack.policy import FINAL
from ...spec.retry import may_retry, retry_delay_s, settle_retry
from ..birth import Events
from ..fold.move import with_tries
from ..message import (
    ChildEnded,
    ChildrenSpawned,
    EndChild,
    EndTry,
    LoseTry,
    StartTry,
    StepDelayed,
    StepEnded,
    StepStarted,
)
from ..ports import StepOutcome, Used
from ..routing.rules.budget import overdrawn, sum_used
from ..state import RunState, Step
from .ask import ask
from .children import children_output
from .end import end_step, resting

NOT_SUCCESS = frozenset(("failed", "timed_out", "broken", "lost"))


def start_try(state: RunState, command: StartTry, facts: Facts) -> Events:
    step = state.steps.get(command.no)
    if not state.goes or step is None or step.status not in ("offered", "delayed"):
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
        return spawn(state, step, command, facts)
    if goes_on and command.again_in_s is not None:
        at = facts.now + int(command.again_in_s * 1_000_000)
        return [
            StepDelayed(step.no, at, "repeat", command.error, command.exit_code, command.output),
            *resting(state, step),
        ]
    more = goes_on and command.outcome in NOT_SUCCESS and command.retry_in_s is not None and step.retries < command.retry_limit
    if more and command.retry_in_s is not None and not spent(state, step, command.used):
        at = facts.now + int(command.retry_in_s * 1_000_000)
        return [StepDelayed(step.no, at, "retry", command.error, command.exit_code, used=command.used), *resting(state, step)]
    end = StepEnded(
        step.no, command.outcome, (), command.output, command.patch, command.exit_code, command.error,
        command.tolerated, command.marked, command.passed, command.partial, command.code, "", None, command.used, command.said,
        command.artifacts,
    )  # fmt: skip
    if state.known.shape is not None and command.outcome in NOT_SUCCESS and command.code not in FINAL and has_no_tries_left(state, step):
        end = msgspec.structs.replace(end, outcome="failed", code="retry_exhausted")
    return end_step(state, step, end, facts.now)


def spent(state: RunState, step: Step, used: Used | None) -> bool:
    """Whether a try used up what its node, or the run, may use: then there is no further one."""
    if state.known.shape is None or used is None:
        return False
    plan = state.known.plan
    return bool(overdrawn(plan.budgets, state.memo.used, plan.names[step.node], with_tries(step, used)))


def has_no_tries_left(state: RunState, step: Step) -> bool:
    """Whether a policy gave a step of a graph of rules further tries, and all were taken: the run then fails by its own rules, whatever
    the last try raised (Stargraph 0.8: `failed`, not `error`)."""
    retry = state.known.nodes[step.node].retry
    return retry is not None and isinstance(retry.limit, int) and step.retries >= retry.limit > 0


def lose_try(state: RunState, command: LoseTry, facts: Facts) -> Events:
    """A dead worker's try: again if that is safe or tries are left, else the step is lost (house rule of lost tries)."""
    step = state.steps.get(command.no)
    if step is None or step.status != "running" or (command.try_no and command.try_no != step.try_no):
        return []
    if state.status == "stopping":
        return end_step(state, step, StepEnded(step.no, "cancelled", error=command.reason), facts.now)
    if command.again:
        return [StepDelayed(step.no, facts.now, "lost", command.reason), *resting(state, step)]
    retry = state.known.nodes[step.node].retry
    rule = settle_retry(retry, Variables()) if retry is not None and is_plain(retry) else None
    if rule is not None and may_retry(rule, step.retries, None):
        at = facts.now + int(retry_delay_s(rule, step.retries) * 1_000_000)
        return [StepDelayed(step.no, at, "retry", command.reason), *resting(state, step)]
    tolerate = state.known.nodes[step.node].tolerate
    tolerated = tolerate is not None and tolerate.failure
    return end_step(state, step, StepEnded(step.no, "lost", error=command.reason, tolerated=tolerated), facts.now)


def is_plain(retry: Retry) -> bool:
    """Whether a policy's numbers are known without the try's variables. One with exit codes does not cover a lost try."""
    return not retry.exit_codes and all("$" not in str(part) and "`" not in str(part) for part in (retry.limit, retry.interval_s))


def spawn(state: RunState, step: Step, command: EndTry, facts: Facts) -> Events:
    assert command.children is not None
    if not command.children:
        output = children_output((), (), command.parallel)
        return end_step(state, step, StepEnded(step.no, output=output), facts.now)
    spawned = ChildrenSpawned(
        step.no, command.children, command.max_active, command.parallel, command.tolerated, command.marked,
        command.retry_in_s, command.retry_limit, command.fields,
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
    ended = ChildEnded(
        command.no, command.index, command.run, command.outcome, command.outputs, command.error, command.state, command.used
    )
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
        states[last.index], run=last.run, outcome=last.outcome, outputs=last.outputs, error=last.error, state=last.state, used=last.used
    )
    output = children_output(children.specs, states, children.parallel)
    outcomes = [child.outcome for child in states]
    if state.status == "stopping":
        return end_step(state, step, StepEnded(step.no, "cancelled", output=output), facts.now)
    used = sum_used(child.used for child in states)
    bad = [child for child in states if child.outcome not in ("succeeded", "partial")]
    if not bad:
        given = [(one.state, *pair) for one in states for pair in children.fields.items()]
        patch = {mine: state[theirs] if theirs else state for state, mine, theirs in given if not theirs or theirs in state}
        end = StepEnded(step.no, output=output, patch=patch or None, partial="partial" in outcomes, used=used)
        return end_step(state, step, end, facts.now)
    error = next((child.error for child in bad if child.error), f"{len(bad)} of {len(states)} child runs did not succeed")
    if children.retry_in_s is not None and step.retries < children.retry_limit:
        at = facts.now + int(children.retry_in_s * 1_000_000)
        return [StepDelayed(step.no, at, "retry", error)]
    outcome: StepOutcome = "rejected" if all(child.outcome == "rejected" for child in bad) else "failed"
    end = StepEnded(
        step.no, outcome, output=output, error=error, tolerated=children.tolerated, marked=children.marked, used=used
    )
    return end_step(state, step, end, facts.now)
