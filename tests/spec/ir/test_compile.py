"""A whole document becomes the graph its runs execute."""

from __future__ import annotations

import json

import pytest

from astrarium.errors import Invalid
from astrarium.spec.graph import Doors, Node, Retry, decode_graph, encode_graph, graph_hash
from astrarium.spec.ir.compile import MAX_DEPTH, Compiled, compile_graph, compile_value
from astrarium.spec.ir.document import as_ir
from astrarium.spec.ir.flow import Assert, Budget, FlowRule, Goto, Halt, Interrupt, Parallel, Retract, Revisit
from astrarium.spec.ir.flow import Test as Compare
from astrarium.spec.ir.installed import Child, Installed, Kind, Tool
from tests.spec.ir.test_authoring import SHORT

WHOLE = """
ir_version: "1.1.0"
id: "graph:orders"
state_schema: {n: int, phase: {type: str, default: a}, seen: {type: list, default: []}}
governance: [{id: stargraph.bosun.retries}]
tools: [{id: std.add, version: "1"}]
stores: [{name: notes, provider: memory}]
max_steps: 50
concurrency_limit: 3
nodes:
  - id: a
    kind: echo
    retry: {max_attempts: 3, backoff_ms: 500, factor: 2, retry_on: [timed_out, ValueError]}
    timeout: PT1M30S
    budget: {tokens: 5, latency_ms: 1000, cost: 0.5}
  - id: ask
    kind: interrupt
    config:
      prompt: Go on?
      requested_capability: orders:approve
      timeout: PT30S
      on_timeout: "goto:b"
      interrupt_payload: {response_schema: {type: object, properties: {decision: {enum: [approve, refuse]}}}}
  - {id: b, kind: "shop.nodes:Pack", config: {suffix: "!"}}
  - {id: c, kind: tool, config: {tool: "std.add@1", inputs: {x: n}, static: {y: 2}, out: n}}
parallel:
  - {targets: [a, b], join: c, strategy: "quorum:2"}
  - {targets: [b, c], strategy: all, deadline: 5}
rules:
  - {id: r1, when: {node: ask, decision: approve}, then: [{kind: goto, target: b}]}
  - {id: r2, salience: 3, when: {n: {gte: 3}, phase: {in: [a, b]}, visits: {lt: 9}}, then: [{kind: halt, reason: enough}]}
  - id: r3
    when: "cel: state.n > 3 && node == 'a'"
    then: [{kind: assert, fact: late, slots: '{"why": "x"}'}, {kind: retract, pattern: "(late (why x))"}]
  - {id: r4, when: {outcome: failed}, then: [{kind: retry, target: a, backoff_ms: 100, max_attempts: 2}]}
  - {id: r5, when: "(declare (salience 5)) (node-id (id a)) (late (why ?))", then: [{kind: interrupt, prompt: Really}]}
  - {id: r6, node_id: b, then: [{kind: parallel, targets: [a, b], join: c, strategy: race}]}
  - {id: r7, when: {node: c, cel: "state.n == 1", phase: 1}, then: []}
  - {id: r8, when: {late: x, phase: true}, then: []}
"""

INSTALLED = Installed(
    kinds={"echo": Kind(permissions=("net:read",))},
    tools={"std.add@1": Tool("read", {"properties": {"x": {}, "y": {}}}, ("tools:std:add",))},
)


def whole() -> Compiled:
    return compile_graph(WHOLE, file="orders.yaml", installed=INSTALLED)


