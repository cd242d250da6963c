"""The facts rules are asked about after a step, each with its rank: the later it was said, the higher.

In order: facts asserted before, the node's id with what is told of the step, the fields of the state, the answer just given, facts asserted
by rules meanwhile.
Source of the order: Stargraph 0.8 (contract 11.3, 11.4); the answer's place is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from ....spec.ir.flow import Assert, Retract, Test
from ....spec.ir.pack.policy import FINAL, texts_of
from ..port import Ended, Fact
from .budget import added, amount, limits
from .memo import Last, Memo
from .pattern import Seen
from .plan import OUTCOME_FIELD, VISITS_FIELD, Plan

SCALAR = (str, int, float, bool, type(None))
NODE_RANK = 0


class Working:
    """Working memory of one decision. `ended`: the step that ended with it; None when a decision is taken again."""

    def __init__(
        self, plan: Plan, memo: Memo, last: Last, document: Mapping[str, Any], ended: Ended | None = None
    ) -> None:
        self.plan, self.memo, self.last, self.document, self.ended = plan, memo, last, document, ended
        self.node = plan.names[last.node]
        self.said: list[Fact] = []
        self.gone: list[int] = []
        self._ranks: dict[str, int] = {}
        self._values: dict[str, Any] = {}
        rank = NODE_RANK
        if plan.bare:
            for name in document:
                rank += 1
                self._ranks[name], self._values[name] = rank, document[name]
        else:
            for template, name, when_written in plan.facts:
                rank += 1
                if name in document and (not when_written or name in last.wrote):
                    self._ranks[template], self._values[template] = rank, document[name]
        for key, value in last.answer.items():
            rank += 1
            if key not in self._ranks:
                self._values[key] = value
            self._ranks[key] = rank
        self._top = rank

    @property
    def asserted(self) -> list[Fact]:
        return [fact for fact in (*self.memo.facts, *self.said) if fact.id not in self.gone]

    def _rank_of(self, fact: Fact) -> int:
        known = fact.id - self.memo.next_fact
        return self._top + 1 + known if known >= 0 else NODE_RANK + known

    def rank_of_field(self, name: str) -> int:
        if name in ("answer", "facts"):
            return self._top
        return self._ranks.get(name, NODE_RANK)

    def look_up(self, name: str) -> Iterator[tuple[int, Any]]:
        """Every value known under a name, with its rank."""
        if name == OUTCOME_FIELD:
            yield NODE_RANK, self.last.outcome
        elif name == VISITS_FIELD:
            yield NODE_RANK, self.memo.visits[self.last.node]
        elif name in self._values:
            yield self._ranks[name], self._values[name]
        else:
            for fact in self.asserted:
                if fact.template == name and "value" in fact.slots:
                    yield self._rank_of(fact), fact.slots["value"]

    def all(self) -> Iterator[Seen]:
        """The working memory as CLIPS knows it: one fact for each scalar field."""
        run, step = self.memo.run, self.last.at
        for fact in self.asserted:
            yield Seen(
                self._rank_of(fact), fact.template, fact.slots, fact.symbols, fact.origin, fact.source, run, fact.step, fact.id
            )
        yield Seen(NODE_RANK, "node-id", {"id": self.node}, ("id",), run=run, step=step)
        if self.ended is not None:
            for template, slots, origin in self._told(self.ended):
                yield Seen(NODE_RANK, template, slots, (), origin, self.node, run, step)
        for name, value in self._values.items():
            if name not in self.last.answer and isinstance(value, SCALAR):
                yield Seen(self._ranks[name], name, {"value": str(value)}, (), "state", self.node, run, step)
        for key, value in self.last.answer.items():
            yield Seen(self._ranks[key], "respond", {"key": key, "value": str(value)}, (), "user", self.node, run, step)
            if isinstance(value, SCALAR):
                yield Seen(self._ranks[key], key, {"value": str(value)}, (), "user", self.node, run, step)

    def _told(self, ended: Ended) -> Iterator[tuple[str, dict[str, Any], str]]:
        """What is told of the step that ended: its error, the budgets it counts against, the texts it gave."""
        run, step, used = self.memo.run, self.last.at, self.memo.used
        if not self.last.good:
            slots = {"run_id": run, "step": step, "reason": ended.code or ended.outcome, "recoverable": self.recoverable(ended),
                     "attempt": self.attempt(ended)}  # fmt: skip
            yield "stargraph.error", slots, "system"
        for name in ("", self.node):
            budget = self.plan.budgets.get(name)
            for kind, most in limits(budget) if budget is not None else ():
                consumed = added(used.get(name, {}).get(kind, 0), (ended.used or {}).get(kind, 0))
                told = {"allowed": amount(most), "consumed": amount(consumed)}
                yield "bosun.budget", {"kind": kind.removesuffix("_ms"), "run_id": run, **told}, "system"
        origin = "user" if ended.answer is not None else "tool"
        for text in texts_of(ended.answer if ended.answer is not None else ended.patch):
            yield "stargraph.evidence", {"data": text}, origin

    def recoverable(self, ended: Ended) -> bool:
        """Whether the step may be done again without harm, and again would help."""
        return ended.code not in FINAL and self.node not in self.plan.once

    def attempt(self, ended: Ended) -> int:
        """How many executions of the node have failed, one after the other."""
        return self.memo.failed.get(ended.node, 0) + ended.tries

    def variables(self) -> dict[str, Any]:
        """What a CEL text may name."""
        return {
            "node": self.node,
            "state": self.document,
            "answer": self.last.answer,
            "facts": [{"fact": fact.template, "slots": fact.slots} for fact in self.asserted],
            "outcome": self.last.outcome,
            "visits": self.memo.visits[self.last.node],
        }

    def say(
        self, action: Assert, source: str, origin: Literal["rule", "user", "tool"] = "rule", symbols: tuple[str, ...] = ()
    ) -> bool:
        """Assert a fact; False when it is known already (as CLIPS, a fact is there once)."""
        if any(fact.template == action.fact and fact.slots == action.slots for fact in self.asserted):
            return False
        number = self.memo.next_fact + len(self.said)
        self.said.append(Fact(number, action.fact, action.slots, origin, source, self.last.at, symbols))
        return True

    def take_back(self, action: Retract) -> bool:
        gone = [
            fact.id
            for fact in self.asserted
            if fact.template == action.fact
            and all(name in fact.slots and str(fact.slots[name]) == str(value) for name, value in action.slots.items())
        ]
        self.gone.extend(gone)
        return bool(gone)


def holds(test: Test, value: Any) -> bool:
    """Whether one value passes a test. Values that cannot be compared pass `ne` alone."""
    op, wanted = test.op, test.value
    if op == "text":
        return bool(str(value) == wanted)
    if op == "eq":
        return _alike(value, wanted) and bool(value == wanted)
    if op == "ne":
        return not (_alike(value, wanted) and bool(value == wanted))
    if op == "in":
        return isinstance(wanted, list | tuple) and any(_alike(value, one) and bool(value == one) for one in wanted)
    if not _ordered(value, wanted):
        return False
    return bool({"lt": value < wanted, "le": value <= wanted, "gt": value > wanted, "ge": value >= wanted}[op])


def _alike(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool)


def _ordered(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return False
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    return numbers or (isinstance(left, str) and isinstance(right, str))
