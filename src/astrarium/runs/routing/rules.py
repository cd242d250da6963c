"""The router that follows conditions over the run's state document; loops are allowed.

One step is open at a time. Each visit of a node gets the next number, so a node may be visited again and again.
Stargraph: a resumed run forgets nothing, it goes on from its last decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypedDict, cast, get_args

import msgspec

from ...errors import Invalid, Problem, Refused
from ...spec.graph import Graph, Rule
from ..ports import StepOutcome
from .port import Close, Ended, MoveOn, RunOutcome, Visit

OUTCOME_FIELD: Final = "$outcome"
"""A `when` field: how the step ended. After a step that did not go well, only rules with this field are asked."""
VISITS_FIELD: Final = "$visits"
"""A `when` field: how often the node has been visited in this run, this visit included."""


class Choice(msgspec.Struct, frozen=True):
    """A rule with its names resolved: `goto` is a node's position, -1 = the run ends with `outcome`."""

    when: dict[str, Any]
    goto: int
    outcome: RunOutcome


class Plan(msgspec.Struct, frozen=True):
    """`choices` by node, in the order of the rules; `start` is -1 in a graph without nodes."""

    start: int
    choices: tuple[tuple[Choice, ...], ...]
    max_steps: int


class Last(msgspec.Struct):
    """The last visit. `outcome` is empty while it is open; `good`: it ended well enough for any rule to be asked."""

    node: int
    no: int
    outcome: str = ""
    good: bool = False


class Memo(msgspec.Struct):
    """`next_no` is the number of the next visit, `round_no` that of the first one of this round, `visits` counts by node."""

    visits: list[int]
    next_no: int = 0
    round_no: int = 0
    last: Last | None = None
    stop: Close | None = None
    closed: bool = False


class Dump(TypedDict):
    visits: list[int]
    next_no: int
    round_no: int
    last: tuple[int, int, str, bool] | None
    stop: tuple[RunOutcome, str] | None
    closed: bool


class RulesRouter:
    """See `port.Router`. `max_steps` limits the visits of one round, so that a run that met it can be resumed."""

    kind: Final = "rules"

    def plan(self, graph: Graph) -> Plan:
        position = {node.name: number for number, node in enumerate(graph.nodes)}
        problems = _find_problems(graph, position)
        if problems:
            raise Invalid(f"the rules of graph `{graph.name}` cannot be followed", problems)
        choices: list[list[Choice]] = [[] for _ in graph.nodes]
        for rule in graph.rules:
            goto = position[rule.goto] if rule.goto else -1
            choices[position[rule.node]].append(Choice(rule.when, goto, cast(RunOutcome, rule.outcome)))
        start = position[graph.start] if graph.start else min(0, len(graph.nodes) - 1)
        return Plan(start, tuple(tuple(of_node) for of_node in choices), graph.max_steps)

    def fresh(self, plan: Plan) -> Memo:
        return Memo(visits=[0] * len(plan.choices))

    def begin(self, plan: Plan, memo: Memo, document: dict[str, Any]) -> list[MoveOn]:
        """After a reset: a last step that ended well is decided upon again, any other one is visited again."""
        last = memo.last
        if last is None:
            return [_visit(plan, memo, plan.start) if plan.choices else Close("succeeded")]
        if last.good:
            return [_decide(plan, memo, last, document)]
        return [_visit(plan, memo, last.node)]

    def advance(self, plan: Plan, memo: Memo, ended: Ended, document: dict[str, Any]) -> list[MoveOn]:
        if memo.closed or memo.last is None or ended.no != memo.last.no:
            return []
        return [memo.stop or _decide(plan, memo, _last(ended), document)]

    def stop(self, plan: Plan, memo: Memo, outcome: RunOutcome, reason: str) -> list[MoveOn]:
        if memo.closed or self.open_steps(plan, memo):
            return []
        return [memo.stop or Close(outcome, reason)]

    def fold(self, plan: Plan, memo: Memo, ended: Ended | None, moves: Sequence[MoveOn]) -> None:
        if ended is not None and memo.last and ended.no == memo.last.no:
            memo.last = _last(ended)
        for move in moves:
            if isinstance(move, Close):
                memo.closed = True
            elif isinstance(move, Visit):
                memo.last = Last(move.node, move.no)
                memo.next_no = move.no + 1
                memo.visits[move.node] += 1

    def fold_stop(self, plan: Plan, memo: Memo, outcome: RunOutcome, reason: str) -> None:
        memo.stop = memo.stop or Close(outcome, reason)

    def reset(self, plan: Plan, memo: Memo, step: int | None) -> list[int]:
        """Raises `Refused` for any step but the last one: what came after it would have no cause any more."""
        if step is not None:
            if memo.last is None or step != memo.last.no:
                raise Refused(f"step {step} is not the last one of this run", hint="fork the run from that step instead")
            memo.last.good = False
        memo.round_no = memo.next_no
        memo.stop = None
        memo.closed = False
        return []

    def rewind(self, plan: Plan, memo: Memo, steps: Sequence[int]) -> list[int]:
        """The memo must be the one of the moment when the step forked at had ended: its decision is taken again."""
        return self.reset(plan, memo, None)

    def mark(self, plan: Plan, memo: Memo, node: int, outcome: StepOutcome | None) -> None:
        """Only the last visit has anything still to be decided; an earlier one of the node changes nothing."""
        if memo.last and memo.last.node == node:
            memo.last = _last(Ended(node, memo.last.no, outcome)) if outcome else Last(node, memo.last.no)

    def verdict(self, memo: Memo) -> RunOutcome | None:
        return None

    def open_steps(self, plan: Plan, memo: Memo) -> int:
        return int(not memo.closed and memo.last is not None and not memo.last.outcome)

    def dump(self, memo: Memo) -> Dump:
        last, stop = memo.last, memo.stop
        return {
            "visits": list(memo.visits),
            "next_no": memo.next_no,
            "round_no": memo.round_no,
            "last": (last.node, last.no, last.outcome, last.good) if last else None,
            "stop": (stop.outcome, stop.reason) if stop else None,
            "closed": memo.closed,
        }

    def load(self, plan: Plan, data: Dump) -> Memo:
        last, stop = data["last"], data["stop"]
        return Memo(
            visits=list(data["visits"]),
            next_no=data["next_no"],
            round_no=data["round_no"],
            last=Last(*last) if last else None,
            stop=Close(*stop) if stop else None,
            closed=data["closed"],
        )