def test_nodes() -> None:
    graph = whole().graph
    schema = {"type": "object", "properties": {"decision": {"enum": ["approve", "refuse"]}}}
    asked = {"prompt": "Go on?", "payload": {"response_schema": schema}, "schema": schema, "capability": "orders:approve"}
    pack = Retry(5, 2.0, 2.0)
    assert graph.nodes == (
        Node("a", "echo", retry=Retry(2, 0.5, 2.0, errors=("timed_out", "ValueError")), timeout_s=1.0),
        Node("ask", "interrupt", params={**asked, "timeout_s": 30.0, "on_timeout": "b"}),
        Node("b", "node", params={"class": "shop.nodes:Pack", "config": {"suffix": "!"}}, retry=pack),
        Node("c", "tool", params={"tool": "std.add@1", "inputs": {"x": "n"}, "static": {"y": 2}, "out": "n"}, retry=pack),
    )


def test_the_flow() -> None:
    flow = whole().graph.flow
    assert flow is not None
    assert flow.order == ("a", "ask", "b", "c")
    assert flow.blocks == (
        Parallel(("a", "b"), "c", "quorum", 2, 60.0),
        Parallel(("b", "c"), "", "all", 0, 5.0),
    )
    assert flow.budgets == {"a": Budget(5, "0.5", 1000)}
    assert flow.rules == (
        FlowRule("r1", (Goto("b"),), "ask", (Compare("decision", "text", "approve"),)),
        FlowRule(
            "r2",
            (Halt("enough"),),
            tests=(Compare("n", "ge", 3), Compare("phase", "in", ["a", "b"]), Compare("$visits", "lt", 9)),
            salience=3,
        ),
        FlowRule(
            "r3", (Assert("late", {"why": "x"}), Retract("late", {"why": "x"})), cel="state.n > 3 && node == 'a'", uses=("n",)
        ),
        FlowRule("r4", (Revisit("a", 0.1, 2),), tests=(Compare("$outcome", "text", "failed"),), caught=True),
        FlowRule("r5", (Interrupt("Really"),), "a", clips="(node-id (id a)) (late (why ?))", salience=5),
        FlowRule("r6", (Parallel(("a", "b"), "c", "race"),)),
        FlowRule("r7", (), "c", (Compare("phase", "text", "1"),), "state.n == 1", ("n",)),
        FlowRule("r8", (), tests=(Compare("late", "text", "x"), Compare("phase", "text", "True"))),
    )


def test_the_graph_itself() -> None:
    compiled = whole()
    graph = compiled.graph
    assert (graph.name, graph.dialect, graph.router) == ("graph:orders", "graph", "rules")
    assert (graph.max_steps, graph.max_active_runs) == (50, 3)
    assert graph.doors == Doors(("failed", "broken", "cancelled", "rejected"), mark_step=False)
    assert compiled.permissions == ("net:read", "tools:std:add", "db.notes:read", "db.notes:write")
    assert (compiled.id, compiled.effects, compiled.warnings) == ("graph:orders", "read", ())
    assert decode_graph(encode_graph(graph)) == graph
    assert graph.meta["graph"] == {
        "id": "graph:orders",
        "hash": compiled.hash,
        "permissions": list(compiled.permissions),
        "policy": {"packs": [["stargraph.bosun.retries", "1.0"]], "retry_limit": 5, "retry_factor": 2.0},
        "owners": {"r6": "b"},
        "tools": [{"id": "std.add", "version": "1"}],
        "stores": [{"name": "notes", "provider": "memory"}],
    }


def test_a_graph_without_nodes_is_one() -> None:
    compiled = compile_graph('ir_version: "1.4.0"\nid: g\nnodes: []')
    assert compiled.graph.nodes == ()
    assert compiled.graph.max_steps == 10_000


CHILD = """
ir_version: "1.1.0"
id: child
max_steps: 9
state_schema: {item: str, seen: {type: list, default: []}}
nodes: [{id: look, kind: write}]
rules: [{id: r, when: {node: look}, then: [{kind: halt}]}]
"""
PLAIN = 'ir_version: "1.1.0"\nid: plain\nnodes: [{id: one, kind: echo}, {id: deep, kind: subgraph, spec: child.yaml}]'
PARENT = """
ir_version: "1.1.0"
id: parent
state_schema: {item: str, what: str, seen: {type: list, default: []}}
nodes:
  - {id: x, kind: subgraph, spec: child.yaml, config: {inputs: {item: what}, outputs: {seen: seen}, max_steps: 4}}
  - {id: y, kind: subgraph, spec: child.yaml}
  - {id: z, kind: subgraph, spec: plain.yaml}
"""


