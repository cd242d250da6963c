"""Each defect of a document is told when it is loaded: its place, what is expected, what is there, how to mend it."""

from __future__ import annotations

import json

import pytest

from astrarium.errors import Invalid, NotFound
from astrarium.spec.ir.compile import compile_graph, compile_value
from astrarium.spec.ir.installed import Child, Code, Installed, Kind, Tool
from astrarium.spec.ir.pack.policy import Pack
from astrarium.spec.ir.read import Defect
from astrarium.spec.ir.state import Mirror, StateClass


def _code(path: str) -> Code:
    if path.startswith("missing"):
        raise NotFound(f"`{path}` cannot be imported", hint="is it on the Python path?")
    return Code(
        "f" * 64, {"type": "object", "properties": {"suffix": {"type": "string"}}, "additionalProperties": False}, "write"
    )


def _state_class(path: str) -> StateClass:
    if path.startswith("missing"):
        raise NotFound(f"`{path}` cannot be imported")
    properties = {"n": {"type": "integer", "default": 0}, "phase": {"type": "string"}, "tags": {"type": "array"}}
    mirrors = {"phase": Mirror("stage"), "n": Mirror(lifecycle="for-ever")} if path == "shop:Odd" else {"phase": Mirror("stage")}
    return StateClass({"type": "object", "properties": properties, "required": ["phase"]}, mirrors, {}, "s" * 64)


FILES = {
    "child.yaml": """
ir_version: "1.1.0"
id: child
state_schema: {item: str, seen: {type: bool, default: false}}
nodes: [{id: look, kind: echo}]
rules: [{id: r, when: {node: look}, then: [{kind: halt}]}]
""",
    "self.yaml": 'ir_version: "1.1.0"\nid: self\nnodes: [{id: again, kind: subgraph, spec: self.yaml}]',
    "broken.yaml": 'ir_version: "1.1.0"\nid: broken\nnodes: [{id: a, kind: nope}]',
    "plain.yaml": 'ir_version: "1.1.0"\nid: plain\nnodes: [{id: a, kind: echo}]',
}


def _child(path: str, parent: str) -> Child:
    if path not in FILES:
        raise NotFound(f"there is no file `{path}` beside `{parent}`")
    return Child(FILES[path], path, path)


def _pack(pack_id: str, version: str) -> Pack:
    return Pack(pack_id, version or "2.0", "t" * 64, "signature-invalid")