def _find_problems(graph: Graph, position: dict[str, int]) -> list[Problem]:
    known = f"nodes are: {', '.join(position)}"
    problems = []
    if len(position) < len(graph.nodes):
        problems.append(Problem("two nodes have the same name", "nodes", hint="rules find nodes by name; rename one"))
    if graph.start and graph.start not in position:
        problems.append(Problem(f"there is no node `{graph.start}` to start at", "start", hint=known))
    for number, node in enumerate(graph.nodes):
        if node.phase != "main":
            told = f"node `{node.name}` belongs to phase {node.phase}"
            problems.append(Problem(told, f"nodes[{number}].phase", hint="rules know only main"))
    for number, rule in enumerate(graph.rules):
        problems.extend(_find_rule_problems(rule, f"rules[{number}]", position, known))
    return problems


def _find_rule_problems(rule: Rule, path: str, position: dict[str, int], known: str) -> list[Problem]:
    problems = [
        Problem(f"there is no node `{name}`", f"{path}.{field}", hint=known)
        for field, name in (("node", rule.node), ("goto", rule.goto))
        if name not in position and (name or field == "node")
    ]
    outcomes = get_args(RunOutcome)
    if not rule.goto and rule.outcome not in outcomes:
        problems.append(Problem(f"a run cannot end `{rule.outcome}`", f"{path}.outcome", hint=f"one of {', '.join(outcomes)}"))
    return problems


def _last(ended: Ended) -> Last:
    good = ended.outcome in ("succeeded", "skipped") or ended.tolerated or ended.marked
    return Last(ended.node, ended.no, ended.outcome, good)


def _visit(plan: Plan, memo: Memo, node: int) -> MoveOn:
    if plan.max_steps and memo.next_no - memo.round_no >= plan.max_steps:
        return Close("failed", "max_steps")
    return Visit(node, memo.next_no)


def _decide(plan: Plan, memo: Memo, last: Last, document: dict[str, Any]) -> MoveOn:
    """The first rule that fits. Without one, the run ends as its last step did."""
    facts = {**document, OUTCOME_FIELD: last.outcome, VISITS_FIELD: memo.visits[last.node]}
    for choice in plan.choices[last.node]:
        if not last.good and OUTCOME_FIELD not in choice.when:
            continue
        if all(field in facts and facts[field] == value for field, value in choice.when.items()):
            return _visit(plan, memo, choice.goto) if choice.goto >= 0 else Close(choice.outcome)
    if last.good:
        return Close("succeeded")
    return Close("rejected" if last.outcome == "rejected" else "failed")
