import json
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrarium.errors import Invalid
from astrarium.spec.dag import DagFile, compile_dag
from astrarium.spec.graph import (
    Condition,
    Output,
    Repeat,
    Retry,
    Tolerate,
    decode_graph,
    encode_graph,
    graph_hash,
)


def dag(text: str, **more) -> DagFile:
    return compile_dag(textwrap.dedent(text), name="demo", file="demo.yaml", base_dir="/dags", **more)


def step(text: str):
    return dag("steps:\n  - " + textwrap.indent(textwrap.dedent(text).strip(), "    ").strip()).graph.nodes[0]


def depends(found: DagFile) -> dict[str, list[str]]:
    names = [node.name for node in found.graph.nodes]
    result: dict[str, list[str]] = {name: [] for name in names}
    for edge in found.graph.edges:
        result[names[edge.target]].append(names[edge.source])
    return result


def problems(text: str, **more) -> list[str]:
    with pytest.raises(Invalid) as caught:
        dag(text, **more)
    return [str(problem) for problem in caught.value.problems]


def test_forms_of_steps_and_automatic_names():
    found = dag("""
        name: report
        steps:
          - echo one
          - command: echo two
          - [echo a, {name: b, command: echo b}]
          - script: echo c
          - name: cmd_6
            command: x
          - call: other
          - command: last
    """)
    assert depends(found) == {
        "cmd_1": [],
        "cmd_2": ["cmd_1"],
        "cmd_3": ["cmd_2"],
        "b": ["cmd_2"],
        "script_5": ["cmd_3", "b"],
        "cmd_6": ["script_5"],
        "dag_7": ["cmd_6"],
        "cmd_8": ["dag_7"],
    }
    assert found.name == found.graph.name == "report"


def test_chain_adds_explicit_dependencies_and_an_empty_list_removes_the_implicit_one():
    found = dag("""
        steps:
          - {name: a, id: first, command: x}
          - {name: b, command: x}
          - {name: c, command: x, depends: first}
          - {name: d, command: x, depends: []}
          - {name: e, command: x, depends: [a, first]}
    """)
    assert depends(found) == {"a": [], "b": ["a"], "c": ["b", "a"], "d": [], "e": ["d", "a"]}


def test_graph_and_map_form_have_only_explicit_dependencies():
    listed = dag("type: graph\nsteps:\n  - {name: a, command: x}\n  - {name: b, command: x}\n")
    mapped = dag("steps:\n  a: {command: x}\n  b: {command: x, depends: a}\n")
    assert depends(listed) == {"a": [], "b": []}
    assert depends(mapped) == {"a": [], "b": ["a"]}


