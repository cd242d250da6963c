"""Which step waits for which: implicit edges of a chain, explicit `depends` by name or id, and the search for cycles."""

from __future__ import annotations

from collections import deque

from ..graph import Edge
from ..source import Report
from .step import Draft

MAX_EDGES = 1_000_000


def read_edges(drafts: list[Draft], chain: bool, report: Report) -> tuple[Edge, ...]:
    """Dagu ≥ 1.24: in a chain, `depends` is added to the edge from the element before; `depends: []` removes that edge."""
    places = {draft.name: place for place, draft in enumerate(drafts)}
    for place, draft in enumerate(drafts):
        if draft.node is not None and draft.node.id:
            places.setdefault(draft.node.id, place)
    sources = _chained(drafts) if chain else [()] * len(drafts)
    edges: list[Edge] = []
    for target, draft in enumerate(drafts):
        wanted = dict.fromkeys(() if draft.depends == () else sources[target])
        for name in draft.depends or ():
            source = places.get(name.strip())
            if source is None:
                close = report.suggest(name, places)
                draft.complain(f"`depends` names the unknown step `{name}`{close}", "depends")
            elif source == target:
                draft.complain(f"the step `{draft.name}` depends on itself", "depends")
            else:
                wanted[source] = None
        edges += [Edge(source, target) for source in wanted]
        if len(edges) > MAX_EDGES:
            draft.complain(f"more than {MAX_EDGES} dependencies; put one joining step between the two large groups")
            return ()
    _refuse_cycles(drafts, edges)
    return tuple(edges)


def _chained(drafts: list[Draft]) -> list[tuple[int, ...]]:
    """For each step the members of the element before its own."""
    before: tuple[int, ...] = ()
    current: list[int] = []
    found: list[tuple[int, ...]] = []
    for place, draft in enumerate(drafts):
        if current and drafts[current[0]].element != draft.element:
            before, current = tuple(current), []
        current.append(place)
        found.append(before)
    return found


def _refuse_cycles(drafts: list[Draft], edges: list[Edge]) -> None:
    waits = [0] * len(drafts)
    targets: list[list[int]] = [[] for _ in drafts]
    for edge in edges:
        waits[edge.target] += 1
        targets[edge.source].append(edge.target)
    ready = deque(place for place, count in enumerate(waits) if not count)
    done = 0
    while ready:
        done += 1
        for target in targets[ready.popleft()]:
            waits[target] -= 1
            if not waits[target]:
                ready.append(target)
    if done == len(drafts):
        return
    circle = _a_cycle(edges, waits)
    names = " → ".join(drafts[place].name for place in circle[:8]) + (" → …" if len(circle) > 8 else "")
    drafts[circle[0]].complain(f"steps depend on each other in a circle (cycle): {names}", "depends")


def _a_cycle(edges: list[Edge], waits: list[int]) -> list[int]:
    """One circle among the steps never released, walking backwards; first and last are the same step."""
    source_of = {edge.target: edge.source for edge in edges if waits[edge.source] and waits[edge.target]}
    place = next(iter(source_of))
    seen: dict[int, int] = {}
    walk: list[int] = []
    while place not in seen:
        seen[place] = len(walk)
        walk.append(place)
        place = source_of[place]
    circle = walk[seen[place] :]
    return [circle[0], *reversed(circle)] if len(circle) > 1 else [circle[0], circle[0]]
