"""The state of a run: what its events add up to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from ..kernel.types import Needs, Row, Scope
from ..spec.graph import Graph, Node, decode_graph
from ..spec.ir.pack.policy import Policy
from .message import Origin, Parent, Resolved
from .ports import Ask, Child, StepOutcome, Used
from .routing.depends import DependsRouter
from .routing.port import Router, RunOutcome
from .routing.rules import RulesRouter
from .routing.rules.state import Shape

RunStatus = Literal["new", "queued", "running", "pausing", "paused", "parked", "stopping", "ended"]
"""parked: paused before it began"""
StepStatus = Literal["idle", "ready", "offered", "running", "delayed", "asking", "parent", "done"]
"""idle: not visited · ready: visited, waits for room · offered: a job · running: a try · delayed: a job with a date ·
asking: for people · parent: of child runs · done: ended"""

ROUTERS: dict[str, Router] = {"depends": DependsRouter(), "rules": RulesRouter()}


class Definition:
    """A graph with its router's plan, shared by all runs of it. `policy`: what the packs it mounts demand."""

    __slots__ = ("graph", "lineage", "named", "nodes", "params", "plain", "plan", "policy", "router", "shape")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: tuple[Node, ...] = graph.nodes
        self.router = ROUTERS[graph.router]
        self.plan = self.router.plan(graph)
        self.policy: Policy = self.plan.policy if graph.router == "rules" else Policy()
        self.shape = Shape(graph.flow) if graph.flow is not None and graph.router == "rules" else None
        self.named: dict[str, int] = {node.name: at for at, node in enumerate(graph.nodes)}
        self.named.update((node.id, at) for at, node in enumerate(graph.nodes) if node.id)
        self.params: dict[int, Any] = {}
        self.plain: dict[int, Any] = {}
        self.lineage: list[list[int]] = [[] for _ in graph.nodes]
        for edge in graph.edges:
            self.lineage[edge.target].append(edge.source)

    def ancestors(self, node: int) -> set[int]:
        """Nodes from which a path leads to `node`."""
        found: set[int] = set()
        open_ = list(self.lineage[node])
        while open_:
            source = open_.pop()
            if source not in found:
                found.add(source)
                open_.extend(self.lineage[source])
        return found


def decode_definition(data: bytes) -> Definition:
    return Definition(decode_graph(data))


class ChildState(msgspec.Struct, omit_defaults=True):
    """How one child stands: its run id once it is known, its end."""

    run: str = ""
    outcome: RunOutcome | None = None
    outputs: dict[str, str] = {}
    error: str = ""
    state: dict[str, Any] = {}
    used: Used | None = None


class Children(msgspec.Struct, omit_defaults=True):
    """The runs a step waits for. Children up to `next` were let go; `open` of them have not ended."""

    specs: tuple[Child, ...]
    max_active: int = 0
    parallel: bool = False
    tolerated: bool = False
    marked: bool = False
    retry_in_s: float | None = None
    retry_limit: int = 0
    states: list[ChildState] = []
    next: int = 0
    open: int = 0
    fields: dict[str, str] = {}


class Step(msgspec.Struct, omit_defaults=True):
    """One visit of a node, at the place `at` (-1 = its number) on the way of a graph of rules.
    `try_no` counts executions, `retries` further tries after failures, `passes` ended turns of a repeat."""

    no: int
    node: int
    status: StepStatus = "ready"
    round: int = 1
    try_no: int = 0
    retries: int = 0
    passes: int = 0
    due: int = 0
    worker: str = ""
    outcome: StepOutcome | None = None
    tolerated: bool = False
    marked: bool = False
    passed: bool = False
    partial: bool = False
    inherited: bool = False
    origin: Origin | None = None
    output: str | None = None
    exit_code: int | None = None
    error: str = ""
    started_at: int = 0
    ended_at: int = 0
    ask: Ask | None = None
    until: int = 0
    answers: list[dict[str, Any]] = []
    children: Children | None = None
    at: int = -1
    branch: str = ""
    code: str = ""
    patch: dict[str, Any] | None = None
    used: Used | None = None

    @property
    def place(self) -> int:
        return self.no if self.at < 0 else self.at