INSTALLED = Installed(
    kinds={
        "echo": Kind(),
        "template": Kind(config={"type": "object", "required": ["template", "out"]}, writes=("out",)),
        "write_artifact": Kind("write"),
    },
    tools={
        "std.add@1": Tool("write", {"properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False})
    },
    skills={"local/x"},
    providers={"memory"},
    code=_code,
    state_class=_state_class,
    child=_child,
    signed=True,
    clips=False,
)

HEAD = 'ir_version: "1.1.0"\nid: g\nstate_schema: {n: int, phase: {type: str, default: low}, all: {type: list, default: []}}\n'
AB = "nodes: [{id: a, kind: echo}, {id: b, kind: echo}]\n"


def defects(text: str, installed: Installed = INSTALLED) -> list[Defect]:
    with pytest.raises(Invalid) as caught:
        compile_graph(text, file="g.yaml", installed=installed)
    assert all(isinstance(one, Defect) for one in caught.value.problems)
    return [one for one in caught.value.problems if isinstance(one, Defect)]


def rule(text: str) -> str:
    return f"{HEAD}{AB}rules:\n  - {text}\n"


def node(text: str) -> str:
    return f"{HEAD}nodes:\n  - {text}\n  - {{id: b, kind: echo}}\n"


def block(text: str) -> str:
    return (
        f"{HEAD}nodes: [{{id: a, kind: echo}}, {{id: b, kind: echo}}, {{id: w, kind: write_artifact}}]\nparallel:\n  - {text}\n"
    )


TABLE = [
    # the schema
    ("id: g\nnodes: []", "/ir_version", "`ir_version` is missing"),
    ('ir_version: "1.1.0"\nnodes: []', "/id", "`id` is missing"),
    ('ir_version: "1.1.0"\nid: g', "/nodes", "`nodes` is missing"),
    ('ir_version: "1.1.0"\nid: g\nnodes: []\nnods: []', "/nods", "unknown key `nods`, did you mean `nodes`?"),
    ('ir_version: "1.1.0"\nid: 7\nnodes: []', "/id", "`id` must be text"),
    ('ir_version: "1.1.0"\nid: g\nnodes: {}\n', "/nodes", "`nodes` must be a list"),
    ('ir_version: "1.1.0"\nid: g\nnodes: [x]', "/nodes/0", "`nodes[0]` must be a mapping"),
    ("[1, 2]", "", "a graph is a mapping"),
    ("", "", "the document is empty"),
    ("a: [", "", "this is not valid YAML"),
    ("id: g\n---\nid: h\n", "", "a graph is one document"),
    (node("{kind: echo}"), "/nodes/0/id", "`id` is missing"),
    (node("{id: a, kind: echo, colour: red}"), "/nodes/0/colour", "unknown key `colour`"),
    (node("{id: a, kind: echo, config: 1}"), "/nodes/0/config", "`config` must be a mapping"),
    (node("{id: a, kind: echo, retry: {backoff_ms: 5}}"), "/nodes/0/retry/max_attempts", "`max_attempts` is missing"),
    (node("{id: a, kind: echo, retry: {max_attempts: 0}}"), "/nodes/0/retry/max_attempts", "a whole number from 1 to 100"),
    (node("{id: a, kind: echo, timeout: soon}"), "/nodes/0/timeout", "must be a duration"),
    (node("{id: a, kind: echo, timeout: P400D}"), "/nodes/0/timeout", "must be a duration"),
    (node("{id: a, kind: echo, budget: {tokens: -1}}"), "/nodes/0/budget/tokens", "a whole number from 1"),
    (rule("{id: r, when: 7}"), "/rules/0/when", "`when` must be text"),
    (rule("{id: r, then: [goto]}"), "/rules/0/then/0", "`then[0]` must be a mapping"),
    (HEAD + AB + "lm: {provider: other, model: m}", "/lm/provider", "must be one of sglang"),
    (HEAD + AB + "checkpoints: {every: hour, store: x}", "/checkpoints/every", "must be one of node-exit, never"),
    (HEAD + AB + "checkpoints: {every: never, store: x}", "/checkpoints/store", "must be sqlite:<path>"),
    (HEAD + AB + "migrate: [{from_hash: abc, to_hash: abc}]", "/migrate/0/from_hash", "must be 64 hex digits"),
    (HEAD + AB + "max_steps: 0", "/max_steps", "a whole number from 1"),
    # ids, duplicates, version
    (HEAD + "nodes: [{id: A, kind: echo}]", "/nodes/0/id", "`A` is no id"),
    (rule("{id: r r}"), "/rules/0/id", "`r r` is no id"),
    ('ir_version: "1.1.0"\nid: "a b"\nnodes: []', "/id", "a graph's id has no blanks"),
    (HEAD + "nodes: [{id: a, kind: echo}, {id: a, kind: echo}]", "/nodes/1/id", "`a` is there twice in `nodes`"),
    (f"{HEAD}{AB}rules: [{{id: r}}, {{id: r}}]", "/rules/1/id", "`r` is there twice in `rules`"),
    (HEAD + AB + "skills: [{id: local/x}, {id: local/x}]", "/skills/1/id", "`local/x` is there twice"),
    (HEAD + AB + "stores: [{name: s, provider: memory}, {name: s, provider: memory}]", "/stores/1/name", "`s` is there twice"),
    ("ir_version: one\nid: g\nnodes: []", "/ir_version", "this is no version"),
    ('ir_version: "2.0.0"\nid: g\nnodes: []', "/ir_version", "documents of version 2 cannot be read"),
    # what is not installed
    (HEAD + AB + "tools: [{id: std.nope@1}]", "/tools/0/id", "there is no tool `std.nope@1`"),
    (HEAD + AB + "skills: [{id: local/y}]", "/skills/0/id", "there is no skill `local/y`"),
    (HEAD + AB + "stores: [{name: s, provider: redis}]", "/stores/0/provider", "there is no provider `redis`"),
    (node("{id: a, kind: ecko}"), "/nodes/0/kind", "there is no node kind `ecko`, did you mean `echo`?"),
    (node('{id: a, kind: "missing.mod:Thing"}'), "/nodes/0/kind", "`missing.mod:Thing` cannot be imported"),
    (node('{id: a, kind: "7:x"}'), "/nodes/0/kind", "`7:x` names no class"),
    (node('{id: a, kind: "shop:Node", config: {sufix: 1}}'), "/nodes/0/config", "the configuration does not fit"),
    (node('{id: a, kind: "shop:Node", config: {suffix: 1}}'), "/nodes/0/config/suffix", "the configuration does not fit"),
    (node("{id: a, kind: template, config: {template: x, out: nope}}"), "/nodes/0/config/out", "the state has no field `nope`"),
    (node("{id: a, kind: echo, spec: child.yaml}"), "/nodes/0/spec", "`spec` names a child graph"),
    # queries
    (node("{id: a, kind: echo, config: {cypher: 7}}"), "/nodes/0/config/cypher", "a query is text"),
    (node("{id: a, kind: echo, config: {q: [{my_cypher: 'CALL x()'}]}}"), "/nodes/0/config/q/0/my_cypher", "begins with MATCH"),
    (node("{id: a, kind: echo, config: {cypher: 'MATCH (n) CALL x() RETURN n'}}"), "/nodes/0/config/cypher", "`CALL` is not in"),
    (node("{id: a, kind: echo, config: {cypher: 'RETURN 1; RETURN 2'}}"), "/nodes/0/config/cypher", "more than one statement"),
    (node("{id: a, kind: echo, config: {cypher: 'MATCH (n RETURN n'}}"), "/nodes/0/config/cypher", "a `(` is not closed"),
    (node("{id: a, kind: echo, config: {cypher: 'RETURN 1)'}}"), "/nodes/0/config/cypher", "a `)` closes nothing"),
    (node("{id: a, kind: echo, config: {cypher: 'RETURN \"x'}}"), "/nodes/0/config/cypher", "a quote is not closed"),
    # the state
    (f'ir_version: "1.1.0"\nid: g\n{AB}state_schema: {{a: txt}}', "/state_schema/a", "`txt` is no type of a state field"),
    (f'ir_version: "1.1.0"\nid: g\n{AB}state_schema: {{a: frozenset}}', "/state_schema/a", "`frozenset` is no type"),
    (f'ir_version: "1.1.0"\nid: g\n{AB}state_schema: {{a-b: str}}', "/state_schema/a-b", "cannot be the name of a field"),
    (f'ir_version: "1.1.0"\nid: g\n{AB}state_schema: {{a: {{type: int, default: x}}}}', "/state_schema/a/default", "is no int"),
    (
        f'ir_version: "1.1.0"\nid: g\n{AB}state_schema: {{a: {{type: int, default: true}}}}',
        "/state_schema/a/default",
        "is no int",
    ),
    (HEAD + AB + 'state_class: "shop:State"', "/state_class", "are both given"),
    (HEAD + AB + "state_class: shop", "/state_class", "must be module.path:ClassName"),
    (f'ir_version: "1.1.0"\nid: g\n{AB}state_class: "missing:State"', "/state_class", "cannot be imported"),
    (f'ir_version: "1.1.0"\nid: g\n{AB}state_class: "shop:Odd"', "/state_class", "the mirror of `n` has no lifecycle `for-ever`"),
    (HEAD + AB + "state_reducers: {m: sum}", "/state_reducers/m", "the state has no field `m`"),
    (HEAD + AB + "state_reducers: {n: total}", "/state_reducers/n", "must be one of sum"),
    (HEAD + AB + "state_reducers: {n: append}", "/state_reducers/n", "`append` cannot merge `n`, which is int"),
    # when
    (rule("{id: r, when: {}}"), "/rules/0/when", "an empty mapping says nothing"),
    (rule("{id: r, when: {node: c}}"), "/rules/0/when/node", "there is no node `c`"),
    (rule("{id: r, when: {node: a, fase: x}}"), "/rules/0/when/fase", "the state has no field `fase`, did you mean `phase`?"),
    (rule("{id: r, when: {phase: [a]}}"), "/rules/0/when/phase", "must be compared with a text, a number"),
    (rule("{id: r, when: {n: {below: 3}}}"), "/rules/0/when/n/below", "unknown operator `below`"),
    (rule("{id: r, when: {n: {}}}"), "/rules/0/when/n", "`n` compares with nothing"),
    (rule("{id: r, when: {n: {gt: many}}}"), "/rules/0/when/n/gt", "`n` is int and never compares with this"),
    (rule("{id: r, when: {phase: {gt: 3}}}"), "/rules/0/when/phase/gt", "`phase` is str and never compares"),
    (rule("{id: r, when: {n: {gt: true}}}"), "/rules/0/when/n/gt", "`gt` compares numbers or texts"),
    (rule("{id: r, when: {n: {in: 3}}}"), "/rules/0/when/n/in", "`in` must be given a list of scalars"),
    (rule("{id: r, when: {all: x}}"), "/rules/0/when/all", "`all` is list: rules test texts, numbers and booleans"),
    (rule('{id: r, when: "cel: state.n >"}'), "/rules/0/when", "CEL: Syntax error"),
    (rule('{id: r, when: "cel: state.m > 3"}'), "/rules/0/when", "CEL: the state has no field `m`"),
    (rule('{id: r, when: {cel: "size(state.phase)"}}'), "/rules/0/when/cel", "a condition is true or false, this one is INT"),
    (rule("{id: r, when: {cel: 7}}"), "/rules/0/when/cel", "`cel` must be text"),
    (rule('{id: r, when: "(node-id (id a))"}'), "/rules/0/when", "raw patterns need the rule engine CLIPS"),
    (rule('{id: r, when: "(node-id (id c))"}'), "/rules/0/when", "pattern: there is no node `c`"),
    (rule('{id: r, when: "(node-id (id a)"}'), "/rules/0/when", "pattern: a `(` is not closed"),
    (rule('{id: r, when: "(fase (value x))"}'), "/rules/0/when", "pattern: there are no facts `fase`"),
    (rule('{id: r, when: "(phase (worth x))"}'), "/rules/0/when", "pattern: facts `phase` have no slot `worth`"),
    (rule('{id: r, when: "(test (system 1))"}'), "/rules/0/when", "pattern: `system` cannot be called in a rule"),
    (
        rule('{id: r, salience: 3, when: "(declare (salience 4)) (node-id (id a))"}'),
        "/rules/0/salience",
        "declares a salience too",
    ),
    (rule("{id: r, node_id: c}"), "/rules/0/node_id", "there is no node `c`"),
    # then
    (rule("{id: r, then: [{target: a}]}"), "/rules/0/then/0/kind", "an action needs a `kind`"),
    (rule("{id: r, then: [{kind: jump}]}"), "/rules/0/then/0/kind", "there is no action `jump`"),
    (rule("{id: r, then: [{kind: goto}]}"), "/rules/0/then/0/target", "`target` is missing"),
    (rule("{id: r, then: [{kind: goto, target: c}]}"), "/rules/0/then/0/target", "there is no node `c`"),
    (rule("{id: r, then: [{kind: goto, target: a, when: x}]}"), "/rules/0/then/0/when", "unknown key `when`"),
    (rule("{id: r, then: [{kind: retry, target: c}]}"), "/rules/0/then/0/target", "there is no node `c`"),
    (rule("{id: r, then: [{kind: parallel, targets: []}]}"), "/rules/0/then/0/targets", "a list of at least 1"),
    (rule("{id: r, then: [{kind: parallel, targets: [a, c]}]}"), "/rules/0/then/0/targets/1", "there is no node `c`"),
    (rule("{id: r, then: [{kind: assert, fact: node-id}]}"), "/rules/0/then/0/fact", "asserted by the engine alone"),
    (rule("{id: r, then: [{kind: assert, fact: phase}]}"), "/rules/0/then/0/fact", "is what rules see of the state"),
    (rule("{id: r, then: [{kind: assert, fact: '(x'}]}"), "/rules/0/then/0/fact", "cannot be the name of facts"),
    (rule("{id: r, then: [{kind: assert, fact: late, slots: '[1]'}]}"), "/rules/0/then/0/slots", "`slots` must be a mapping"),
    (rule("{id: r, then: [{kind: assert, fact: late, slots: {a: [1]}}]}"), "/rules/0/then/0/slots", "holds a scalar"),
    (rule("{id: r, then: [{kind: retract, pattern: late}]}"), "/rules/0/then/0/pattern", "nothing asserts facts `late`"),
    (rule("{id: r, then: [{kind: retract, pattern: '(a (b ?x))'}]}"), "/rules/0/then/0/pattern", "names no facts"),
    (rule("{id: r, then: [{kind: interrupt}]}"), "/rules/0/then/0/prompt", "`prompt` is missing"),
    # questions
    (node("{id: a, kind: interrupt}"), "/nodes/0/config/prompt", "`prompt` is missing"),
    (
        node("{id: a, kind: interrupt, config: {prompt: x, on_timeout: later}}"),
        "/nodes/0/config/on_timeout",
        "halt or goto:<node>",
    ),
    (node("{id: a, kind: interrupt, config: {prompt: x, on_timeout: 'goto:c'}}"), "/nodes/0/config/on_timeout", "no node `c`"),
    (node("{id: a, kind: interrupt, config: {prompt: x, timeout: PT0S}}"), "/nodes/0/config/timeout", "never open"),
    (node("{id: a, kind: interrupt, config: {prompt: x, output_field: m}}"), "/nodes/0/config/output_field", "no field `m`"),
    (
        node("{id: a, kind: interrupt, config: {prompt: x, interrupt_payload: {response_schema: {type: 7}}}}"),
        "/nodes/0/config/interrupt_payload/response_schema",
        "is no JSON schema",
    ),
    # tools
    (node("{id: a, kind: tool}"), "/nodes/0/config/tool", "`tool` is missing"),
    (node("{id: a, kind: tool, config: {tool: std.sub@1}}"), "/nodes/0/config/tool", "there is no tool `std.sub@1`"),
    (node("{id: a, kind: tool, config: {tool: std.add@1}}"), "/nodes/0/config/inputs", "the tool needs the argument `a`"),
    (
        node("{id: a, kind: tool, config: {tool: std.add@1, inputs: {a: n}, static: {a: 1}}}"),
        "/nodes/0/config/static/a",
        "in `inputs` and in `static`",
    ),
    (node("{id: a, kind: tool, config: {tool: std.add@1, inputs: {a: m}}}"), "/nodes/0/config/inputs/a", "no field `m`"),
    (
        node("{id: a, kind: tool, config: {tool: std.add@1, static: {a: x}}}"),
        "/nodes/0/config/static/a",
        "the argument does not fit",
    ),
    (node("{id: a, kind: tool, config: {tool: std.add@1, static: {a: 1, z: 1}}}"), "/nodes/0/config/static/z", "no argument `z`"),
    (node("{id: a, kind: tool, config: {tool: std.add@1, static: {a: 1}, out: m}}"), "/nodes/0/config/out", "no field `m`"),
    # blocks
    (block("{targets: [a, c]}"), "/parallel/0/targets/1", "there is no node `c`"),
    (block("{targets: [a, a]}"), "/parallel/0/targets/1", "`a` is a target twice"),
    (block("{targets: [a], join: c}"), "/parallel/0/join", "there is no node `c`"),
    (block("{targets: [a, b], join: b}"), "/parallel/0/join", "both a branch and where branches join"),
    (block("{targets: [a, b], strategy: most}"), "/parallel/0/strategy", "there is no strategy `most`"),
    (block("{targets: [a, b], strategy: 'quorum:3'}"), "/parallel/0/strategy", "3 of 2 branches cannot come"),
    (block("{targets: [a, b], deadline: x}"), "/parallel/0/deadline", "must be a duration"),
    (block("{targets: [a, w], strategy: race}"), "/parallel/0/targets/1", "`w` changes the world (write)"),
    (block("{targets: [a, b]}\n  - {targets: [a, w]}"), "/parallel/1/targets/0", "two blocks begin at `a`"),
    # child graphs
    (node("{id: a, kind: subgraph}"), "/nodes/0/spec", "`spec` is missing"),
    (node("{id: a, kind: subgraph, spec: none.yaml}"), "/nodes/0/spec", "there is no file `none.yaml`"),
    (node("{id: a, kind: subgraph, spec: child.yaml}"), "/nodes/0/config/inputs", "needs its field `item`"),
    (
        node("{id: a, kind: subgraph, spec: child.yaml, config: {inputs: {item: n}}}"),
        "/nodes/0/config/inputs/item",
        "`item` of the child is str, `n` here is int",
    ),
    (
        node("{id: a, kind: subgraph, spec: child.yaml, config: {inputs: {item: phase, what: n}}}"),
        "/nodes/0/config/inputs/what",
        "the state has no field `what`",
    ),
    (
        node("{id: a, kind: subgraph, spec: child.yaml, config: {inputs: {item: phase}, outputs: {n: nope}}}"),
        "/nodes/0/config/outputs/n",
        "the state has no field `nope`",
    ),
    (
        node("{id: a, kind: subgraph, spec: child.yaml, config: {inputs: {item: phase}, max_steps: 0}}"),
        "/nodes/0/config/max_steps",
        "a whole number from 1 to 10000",
    ),
    (node("{id: a, kind: subgraph, spec: plain.yaml, config: {inputs: {}}}"), "/nodes/0/config/inputs", "the child has no rules"),
    (node("{id: a, kind: subgraph, spec: broken.yaml}"), "/nodes/0/spec", "the child graph `broken.yaml` does not load"),
    (node("{id: a, kind: subgraph, spec: self.yaml}"), "/nodes/0/spec", "the graph `self.yaml` lies in itself"),
    # packs
    (HEAD + AB + "governance: [{id: acme.rules}]", "/governance/0/id", "there is no pack `acme.rules`"),
    (HEAD + AB + "governance: [{id: stargraph.bosun.audit, version: '9'}]", "/governance/0/version", "installed in version 1.0"),
    (
        HEAD + AB + "governance: [{id: stargraph.bosun.audit, requires: {api_version: '7'}}]",
        "/governance/0/requires",
        "it needs API version 7",
    ),
]


@pytest.mark.parametrize(
    ("text", "path", "message"), TABLE, ids=[f"{path or 'root'}: {message}"[:70] for _, path, message in TABLE]
)
def test_a_defect_is_told_with_its_place(text: str, path: str, message: str) -> None:
    found = defects(text)
    fitting = [one for one in found if one.path == path and message in one.message]
    assert fitting, [(one.path, one.message) for one in found]
    assert all(one.file in ("g.yaml", *FILES) for one in found)
    assert fitting[0].line > 0


def test_everything_is_told_at_once_in_order() -> None:
    found = defects(rule("{id: R, when: {node: c, fase: x}, then: [{kind: goto, target: d}, {kind: jump}]}"))
    assert [one.path for one in found] == [
        "/rules/0/id",
        "/rules/0/when/node",
        "/rules/0/when/fase",
        "/rules/0/then/0/target",
        "/rules/0/then/1/kind",
    ]
    goto = found[3]
    assert (goto.line, goto.expected, goto.actual, goto.hint) == (6, "a node's id", '"d"', "nodes are: a, b")


def test_one_wrong_thing_is_one_defect() -> None:
    assert len(defects(f'ir_version: "1.1.0"\nid: g\nstate_schema: {{m: txt}}\n{AB}rules: [{{id: r, when: {{m: x}}}}]')) == 1


def test_a_defect_of_a_child_is_told_in_its_own_file() -> None:
    found = defects(node("{id: a, kind: subgraph, spec: broken.yaml}"))
    assert ("broken.yaml", 3, "/nodes/0/kind") in [(one.file, one.line, one.path) for one in found]


def test_a_pack_without_a_good_signature_is_refused_or_warned_of() -> None:
    text = HEAD + AB + "governance: [{id: stargraph.bosun.audit}]"
    found = defects(text, INSTALLED._replace(pack=_pack))
    assert found[0].message == "the signature of the pack `stargraph.bosun.audit` does not hold: signature-invalid"
    compiled = compile_graph(text, installed=INSTALLED._replace(pack=_pack, signed=False))
    assert compiled.warnings == ("the pack `stargraph.bosun.audit` is unverified: signature-invalid",)


def test_branches_with_effects_may_be_cut_off_when_they_say_so() -> None:
    kinds = "nodes: [{id: a, kind: echo}, {id: w, kind: write_artifact, allow_unsafe_cancel: true}]\n"
    compiled = compile_graph(f"{HEAD}{kinds}parallel: [{{targets: [a, w], strategy: any}}]", installed=INSTALLED)
    assert compiled.effects == "write"


def test_good_queries_load() -> None:
    for query in ("MATCH (n {a: '; CALL (' }) RETURN n", "// CALL\nmatch (n) return n;", 'RETURN "it\'s"'):
        config = {"cypher": query, "plain": "CALL me"}
        compile_value({"ir_version": "1.1.0", "id": "g", "nodes": [{"id": "a", "kind": "echo", "config": config}]})


def test_json_is_read_too_even_with_tabs() -> None:
    text = '{\n\t"ir_version": "1.1.0",\n\t"id": "g",\n\t"nodes": []\n}'
    assert compile_graph(text).id == "g"
    assert compile_value(json.loads(text)).hash == compile_graph(text).hash


def test_a_document_from_json_has_pointers_but_no_lines() -> None:
    with pytest.raises(Invalid) as caught:
        compile_value({"ir_version": "1.1.0", "id": "g", "nodes": [{"id": "a"}]})
    assert [(one.path, one.line) for one in caught.value.problems] == [("/nodes/0/kind", 0)]


def test_what_is_no_json_is_refused() -> None:
    deep: dict[str, object] = {}
    for _ in range(100):
        deep = {"a": deep}
    for value in (deep, {"a": object()}):
        with pytest.raises(Invalid, match="no JSON document"):
            compile_value(value)
