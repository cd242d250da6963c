"""What a router is.

A router is handed the end of one step and answers with *moves*. Moves are recorded in the event that caused them, so a fold
never asks a router what should happen: `advance` (may think) runs when deciding, `fold` (only counts) when folding.
Cost follows the out-edges of the ended step, never the size of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from ...spec.graph import Graph
from ...spec.ir.flow import Strategy
from ..ports import Ask, StepOutcome, Used

RunOutcome = Literal["succeeded", "partial", "failed", "broken", "cancelled", "rejected"]


class Visit(msgspec.Struct, frozen=True, omit_defaults=True, tag="visit", gc=False):
    """Execute `node` as step `no` (for `depends`, `no` is the node's position), `after_s` from now. `at` and `branch` say where on the
    way it lies: branches of one fan share `at` (-1 = it is `no`)."""

    node: int
    no: int
    at: int = -1
    branch: str = ""
    after_s: float = 0.0


class Skip(msgspec.Struct, frozen=True, omit_defaults=True, tag="skip", gc=False):
    """The node is not executed and counts as skipped."""

    node: int
    no: int


class Abort(msgspec.Struct, frozen=True, omit_defaults=True, tag="abort", gc=False):
    """The node is not executed because something before it went wrong."""

    node: int
    no: int


class Close(msgspec.Struct, frozen=True, omit_defaults=True, tag="close", gc=False):
    """The run ends."""

    outcome: RunOutcome
    reason: str = ""


class Fact(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something rules may refer to, for the rest of the run. `origin` and `source` say where it comes from, `step` when: the place
    on the way of the step after which it was said. `symbols`: slots whose texts are symbols to CLIPS."""

    id: int
    template: str
    slots: dict[str, Any] = {}
    origin: Literal["rule", "user", "tool", "model", "external", "system"] = "rule"
    source: str = ""
    step: int = 0
    symbols: tuple[str, ...] = ()


Choice = Literal["continue", "goto", "halt", "parallel", "retry", "interrupt", "join", "fail"]


class Chose(msgspec.Struct, frozen=True, omit_defaults=True, tag="chose"):
    """What rules made of the end of step `no`, and which one it was; the moves that carry it out follow. `said` and `gone`: facts
    that are asserted and the ids of those retracted, by whatever rules."""

    kind: Choice
    no: int = -1
    rule: str = ""
    target: int = -1
    reason: str = ""
    said: tuple[Fact, ...] = ()
    gone: tuple[int, ...] = ()


class Fan(msgspec.Struct, frozen=True, omit_defaults=True, tag="fan"):
    """The visits that follow are branches, from one state. `join` is the node to go on with, -1 = the run ends."""

    at: int
    targets: tuple[int, ...]
    join: int = -1
    strategy: Strategy = "all"
    quorum: int = 0
    deadline_s: float = 0.0


class Drop(msgspec.Struct, frozen=True, tag="drop", gc=False):
    """Step `no` is not waited for any more: it is cancelled."""

    no: int


class Merge(msgspec.Struct, frozen=True, omit_defaults=True, tag="merge"):
    """The branches are one way again; `patch` is what they changed together."""

    patch: dict[str, Any] = {}


class Question(msgspec.Struct, frozen=True, omit_defaults=True, tag="question"):
    """A rule asks people, as step `no`, on behalf of `node`, the one that ended."""

    node: int
    no: int
    at: int
    rule: str
    ask: Ask


class Ruled(msgspec.Struct, frozen=True, omit_defaults=True, tag="ruled"):
    """What governance packs made of the end of step `no` (-1 = of the start): records for the audit, each {pack, fact}; where no rules
    were asked, also the facts asserted and retracted."""

    no: int = -1
    audit: tuple[dict[str, Any], ...] = ()
    said: tuple[Fact, ...] = ()
    gone: tuple[int, ...] = ()


MoveOn = Visit | Skip | Abort | Close | Chose | Fan | Drop | Merge | Question | Ruled


class Ended(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How a step ended, as far as routing cares. `tolerated`: a continue policy took the failure (dependents go on);
    `marked`: tolerated and counted as success; `passed`: a skipped step whose dependents go on; `partial`: a child run was partial;
    `code`: a word for why it did not go well; `goto`: the node a question left unanswered leads to; `patch`: what it changes in the
    state; `answer`: what people said; `used`: tokens and the like; `said`: facts it asserts, as {fact, slots};
    `tries`: executions it took."""

    node: int
    no: int
    outcome: StepOutcome
    tolerated: bool = False
    marked: bool = False
    passed: bool = False
    partial: bool = False
    code: str = ""
    goto: str = ""
    patch: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None
    used: Used | None = None
    said: tuple[dict[str, Any], ...] = ()
    tries: int = 1


class Router(Protocol):
    """`plan` is compiled once per graph and shared; `memo` is per run and changed only by `fold` and `reset`."""

    @property
    def kind(self) -> str: ...

    def plan(self, graph: Graph) -> Any:
        """Compile what `advance` needs (adjacency, counts, phases). Raises `Invalid` for a graph it cannot route (cycles …)."""

    def fresh(self, plan: Any) -> Any:
        """The memo of a run in which nothing happened."""

    def begin(self, plan: Any, memo: Any, document: dict[str, Any]) -> list[MoveOn]:
        """The first moves of a round (of a fresh memo, or of one after `reset`)."""

    def advance(self, plan: Any, memo: Any, ended: Ended, document: dict[str, Any]) -> list[MoveOn]:
        """What follows from the end of a step; the memo is not changed. `document` is the run's state before the step's patch."""

    def expire(self, plan: Any, memo: Any, at: int, document: dict[str, Any]) -> list[MoveOn]:
        """What follows when the branches at `at` took too long."""

    def stop(self, plan: Any, memo: Any, outcome: RunOutcome, reason: str) -> list[MoveOn]:
        """The run is being ended from outside with this outcome (cancelled; failed/timed_out): nothing new of the main phase starts.
        Steps still open end by themselves and are then advanced as usual. With nothing open the moves go straight on to the handlers
        for that outcome, and to `Close`. During handlers a stop closes as soon as the open handler has ended."""

    def fold(self, plan: Any, memo: Any, ended: Ended | None, moves: Sequence[MoveOn]) -> None:
        """Count an ended step and the moves that followed (`None` for `begin` and `stop`)."""

    def fold_stop(self, plan: Any, memo: Any, outcome: RunOutcome, reason: str) -> None:
        """Remember that the run is being ended from outside; folded before the moves of `stop`."""

    def reset(self, plan: Any, memo: Any, step: int | None) -> list[int]:
        """Make the memo ready for the next round, in place, and return the step numbers whose visits are forgotten.
        `step` None: what failed (tolerated or not), was aborted, cancelled, rejected or never came, with all descendants, and all
        handlers. With `step`: only that one, and handlers."""

    def rewind(self, plan: Any, memo: Any, steps: Sequence[int]) -> list[int]:
        """Make the memo ready for a fork, in place, and return the step numbers whose visits are forgotten: `steps`, whatever did not
        end by itself (open, aborted, cancelled), all descendants of these, and all handlers. Failures of other steps stay."""

    def mark(self, plan: Any, memo: Any, node: int, outcome: StepOutcome | None) -> None:
        """A person edited a step of a run that is not running (None = as if it never ran); the next round takes it into account."""

    def verdict(self, memo: Any) -> RunOutcome | None:
        """The outcome of the main phase, once it is fixed: what handlers are told."""

    def open_steps(self, plan: Any, memo: Any) -> int:
        """How many visited steps have not ended."""

    def dump(self, memo: Any) -> Any:
        """The memo as JSON-able data; `load(plan, dump(memo))` routes on exactly alike."""

    def load(self, plan: Any, data: Any) -> Any: ...
