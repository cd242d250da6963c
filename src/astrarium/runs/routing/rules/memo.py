"""What the rules router remembers of a run, and how that is dumped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ...ports import StepOutcome, Used
from ..port import Close, Fact, Fan, Question


class Last(msgspec.Struct, omit_defaults=True):
    """The last step of the main way. `outcome` is empty while it is open; `good`: it ended well enough for any rule to be asked; `wrote`:
    the fields of its patch; `answer`: what people said to it; `asked`: the rule whose question it was."""

    node: int
    no: int
    at: int
    outcome: StepOutcome | str = ""
    good: bool = False
    wrote: tuple[str, ...] = ()
    answer: dict[str, Any] = {}
    asked: str = ""


class Way(msgspec.Struct, omit_defaults=True):
    """An open step: its node, and the branch it is."""

    node: int
    branch: str = ""


class Branch(msgspec.Struct, omit_defaults=True):
    """A branch that ended."""

    branch: str
    good: bool
    patch: dict[str, Any] = {}


class Memo(msgspec.Struct, omit_defaults=True):
    """`next_no` is the number of the next step and `next_at` its place on the way; `round_at` the first place of this round; `visits`
    counts by node; `open` holds the steps that have not ended; `fan` and `ends` stand while branches run, `asking` while a rule's
    question does, `joined` (the node to go on with, -1 = the end) between a fan and what
    follows it; `tries` counts revisits by rule and target, `used` sums up by node, `failed` counts executions of a node that failed, one
    after the other; `run` is what clients know the run by."""

    visits: list[int]
    next_no: int = 0
    next_at: int = 0
    round_at: int = 0
    last: Last | None = None
    open: dict[int, Way] = {}
    fan: Fan | None = None
    ends: list[Branch] = []
    asking: Question | None = None
    joined: int | None = None
    facts: list[Fact] = []
    next_fact: int = 0
    tries: dict[str, int] = {}
    used: dict[str, Used] = {}
    failed: dict[int, int] = {}
    run: str = ""
    stop: Close | None = None
    closed: bool = False


def open_memo(memo: Memo, run: str, said: Sequence[Mapping[str, Any]]) -> None:
    """A life begins: what clients know it by, and the facts it is begun with."""
    memo.run = run
    for fact in said:
        memo.facts.append(Fact(memo.next_fact, fact["fact"], dict(fact.get("slots", {})), "user", fact.get("source", "")))
        memo.next_fact += 1


def dump_memo(memo: Memo) -> Any:
    return msgspec.to_builtins(memo, str_keys=True)


def load_memo(data: Any) -> Memo:
    """A copy of its own: nothing of `data` is shared."""
    return msgspec.json.decode(msgspec.json.encode(data), type=Memo)