class Kept(msgspec.Struct, omit_defaults=True):
    """What a dump holds of a state besides scope and stream; the memo is the router's dump. `ready`: visited steps that wait for
    room; `made`: steps that left an output, in the order they ended; `overrides`, `answers`: as in `ForkRun`; `aside`: its place in the
    queue is for others; `paused_at`: since when time is not its own, because it is paused or waits for its place; `anchor_due`: the step
    whose end carries an anchor again."""

    graph: str = ""
    status: RunStatus = "new"
    outcome: RunOutcome | None = None
    reason: str = ""
    round: int = 0
    name: str = ""
    surface: str = ""
    alias: str = ""
    params: str = ""
    trigger: str = ""
    queue: str = ""
    queue_limit: int = 0
    priority: int = 0
    chosen: bool = False
    parent: Parent | None = None
    root: str = ""
    depth: int = 0
    rerun_of: str = ""
    forked_from: str = ""
    labels: dict[str, str] = {}
    prepared: bool = False
    resolved: Resolved = Resolved()
    document: dict[str, Any] = {}
    inputs: dict[str, str] = {}
    steps: dict[int, Step] = {}
    ready: list[int] = []
    made: list[int] = []
    active: int = 0
    asking: int = 0
    stop_outcome: RunOutcome | None = None
    stop_reason: str = ""
    stop_grace_s: float = 0.0
    created_at: int = 0
    queued_at: int = 0
    began_at: int = 0
    ended_at: int = 0
    paused_at: int = 0
    due: int = 0
    shown: str = ""
    overrides: dict[str, dict[str, Any]] = {}
    answers: dict[int, dict[str, Any]] = {}
    answered_by: str = ""
    aside: bool = False
    anchor_due: int = 0


class RunState(Kept):
    """A run in memory: the kept part, its definition and memo, and scratch the machine clears with every decision."""

    run: str = ""
    scope: Scope = Scope("", "")
    memo: Any = None
    fresh: list[int] = []
    let_go: list[tuple[int, int]] = []
    fans: list[tuple[int, int]] = []
    passed: list[int] = []
    touched: set[int] = set()
    told: list[Row] = []
    run_touched: bool = False
    ending: Needs | None = None
    known: Definition = None  # type: ignore[assignment]  # set before the first fold, read in every one

    def node(self, no: int) -> Node:
        return self.known.nodes[self.steps[no].node]

    @property
    def goes(self) -> bool:
        """Whether steps of it may begin."""
        return (self.status == "running" and not self.aside) or self.status == "stopping"

    @property
    def asks(self) -> bool:
        """Whether all that it waits for is people."""
        return self.status == "running" and self.asking > 0 and not self.ready and self.active == 0

    @property
    def rests(self) -> bool:
        """Whether only an order from outside, or a date, will move it."""
        return self.status in ("paused", "parked") or self.asks

    @property
    def in_line(self) -> bool:
        """Whether it waits for its place: its first, or one to go on with."""
        return self.status == "queued" or (self.status == "running" and self.aside and not self.asks)


KEPT_FIELDS = tuple(Kept.__struct_fields__)
ANCHOR_EVERY = 64
"""Steps of a graph of rules from one end that carries an anchor to the next."""
ANCHOR_STEP_BYTES = 1024
"""What an anchor may add to each step between: a larger one comes after more steps."""
_DECODER = msgspec.json.Decoder(Kept)


def dump_state(state: RunState) -> bytes:
    """The state as JSON: [kept, memo]; keys of `steps` become text and come back as numbers."""
    return _dump(state, state.steps)


def dump_anchor(state: RunState, open_steps: Iterable[int]) -> bytes:
    """As `dump_state`, with only these of its steps: enough for who folds on, and small however long the run is."""
    return _dump(state, {no: state.steps[no] for no in open_steps})


def _dump(state: RunState, steps: dict[int, Step]) -> bytes:
    kept = Kept(**{name: getattr(state, name) for name in KEPT_FIELDS})
    if steps is not state.steps:
        kept.steps, kept.made = steps, []
    memo = state.known.router.dump(state.memo) if state.memo is not None else None
    return msgspec.json.encode([kept, memo])


def dump_graph(data: bytes) -> str:
    """The hash of the graph a dump refers to, without decoding all of it."""
    kept, _ = msgspec.json.decode(data, type=tuple[_GraphOnly, msgspec.Raw])
    return kept.graph


class _GraphOnly(msgspec.Struct):
    graph: str = ""


def load_state(run: str, scope: Scope, data: bytes, definition: Definition | None) -> RunState:
    kept_raw, memo_raw = msgspec.json.decode(data, type=tuple[msgspec.Raw, msgspec.Raw])
    kept = _DECODER.decode(kept_raw)
    state = RunState(**{name: getattr(kept, name) for name in KEPT_FIELDS}, run=run, scope=scope)
    if definition is not None:
        state.known = definition
        state.memo = definition.router.load(definition.plan, msgspec.json.decode(memo_raw))
    return state


def as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


