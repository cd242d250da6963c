"""What a graph needs to be allowed, asked once before any of its steps is executed (Stargraph 0.8: contract 1.1). Calls are asked
again; of the tools a model may choose from only those it calls are asked for, and it is told."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from ....spec.graph import Graph, Node
from ...ports import Step
from .call import DENIED, RUNTIME_PACK
from .means import Means


class Denial(NamedTuple):
    """`node` is who wants it, empty = the graph as a whole."""

    node: str
    kind: Literal["tool", "node", "graph"]
    subject: str
    permissions: tuple[str, ...]

    @property
    def record(self) -> dict[str, Any]:
        fact = {"kind": DENIED, "subject_kind": self.kind, "subject": self.subject, "permissions": list(self.permissions)}
        return {"type": "bosun_audit", "pack_id": RUNTIME_PACK[0], "pack_version": RUNTIME_PACK[1], "fact": fact}


def denials(graph: Graph, means: Means, steps: Mapping[str, Step]) -> tuple[Denial, ...]:
    """What runs of a graph are not allowed here, and it says it needs."""
    meta = graph.meta.get("graph")
    if meta is None:
        return ()
    needed = meta.get("permissions", ())
    found = [denial for node in graph.nodes for denial in _of_node(node, means, steps)]
    for tool in _listed(graph):
        found.append(_lacking("", "tool", tool, _permissions(tool, means), means))
    told = {one for denial in found for one in denial.permissions}
    found.append(_lacking("", "graph", graph.name, [one for one in needed if one not in told], means))
    return tuple(dict.fromkeys(denial for denial in found if denial.permissions))


def _of_node(node: Node, means: Means, steps: Mapping[str, Step]) -> Iterator[Denial]:
    kind = getattr(steps.get(node.kind), "ir", None)
    yield _lacking(node.name, "node", node.kind, getattr(kind, "permissions", ()), means)
    if node.kind == "tool":
        tool = str(node.params.get("tool", ""))
        yield _lacking(node.name, "tool", tool, _permissions(tool, means), means)


def _lacking(node: str, kind: Any, subject: str, wanted: Collection[str], means: Means) -> Denial:
    return Denial(node, kind, subject, tuple(one for one in wanted if not means.granted(one)))


def _permissions(tool: str, means: Means) -> tuple[str, ...]:
    found = means.tools.get(tool)
    return found.spec.permissions if found is not None else ()


def _listed(graph: Graph) -> Iterator[str]:
    for tool in graph.meta.get("graph", {}).get("tools", ()):
        id_ = str(tool.get("id", ""))
        yield id_ if "@" in id_ else f"{id_}@{tool.get('version') or 1}"
