"""The page of the format: every example on it compiles, and it names every key."""

from __future__ import annotations

import re

import pytest

from astrarium.spec.ir import authoring, document
from astrarium.spec.ir.compile import compile_graph
from astrarium.spec.ir.installed import Child, Installed, Kind, Tool
from astrarium.spec.ir.rule import action
from astrarium.spec.ir.state import Mirror, StateClass
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "reference" / "graph-format.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^```yaml\n# ([\w-]+\.yaml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
INSTALLED = Installed(
    kinds={"passthrough": Kind(), "template": Kind(writes=("out",))},
    tools={"std.add@1": Tool("none", {"properties": {"a": {}, "b": {}}, "required": ["a", "b"]})},
    state_class=lambda path: StateClass({"properties": {"n": {"type": "integer"}}}, {"n": Mirror()}),
    child=lambda path, parent: Child(EXAMPLES[path], path, path),
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_compiles(name: str) -> None:
    assert compile_graph(EXAMPLES[name], file=name, installed=INSTALLED).hash


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == len(re.findall(r"^```yaml$", PAGE, re.MULTILINE)) > 10


@pytest.mark.parametrize(
    "shape",
    [
        document.ROOT,
        document.NODE,
        document.RULE,
        document.RETRY,
        document.BUDGET,
        document.BLOCK,
        action.INTERRUPT,
        action.ACTIONS,
    ],
)
def test_every_key_is_named(shape: dict[str, object]) -> None:
    assert [key for key in shape if f"`{key}`" not in PAGE and not re.search(rf"[`{{ ]{key}[:,}}` ]", PAGE)] == []


def test_every_word_is_named() -> None:
    words = [*document.STATE_TYPES, *document.REDUCERS, authoring.END]
    assert [word for word in words if f"`{word}`" not in PAGE] == []
