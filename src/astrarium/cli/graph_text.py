"""Documents of graphs, checked and told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..config import Settings
from ..errors import Invalid
from ..runs.routing.rules.state import Shape
from ..runs.work.tool.gate import denials
from ..spec.ir.compile import Compiled, compile_graph
from ..surfaces.graphs.catalog import Entry
from ..surfaces.graphs.work.load import Belief, installation
from ..worker import load_steps, means_of
from .graph_file import load_entry, placed
from .graph_show import say, short
from .option import print_json


def compile_document(path: Path, settings: Settings) -> Compiled:
    """Compile a file. Raises `Invalid` with every defect."""
    entry = load_entry(path, settings)
    known = installation(load_steps(), path.absolute().parent, belief=Belief.of(settings))
    return compile_graph(entry.text, file=path.name, key=str(path.resolve()), installed=known)


def reports_of(files: Sequence[Path], settings: Settings) -> list[dict[str, Any]]:
    """What is to be told of each file."""
    return [_report(path, settings) for path in files]


def _report(path: Path, settings: Settings) -> dict[str, Any]:
    try:
        entry = load_entry(path, settings)
    except Invalid as error:
        shown = [placed(problem, path) for problem in error.problems]
        told = [{**msgspec.to_builtins(problem), "text": str(problem)} for problem in shown] or [{"text": error.message}]
        return {"file": str(path), "valid": False, "problems": told, "warnings": []}
    facts = {"graph_id": entry.id, "graph_hash": entry.hash, "nodes": entry.nodes}
    return {"file": str(path), "valid": True, **facts, "problems": [], "warnings": list(entry.warnings)}


def show_start(entry: Entry, state: dict[str, Any], settings: Settings, as_json: bool) -> int:
    """What a run would start with; the exit code 0 when it is allowed all that its graph needs, else 1. Raises `Invalid` when the state
    does not fit."""
    flow = entry.graph.flow
    whole = Shape(flow).start(state) if flow is not None else state
    denied = denials(entry.graph, means_of(settings), load_steps())
    lacking = sorted({permission for one in denied for permission in one.permissions})
    if as_json:
        print_json({"graph_id": entry.id, "graph_hash": entry.hash, "state": whole, "lacking_permissions": lacking})
    else:
        say(f"{entry.id}  {entry.nodes} nodes  graph_hash={entry.hash[:12]}")
        for name, value in whole.items():
            say(f"  {name} = {short(value, 200)}")
        for one in denied:
            say(("not allowed: ", "red"), f"{one.subject} needs {', '.join(one.permissions)} (--grant, or the setting graph_grants)")
    return 1 if denied else 0