@pytest.mark.parametrize("text", [WHOLE, SHORT])
def test_a_document_is_written_and_reads_back(text: str) -> None:
    compiled = compile_graph(text)
    written = as_ir(compiled.document)
    assert list(written)[:3] == ["ir_version", "id", "nodes"]
    again = compile_value(json.loads(json.dumps(written)))
    assert (again.hash, again.graph) == (compiled.hash, compiled.graph)


def _nested(width: int, depth: int) -> Installed:
    """Documents of which each holds `width` others, `depth` deep."""

    def child(path: str, parent: str) -> Child:
        level = int(path)
        nodes = [f"{{id: n{number}, kind: subgraph, spec: '{level + 1}'}}" for number in range(width)] if level < depth else []
        return Child(f'ir_version: "1.1.0"\nid: g\nnodes: [{", ".join(nodes)}]', path, path)

    return Installed(child=child)


TOP = 'ir_version: "1.1.0"\nid: g\nnodes: [{id: n, kind: subgraph, spec: "1"}]'


def test_graphs_lie_in_one_another_so_deep_and_no_deeper() -> None:
    assert len(compile_graph(TOP, installed=_nested(1, MAX_DEPTH)).children) == MAX_DEPTH
    with pytest.raises(Invalid) as caught:
        compile_graph(TOP, installed=_nested(1, MAX_DEPTH + 1))
    assert caught.value.problems[-1].message == "graphs lie in one another deeper than 20 levels"


def test_a_graph_is_made_of_so_many_documents_and_no_more() -> None:
    with pytest.raises(Invalid) as caught:
        compile_graph(TOP, installed=_nested(3, 19))
    assert "more than 1000 child graphs" in "".join(one.message for one in caught.value.problems)
    assert len(caught.value.problems) < 1000


def test_a_file_that_names_itself_is_told_at_once() -> None:
    again = 'ir_version: "1.1.0"\nid: g\nnodes: [{id: n, kind: subgraph, spec: me}]'
    with pytest.raises(Invalid, match="lies in itself"):
        compile_graph(again, key="me", installed=Installed(child=lambda path, parent: Child(again, path, path)))


def test_child_graphs_are_part_of_it() -> None:
    files = {"child.yaml": CHILD, "plain.yaml": PLAIN}
    installed = Installed(
        kinds={"echo": Kind(), "write": Kind("write")}, child=lambda path, parent: Child(files[path], path, path)
    )
    compiled = compile_graph(PARENT, installed=installed)
    by_name = {node.name: node for node in compiled.graph.nodes}
    assert by_name["x"].params == {"name": "child", "inputs": {"item": "what"}, "outputs": {"seen": "seen"}}
    same = {"item": "item", "seen": "seen"}
    assert by_name["y"].params == {"name": "child", "inputs": same, "outputs": same}
    every = {name: name for name in ("item", "what", "seen")}
    assert by_name["z"].params == {"name": "plain", "shared": True, "inputs": every, "outputs": every}
    children = {name: compiled.children[hash_] for name, hash_ in compiled.graph.locals.items()}
    assert {name: (child.name, child.max_steps) for name, child in children.items()} == {
        "x": ("child", 4),
        "y": ("child", 9),
        "z": ("plain", 10_000),
    }
    assert children["z"].flow and compiled.graph.flow
    assert children["z"].flow.fields == compiled.graph.flow.fields
    assert children["z"].locals["deep"] in compiled.children
    assert all(graph_hash(encode_graph(child)) == hash_ for hash_, child in compiled.children.items())
    assert compiled.effects == "write"
