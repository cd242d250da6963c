"""What a step does: commands, scripts, children, and the types that are read and checked."""

from __future__ import annotations

from typing import Any

import pytest

from astrarium.spec.dag_yaml.kind import MAX_PARALLEL_ITEMS
from tests.spec.dag_yaml.compiling import complaints, dag, refusal, step, step_complaints

NOTHING = "a step needs one of `command`, `script`, `call`, `container` or `type`"


@pytest.mark.parametrize(
    ("text", "kind", "params"),
    [
        ("command: ' echo a '", "shell", {"commands": ["echo a"]}),
        ("command: [a, '', b]", "shell", {"commands": ["a", "b"]}),
        ("command: |\n  a\n", "shell", {"commands": ["a"]}),
        ("command: |\n  a\n  b\n", "shell", {"script": "a\nb"}),
        ("script: |\n  #!/usr/bin/perl\n  x\n", "shell", {"script": "#!/usr/bin/perl\nx"}),
        ("command: [python3]\nscript: x", "shell", {"script": "x", "command": "python3"}),
        ("command: x\nshell: [nix-shell]\nshellPackages: [jq, git]", "shell",
         {"commands": ["x"], "shell": ["nix-shell"], "shell_packages": ["jq", "git"]}),
        ("command: x\nshell: direct", "shell", {"commands": ["x"], "shell": ["direct"]}),
        ("call: sub\nparams: [A=1, {B: 'x \"y\"'}]", "child", {"name": "sub", "params": 'A=1 B="x \\"y\\""', "parallel": None}),
        ("type: subworkflow\ncall: sub", "child", {"name": "sub", "params": "", "parallel": None}),
        ("type: archive\ncommand: create\nconfig: {source: a, destination: b}", "archive",
         {"operation": "create", "source": "a", "destination": "b"}),
        ("type: hitl", "wait", {"prompt": "", "input": [], "required": []}),
        ("type: http\ncommand: post http://x/\nconfig: {body: b, silent: true, query: {q: 1}}", "http",
         {"method": "POST", "url": "http://x/", "query": {"q": "1"}, "silent": True, "body": "b"}),
        ("container: web\ncommand: ls", "docker", {"commands": ["ls"], "exec": "web"}),
        ("type: noop", "noop", {}),
    ],
)  # fmt: skip
def test_kinds(text: str, kind: str, params: dict[str, Any]) -> None:
    node = step(text)
    assert (node.kind, node.params) == (kind, params)


@pytest.mark.parametrize(
    ("root", "kind", "params"),
    [
        ("container: {image: a}", "docker", {"commands": ["ls"], "image": "a", "shared": True}),
        ("ssh: {user: u, host: h}", "ssh", {"commands": ["ls"], "user": "u", "host": "h", "port": "22"}),
    ],
)
def test_a_command_runs_where_the_dag_says(root: str, kind: str, params: dict[str, Any]) -> None:
    node = dag(f"{root}\nsteps: [ls]").graph.nodes[0]
    assert (node.kind, node.params) == (kind, params)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [("type: chat", "chat"), ("type: gha", "gha"), ("executor: github_action", "gha"), ("type: github-action", "gha")],
)
def test_what_no_step_type_here_can_do_is_told_at_load(fields: str, kind: str) -> None:
    [problem] = refusal(f"steps: [{{{fields}, command: x}}]").problems
    assert problem.message.endswith("cannot be executed here")
    assert f"a plugin that gives the step type `{kind}`" in problem.hint
    assert dag(f"steps: [{{{fields}, command: x}}]", known_kinds=frozenset((kind,))).graph.nodes[0].kind == kind


def test_chat_takes_the_dags_model_unless_it_has_its_own() -> None:
    found = dag(
        "llm: {model: a}\nsteps: [{type: chat, messages: [{role: user, content: c}]}, {type: chat, llm: {model: b}}]",
        known_kinds=frozenset(("chat",)),
    )
    assert [node.params for node in found.graph.nodes] == [
        {"llm": {"model": "a"}, "messages": [{"role": "user", "content": "c"}]},
        {"llm": {"model": "b"}},
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("name: a", [(9, "command", NOTHING)]),
        ("command: ''", [(9, "command", NOTHING)]),
        ("command: {a: 1}", [(19, "command", "`command` must be text or a list of commands"), (9, "command", NOTHING)]),
        ("command: [a, b], script: c", [(19, "command", "`command` must be one command when there is also a `script`")]),
        ("command: \"a\\nb\", script: c", [(19, "command", "`command` must be one line when there is also a `script`")]),
        ("type: htttp, command: x", [(16, "type", "unknown step type `htttp`, did you mean `http`?")]),
        ("executor: {config: {}}", [(20, "executor", "`executor` lacks the key `type`"), (9, "command", NOTHING)]),
        ("type: jq, executor: jq", [(30, "executor", "`executor` must be given alone, without `type` and `config`, which mean the same")]),
        ("type: http, command: GET", [(9, "command", "an http step's `command` is `METHOD URL`, like `GET https://example.org/`")]),
        ("type: jq, config: {row: true}", [(29, "config.row", "unknown key `row`, did you mean `raw`?")]),
        ("type: dag", [(9, "call", "this step needs `call` with the name of a DAG")]),
        ("parallel: [a]", [(9, "call", "this step needs `call` with the name of a DAG")]),
        ("call: a, script: b", [(27, "script", "`script` must be left out of a step with `call`")]),
        ("call: a, parallel: []", [(29, "parallel", "`parallel` takes 1 to 10000 items, not 0")]),
        ("call: a, parallel: {maxConcurrent: 2}", [(29, "parallel.items", "`items` must be given: a list, or text that expands to one")]),
        ("call: a, parallel: {items: {a: 1}}", [(37, "parallel.items", "`items` must be a list, or text that expands to one")]),
        ("call: a, parallel: {items: [[1]]}", [(38, "parallel.items", "an item of `parallel` is text or a map of plain values")]),
        ("call: a, parallel: {items: $A, maxConcurrent: 0}",
         [(56, "parallel.maxConcurrent", "`maxConcurrent` must be a whole number of at least 1")]),
        ("call: a, params: {b: [1]}", [(27, "params", "`params` must be a map of plain values")]),
        ("container: {name: a}, command: x", [(21, "container", "`container` needs `image` or `exec`, one of them")]),
        ("type: hitl, config: {input: [TICKET], required: [TICKE]}",
         [(58, "config.required", "`required` must be names from `input`; `TICKE` is not there, did you mean `TICKET`?")]),
        ("type: python, config: {call: a.b}", [(9, "config.call", "a python step needs `call: module:function` in its `config`")]),
        ("type: python, config: {call: 'a:b', args: [1]}", [(9, "config.args", "the arguments of a python step must be a map")]),
        ("command: x, shell: \"bash '\"", [(29, "shell", "`shell` must be a command line with closed quotes")]),
    ],
)  # fmt: skip
def test_what_is_refused(fields: str, expected: list[tuple[int, str, str]]) -> None:
    found = step_complaints(fields)
    assert sorted(found) == sorted((1, column, f"steps[0].{path}", message) for column, path, message in expected)


def test_as_many_parallel_items_as_allowed_and_one_more() -> None:
    most = ", ".join("x" * MAX_PARALLEL_ITEMS)
    items = step(f"call: a\nparallel: [{most}]").params["parallel"]["items"]
    assert items == ["x"] * MAX_PARALLEL_ITEMS
    text = f"steps: [{{call: a, parallel: [{most}, x]}}]"
    assert complaints(text) == [(1, 29, "steps[0].parallel", "`parallel` takes 1 to 10000 items, not 10001")]
