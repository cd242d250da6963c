"""A graph run on fixtures: in a folder that is thrown away, with stand-ins for its nodes, and its rules really asked."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..config import Settings
from ..errors import Invalid, Problem
from ..runs.past.read import Checkpoint, checkpoints
from ..runs.ports import Result, Step, TryContext
from ..spec.graph import Graph, decode_graph
from ..surfaces.graphs.catalog import Entry
from .graph_file import catalog_of
from .graph_follow import Teller, conclude, settled
from .graph_place import Here, open_place, summary_of
from .graph_show import decision_of, show_timeline
from .option import print_json

ASKING = "interrupt"
PASSED = ("subgraph", "passthrough", "halt", "echo", "template", ASKING)
"""Kinds that need no fixture: what they do depends on the state alone, or is inside."""


class Fixture:
    """Stands in for a step type: gives what is written down for the node, visit by visit; the last one again and again."""

    def __init__(self, real: Step, fixtures: Mapping[str, Any], visits: Counter[tuple[str, str]]) -> None:
        self.kind, self.Params, self.idempotent = real.kind, real.Params, True
        self.place, self.captures = "", False
        self._real, self._fixtures, self._visits = real, fixtures, visits

    def run(self, ctx: TryContext, params: Any) -> Any:
        name = ctx.node.name
        if name not in self._fixtures or self.kind == ASKING:
            return self._real.run(ctx, params)
        given = self._fixtures[name]
        if isinstance(given, list):
            visit = self._visits[ctx.run_id, name]
            self._visits[ctx.run_id, name] += 1
            given = given[min(visit, len(given) - 1)]
        if "fail" in given and len(given) == 1:
            return Result("broken", error=str(given["fail"]), code="Fixture")
        return Result(patch=dict(given) or None)


def check_fixtures(graphs: list[Graph], fixtures: Mapping[str, Any]) -> None:
    """Raises `Invalid`: a node that would really run, a fixture of no node, one that is no mapping."""
    nodes = {node.name: node.kind for graph in graphs for node in graph.nodes}
    problems = [
        Problem(f"the node `{name}` ({kind}) has no fixture", path=name, hint=f"{name}: {{}}")
        for name, kind in nodes.items()
        if name not in fixtures and kind not in PASSED
    ]
    problems += [Problem(f"there is no node `{name}`", path=name) for name in fixtures if name not in nodes]
    for name, given in fixtures.items():
        good = isinstance(given, dict) or (isinstance(given, list) and given and all(isinstance(one, dict) for one in given))
        if not good:
            problems.append(Problem(f"the fixture of `{name}` is neither a mapping nor a list of mappings", path=name))
    if problems:
        raise Invalid("the fixtures do not fit the graph", problems, code="usage")


async def simulate(entry: Entry, state: dict[str, Any], fixtures: dict[str, Any], as_json: bool) -> int:
    graphs = [decode_graph(data) for kind, data in entry.things if kind == "graph"]
    check_fixtures(graphs, fixtures)
    visits: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="astrarium-") as folder:
        settings = Settings(data_dir=Path(folder), synchronous="normal", graph_grants="*")
        async with open_place(settings, catalog_of(settings)) as place:
            assert isinstance(place, Here)
            shop = place.worker.shop
            shop.steps = {kind: Fixture(step, fixtures, visits) for kind, step in shop.steps.items()}  # type: ignore[misc]
            run = await place.start(entry, state)
            row = await settled(place, run, Teller(True))
            summary = await summary_of(place.worker.engine, run)
            while summary["status"] == "awaiting-input" and (answer := _answer(fixtures, summary, visits)) is not None:
                await place.order("respond", row, {"response": answer})
                row = await settled(place, run, Teller(True))
                summary = await summary_of(place.worker.engine, run)
            found = await checkpoints(place.worker.engine, run, row.scope)
    names = [node.name for node in entry.graph.nodes]
    if as_json:
        told = {
            name: summary[name]
            for name in ("graph_id", "graph_hash", "status", "error_class", "error_cause", "awaiting", "state")
        }
        print_json({**told, "steps": list(_told(found, names))})
    else:
        show_timeline(found, names, 0)
        conclude(summary, False)
    return 0 if summary["status"] == "done" else 1


def _answer(fixtures: Mapping[str, Any], summary: Mapping[str, Any], visits: Counter[tuple[str, str]]) -> dict[str, Any] | None:
    """What is answered to the question a run waits with; None when nothing is written down."""
    node = summary["awaiting"]["node"]
    given = fixtures.get(node)
    if isinstance(given, list):
        visit = visits["", node]
        visits["", node] += 1
        given = given[visit] if visit < len(given) else None
    elif given is not None and visits["", node] > 0:
        given = None
    else:
        visits["", node] += 1
    return given


def _told(found: list[Checkpoint], names: list[str]) -> Iterator[dict[str, Any]]:
    for one in found:
        chose = one.chose
        yield {
            "step": one.place, "branch_id": one.branch or None, "node": one.node, "outcome": one.outcome, "error": one.error or None,
            "rule": chose.rule if chose else "", "decision": decision_of(one, names).strip(), "output": one.patch or {},
        }  # fmt: skip