@pytest.mark.parametrize(
    ("text", "kind", "params"),
    [
        ("command: echo a", "shell", {"commands": ["echo a"]}),
        ("command: [echo a, echo b]", "shell", {"commands": ["echo a", "echo b"]}),
        ("command: |\n  echo a\n  echo b", "shell", {"script": "echo a\necho b"}),
        ("command: python3\nscript: print(1)", "shell", {"script": "print(1)", "command": "python3"}),
        ("command: x\nshell: bash -o pipefail -c", "shell", {"commands": ["x"], "shell": ["bash", "-o", "pipefail", "-c"]}),
        ("executor: jq\nscript: '{}'", "jq", {"filter": ".", "input": "{}", "raw": False}),
        ("executor: {type: jq, config: {raw: true}}\ncommand: .a", "jq", {"filter": ".a", "input": "", "raw": True}),
        (
            "type: http\nconfig: {timeout: 10, headers: {A: 1}}\ncommand: get https://x.org/a?b=c\nscript: body",
            "http",
            {"method": "GET", "url": "https://x.org/a?b=c", "headers": {"A": "1"}, "timeout_s": 10, "body": "body"},
        ),
        ("type: python\nconfig: {call: 'a.b:c', args: {n: 1}}", "python", {"call": "a.b:c", "args": {"n": 1}}),
        ("type: python\ncall: 'a:b'\nparams: {n: 1}", "python", {"call": "a:b", "args": {"n": 1}}),
        ("run: sub\nparams: X=1", "child", {"name": "sub", "params": "X=1", "parallel": None}),
        (
            "call: sub\nparams: {X: '${ITEM}', N: 2}\nparallel: $ITEMS",
            "child",
            {"name": "sub", "params": 'X="${ITEM}" N="2"', "parallel": {"items": "$ITEMS", "max_concurrent": 10}},
        ),
        (
            "call: sub\nparallel: {items: [a, {R: 1}], maxConcurrent: 2}",
            "child",
            {"name": "sub", "params": "", "parallel": {"items": ["a", {"R": "1"}], "max_concurrent": 2}},
        ),
        (
            "type: hitl\nconfig: {prompt: Go?, input: [T], required: [T]}",
            "wait",
            {"prompt": "Go?", "input": ["T"], "required": ["T"]},
        ),
        ("type: noop", "noop", {}),
        ("container: {image: alpine}\ncommand: ls", "docker", {"commands": ["ls"], "image": "alpine"}),
        (
            "executor: {type: ssh, config: {user: me, host: box}}\ncommand: up",
            "ssh",
            {"user": "me", "host": "box", "port": "22", "commands": ["up"]},
        ),
        (
            "type: mail\nconfig: {from: b, to: a@example.org, subject: s}",
            "mail",
            {"from": "b", "to": ["a@example.org"], "subject": "s"},
        ),
    ],
)
def test_step_types(text, kind, params):
    node = step(text)
    assert (node.kind, node.params) == (kind, params)


def test_every_field_of_a_step():
    node = step("""
        name: s
        id: f
        description: d
        command: x
        dir: sub
        env: [{A: 1}, B=2]
        output: {name: $BUILD_ID, omit: true}
        stdout: o.log
        stderr: e.log
        precondition: [test -d /srv, {condition: "`date`", expected: "re:[1-5]", negate: true}]
        continueOn: {failed: true, exitCode: 2, output: "re:W", markSuccess: true}
        retryPolicy: {limit: "$N", intervalSec: 2, backoff: true, maxIntervalSec: 30, exitCode: [1, 75]}
        repeatPolicy: {condition: c, expected: done, intervalSec: 5, limit: 100}
        timeoutSec: 30
        signalOnStop: SIGINT
        mailOnError: true
        logOutput: merged
        workerSelector: {gpu: "true"}
    """)
    assert (node.id, node.description, node.workdir, node.stdout, node.stderr) == ("f", "d", "sub", "o.log", "e.log")
    assert node.env == (("A", "1"), ("B", "2"))
    assert node.output == Output("BUILD_ID", "buildId", True)
    assert node.when == (Condition("test -d /srv"), Condition("`date`", "re:[1-5]", True))
    assert node.tolerate == Tolerate(True, False, (2,), ("re:W",), True)
    assert node.retry == Retry("$N", 2, 2.0, 30, (1, 75))
    assert node.repeat == Repeat("until", Condition("c", "done"), (), 5, 100)
    assert (node.timeout_s, node.signal_on_stop) == (30, "SIGINT")


@pytest.mark.parametrize(
    ("policy", "repeat"),
    [
        ("{repeat: true, limit: 3}", Repeat("while", limit=3)),
        ("{repeat: false}", None),
        ("{condition: c}", Repeat("while", Condition("c"))),
        ("{exitCode: 1}", Repeat("while", exit_codes=(1,))),
        ("{repeat: while, condition: c, expected: x}", Repeat("while", Condition("c", "x"))),
        ("{repeat: until, exitCode: [0]}", Repeat("until", exit_codes=(0,))),
    ],
)
def test_repeat_modes(policy, repeat):
    assert step(f"command: x\nrepeatPolicy: {policy}").repeat == repeat


