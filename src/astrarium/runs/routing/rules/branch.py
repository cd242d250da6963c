"""Branches end one by one; when enough of them have, they become one way again or the run ends.

Source: Stargraph 0.8, the normative column (contract 11.6). `race` takes the first branch that ends, `any` the first that ends well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..port import Chose, Close, Drop, Ended, Fan, Merge, MoveOn, RunOutcome
from .memo import Branch, Memo, Way
from .merge import Conflict, merge
from .plan import Plan

BROKEN = frozenset(("broken", "lost"))


def settle_fan(
    plan: Plan, memo: Memo, fan: Fan, way: Way, ended: Ended, document: Mapping[str, Any]
) -> tuple[list[MoveOn], bool]:
    """The moves after a branch's end, and whether the run goes on behind the branches."""
    good = ended.outcome in ("succeeded", "skipped") or ended.tolerated or ended.marked
    this = Branch(way.branch, good, dict(ended.patch or {}))
    others = [no for no in memo.open if no != ended.no]
    went_well = [one for one in (*memo.ends, this) if one.good]
    drops = [Drop(no) for no in others]
    if fan.strategy == "all":
        if not good:
            return _fail(ended, drops), False
        return ([], False) if others else _join(plan, ended, went_well, document, [])
    if fan.strategy == "quorum":
        if len(went_well) >= fan.quorum:
            return _join(plan, ended, went_well, document, drops)
        if len(went_well) + len(others) < fan.quorum:
            return [Chose("fail", ended.no, reason="quorum"), *drops, Close("failed", "quorum")], False
        return [], False
    if good:
        return _join(plan, ended, [this], document, drops)
    if fan.strategy == "any" and others:
        return [], False
    return _fail(ended, drops), False


def _join(
    plan: Plan, ended: Ended, branches: list[Branch], document: Mapping[str, Any], drops: list[Drop]
) -> tuple[list[MoveOn], bool]:
    in_order = sorted(branches, key=lambda one: int(one.branch.removeprefix("branch-")))
    try:
        patch = merge(document, [one.patch for one in in_order], plan.fields)
    except Conflict as conflict:
        told = Chose("fail", ended.no, reason=f"merge_conflict: {conflict.field}")
        return [told, *drops, Close("broken", "merge_conflict")], False
    return [Chose("join", ended.no), *drops, Merge(patch)], True


def _fail(ended: Ended, drops: list[Drop]) -> list[MoveOn]:
    reason = ended.code or ended.outcome
    outcome: RunOutcome = "rejected" if ended.outcome == "rejected" else "broken" if ended.outcome in BROKEN else "failed"
    return [Chose("fail", ended.no, reason=reason), *drops, Close(outcome, reason)]
