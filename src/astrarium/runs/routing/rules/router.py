"""From the end of a step to the moves that follow from it.

The main way is one step at a time, each with the next place (`at`) on it; a fan puts branches at one place, one node each, and goes on
behind them. Each visit has a number of its own (`no`), so a node may be visited again and again.
Stargraph: a resumed run goes on from its last decision; what came to be after that, and did not end well, is visited again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ....errors import Refused, TooMuch
from ....spec.graph import Graph
from ....spec.ir import flow as f
from ...ports import Ask, StepOutcome
from ..port import Choice, Chose, Close, Drop, Ended, Fan, Merge, MoveOn, Question, Ruled, RunOutcome, Visit
from .agenda import Fired, fire
from .branch import settle_fan
from .budget import EXHAUSTED, add_used, overdrawn
from .facts import Working
from .memo import Branch, Last, Memo, Way, dump_memo, load_memo
from .plan import Plan, make_plan
from .policy import judge_alone, judge_start, judged

STEPS_OVER: Final = "max_steps"
FAILED_BY: Final[dict[str, RunOutcome]] = {"rejected": "rejected", "broken": "broken", "lost": "broken"}


class RulesRouter:
    """See `port.Router`. `max_steps` limits the places of one round, so that a run that met it can be resumed."""

    kind: Final = "rules"

    def plan(self, graph: Graph) -> Plan:
        return make_plan(graph)

    def fresh(self, plan: Plan) -> Memo:
        return Memo(visits=[0] * len(plan.names))

    def begin(self, plan: Plan, memo: Memo, document: dict[str, Any]) -> list[MoveOn]:
        """After a reset: a last step that ended well is decided upon again, what did not is entered again."""
        last = memo.last
        if memo.fan is not None:
            return fan_out(memo, memo.fan)
        if memo.asking is not None:
            return [ask(memo, memo.asking.node, memo.asking.rule, memo.asking.ask)]
        if memo.joined is not None:
            return go(plan, memo, memo.joined)
        if last is None:
            ruled, stop = judge_start(plan, memo)
            return [*ruled, stop] if stop else [*ruled, *start(plan, memo)]
        if last.good:
            return decide(plan, memo, last, document)
        return [visit(memo, last.node)] if room(plan, memo) else [Close("failed", STEPS_OVER)]

    def advance(self, plan: Plan, memo: Memo, ended: Ended, document: dict[str, Any]) -> list[MoveOn]:
        way = memo.open.get(ended.no)
        if memo.closed or way is None:
            return []
        if memo.stop is not None:
            return [] if len(memo.open) > 1 else [memo.stop]
        over = overdrawn(plan.budgets, memo.used, plan.names[ended.node], ended.used)
        if over:
            return give_up(memo, ended.no, Close("failed", EXHAUSTED), over)
        ruled: list[MoveOn] = []
        if plan.governed and (memo.fan is not None or ended.goto):
            ruling = judge_alone(plan, memo, way, ended, document)
            ruled = ruling.moves(ended.no, alone=True)
            if ruling.stop is not None:
                return [*ruled, *give_up(memo, ended.no, ruling.stop, ruling.why)]
        if memo.fan is not None:
            moves, goes_on = settle_fan(plan, memo, memo.fan, way, ended, document)
            return [*ruled, *moves, *go(plan, memo, memo.fan.join)] if goes_on else [*ruled, *moves]
        last = ending(memo, ended)
        if ended.goto:
            target = plan.position.get(ended.goto)
            if target is None:
                return [Chose("fail", ended.no, reason="unknown_node"), Close("broken", "unknown_node")]
            return [*ruled, Chose("goto", ended.no, target=target, reason=ended.code), *enter(plan, memo, target)]
        document = {**document, **ended.patch} if ended.patch else document
        return decide(plan, memo, last, document, ended)

    def expire(self, plan: Plan, memo: Memo, at: int, document: dict[str, Any]) -> list[MoveOn]:
        fan = memo.fan
        if fan is None or fan.at != at or memo.stop is not None or memo.closed:
            return []
        reason = "quorum" if fan.strategy == "quorum" else "deadline"
        return [Chose("fail", reason=reason), *(Drop(no) for no in memo.open), Close("failed", reason)]

    def stop(self, plan: Plan, memo: Memo, outcome: RunOutcome, reason: str) -> list[MoveOn]:
        if memo.closed or memo.open:
            return []
        return [memo.stop or Close(outcome, reason)]

    def fold(self, plan: Plan, memo: Memo, ended: Ended | None, moves: Sequence[MoveOn]) -> None:
        if ended is not None:
            fold_end(plan, memo, ended)
        for move in moves:
            FOLDS[type(move)](memo, move)

    def fold_stop(self, plan: Plan, memo: Memo, outcome: RunOutcome, reason: str) -> None:
        memo.stop = memo.stop or Close(outcome, reason)

    def reset(self, plan: Plan, memo: Memo, step: int | None) -> list[int]:
        """Raises `Refused` for any step but the last one: what came after it would have no cause any more."""
        last, forgotten = memo.last, []
        if step is not None:
            if last is None or step != last.no or memo.fan is not None or memo.asking is not None:
                raise Refused(f"step {step} is not the last one of this run", hint="fork the run from that step instead")
            last.good = False
        if memo.fan is not None or memo.asking is not None or (last is not None and not last.good):
            start = memo.fan.at if memo.fan is not None else memo.asking.at if memo.asking is not None else last.at if last else 0
            first = memo.next_no - (len(memo.fan.targets) if memo.fan is not None else 1)
            forgotten = list(range(first, memo.next_no))
            memo.next_no, memo.next_at = first, start
        memo.round_at = memo.next_at
        memo.open, memo.ends, memo.stop, memo.closed = {}, [], None, False
        return forgotten

    def rewind(self, plan: Plan, memo: Memo, steps: Sequence[int]) -> list[int]:
        """The memo must be the one of the moment when the step forked at had ended: its decision is taken again."""
        return self.reset(plan, memo, None)

    def mark(self, plan: Plan, memo: Memo, node: int, outcome: StepOutcome | None) -> None:
        """Only the last visit has anything still to be decided; an earlier one of the node changes nothing."""
        last = memo.last
        if last is not None and last.node == node and memo.fan is None and memo.asking is None:
            memo.last = ending(memo, Ended(node, last.no, outcome)) if outcome else Last(node, last.no, last.at)

    def verdict(self, memo: Memo) -> RunOutcome | None:
        return None

    def open_steps(self, plan: Plan, memo: Memo) -> int:
        return 0 if memo.closed else len(memo.open)

    def dump(self, memo: Memo) -> Any:
        return dump_memo(memo)

    def load(self, plan: Plan, data: Any) -> Memo:
        return load_memo(data)


# -- deciding ----------------------------------------------------------------------------------------------------------


def ending(memo: Memo, ended: Ended) -> Last:
    """The step of the main way as it ended."""
    assert memo.last is not None
    good = ended.outcome in ("succeeded", "skipped") or ended.tolerated or ended.marked
    wrote, asked = tuple(ended.patch or ()), memo.asking.rule if memo.asking is not None else ""
    return Last(ended.node, ended.no, memo.last.at, ended.outcome, good, wrote, ended.answer or {}, asked)


def decide(
    plan: Plan, memo: Memo, last: Last, document: dict[str, Any], ended: Ended | None = None
) -> list[MoveOn]:
    """What the rules make of the step; without one that matches the run falls through, or ends as its last step did."""
    working = Working(plan, memo, last, document, ended)
    ruling = judged(plan, working)
    try:
        fired = fire(plan.rules[last.node], working, last.asked, ruling.chosen) if ruling.stop is None else Fired()
    except TooMuch as error:
        return [Chose("fail", last.no, reason=error.message), Close("broken", "TooMuch")]
    if plan.governed:
        ruling.judge()
    if ruling.stop is not None:
        told = Chose("fail", last.no, ruling.by, reason=ruling.why, said=tuple(working.said), gone=tuple(working.gone))
        return [*ruling.moves(last.no), told, ruling.stop]
    kind, target, reason, moves = carry(plan, memo, last, fired.action, fired.rule, ended.code if ended is not None else "")
    if plan.bare:
        return moves
    chose = Chose(kind, last.no, fired.rule, target, reason, tuple(working.said), tuple(working.gone))
    return [*ruling.moves(last.no), chose, *moves] if plan.governed else [chose, *moves]


def carry(
    plan: Plan, memo: Memo, last: Last, action: f.Action | None, rule: str, code: str
) -> tuple[Choice, int, str, list[MoveOn]]:
    """The moves an action is carried out with: (kind, target, reason, moves)."""
    match action:
        case f.Interrupt():
            asked: list[MoveOn] = [ask(memo, last.node, rule, question(action))]
            return "interrupt", -1, "", asked if room(plan, memo) else [Close("failed", STEPS_OVER)]
        case f.Halt(reason, outcome):
            return "halt", -1, reason, [Close(outcome, reason)]
        case f.Goto(target):
            node = plan.position[target]
            return "goto", node, "", enter(plan, memo, node)
        case f.Parallel():
            return (
                "parallel",
                -1,
                "",
                fan_out(memo, made_fan(plan, action)) if room(plan, memo) else [Close("failed", STEPS_OVER)],
            )
        case f.Revisit(target, backoff_s, most):
            node = plan.position[target]
            if memo.tries.get(f"{rule}/{node}", 0) >= most:
                return "fail", node, "retry_exhausted", [Close("failed", "retry_exhausted")]
            return "retry", node, "", enter(plan, memo, node, backoff_s)
    if not last.good:
        outcome = (
            FAILED_BY.get(last.outcome, "failed") if not plan.bare else "rejected" if last.outcome == "rejected" else "failed"
        )
        reason = "" if plan.bare else code or last.outcome
        return "fail", -1, reason, [Close(outcome, reason)]
    node = plan.follow[last.node]
    return "continue", node, "", go(plan, memo, node)


def question(action: f.Interrupt) -> Ask:
    return Ask(
        action.prompt, action.schema, action.capability, timeout_s=action.timeout_s, goto=action.on_timeout, payload=action.payload,
        output_field=action.output_field,
    )  # fmt: skip


def made_fan(plan: Plan, action: f.Parallel) -> Fan:
    targets = tuple(plan.position[name] for name in action.targets)
    join = plan.position[action.join] if action.join else -1
    return Fan(-1, targets, join, action.strategy, action.quorum, action.deadline_s)


def room(plan: Plan, memo: Memo) -> bool:
    return not plan.max_steps or memo.next_at - memo.round_at < plan.max_steps


def go(plan: Plan, memo: Memo, node: int) -> list[MoveOn]:
    return enter(plan, memo, node) if node >= 0 else [Close("succeeded")]


def enter(plan: Plan, memo: Memo, node: int, after_s: float = 0.0) -> list[MoveOn]:
    """A node is about to be visited; the first target of a block starts the block instead."""
    if not room(plan, memo):
        return [Close("failed", STEPS_OVER)]
    block = plan.blocks.get(node)
    if block is not None and not after_s:
        return fan_out(memo, made_fan(plan, block))
    return [visit(memo, node, after_s)]


def visit(memo: Memo, node: int, after_s: float = 0.0) -> Visit:
    return Visit(node, memo.next_no, memo.next_at if memo.next_at != memo.next_no else -1, after_s=after_s)


def fan_out(memo: Memo, fan: Fan) -> list[MoveOn]:
    at = memo.next_at
    branches = [Visit(node, memo.next_no + place, at, f"branch-{place}") for place, node in enumerate(fan.targets)]
    return [msgspec.structs.replace(fan, at=at), *branches]


def ask(memo: Memo, node: int, rule: str, asked: Ask) -> Question:
    return Question(node, memo.next_no, memo.next_at, rule, asked)


def start(plan: Plan, memo: Memo) -> list[MoveOn]:
    return enter(plan, memo, plan.entry) if plan.names else [Close("succeeded")]


def give_up(memo: Memo, no: int, close: Close, why: str) -> list[MoveOn]:
    """The run ends with step `no`, whatever else is open."""
    return [Chose("fail", no, reason=why), *(Drop(one) for one in memo.open if one != no), close]


# -- counting ----------------------------------------------------------------------------------------------------------


def fold_end(plan: Plan, memo: Memo, ended: Ended) -> None:
    way = memo.open.pop(ended.no, None)
    if way is None:
        return
    if ended.used:
        for name in ("", plan.names[ended.node]):
            add_used(memo.used.setdefault(name, {}), ended.used)
    good = ended.outcome in ("succeeded", "skipped") or ended.tolerated or ended.marked
    if not good:
        memo.failed[ended.node] = memo.failed.get(ended.node, 0) + ended.tries
    elif memo.failed:
        memo.failed.pop(ended.node, None)
    if memo.fan is not None:
        memo.ends.append(Branch(way.branch, good, dict(ended.patch or {})))
    else:
        memo.last = ending(memo, ended)
        if memo.last.good:
            memo.asking = None


def fold_visit(memo: Memo, move: Visit) -> None:
    at = move.no if move.at < 0 else move.at
    memo.open[move.no] = Way(move.node, move.branch)
    memo.visits[move.node] += 1
    memo.next_no, memo.next_at, memo.joined = move.no + 1, at + 1, None
    if not move.branch:
        memo.last, memo.asking = Last(move.node, move.no, at), None


def fold_chose(memo: Memo, move: Chose) -> None:
    fold_facts(memo, move)
    if move.kind == "retry":
        key = f"{move.rule}/{move.target}"
        memo.tries[key] = memo.tries.get(key, 0) + 1


def fold_fan(memo: Memo, move: Fan) -> None:
    memo.fan, memo.ends, memo.asking = move, [], None


def fold_merge(memo: Memo, move: Merge) -> None:
    memo.joined = memo.fan.join if memo.fan is not None else None
    memo.fan, memo.ends = None, []


def fold_drop(memo: Memo, move: Drop) -> None:
    memo.open.pop(move.no, None)


def fold_question(memo: Memo, move: Question) -> None:
    memo.open[move.no] = Way(move.node)
    memo.next_no, memo.next_at, memo.joined = move.no + 1, move.at + 1, None
    memo.last, memo.asking = Last(move.node, move.no, move.at), move


def fold_facts(memo: Memo, move: Chose | Ruled) -> None:
    if move.gone:
        memo.facts = [fact for fact in memo.facts if fact.id not in move.gone]
    gone = set(move.gone)
    memo.facts.extend(fact for fact in move.said if fact.id not in gone)
    memo.next_fact += len(move.said)


def fold_close(memo: Memo, move: Close) -> None:
    memo.closed = True


FOLDS: dict[type, Any] = {
    Visit: fold_visit,
    Chose: fold_chose,
    Fan: fold_fan,
    Merge: fold_merge,
    Drop: fold_drop,
    Question: fold_question,
    Ruled: fold_facts,
    Close: fold_close,
}
