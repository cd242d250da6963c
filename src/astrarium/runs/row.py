"""What readers are told: one row per run, one per step and round."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ..kernel.record.artifact import ARTIFACTS
from ..kernel.types import Row, Scope, table
from ..spec.graph import Output
from .state import RunState, Step, as_json

RUNS = table(
    "runs",
    "id",
    "id workspace environment surface name alias graph status outcome reason waiting round:int parent_run parent_round:int"
    " parent_step:int parent_index:int root depth:int params resolved:json outputs:json queue trigger rerun_of forked_from labels:json"
    " created_at:int queued_at:int began_at:int ended_at:int",
)
STEPS = table(
    "steps",
    "run round no",
    "run round:int no:int workspace node kind status outcome tolerated:int partial:int inherited:int tries:int retries:int"
    " passes:int worker exit_code:int error output ask:json answers:json started_at:int ended_at:int place:int branch code",
)

TABLES = (RUNS, STEPS, ARTIFACTS)


class RunRow(NamedTuple):
    """A row of `runs`, columns in its order. Times are microseconds UTC, 0 = not yet."""

    id: str
    workspace: str
    environment: str
    surface: str
    name: str
    alias: str
    graph: str
    status: str
    outcome: str
    reason: str
    waiting: str
    round: int
    parent_run: str
    parent_round: int
    parent_step: int
    parent_index: int
    root: str
    depth: int
    params: str
    resolved: str
    outputs: str
    queue: str
    trigger: str
    rerun_of: str
    forked_from: str
    labels: str
    created_at: int
    queued_at: int
    began_at: int
    ended_at: int

    @property
    def scope(self) -> Scope:
        return Scope(self.workspace, self.environment)


class StepRow(NamedTuple):
    """A row of `steps`, columns in its order."""

    run: str
    round: int
    no: int
    workspace: str
    node: str
    kind: str
    status: str
    outcome: str
    tolerated: int
    partial: int
    inherited: int
    tries: int
    retries: int
    passes: int
    worker: str
    exit_code: int | None
    error: str
    output: str | None
    ask: str
    answers: str
    started_at: int
    ended_at: int
    place: int
    branch: str
    code: str


RUN_COLUMNS = ", ".join(RunRow._fields)
STEP_COLUMNS = ", ".join(StepRow._fields)
LARGE = frozenset(("params", "resolved", "outputs"))
LEAN_COLUMNS = ", ".join(f"'' AS {name}" if name in LARGE else name for name in RunRow._fields)
"""For readers of many runs who want none of what they were given and made: it is left empty."""


def shown_status(state: RunState) -> tuple[str, str]:
    """The run's status as readers see it, and what it waits for: a run whose open steps all wait is `waiting`, one that comes back to
    its queue `queued` again."""
    if state.asks:
        return "waiting", "person"
    if state.in_line:
        return "queued", "slot" if state.queue else ""
    return "paused" if state.status == "parked" else state.status, ""


def ended_outputs(state: RunState) -> Iterator[tuple[Output, str]]:
    """What the steps that want an output made, in the order they ended."""
    for no in state.made:
        step = state.steps[no]
        wanted = state.known.nodes[step.node].output
        if wanted is not None and step.output is not None:
            yield wanted, step.output


def run_outputs(state: RunState) -> dict[str, str]:
    """The run's outputs under their keys; of the same key the last wins."""
    return {wanted.key or wanted.name: value for wanted, value in ended_outputs(state) if not wanted.omit}


def output_variables(state: RunState) -> dict[str, str]:
    """The outputs under the names of their variables: what a parent run sees."""
    return {wanted.name: value for wanted, value in ended_outputs(state)}


def run_row(state: RunState) -> tuple[Any, ...]:
    status, waiting = shown_status(state)
    parent = state.parent
    ended = state.status == "ended"
    return (
        state.run, state.scope.workspace, state.scope.environment, state.surface, state.name, state.alias, state.graph,
        status, state.outcome or "", state.reason, waiting, state.round,
        parent.run if parent else "", parent.round if parent else 0, parent.no if parent else 0, parent.index if parent else 0,
        state.root, state.depth, state.params, as_json(state.resolved), as_json(run_outputs(state) if ended else {}),
        state.queue, state.trigger, state.rerun_of, state.forked_from, as_json(state.labels),
        state.created_at, state.queued_at, state.began_at, state.ended_at,
    )  # fmt: skip


def step_row(state: RunState, step: Step) -> tuple[Any, ...]:
    node = state.known.nodes[step.node]
    return (
        state.run, step.round, step.no, state.scope.workspace, node.name, node.kind,
        step.status, step.outcome or "", int(step.tolerated), int(step.partial), int(step.inherited), step.try_no, step.retries,
        step.passes, step.worker, step.exit_code, step.error, step.output,
        as_json(step.ask) if step.ask is not None else "{}", as_json(step.answers) if step.answers else "[]",
        step.started_at, step.ended_at, step.place, step.branch, step.code,
    )  # fmt: skip


def all_rows(state: RunState) -> Iterable[Row]:
    """Every row of the present round, as the fold says it must be (for checking rows against the log)."""
    yield RUNS, run_row(state)
    for step in state.steps.values():
        if step.status not in ("ready", "offered") or step.try_no:
            yield STEPS, step_row(state, step)
