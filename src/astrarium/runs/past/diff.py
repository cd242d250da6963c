"""How two runs differ: step by step on their ways, and at their ends. A pure function of two histories.

Source of the shape: Stargraph 0.8 (contract 5.3): steps without a difference are left out; of several kinds of difference a step is called
by the first of state, node output, edge taken, side effect (calls of tools).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from ...kernel.engine import Engine
from ...kernel.types import Scope
from ..row import run_outputs
from ..state import RunState
from .effect import Effect, effects_of
from .read import Checkpoint, checkpoints, find_run

Diverged = Literal["state", "node_output", "edge_taken", "side_effect"]
END = "end:"
"""Before the outcome of a run that went nowhere from a step."""
Op = dict[str, Any]
"""One operation of JSON Patch (RFC 6902): `add`, `remove` or `replace`."""


class Pair(msgspec.Struct, frozen=True):
    """What the one has and what the other; None = nothing."""

    orig: Any
    cf: Any


class StepDiff(msgspec.Struct, frozen=True, omit_defaults=True):
    """`step` is the place on the way. `edge_diff`: where each went from there; `node_diff`: which node each visited;
    `side_effect_diff`: the calls of tools each made, as lists of `Effect`, where they differ."""

    step: int
    branch_id: str
    diverged_at: Diverged
    state_diff: list[Op] = []
    output_diff: Pair | None = None
    side_effect_diff: Pair | None = None
    edge_diff: Pair | None = None
    node_diff: Pair | None = None


class RunDiff(msgspec.Struct, frozen=True):
    """`routes`: the nodes each visited, in order (branches as `node/branch`)."""

    original_run_id: str
    counterfactual_run_id: str
    steps: list[StepDiff]
    final_state_diff: list[Op]
    final_status_diff: Pair | None
    routes: Pair


class Life(msgspec.Struct, frozen=True):
    """A run for comparison: its ended steps, the state and status it came to; `effects` by the number of the step."""

    run: str
    checkpoints: Sequence[Checkpoint]
    state: Mapping[str, Any]
    status: str
    outcome: str = ""
    effects: Mapping[int, Sequence[Effect]] = {}
    one_way: bool = True
    """Whether places are those of a way; in a graph of edges they are those of the nodes in its file."""


async def life_of(engine: Engine, run: str, scope: Scope, logs: Path) -> Life:
    """`logs` is the folder of all logs. Raises `NotFound`, and `Refused` when its log was pruned."""
    state = await find_run(engine, run, scope)
    steps, effects = await checkpoints(engine, run, scope), await effects_of(engine, logs, state)
    one_way = state.known.shape is not None
    came_to = state.document if one_way else {"params": dict(given_params(state)), "outputs": run_outputs(state)}
    return Life(run, steps, came_to, state.status, state.outcome or "", effects, one_way)


def given_params(state: RunState) -> Iterator[tuple[str, str]]:
    """A DAG's parameters by name, those without one by their place."""
    return ((name or str(place), value) for place, (name, value) in enumerate(state.resolved.params, 1))


def diff_runs(one: Life, other: Life) -> RunDiff:
    left, right = _by_place(one.checkpoints), _by_place(other.checkpoints)
    found = [_diff_step(key, left.get(key), right.get(key), one, other) for key in sorted({*left, *right})]
    ends = [life.outcome or life.status for life in (one, other)]
    return RunDiff(
        one.run, other.run, [step for step in found if step is not None], json_patch(dict(one.state), dict(other.state)),
        Pair(*ends) if ends[0] != ends[1] else None, Pair(_route(left), _route(right)),
    )  # fmt: skip


def _by_place(checkpoints: Sequence[Checkpoint]) -> dict[tuple[int, str], Checkpoint]:
    return {(one.place, one.branch): one for one in checkpoints}


def _route(steps: Mapping[tuple[int, str], Checkpoint]) -> list[str]:
    return [f"{one.node}/{one.branch}" if one.branch else one.node for _, one in sorted(steps.items(), key=lambda item: item[0])]


def _diff_step(
    key: tuple[int, str], left: Checkpoint | None, right: Checkpoint | None, one: Life, other: Life
) -> StepDiff | None:
    outputs, effects = _pair(_output(left), _output(right)), _pair(_effects(left, one), _effects(right, other))
    nodes = _pair(left.node if left else None, right.node if right else None)
    if left is None or right is None:
        return StepDiff(*key, "edge_taken", [], outputs, effects, None, nodes)
    state, edges = json_patch(left.state, right.state), _pair(_edges(left, one), _edges(right, other))
    kind: Diverged | None = (
        "state" if state else "node_output" if outputs else "edge_taken" if edges or nodes else "side_effect" if effects else None
    )
    return StepDiff(*key, kind, state, outputs, effects, edges, nodes) if kind is not None else None


def _pair(left: Any, right: Any) -> Pair | None:
    return Pair(left, right) if left != right else None


def _effects(one: Checkpoint | None, life: Life) -> list[Effect]:
    return list(life.effects.get(one.no, ())) if one is not None else []


def _output(one: Checkpoint | None) -> Any:
    if one is None:
        return None
    made = one.patch if one.patch is not None else one.output
    return made if one.outcome == "succeeded" else {"outcome": one.outcome, "error": one.error, "output": made}


def _edges(one: Checkpoint, life: Life) -> list[str]:
    """Where it went from there: the nodes at the next place, or the end it came to; nothing in a graph of edges."""
    if not life.one_way:
        return []
    following = [step.node for step in life.checkpoints if step.place == one.place + 1]
    return following or [f"{END}{life.outcome or life.status}"]


def json_patch(left: Any, right: Any, path: str = "") -> list[Op]:
    """What makes `left` into `right` (RFC 6902)."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        ops: list[Op] = []
        for name in left:
            where = f"{path}/{_escape(str(name))}"
            ops += json_patch(left[name], right[name], where) if name in right else [{"op": "remove", "path": where}]
        ops += [{"op": "add", "path": f"{path}/{_escape(str(name))}", "value": right[name]} for name in right if name not in left]
        return ops
    if isinstance(left, list) and isinstance(right, list):
        shared = min(len(left), len(right))
        ops = [op for at in range(shared) for op in json_patch(left[at], right[at], f"{path}/{at}")]
        ops += [{"op": "remove", "path": f"{path}/{at}"} for at in range(len(left) - 1, shared - 1, -1)]
        return ops + [{"op": "add", "path": f"{path}/-", "value": value} for value in right[shared:]]
    same = isinstance(left, bool) == isinstance(right, bool) and left == right
    return [] if same else [{"op": "replace", "path": path, "value": right}]


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
