"""Questions to people: asked, answered, left unanswered."""

from __future__ import annotations

from typing import Any

from ...errors import Invalid, Problem, Refused
from ...kernel.types import Facts
from ...spec.ir.pack.policy import SAFETY_PII, VIOLATION, violated, violation_fact, withheld
from ..birth import Events, ask_until
from ..message import (
    AnswerAsk,
    AnswerGiven,
    EndTry,
    StepAsked,
    StepEnded,
    TimeOutAsk,
)
from ..ports import Ask
from ..routing.port import MoveOn, Visit
from ..routing.rules.state import Shape, misfits
from ..state import RunState, Step, as_json
from .end import end_step, resting


def ask(state: RunState, step: Step, command: EndTry, facts: Facts) -> Events:
    assert command.ask is not None
    until = ask_until(command.ask, facts.now)
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
    policy = state.known.policy
    found = violated(policy, [command.answer, command.reason])
    said = tuple(violation_fact(one, SAFETY_PII, state.alias or state.run) for one in found)
    if any(one.severity == "halt" for one in found):
        reason, kept = withheld(policy, command.reason), withheld(policy, command.answer)
        given = AnswerGiven(command.no, command.by, command.approve, kept, reason)
        error = f"{SAFETY_PII}: {found[0].reason}"
        return [given, *end_step(state, step, StepEnded(step.no, "failed", error=error, code=VIOLATION, said=said), facts.now)]
    given = AnswerGiven(command.no, command.by, command.approve, command.answer, command.reason)
    if not command.approve:
        rejected = StepEnded(step.no, "rejected", error=command.reason or "rejected", code="rejected" if state.known.shape else "")
        return [given, *end_step(state, step, rejected, facts.now)]
    if state.known.shape is None:
        check_inputs(step.ask.schema, command.answer)
        patch = command.answer or None
    else:
        patch = answer_patch(state.known.shape, step.ask, command.answer)
    approvals = 1 + len({one["by"] for one in step.answers if one.get("approve")} - {command.by})
    if approvals < step.ask.needed:
        return [given]
    output = as_json(command.answer) if command.answer else None
    answer = command.answer if state.known.shape is not None else None
    return [given, *end_step(state, step, StepEnded(step.no, output=output, patch=patch, answer=answer, said=said), facts.now)]


def answer_patch(shape: Shape, ask: Ask, answer: dict[str, Any]) -> dict[str, Any] | None:
    """What an answer changes in the state of a graph of rules. Raises `Invalid` when it does not fit the question, or the state."""
    problems = list(misfits(ask.schema, answer)) if ask.schema else []
    if not problems:
        taken = {ask.output_field: answer} if ask.output_field else {name: answer[name] for name in answer if name in shape.fields}
        problems = list(shape.problems(taken))
        if not problems:
            return taken or None
    raise Invalid(f"the answer does not fit: {problems[0].message}", problems)


def check_inputs(schema: dict[str, Any], answer: dict[str, Any]) -> None:
    """Raises `Invalid` for required inputs that are empty and for those nobody asked for."""
    missing = [name for name in schema.get("required", ()) if not answer.get(name)]
    if missing:
        problems = [Problem(f"input {name!r} is required", path=f"inputs.{name}") for name in missing]
        raise Invalid(f"missing input: {', '.join(missing)}", problems)
    strange = (
        [] if schema.get("additionalProperties", True) else [name for name in answer if name not in schema["properties"]]
    )
    if strange:
        # An answer becomes environment of later steps: a name nobody asked for could be PATH.
        problems = [Problem(f"input {name!r} is not asked for", path=f"inputs.{name}") for name in strange]
        raise Invalid(
            f"unknown input: {', '.join(strange)}", problems, hint=f"asked for: {', '.join(schema['properties']) or 'nothing'}"
        )


def time_out_ask(state: RunState, command: TimeOutAsk, facts: Facts) -> Events:
    step = state.steps.get(command.no)
    if step is None or step.status != "asking" or step.until != command.until or step.ask is None:
        return []
    end = StepEnded(step.no, step.ask.on_timeout, error="nobody answered in time")
    if state.known.shape is not None:
        end = StepEnded(step.no, step.ask.on_timeout, error=end.error, code="interrupt_timeout", goto=step.ask.goto)
    return end_step(state, step, end, facts.now)
