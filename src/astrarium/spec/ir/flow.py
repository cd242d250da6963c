"""What the `rules` router follows: where a graph is entered, how it falls through, its rules, its parallel blocks and its state.

Pure data and part of `Graph`. Nodes are named here, never numbered; that every name is one of the graph's nodes is checked when
the router's plan is made, so a graph that cannot be followed is refused before anything runs.
Source of the meanings: Stargraph 0.8 (contract 1.1, 2.4, 2.5, 4, 11.3-11.7), the normative column.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Op = Literal["text", "eq", "ne", "lt", "le", "gt", "ge", "in"]
Strategy = Literal["all", "any", "race", "quorum"]
Reducer = Literal["", "sum", "append", "union", "max", "min", "last"]
FieldType = Literal["any", "str", "int", "float", "bool", "bytes", "list", "dict"]
Lifecycle = Literal["run", "step", "pinned"]


class Test(msgspec.Struct, frozen=True, omit_defaults=True):
    """One comparison of a fact. `field` names a state field (its template, where it has one), else a key of the answer just given,
    else the template of an asserted fact that has a slot `value`. `$outcome` and `$visits` are how the step ended and how often its
    node was visited. `text`: `str` of the value equals `value`, a text; the others compare typed (a missing or unlike value holds
    for `ne` alone); `in`: `value` is a list."""

    field: str
    op: Op = "text"
    value: Any = None


class Goto(msgspec.Struct, frozen=True, tag="goto"):
    target: str


class Halt(msgspec.Struct, frozen=True, omit_defaults=True, tag="halt"):
    """The run ends well. `outcome` other than that is for dialects that have it."""

    reason: str = ""
    outcome: Literal["succeeded", "partial", "failed", "broken", "cancelled", "rejected"] = "succeeded"


class Parallel(msgspec.Struct, frozen=True, omit_defaults=True, tag="parallel"):
    """One visit of each target from the same state; then `join` (empty = the run ends). `all`: every branch ends well; `any`: the
    first that ends well; `race`: the first that ends; `quorum`: `quorum` of them end well. `deadline_s` 0 = none."""

    targets: tuple[str, ...]
    join: str = ""
    strategy: Strategy = "all"
    quorum: int = 0
    deadline_s: float = 0.0


class Revisit(msgspec.Struct, frozen=True, omit_defaults=True, tag="retry"):
    """Visit `target` again after `backoff_s`, counted for each rule and target; beyond `max_attempts` the run fails with
    `retry_exhausted`."""

    target: str
    backoff_s: float = 0.0
    max_attempts: int = 5


class Assert(msgspec.Struct, frozen=True, omit_defaults=True, tag="assert"):
    """A fact for the rest of the run."""

    fact: str
    slots: dict[str, Any] = {}


class Retract(msgspec.Struct, frozen=True, omit_defaults=True, tag="retract"):
    """Asserted facts of this template go; with `slots` only those that have these values (as texts)."""

    fact: str
    slots: dict[str, Any] = {}


class Interrupt(msgspec.Struct, frozen=True, omit_defaults=True, tag="interrupt"):
    """A question to people. `schema`: JSON schema of the answer; `timeout_s` 0 = waits for ever; `on_timeout` a node to go to, empty =
    the run fails with `interrupt_timeout`; `output_field`: the state field that takes the whole answer, empty = each key of the
    answer that is a state field is taken over."""

    prompt: str
    payload: dict[str, Any] = {}
    schema: dict[str, Any] = {}
    capability: str = ""
    timeout_s: float = 0.0
    on_timeout: str = ""
    output_field: str = ""


Action = Goto | Halt | Parallel | Revisit | Assert | Retract | Interrupt


class FlowRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """`node` empty = after every node. All of `tests`, `cel` and `clips` that are given must hold. `cel`: a CEL text over `node`,
    `state`, `answer`, `facts`, `outcome`, `visits`; `uses`: the state fields it reads. `clips`: patterns of a CLIPS left-hand side
    (their salience goes into `salience`). `caught`: asked also after a step that did not end well.

    Of the rules that match, the higher `salience` goes first, then the one whose match used a later fact (the node's id comes first,
    then the fields in their order, then the answer), then the one declared first. Stargraph 0.8: contract 11.4."""

    id: str
    then: tuple[Action, ...] = ()
    node: str = ""
    tests: tuple[Test, ...] = ()
    cel: str = ""
    uses: tuple[str, ...] = ()
    clips: str = ""
    salience: int = 0
    caught: bool = False


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field of the state, in the model's order. `schema`: JSON schema of its value, beyond `type`; `required` = the run must be
    started with it; `reducer` merges what several branches changed; `template`: the name rules know it by (empty = `name`);
    `lifecycle` `step` = rules see it only after a step that wrote it."""

    name: str
    type: FieldType = "any"
    required: bool = False
    nullable: bool = False
    default: Any = None
    schema: dict[str, Any] = {}
    reducer: Reducer = ""
    template: str = ""
    lifecycle: Lifecycle = "run"


class Budget(msgspec.Struct, frozen=True, omit_defaults=True):
    """Most that may be used, in the run's life, over all tries and visits; 0 = no limit. What is used is what results say (`used`) and
    how long tries took. `cost` is a decimal, as text."""

    tokens: int = 0
    cost: float | str = 0.0
    latency_ms: int = 0


class RulePack(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rules of a governance pack, for CLIPS: constructs in their order. `templates`: the facts of the run they look at or assert, with
    their slots."""

    id: str
    version: str
    constructs: tuple[str, ...] = ()
    templates: dict[str, tuple[str, ...]] = {}


class Flow(msgspec.Struct, frozen=True, omit_defaults=True):
    """`entry` empty = the first of `order`. `order`: the nodes in their fall-through order; after the last of them, or a node that is
    not among them, the run ends. `open_state`: fields that are not declared may be written too. `budgets` by node, "" = the run's.
    `packs` are asked after every step, before the rules; `once`: nodes that change the world."""

    entry: str = ""
    order: tuple[str, ...] = ()
    rules: tuple[FlowRule, ...] = ()
    blocks: tuple[Parallel, ...] = ()
    fields: tuple[Field, ...] = ()
    open_state: bool = False
    budgets: dict[str, Budget] = {}
    packs: tuple[RulePack, ...] = ()
    once: tuple[str, ...] = ()
