"""Checkpoints and differences as clients are told them."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from .... import __version__
from ....kernel.engine import Engine
from ....runs.past.diff import END, Pair, diff_runs, life_of
from ....runs.past.read import Checkpoint
from ....runs.past.seek import page, state_at
from ....runs.routing.port import Close, Fact, Fan, MoveOn, Question, Visit
from ....spec.graph import Graph
from ....spec.ir.hash import content_hash, runtime_hash
from .. import wire
from .query import RunRow, aliases_of
from .run import HASH_LABEL, labels_of, masked, shown_time
from .status import ENDS, LIVE

RUNTIME = runtime_hash(platform.python_version(), __version__)


async def list_steps(engine: Engine, row: RunRow, after: int, limit: int) -> list[wire.CheckpointView]:
    graph, parent = await _around(engine, row)
    return [shown(one, row, graph, parent) for one in await page(engine, row.id, row.scope, after=after, limit=limit)]


async def show_step(engine: Engine, row: RunRow, place: int, branch: str) -> wire.CheckpointView:
    graph, parent = await _around(engine, row)
    return shown(await state_at(engine, row.id, row.scope, place, branch), row, graph, parent)


async def _around(engine: Engine, row: RunRow) -> tuple[Graph, str | None]:
    parent = (await aliases_of(engine.store, [row.forked_from])).get(row.forked_from)
    return (await engine.things.fetch([row.graph]))[row.graph].graph, parent


def shown(one: Checkpoint, row: RunRow, graph: Graph, parent: str | None) -> wire.CheckpointView:
    made: Any = one.patch if one.patch is not None else {"output": one.output} if one.output is not None else {}
    return wire.CheckpointView(
        run_id=row.alias, step=one.place, branch_id=one.branch or None, attempt=one.round,
        graph_hash=labels_of(row).get(HASH_LABEL, row.graph), runtime_hash=RUNTIME, state=one.state,
        clips_facts=[shown_fact(fact) for fact in one.facts], last_node=one.node, next_action=next_action(one.moves, graph),
        timestamp=shown_time(one.at), parent_run_id=parent, side_effects_hash=content_hash(made), outcome=one.outcome,
        error=masked(one.error) or None,
    )  # fmt: skip


def shown_fact(fact: Fact) -> dict[str, Any]:
    """A fact with where it comes from."""
    return {"template": fact.template, "slots": fact.slots, "origin": fact.origin, "source": fact.source, "step": fact.step}


def next_action(moves: Sequence[MoveOn], graph: Graph) -> dict[str, Any] | None:
    """The decision that followed, as the action of a rule; None for falling through."""
    kind = next((move.kind for move in moves if hasattr(move, "kind") and hasattr(move, "rule")), "")
    names = [node.name for node in graph.nodes]
    for move in moves:
        if type(move) is Close:
            return {"kind": "halt", "reason": move.reason} if kind in ("halt", "fail") else None
        if type(move) is Question:
            return {"kind": "interrupt", "prompt": move.ask.prompt}
        if type(move) is Fan:
            join = names[move.join] if move.join >= 0 else ""
            return {"kind": "parallel", "targets": [names[node] for node in move.targets], "join": join}
        if type(move) is Visit and kind in ("goto", "retry"):
            return {"kind": kind, "target": names[move.node]}
    return None


async def compare(engine: Engine, logs: Path, one: RunRow, other: RunRow) -> wire.RunDifference:
    """`logs` is the folder of all logs. Raises `Refused` where the log of one was pruned."""
    left, right = [await life_of(engine, run.id, run.scope, logs) for run in (one, other)]
    found = diff_runs(left, right)
    status = found.final_status_diff
    steps = [
        wire.StepDifference(
            step.step, step.branch_id or None, step.diverged_at, step.state_diff, _pair(step.output_diff), _pair(step.side_effect_diff),
            _edges(step.edge_diff), _pair(step.node_diff),
        )
        for step in found.steps
    ]  # fmt: skip
    words = [_word(status.orig), _word(status.cf)] if status is not None else []
    return wire.RunDifference(
        one.alias, other.alias, labels_of(other).get(HASH_LABEL) if other.forked_from else None, steps, found.final_state_diff,
        words if words and words[0] != words[1] else None, {"orig": found.routes.orig, "cf": found.routes.cf},
    )  # fmt: skip


def _word(status: str) -> str:
    return ENDS.get(status) or LIVE.get(status) or status


def _edges(pair: Pair | None) -> dict[str, Any] | None:
    """Where both went; an end by the status the run came to."""
    if pair is None:
        return None
    told = [[f"{END}{_word(to.removeprefix(END))}" if to.startswith(END) else to for to in side] for side in (pair.orig, pair.cf)]
    return {"orig": told[0], "cf": told[1]}


def _pair(pair: Pair | None) -> dict[str, Any] | None:
    return {"orig": msgspec.to_builtins(pair.orig), "cf": msgspec.to_builtins(pair.cf)} if pair is not None else None
