"""Steps in all their forms, their names and ids, handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from astrarium.spec.dag_yaml import step as module
from astrarium.spec.graph import Node
from tests.spec.dag_yaml.compiling import complaints, dag, refusal, step, step_complaints


def names(text: str) -> list[str]:
    return [node.name for node in dag(text).graph.nodes]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ("command: x", "cmd_1"),
        ("command: [x, y]", "cmd_1"),
        ("script: x", "script_1"),
        ("call: x", "dag_1"),
        ("run: x", "dag_1"),
        ("call: x, parallel: [a]", "parallel_1"),
        ("container: {image: a}, command: x", "docker_1"),
        ("type: http, command: GET http://x/", "http_1"),
        ("executor: jq, command: .a", "jq_1"),
        ("executor: {type: ssh, config: {user: u, host: h}}, command: x", "ssh_1"),
        ("type: command, command: x", "command_1"),
    ],
)
def test_prefixes_of_automatic_names(fields: str, name: str) -> None:
    assert names(f"steps: [{{{fields}}}]") == [name]


def test_a_used_number_gives_way_to_the_next_free_one() -> None:
    assert names("steps: [{name: cmd_2, command: x}, x, x, {name: cmd_4, command: x}, x]") == [
        "cmd_2",
        "cmd_3",
        "cmd_5",
        "cmd_4",
        "cmd_6",
    ]


def test_names_given_later_are_used_too() -> None:
    assert names("steps: [x, {name: cmd_1, command: x}]") == ["cmd_2", "cmd_1"]


def test_long_rows_of_used_numbers_are_walked_once() -> None:
    """Counted: the names that are looked at, while each of the 2,000 unnamed steps finds 2,000 numbers used before it."""

    class Counted(dict[str, int]):
        looks = 0

        def __contains__(self, key: object) -> bool:
            self.looks += 1
            return super().__contains__(key)

    size = 2000
    taken = Counted({f"cmd_{number}": 0 for number in range(size, 2 * size)})
    given = [module._automatic("cmd", place, taken) for place in range(size, 2 * size)]
    assert given == [f"cmd_{number}" for number in range(2 * size, 3 * size)]
    assert taken.looks <= 4 * size


def test_the_name_inside_wins_over_the_key_of_the_map_form() -> None:
    assert names("steps: {a: {command: x}, b: {name: c, command: x}}") == ["a", "c"]


def test_keys_in_any_case_and_old_names() -> None:
    node = step("Name: a\nCOMMAND: x\nDir: /w\nPreCondition: test -d /\n")
    assert (node.name, node.workdir, [condition.text for condition in node.when]) == ("a", "/w", ["test -d /"])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("name: " + "x" * 41 + ", command: x", (1, 16, "steps[0].name", f"the name `{'x' * 41}` is longer than 40 characters")),
        (
            "id: 1a, command: x",
            (1, 14, "steps[0].id", "`1a` cannot be an id: letters, digits, `_`, `-`, first a letter, not a reserved word"),
        ),
        ("comand: x, call: y", (1, 10, "steps[0].comand", "unknown key `comand`, did you mean `command`?")),
        (
            "command: x, dir: a, workingDir: b",
            (1, 30, "steps[0].workingDir", "`workingDir` gives the field `workingDir` a second time"),
        ),
        ("command: x, timeoutSec: soon", (1, 34, "steps[0].timeoutSec", "`timeoutSec` must be a whole number of at least 0")),
        ("command: x, stdout: [a]", (1, 30, "steps[0].stdout", "`stdout` must be text")),
        ("command: x, logOutput: both", (1, 33, "steps[0].logOutput", "`logOutput` must be one of separate, merged, not `both`")),
        ("command: x, mailOnError: yes", (1, 35, "steps[0].mailOnError", "`mailOnError` must be true or false")),
    ],
)
def test_what_is_refused_in_a_step(fields: str, expected: tuple[int, int, str, str]) -> None:
    assert step_complaints(fields) == [expected]


@pytest.mark.parametrize("word", ["env", "params", "args", "stdout", "stderr", "output", "outputs"])
def test_reserved_ids(word: str) -> None:
    [(_, _, path, message)] = step_complaints(f"id: {word}, command: x")
    assert (path, message.partition(":")[0]) == ("steps[0].id", f"`{word}` cannot be an id")


def test_names_and_ids_are_unique() -> None:
    text = "steps:\n- {name: a, id: i, command: x}\n- {name: a, id: i, command: x}\n- {name: c, id: a, command: x}\n"
    assert complaints(text) == [
        (3, 10, "steps[1].name", "duplicate step name `a`, first given in line 2"),
        (3, 17, "steps[1].id", "duplicate step id `i`, first given in line 2"),
        (4, 17, "steps[2].id", "the id `a` is the name of another step"),
    ]


def test_an_id_may_equal_the_steps_own_name() -> None:
    assert (node := step("name: a\nid: a\ncommand: x")).name == node.id == "a"


@pytest.mark.parametrize("item", ["~", "[x]", "[]"])
def test_what_is_no_step(item: str) -> None:
    text = f"steps:\n  - [{item}]\n"
    assert complaints(text) == [(2, 6, "steps[0][0]", "a step must be a command or a map of fields")]


def test_a_number_is_a_command_too() -> None:
    assert step("42").params == {"commands": ["42"]}


def test_steps_must_be_a_list_or_map() -> None:
    assert complaints("steps: echo\n") == [(1, 8, "steps", "`steps` must be a list or a map of steps")]


def test_steps_may_be_empty_or_missing() -> None:
    assert [dag(text).graph.nodes for text in ("steps: []", "steps: {}", "steps:", "name: a")] == [(), (), (), ()]


def test_handlers_are_nodes_of_their_phase() -> None:
    found = dag(
        """
        handlerOn:
          init: echo i
          Success: {command: echo s}
          failure: {script: echo f, timeoutSec: 3}
          cancel: echo c
          wait: echo w
          exit: {call: sub}
        steps: [x]
        """
    )
    handlers: list[Node] = [node for node in found.graph.nodes if node.phase != "main"]
    assert [(node.name, node.phase, node.kind) for node in handlers] == [
        ("onInit", "init", "shell"),
        ("onSuccess", "on_success", "shell"),
        ("onFailure", "on_failure", "shell"),
        ("onCancel", "on_cancel", "shell"),
        ("onWait", "on_wait", "shell"),
        ("onExit", "exit", "child"),
    ]
    assert handlers[2].timeout_s == 3
    assert found.graph.edges == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "handlerOn: {abort: x, cancel: y}\n",
            (1, 23, "handlerOn.cancel", "`cancel` gives the field `abort` a second time"),
        ),
        ("handlerOn: {exits: x}\n", (1, 13, "handlerOn.exits", "unknown key `exits`, did you mean `exit`?")),
        ("handlerOn: x\n", (1, 12, "handlerOn", "`handlerOn` must be a map of fields")),
        (
            "handlerOn: {exit: {command: x, depends: a}}\n",
            (1, 41, "handlerOn.exit.depends", "`depends` has no meaning in a handler"),
        ),
        (
            "handlerOn: {exit: {}}\n",
            (1, 19, "handlerOn.exit.command", "a step needs one of `command`, `script`, `call`, `container` or `type`"),
        ),
        (
            "handlerOn: {exit: x}\nsteps: [{name: onExit, command: x}]\n",
            (2, 16, "steps[0].name", "`onExit` is the name of a handler, choose another"),
        ),
    ],
)
def test_what_is_refused_in_handlers(text: str, expected: tuple[int, int, str, str]) -> None:
    assert complaints(text) == [expected]


def test_extras_are_kept_for_views_and_placement() -> None:
    found = dag("steps: [{name: a, command: x, mailOnError: true, logOutput: merged, workerSelector: {gpu: true, n: 1}}, b]")
    extras = {"mailOnError": True, "logOutput": "merged", "workerSelector": {"gpu": "true", "n": "1"}}
    assert found.graph.meta["steps"] == {"a": extras}


def test_all_problems_come_at_once_in_the_order_of_their_places() -> None:
    refused = refusal("nme: a\nsteps:\n  - {command: x, timeoutSec: -1}\n  - {name: b}\n  - {command: x, depends: c}\n")
    assert [problem.line for problem in refused.problems] == [1, 3, 4, 5]
    assert {problem.file for problem in refused.problems} == {"demo.yaml"}
    assert refused.message == "demo.yaml:1:1: unknown key `nme`, did you mean `name`? (and 3 more)"


def test_ten_thousand_steps_are_read_in_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted: every step is read and named exactly once, whatever their number."""
    counts = {"read_kind": 0, "_automatic": 0}

    def counted(name: str) -> Callable[..., Any]:
        original = getattr(module, name)

        def call(*arguments: Any) -> Any:
            counts[name] += 1
            return original(*arguments)

        return call

    for name in counts:
        monkeypatch.setattr(module, name, counted(name))
    found = dag("steps:\n" + "  - echo\n" * 10_000)
    assert counts == {"read_kind": 10_000, "_automatic": 10_000}
    assert (found.graph.nodes[-1].name, len(found.graph.edges)) == ("cmd_10000", 9_999)