def test_root_fields():
    found = dag("""
        NAME: nightly
        tags: Prod, ETL
        schedule: {start: ["0 8 * * 1-5"], stop: 0 20 * * *}
        queue: heavy
        maxActiveRuns: 2
        maxActiveSteps: 4
        timeoutSec: 60
        delaySec: 1
        maxCleanUpTimeSec: 20
        maxOutputSize: 10
        logOutput: merged
        logDir: $HOME/logs
        workingDir: w
        shell: [bash, -e]
        params: {B: 2, A: x y}
        env: {E: $A}
        dotenv: local.env
        secrets: [{name: TOKEN, provider: env, key: K}]
        preconditions: test -d /
        handlerOn:
          Exit: {command: rm -rf tmp}
          cancel: {command: c}
        mailOn: {failure: true}
        steps: []
    """)
    graph = found.graph
    assert (found.name, found.tags, found.queue, found.max_active_runs) == ("nightly", ("prod", "etl"), "heavy", 2)
    assert (found.schedule.start, found.schedule.stop) == (("0 8 * * 1-5",), ("0 20 * * *",))
    assert found.params_default == 'A="x y" B=2'
    assert (graph.max_active_steps, graph.timeout_s, graph.delay_s, graph.stop_grace_s) == (4, 60, 1, 20)
    assert (graph.max_output_bytes, graph.merge_output, graph.log_dir) == (10, True, "$HOME/logs")
    assert (graph.workdir, graph.base_dir, graph.shell) == ("w", "/dags", ("bash", "-e"))
    assert graph.prepare.dotenv == (".env", "local.env")
    assert graph.prepare.secrets == ({"name": "TOKEN", "provider": "env", "key": "K"},)
    assert graph.prepare.when == (Condition("test -d /"),)
    assert [(node.name, node.phase) for node in graph.nodes] == [("onCancel", "on_cancel"), ("onExit", "exit")]
    assert graph.meta["dag"]["mailOn"] == {"failure": True}
    assert decode_graph(encode_graph(graph)) == graph


def test_a_schema_for_params_is_kept():
    found = dag("params: {schema: ./s.json, values: {batch: 20}}\nsteps: [x]\n")
    assert (found.graph.prepare.params, found.graph.prepare.param_schema) == ({"batch": 20}, "./s.json")


def test_local_sub_dags():
    found = dag("""
        workingDir: /w
        steps:
          - call: one
        ---
        name: one
        steps:
          - call: two
        ---
        name: two
        steps: [echo]
    """)
    assert set(found.locals) == {"one", "two"}
    assert found.locals["two"].workdir == "/w"
    assert found.graph.locals == {name: graph_hash(encode_graph(graph)) for name, graph in found.locals.items()}
    assert found.locals["one"].locals == {"two": found.graph.locals["two"]}


def test_steps_of_a_dag_with_a_container_do_not_run_on_this_machine():
    assert dag("container: {image: a}\nsteps: [ls]\n").graph.nodes[0].kind == "docker"


