"""Which rules match after a step, in which order they go, and what one decision their actions add up to.

Source: Stargraph 0.8, the normative column (contract 11.3, 11.4): the higher salience first, then the match with the later fact, then the
rule declared first; interrupt before halt before goto before parallel before retry; of the same kind the first one.
A rule goes once in a decision; a fact one asserts is seen by those that have not gone yet.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ....spec.ir import flow as f
from .facts import Working, holds
from .plan import Rules

ORDER: Final = (f.Interrupt, f.Halt, f.Goto, f.Parallel, f.Revisit)
_MAY_MATCH_NOTHING = ("ne",)


class Fired(msgspec.Struct, frozen=True):
    """The action that goes, and the rule it is of; None = the run goes on in its order."""

    action: f.Action | None = None
    rule: str = ""


def rank(rule: Rules, working: Working) -> int | None:
    """The rank of the latest fact the rule's match used; None = it does not match."""
    latest = 0
    for test in rule.tests:
        found = [place for place, value in working.look_up(test.field) if holds(test, value)]
        if not found and not (test.op in _MAY_MATCH_NOTHING and not any(True for _ in working.look_up(test.field))):
            return None
        latest = max(latest, *found) if found else latest
    if rule.cel is not None:
        if not rule.cel.holds(working.variables()):
            return None
        latest = max([latest, *(working.rank_of_field(name) for name in (rule.uses or rule.cel.uses))])
    if rule.pattern is not None:
        place = rule.pattern.match(working.all())
        if place is None:
            return None
        latest = max(latest, place)
    return latest


def fire(rules: tuple[Rules, ...], working: Working, waived: str = "", chosen: dict[type, Fired] | None = None) -> Fired:
    """Let every rule that matches go, and choose among their actions. `waived`: the rule whose question was just answered asks no
    more. `chosen`: actions that were decided on before."""
    chosen = {} if chosen is None else chosen
    waiting = [rule for rule in rules if working.last.good or rule.caught]
    while waiting:
        matched = [(-rule.salience, -found, rule.order, rule) for rule in waiting if (found := rank(rule, working)) is not None]
        changed = False
        for *_, rule in sorted(matched, key=lambda one: one[:3]):
            waiting.remove(rule)
            changed = _go(rule, working, chosen, waived)
            if changed:
                break  # what it said or took back may let others match, or match no more
        if not changed:
            break
    return next((chosen[kind] for kind in ORDER if kind in chosen), Fired())


def _go(rule: Rules, working: Working, chosen: dict[type, Fired], waived: str) -> bool:
    changed = False
    for action in rule.then:
        if isinstance(action, f.Assert):
            changed = working.say(action, rule.id) or changed
        elif isinstance(action, f.Retract):
            changed = working.take_back(action) or changed
        elif not (isinstance(action, f.Interrupt) and rule.id == waived):
            chosen.setdefault(type(action), Fired(action, rule.id))
    return changed
