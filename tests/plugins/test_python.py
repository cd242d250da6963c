"""The python step over a real worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from astrarium.plugins.steps.python import STEP
from astrarium.runs.ports import Result, StepFailed
from astrarium.spec.graph import Graph
from tests.contracts.step import FakeTry

CODE = """
def shout(word, parts=()):
    return word.upper() + "".join(parts)

def table():
    return {"n": 3, "rows": [1, 2]}

def say():
    print("said")
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(CODE)


async def test_a_text_is_the_output_as_it_is_and_arguments_are_expanded(ctx: FakeTry) -> None:
    ctx.variables["W"] = "hey"
    result = await ctx.run(STEP, call="work:shout", args={"word": "$W", "parts": ["${W}", "!"]})
    assert result == Result(output="HEYhey!")


async def test_anything_else_is_json(ctx: FakeTry) -> None:
    assert (await ctx.run(STEP, call="work:table")) == Result(output='{"n":3,"rows":[1,2]}')


async def test_without_a_value_what_it_printed_is_the_output(ctx: FakeTry) -> None:
    assert (await ctx.run(STEP, call="work:say")) == Result(output=None)
    assert ctx.out == "said\n"


async def test_a_map_changes_the_state_of_a_rules_graph(ctx: FakeTry) -> None:
    ctx.graph = Graph(name="agent", router="rules")
    assert (await ctx.run(STEP, call="work:table")).patch == {"n": 3, "rows": [1, 2]}


async def test_a_wrong_call_fails(ctx: FakeTry) -> None:
    with pytest.raises(StepFailed, match="shout"):
        await ctx.run(STEP, call="work:shout")
