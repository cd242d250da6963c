"""Documents of graphs, checked and told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..config import Settings
from ..errors import Invalid
from ..spec.ir.compile import Compiled, compile_graph
from ..surfaces.graphs.work.load import installation
from ..worker import load_steps
from .graph_file import load_entry, placed


def compile_document(path: Path, settings: Settings) -> Compiled:
    """Compile a file. Raises `Invalid` with every defect."""
    entry = load_entry(path, settings)
    known = installation(load_steps(), path.absolute().parent)
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
