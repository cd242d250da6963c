"""A run of rules forked at a step: its past up to there, something different, and the decision taken anew.

Source: Stargraph 0.8, the normative column (contract 5.2): state fields, facts, outputs of nodes to come and answers may differ. What
happened before the step cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ...errors import Invalid, Problem
from ...kernel.engine import Engine
from ...spec.ir.pack.policy import SAFETY_PII, violated
from ..decide.ask import answer_patch
from ..message import ForkRun, Inherited, StartRun
from ..routing.port import Fact
from ..routing.rules.memo import Memo
from ..state import RunState
from .read import Moment, moment


class Mutation(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What shall be different. `document`: state fields at the step; `said`, `unsaid`: facts asserted and retracted there, as {fact,
    slots}; `overrides`: by node, the patch its later visits shall have made (they do not run); `answers`: by place, what is answered to
    the question there."""

    document: dict[str, Any] = {}
    said: tuple[dict[str, Any], ...] = ()
    unsaid: tuple[dict[str, Any], ...] = ()
    overrides: dict[str, dict[str, Any]] = {}
    answers: dict[int, dict[str, Any]] = {}


async def fork_rules(
    engine: Engine, source: RunState, start: StartRun, place: int, mutation: Mutation, by: str, changes: dict[str, Any],
    kept: Sequence[Inherited],
) -> ForkRun:  # fmt: skip
    """`kept`: the steps the source ended with, of which those up to the place are taken over."""
    past = await moment(engine, source, place, decided=False)
    check(source, mutation, place)
    document = _answered(source, past, place, mutation)
    document.update(mutation.document)
    router, plan, memo = source.known.router, source.known.plan, past.state.memo
    if source.known.shape is not None:
        memo.facts = _facts(memo, mutation, by, place)
    forgotten = set(router.rewind(plan, memo, (past.no,)))
    kept = [one for one in kept if one.no not in forgotten]
    return ForkRun(
        start, source.run, source.round, past.no, tuple(kept_until(past, kept)), router.dump(memo), source.resolved, document,
        changes, overrides=mutation.overrides, answers={at: one for at, one in mutation.answers.items() if at > place}, by=by,
    )  # fmt: skip


def kept_until(past: Moment, kept: Sequence[Inherited]) -> list[Inherited]:
    known = {step.no for step in past.state.steps.values() if step.status == "done"}
    return [one for one in kept if one.no in known]


def check(source: RunState, mutation: Mutation, place: int) -> None:
    """Raises `Invalid` with everything that cannot take effect."""
    shape, nodes = source.known.shape, {node.name for node in source.known.nodes}
    problems: list[Problem] = []
    if shape is not None:
        problems += shape.problems(mutation.document)
        for name, patch in mutation.overrides.items():
            problems += [
                msgspec.structs.replace(one, path=f"node_output_overrides.{name}.{one.path.partition('.')[2]}")
                for one in shape.problems(patch)
            ]
    problems += [
        Problem(f"there is no node `{name}`", f"node_output_overrides.{name}", hint=f"nodes are: {', '.join(sorted(nodes))}")
        for name in mutation.overrides
        if name not in nodes
    ]
    problems += [
        Problem(f"step {at} lies before the one forked at", f"respond_payloads.{at}", hint=f"fork at step {at}, or earlier")
        for at in mutation.answers
        if at < place
    ]
    problems += [
        Problem("a fact is a mapping with `fact` (its template) and `slots`", path)
        for path, facts in (("facts_assert", mutation.said), ("facts_retract", mutation.unsaid))
        for fact in facts
        if not isinstance(fact.get("fact"), str) or not isinstance(fact.get("slots", {}), Mapping)
    ]
    policy = source.known.policy
    given = {"state_overrides": mutation.document, "facts_assert": mutation.said, "node_output_overrides": mutation.overrides,
             "respond_payloads": mutation.answers}  # fmt: skip
    problems += [
        Problem(f"{found.reason}, which the pack {SAFETY_PII} does not let in", path)
        for path, value in given.items()
        for found in violated(policy, value)
        if found.severity == "halt"
    ]
    if problems:
        raise Invalid(str(problems[0]), problems)


def _answered(source: RunState, past: Moment, place: int, mutation: Mutation) -> dict[str, Any]:
    """The document at the step; with another answer to its question, if one is given."""
    answer, shape = mutation.answers.get(place), source.known.shape
    if answer is None or shape is None:
        return dict(past.state.document)
    ask, memo = past.state.steps[past.no].ask, past.state.memo
    if ask is None or memo.last is None:
        problem = Problem(f"step {place} asked nothing", f"respond_payloads.{place}")
        raise Invalid(str(problem), [problem])
    patch = answer_patch(shape, ask, answer) or {}
    memo.last.answer, memo.last.wrote = answer, tuple(patch)
    return {**past.before, **patch}


def _facts(memo: Memo, mutation: Mutation, by: str, place: int) -> list[Fact]:
    left = [fact for fact in memo.facts if not any(_is(fact, gone) for gone in mutation.unsaid)]
    for said in mutation.said:
        left.append(Fact(memo.next_fact, said["fact"], dict(said.get("slots", {})), "user", by, place))
        memo.next_fact += 1
    return left


def _is(fact: Fact, pattern: Mapping[str, Any]) -> bool:
    slots: Mapping[str, Any] = pattern.get("slots", {})
    same = all(name in fact.slots and str(fact.slots[name]) == str(value) for name, value in slots.items())
    return fact.template == pattern["fact"] and same
