"""Short ways to compile a text and to see what is said about it."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from astrarium.errors import Invalid
from astrarium.spec.dag import DagFile, compile_dag
from astrarium.spec.graph import Node

Complaint = tuple[int, int, str, str]


def dag(text: str, **more: Any) -> DagFile:
    return compile_dag(textwrap.dedent(text), name="demo", file="demo.yaml", base_dir="/dags", **more)


def step(text: str) -> Node:
    """The node of a step whose fields are the lines of `text`."""
    return dag("steps:\n  - " + textwrap.dedent(text).strip().replace("\n", "\n    ")).graph.nodes[0]


def complaints(text: str) -> list[Complaint]:
    """(line, column, path, message) of each problem."""
    return [(problem.line, problem.column, problem.path, problem.message) for problem in refusal(text).problems]


def refusal(text: str) -> Invalid:
    with pytest.raises(Invalid) as caught:
        dag(text)
    return caught.value


def step_complaints(text: str) -> list[Complaint]:
    """The same for the fields of one step in flow form: `steps: [{…}]`, whose fields begin at column 10."""
    return complaints("steps: [{" + text + "}]")


def needs(found: DagFile) -> dict[str, list[str]]:
    """Each step's dependencies by name, sorted."""
    names = [node.name for node in found.graph.nodes]
    result: dict[str, list[str]] = {name: [] for name in names}
    for edge in found.graph.edges:
        result[names[edge.target]].append(names[edge.source])
    return {name: sorted(sources) for name, sources in result.items()}
