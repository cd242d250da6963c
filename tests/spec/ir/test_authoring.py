"""The short form stands for an IR document, and its defects are told where the author wrote them."""

from __future__ import annotations

import pytest

from astrarium.errors import Invalid
from astrarium.spec.graph import encode_graph, graph_hash
from astrarium.spec.ir.compile import Compiled, compile_graph
from astrarium.spec.ir.installed import Installed, Kind

SHORT = """
id: triage
state:
  text: str
  score: {type: float, default: 0.5}
  verdict: {type: str, route: true, default: low}
nodes:
  look: {kind: "shop.nodes:Classify", retry: {max_attempts: 2}}
  sum: {kind: tool, tool: std.add, inputs: {a: score}, out: score}
  page: {kind: template, template: "PAGE {text}", out: text}
routes:
  look: {High!: page, low: done, hi-gh: sum}
  sum: page
"""

LONG = """
ir_version: "1.1.0"
id: "graph:triage"
state_schema:
  text: {type: str, default: ""}
  score: {type: float, default: 0.5}
  verdict: {type: str, default: low}
nodes:
  - {id: look, kind: "shop.nodes:Classify", retry: {max_attempts: 2}}
  - {id: sum, kind: tool, config: {tool: "std.add@1", inputs: {a: score}, out: score}}
  - {id: page, kind: template, config: {template: "PAGE {text}", out: text}}
rules:
  - {id: r-look-high, node_id: look, when: {node: look, verdict: High!}, then: [{kind: goto, target: page}]}
  - {id: r-look-low, node_id: look, when: {node: look, verdict: low}, then: [{kind: halt, reason: look complete}]}
  - {id: r-look-hi-gh, node_id: look, when: {node: look, verdict: hi-gh}, then: [{kind: goto, target: sum}]}
  - {id: r-sum, node_id: sum, when: {node: sum}, then: [{kind: goto, target: page}]}
"""


def test_the_short_form_is_the_same_graph() -> None:
    short, long = compile_graph(SHORT), compile_graph(LONG)
    assert short.graph == long.graph
    assert short.hash == long.hash


def _compiled(routes: str) -> Compiled:
    return compile_graph(
        f"id: g\nstate: {{verdict: {{type: str, route: true}}}}\nnodes: {{a: {{kind: echo}}, b: {{kind: echo}}}}\n{routes}"
    )


def test_a_graph_keeps_its_prefix_and_rules_get_distinct_ids() -> None:
    compiled = _compiled('routes: {a: {"A B": b, "a-b": b, "!": done}}')
    assert compiled.graph.flow is not None
    assert [rule.id for rule in compiled.graph.flow.rules] == ["r-a-a-b", "r-a-a-b-2", "r-a-value"]
    assert compiled.id == "graph:g"


def test_a_node_may_be_called_done() -> None:
    compiled = compile_graph("id: g\nnodes: {a: {kind: echo}, done: {kind: echo}}\nroutes: {a: done}")
    assert compiled.graph.flow is not None
    assert str(compiled.graph.flow.rules[0].then[0]) == "Goto(target='done')"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("id: g\nnodes: {a: {}}", "/nodes/a/kind", "`kind` is missing"),
        ("id: g\nnodes: {a: echo}", "/nodes/a", "the node `a` is a mapping"),
        ("id: g\nrules: []\nnodes: {a: {kind: echo}}", "/rules", "unknown key `rules`"),
        ("nodes: {a: {kind: echo}}", "/id", "`id` is missing"),
        ("id: g\nstate: {n: number}\nnodes: {a: {kind: echo}}", "/state/n", "`n` must be one of str, int"),
        ("id: g\nstate: {n: {type: int, default: x}}\nnodes: {a: {kind: echo}}", "/state/n/default", "is no int"),
        ("id: g\nstate: {n: {type: int, kind: x}}\nnodes: {a: {kind: echo}}", "/state/n/kind", "unknown key `kind`"),
        ("id: g\nnodes: {a: {kind: echo}}\nroutes: {b: a}", "/routes/b", "there is no node `b`"),
        ("id: g\nnodes: {a: {kind: echo}}\nroutes: {a: b}", "/routes/a", "there is no node `b`"),
        ("id: g\nnodes: {a: {kind: echo}}\nroutes: {a: [b]}", "/routes/a", "a route is a node's name"),
        ("id: g\nstate: {verdict: str}\nnodes: {a: {kind: echo}}\nroutes: {a: {x: a}}", "/routes/a", "which is not routed"),
        ("id: g\nnodes: {a: {kind: echo}}\nroutes: {a: {x: a}}", "/routes/a/x", "the state has no field `verdict`"),
        ("id: g\nnodes: {a: {kind: template, config: {out: m}}}", "/nodes/a/config/out", "the state has no field `m`"),
        ("id: g\nnodes: {a: {kind: ecko}}", "/nodes/a/kind", "there is no node kind `ecko`"),
        ("id: g\nnodes: {A: {kind: echo}}", "/nodes/A", "`A` is no id"),
        ("id: g\nnodes: {a: {kind: tool, tool: std.add}}", "/nodes/a/tool", "there is no tool `std.add@1`"),
        ("id: g\nnodes: {a: {kind: echo, timeout: soon}}", "/nodes/a/timeout", "must be a duration"),
    ],
)
def test_a_defect_points_into_the_short_form(text: str, path: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        compile_graph(text, installed=Installed(kinds={"echo": Kind(), "template": Kind(writes=("out",))}, tools={}))
    found = [(one.path, one.message) for one in caught.value.problems]
    assert any(where == path and message in said for where, said in found), found
    assert len(found) == 1
    assert caught.value.problems[0].line > 0


def test_stored_graphs_of_both_forms_are_one_thing() -> None:
    assert graph_hash(encode_graph(compile_graph(SHORT).graph)) == graph_hash(encode_graph(compile_graph(LONG).graph))