def test_installed_step_types_are_accepted():
    found = dag("steps:\n  - {type: magic, config: {a: 1}, command: c}\n", known_kinds=frozenset({"magic"}))
    assert (found.graph.nodes[0].kind, found.graph.nodes[0].params) == ("magic", {"a": 1, "command": "c"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps:\n  - {command: x, depend: a}", "demo.yaml:2:18: unknown key `depend`, did you mean `depends`?"),
        ("step: []", "demo.yaml:1:1: unknown key `step`, did you mean `steps`?"),
        ("steps:\n  - {name: one, command: x}\n  - {command: x, depends: on}", "unknown step `on`, did you mean `one`?"),
        ("type: graph\nsteps:\n  a: {command: x, depends: b}\n  b: {command: x, depends: a}", "in a circle (cycle): a → b → a"),
        ("steps:\n  - {name: a, command: x, depends: a}", "depends on itself"),
        ("steps:\n  - {name: a, command: x}\n  - {name: a, command: x}", "duplicate step name `a`, first given in line 2"),
        ("steps:\n  - {name: a, command: x}\n  - {id: a, command: x}", "is the name of another step"),
        ("steps:\n  - {id: output, command: x}", "cannot be an id"),
        ("steps:\n  - {name: " + "x" * 41 + ", command: x}", "longer than 40"),
        ("name: a b\nsteps: []", "may hold letters"),
        ("steps:\n  - {name: a}", "needs one of `command`"),
        ("steps:\n  - {type: htp, command: x}", "unknown step type `htp`, did you mean `http`?"),
        ("steps:\n  - {command: x, retryPolicy: {limit: 1}}", "lacks the key `intervalSec`"),
        ("steps:\n  - {command: x, repeatPolicy: {repeat: until}}", "given with `condition` or `exitCode`"),
        ("steps:\n  - {command: x, signalOnStop: SIGNOT}", "name of a signal"),
        ("steps:\n  - {command: x, timeoutSec: -1}", "`timeoutSec` must be a whole number"),
        ("steps:\n  - {command: x, preconditions: {condition: c, expected: 1}}", "`expected` must be text"),
        ("steps:\n  - {command: x, output: 'a b'}", "must name a variable"),
        ("steps:\n  - {command: x, continueOn: {failur: true}}", "did you mean `failure`?"),
        ("handlerOn: {abort: {command: x}, cancel: {command: y}}\nsteps: []", "a second time"),
        ("schedule: '@daily'\nsteps: []", "bad schedule"),
        ("type: agent\nsteps: []", "`type` must be one of chain, graph"),
        ("steps: x", "`steps` must be a list"),
        ("- a", "must be a map"),
        ("", "empty"),
        ("steps: []\n---\nsteps: []", "needs a `name`"),
        ("steps: []\n---\nname: a\nsteps: [{call: a}]", "calls itself in a circle"),
        ("params: [[1]]\nsteps: []", "is text or a map"),
        ("secrets: [{name: A}]\nsteps: []", "lacks the key `provider`"),
    ],
)
def test_refusals_say_what_and_where(text, words):
    assert any(words in problem for problem in problems(text)), problems(text)


def test_all_problems_are_told_at_once_with_paths():
    with pytest.raises(Invalid) as caught:
        dag("foo: 1\nsteps:\n  - {command: x, retryPolicy: {limit: no, intervalSec: 1}}\n  - {name: y}\n")
    assert [(p.line, p.path) for p in caught.value.problems] == [
        (1, "foo"),
        (3, "steps[0].retryPolicy.limit"),
        (4, "steps[1].command"),
    ]


def test_ten_thousand_steps():
    lines = ["steps:"] + [f"  - {{name: s{n}, command: echo {n}}}" for n in range(10_000)]
    found = dag("\n".join(lines))
    assert (len(found.graph.nodes), len(found.graph.edges)) == (10_000, 9_999)


def test_too_many_edges_are_refused():
    group = "[" + ", ".join(["x"] * 1100) + "]"
    assert any("dependencies" in problem for problem in problems(f"steps:\n  - {group}\n  - {group}\n"))


_keys = st.sampled_from(
    "name id command script call type config executor depends parallel items params env output schedule steps handlerOn exit "
    "continueOn retryPolicy limit intervalSec repeatPolicy repeat condition expected preconditions container ssh secrets "
    "shell tags timeoutSec backoff schema values".split()
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["x", "$A", "`x`", "re:(", "while", "http", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(_keys, _VALUES, max_size=5), st.lists(st.dictionaries(_keys, _VALUES, max_size=5), max_size=3))
def test_any_shape_compiles_or_is_refused(root, steps):
    try:
        compiled = dag(json.dumps(root | {"steps": steps}))
    except Invalid as refused:
        assert refused.problems
    else:
        assert decode_graph(encode_graph(compiled.graph)) == compiled.graph
