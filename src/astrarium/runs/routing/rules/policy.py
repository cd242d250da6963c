"""What governance packs make of the end of a step: built-in ones, and rules of packs of one's own, by the same facts.

Packs are asked before the graph's rules, and once more when these asserted something. `bosun.violation` that halts ends the run, one that
warns leaves a record, as `bosun.audit` does; `action.*` decide as an action of a rule would. Source: Stargraph 0.8 (contract 1.6), where
packs are loaded and do nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ....spec.ir import flow as f
from ....spec.ir.pack.policy import BUDGETS, RETRY_LIMIT, is_halting
from ..port import Chose, Close, Ended, Fact, MoveOn, Ruled
from .agenda import Fired
from .budget import EXHAUSTED, exact
from .facts import Working
from .memo import Last, Memo, Way
from .pack import Engine, PackFault, Said
from .plan import Plan

VIOLATION: Final = "bosun.violation"
BUDGET: Final = "bosun.budget"
AUDIT: Final = "bosun.audit"
FAULT: Final = "pack_error"
REASONS: Final = {"budget-exhausted": EXHAUSTED, "retry-exhausted": "retry_exhausted"}
"""Violations by their kind; any other is a `pack_violation`."""
LONGEST_DELAY_S: Final = 366 * 86400.0
RETRY_ALWAYS: Final = 1_000_000_000


class Ruling:
    """The judgement of one decision: `chosen` actions, records for the `audit`, and whether the run must `stop`, with `why` and by
    which pack."""

    def __init__(self, plan: Plan, working: Working) -> None:
        self.plan, self.working = plan, working
        self.chosen: dict[type, Fired] = {}
        self.audit: list[dict[str, Any]] = []
        self.stop: Close | None = None
        self.why = ""
        self.by = ""
        self._told = 0

    def judge(self) -> None:
        """Ask the packs, unless nothing is new since they were asked."""
        working = self.working
        if self.stop is not None or (self._told and self._told == self._mark()):
            return
        try:
            if self.plan.policy.budgets:
                self._check_budgets()
            for engine in self.plan.packs:
                self._ask(engine)
        except PackFault as fault:
            self.stop, self.why = Close("broken", FAULT), f"{self.by}: {fault}"
            return
        self._told = self._mark()
        for fact in working.asserted:
            if fact.template == VIOLATION and is_halting(fact.slots):
                self._halt(fact.slots, fact.source)
                return

    def _mark(self) -> int:
        return 1 + len(self.working.said) + len(self.working.gone)

    def moves(self, no: int, *, alone: bool = False) -> list[MoveOn]:
        """What is to be recorded; with `alone` also the facts, which else the decision carries."""
        working = self.working
        audit = (*self.audit, *violations(working.said))
        said, gone = (tuple(working.said), tuple(working.gone)) if alone else ((), ())
        return [Ruled(no, audit, said, gone)] if audit or said or gone else []

    def _halt(self, slots: Mapping[str, Any], pack: str) -> None:
        kind = str(slots.get("kind", ""))
        code = REASONS.get(kind, "pack_violation")
        self.stop, self.by = Close("failed", code), pack
        self.why = ": ".join(part for part in (pack, str(slots.get("reason") or kind)) if part)

    def _check_budgets(self) -> None:
        """The built-in pack: a budget that a fact says is used up."""
        for fact in self.working.asserted:
            if fact.template != BUDGET or not exact(fact.slots.get("consumed")):
                continue
            allowed, consumed = fact.slots.get("allowed"), fact.slots.get("consumed")
            if exact(consumed) >= exact(allowed):
                said = f"{consumed} of {allowed} {fact.slots.get('kind', '')}".strip() + " are used"
                self._violate("budget-exhausted", said, BUDGETS)

    def _violate(self, kind: str, reason: str, pack: str) -> None:
        slots = {"kind": kind, "severity": "halt", "run_id": self.working.memo.run, "reason": reason}
        self.working.say(f.Assert(VIOLATION, slots), pack)

    def _ask(self, engine: Engine) -> None:
        self.by = engine.id
        made = engine.run(self.working.all())
        self.working.gone.extend(one.id for one in made.gone if one.id >= 0)
        for said in made.said:
            if said.template == AUDIT:
                record = {"pack": engine.id, "fact": told_as(said.slots)}
                if record not in self.audit:  # asked again, a pack says the same again
                    self.audit.append(record)
            elif said.template.startswith("action."):
                self._act(said, engine.id)
            else:
                self.working.say(f.Assert(said.template, said.slots), engine.id, "rule", said.symbols)

    def _act(self, said: Said, pack: str) -> None:
        slots, kind = said.slots, said.template.removeprefix("action.")
        action: f.Action | None = None
        if kind == "halt":
            action = f.Halt(str(slots.get("reason", "")))
        elif kind == "interrupt":
            action = f.Interrupt(str(slots.get("prompt", "")), capability=str(slots.get("capability", "")))
        elif kind == "goto":
            target = str(slots.get("target", ""))
            if target not in self.plan.position:
                raise PackFault(f"it wants to go to `{target}`, which is no node of the graph")
            action = f.Goto(target)
        elif kind == "retry":
            action = self._retry(slots, pack)
        if action is not None and not (isinstance(action, f.Interrupt) and pack == self.working.last.asked):
            self.chosen.setdefault(type(action), Fired(action, pack))

    def _retry(self, slots: Mapping[str, Any], pack: str) -> f.Action | None:
        """Visit the node again; after as many failures as the contract allows that is a violation."""
        working = self.working
        delay_s = min(float(exact(slots.get("delay_seconds", 0))), LONGEST_DELAY_S)
        if working.last.good or working.ended is None:
            return f.Revisit(working.node, delay_s)
        attempt = working.attempt(working.ended)
        if attempt > RETRY_LIMIT:
            self._violate("retry-exhausted", f"{working.node} failed {attempt} times", pack)
            return None
        return f.Revisit(working.node, delay_s, RETRY_ALWAYS)


def violations(facts: Iterable[Fact]) -> list[dict[str, Any]]:
    """Violations among facts, as records for the audit."""
    return [
        {"pack": one.source, "fact": {"template": VIOLATION, **told_as(one.slots)}} for one in facts if one.template == VIOLATION
    ]


def told_as(slots: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in slots.items() if value != ""}


def judge_alone(plan: Plan, memo: Memo, way: Way, ended: Ended, document: Mapping[str, Any]) -> Ruling:
    """The judgement of a step after which no rules are asked: a branch's, or one whose question nobody answered."""
    good = ended.outcome in ("succeeded", "skipped") or ended.tolerated or ended.marked
    at = memo.fan.at if memo.fan is not None else memo.last.at if memo.last is not None else 0
    last = Last(ended.node, ended.no, at, ended.outcome, good, tuple(ended.patch or ()), ended.answer or {})
    working = Working(plan, memo, last, {**document, **(ended.patch or {})}, ended)
    return judged(plan, working)


def judged(plan: Plan, working: Working) -> Ruling:
    """The judgement of the end of a step, once what it says is known."""
    for fact in working.ended.said if working.ended is not None else ():
        working.say(f.Assert(fact["fact"], fact.get("slots", {})), fact.get("source", ""), "tool")
    ruling = Ruling(plan, working)
    if plan.governed:
        ruling.judge()
    return ruling


def judge_start(plan: Plan, memo: Memo) -> tuple[list[MoveOn], Close | None]:
    """What a run begins with may be a violation already."""
    found = [fact for fact in memo.facts if fact.template == VIOLATION] if plan.governed else []
    if not found:
        return [], None
    moves: list[MoveOn] = [Ruled(-1, tuple(violations(found)))]
    for fact in found:
        if is_halting(fact.slots):
            return [*moves, Chose("fail", reason=f"{fact.source}: {fact.slots.get('reason', '')}")], Close("failed", "pack_violation")
    return moves, None
