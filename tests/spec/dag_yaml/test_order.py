"""Which step waits for which, and what is refused about it."""

from __future__ import annotations

import pytest

from tests.spec.dag_yaml.compiling import complaints, dag, needs


def test_a_nested_list_is_one_element_of_the_chain() -> None:
    found = dag("steps:\n  - [a, b]\n  - [c, d]\n  - e\n")
    assert needs(found) == {
        "cmd_1": [],
        "cmd_2": [],
        "cmd_3": ["cmd_1", "cmd_2"],
        "cmd_4": ["cmd_1", "cmd_2"],
        "cmd_5": ["cmd_3", "cmd_4"],
    }


def test_an_empty_group_changes_nothing() -> None:
    assert needs(dag("steps:\n  - a\n  - []\n  - b\n")) == {"cmd_1": [], "cmd_2": ["cmd_1"]}


def test_a_nested_list_in_a_graph_makes_no_edges() -> None:
    assert needs(dag("type: graph\nsteps:\n  - [a, b]\n  - c\n")) == {"cmd_1": [], "cmd_2": [], "cmd_3": []}


def test_map_form_has_no_implicit_edges_even_in_a_chain() -> None:
    assert needs(dag("type: chain\nsteps: {one: {command: x}, two: echo, three: {command: y, depends: [one, two]}}\n")) == {
        "one": [],
        "two": [],
        "three": ["one", "two"],
    }


def test_removed_edge_in_a_group_frees_only_that_member() -> None:
    found = dag("steps:\n  - a\n  - [{name: b, command: x, depends: []}, {name: c, command: x}]\n  - d\n")
    assert needs(found) == {"cmd_1": [], "b": [], "c": ["cmd_1"], "cmd_4": ["b", "c"]}


def test_a_null_depends_is_as_if_missing() -> None:
    assert needs(dag("steps:\n  - {name: a, command: x}\n  - {name: b, command: x, depends: }\n")) == {"a": [], "b": ["a"]}


def test_ids_and_names_both_serve_and_an_edge_is_kept_once() -> None:
    found = dag("type: graph\nsteps:\n  - {name: a, id: i, command: x}\n  - {name: b, command: x, depends: [a, i, ' a ']}\n")
    assert [(edge.source, edge.target) for edge in found.graph.edges] == [(0, 1)]


def test_forward_dependencies_are_allowed() -> None:
    assert needs(dag("type: graph\nsteps:\n  - {name: a, command: x, depends: b}\n  - {name: b, command: x}\n"))["a"] == ["b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "steps:\n  - {name: fetch, command: x}\n  - {name: use, command: x, depends: [fetch, fech]}\n",
            [(3, 38, "steps[1].depends", "`depends` names the unknown step `fech`, did you mean `fetch`?")],
        ),
        (
            "steps:\n  - {name: a, command: x, depends: a}\n",
            [(2, 36, "steps[0].depends", "the step `a` depends on itself")],
        ),
        (
            "steps:\n  - {name: a, command: x, depends: c}\n  - {name: b, command: x}\n  - {name: c, command: x}\n",
            [(2, 36, "steps[0].depends", "steps depend on each other in a circle (cycle): a → b → c → a")],
        ),
        (
            "steps:\n  a: {command: x, depends: {b: 1}}\n",
            [(2, 28, "steps.a.depends", "`depends` must be text or a list of texts")],
        ),
    ],
)
def test_what_is_refused(text: str, expected: list[tuple[int, int, str, str]]) -> None:
    assert complaints(text) == expected


def test_a_long_circle_is_told_shortened() -> None:
    lines = [f"  - {{name: s{n}, command: x, depends: s{(n + 1) % 50}}}" for n in range(50)]
    [(_, _, _, message)] = complaints("type: graph\nsteps:\n" + "\n".join(lines))
    assert message.startswith("steps depend on each other in a circle (cycle): ")
    assert message.endswith(" → …")
    assert message.count("→") == 8


def test_steps_behind_a_circle_are_not_named_as_part_of_it() -> None:
    text = "type: graph\nsteps:\n  - {name: behind, command: x, depends: a}\n"
    text += "  - {name: a, command: x, depends: b}\n  - {name: b, command: x, depends: a}\n"
    [(line, _, _, message)] = complaints(text)
    assert "behind" not in message
    assert line in (4, 5)
