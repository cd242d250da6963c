"""A graph compiled for routing by edges: adjacency, in-edge counts and phases, once per graph and shared by its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ...errors import Invalid, Problem
from ...spec.graph import Edge, Graph
from .ending import DAG, POLICIES, Policy
from .phase import NUMBERS

_ON: Final = {"success": 0, "failure": 1, "always": 2}


class Plan(msgspec.Struct, frozen=True):
    """Indexed by node: `phase`, `join_any`, `outs` (target, which column of the policy's edge table) and `waits` (in-edges).
    Indexed by phase: `members` in an order in which edges only point forward, `roots` (members without in-edges)."""

    policy: Policy
    phase: bytes
    join_any: bytes
    outs: tuple[tuple[tuple[int, int], ...], ...]
    waits: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]
    roots: tuple[tuple[int, ...], ...]


def compile_plan(graph: Graph) -> Plan:
    """Raises `Invalid` for edges that lead nowhere and for cycles. Edges between phases order nothing: the phases do."""
    _check_edges(graph)
    phase = bytes(NUMBERS[node.phase] for node in graph.nodes)
    outs: list[list[tuple[int, int]]] = [[] for _ in graph.nodes]
    waits = [0] * len(graph.nodes)
    for edge in graph.edges:
        if phase[edge.source] == phase[edge.target]:
            outs[edge.source].append((edge.target, _ON[edge.on]))
            waits[edge.target] += 1
    order = _sorted_forward(graph, outs, waits)
    members: list[list[int]] = [[] for _ in NUMBERS]
    roots: list[list[int]] = [[] for _ in NUMBERS]
    for node in order:
        members[phase[node]].append(node)
    for node, number in enumerate(phase):
        if not waits[node]:
            roots[number].append(node)
    return Plan(
        policy=POLICIES.get(graph.dialect, DAG),
        phase=phase,
        join_any=bytes(node.join == "any" for node in graph.nodes),
        outs=tuple(tuple(targets) for targets in outs),
        waits=tuple(waits),
        members=tuple(tuple(nodes) for nodes in members),
        roots=tuple(tuple(nodes) for nodes in roots),
    )


def _check_edges(graph: Graph) -> None:
    known = range(len(graph.nodes))
    problems = [
        Problem(f"edge {position} {what} node {end}; `{graph.name}` has {len(known)} nodes, from 0", f"edges[{position}]")
        for position, edge in enumerate(graph.edges)
        for what, end in _ends(edge)
        if end not in known
    ]
    if problems:
        raise Invalid(
            f"graph `{graph.name}` has edges to nodes that do not exist",
            problems,
            hint="an edge names positions in `nodes`, from 0",
        )


def _ends(edge: Edge) -> tuple[tuple[str, int], tuple[str, int]]:
    return (("starts at", edge.source), ("leads to", edge.target))


def _sorted_forward(graph: Graph, outs: Sequence[Sequence[tuple[int, int]]], waits: Sequence[int]) -> list[int]:
    """All nodes, sources before targets; `Invalid` with the nodes of one cycle when there is no such order."""
    left = list(waits)
    order = [node for node, count in enumerate(left) if not count]
    for node in order:
        for target, _ in outs[node]:
            left[target] -= 1
            if not left[target]:
                order.append(target)
    if len(order) < len(left):
        cycle = " → ".join(graph.nodes[node].name for node in _find_cycle(outs, left))
        problem = Problem(f"steps wait for each other: {cycle}", "edges", hint="remove one of these dependencies")
        raise Invalid(f"graph `{graph.name}` has a cycle: {cycle}", [problem], hint="remove one of these dependencies")
    return order


def _find_cycle(outs: Sequence[Sequence[tuple[int, int]]], left: Sequence[int]) -> list[int]:
    """Walk backwards among the nodes that are still waited for: each has such a source, so the walk must meet itself.
    The cycle is told from its first node on, and back to it."""
    source_of = {target: node for node, count in enumerate(left) if count for target, _ in outs[node] if left[target]}
    node = next(iter(source_of))
    path: dict[int, None] = {}
    while node not in path:
        path[node] = None
        node = source_of[node]
    walked = list(path)
    cycle = walked[walked.index(node) :][::-1]
    first = cycle.index(min(cycle))
    return [*cycle[first:], *cycle[: first + 1]]
