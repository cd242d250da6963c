"""Python nodes: how they are found, made, called, and what becomes of what they give or raise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from astrarium.plugins.steps.interrupt import STEP as INTERRUPT
from astrarium.plugins.steps.node import STEP
from astrarium.spec.graph import Graph
from tests.contracts.step import FakeTry

HERE = "tests.plugins.test_node"


class Model:
    """A stand-in for a model of the state: it checks, and has attributes."""

    def __init__(self, n: int = 0, **more: Any) -> None:
        if not isinstance(n, int):
            raise ValueError("n is no number")
        self.n = n

    def model_dump(self, mode: str) -> dict[str, Any]:
        return {"n": self.n, "mode": mode}


class Config:
    def __init__(self, by: int) -> None:
        self.by = by


class Configured:
    config_model = Config

    def __init__(self, config: Config) -> None:
        self.by = config.by

    async def execute(self, state: Any, ctx: Any) -> dict[str, Any]:
        return {"n": state.n + self.by, "who": f"{ctx.node_id}@{ctx.step}"}


class Keywords:
    def __init__(self, by: int = 1) -> None:
        self.by = by

    def execute(self, state: Any, ctx: Any) -> dict[str, Any]:
        ctx.write("said\n")
        return {"n": state["n"] * self.by}


def plain(state: Any) -> dict[str, Any]:
    return {"n": state.n + 1}


async def given(state: Any, ctx: Any, value: Any = None) -> Any:
    return Model(3) if value == "model" else {"object": object()} if value == "object" else value


def raises(state: Any, ctx: Any) -> Any:
    return state.nothing


@pytest.mark.parametrize(
    ("target", "config", "patch"),
    [
        ("Configured", {"by": 4}, {"n": 6, "who": "step@0"}),
        ("Keywords", {"by": 5}, {"n": 10}),
        ("Keywords", {}, {"n": 2}),
        ("plain", {}, {"n": 3}),
        ("given", {}, None),
        ("given", {"value": {"n": 9}}, {"n": 9}),
        ("given", {"value": "model"}, {"n": 3, "mode": "json"}),
    ],
)
async def test_classes_and_functions_give_patches(ctx: FakeTry, target: str, config: dict[str, Any], patch: Any) -> None:
    ctx.state = {"n": 2}
    result = await ctx.run(STEP, **{"class": f"{HERE}:{target}", "config": config})
    assert (result.outcome, result.patch) == ("succeeded", patch)


@pytest.mark.parametrize(
    ("target", "config", "code"),
    [
        ("raises", {}, "AttributeError"), ("given", {"value": 5}, "TypeError"), ("given", {"value": "object"}, "TypeError"),
        ("Keywords", {"nope": 1}, "TypeError"), ("nowhere", {}, "ImportError"),
    ],
)  # fmt: skip
async def test_what_goes_wrong_breaks_the_step_under_its_name(
    ctx: FakeTry, target: str, config: dict[str, Any], code: str
) -> None:
    result = await ctx.run(STEP, **{"class": f"{HERE}:{target}", "config": config})
    assert (result.outcome, result.code) == ("broken", code)
    assert result.error and (code in result.error or "cannot be imported" in result.error)


async def test_a_model_checks_the_state_before_and_after(ctx: FakeTry) -> None:
    ctx.state = {"n": 2}
    asked = {"class": f"{HERE}:given", "state_class": f"{HERE}:Model"}
    assert (await ctx.run(STEP, **asked, config={"value": {"n": 3}})).patch == {"n": 3}
    wrong = await ctx.run(STEP, **asked, config={"value": {"n": "three"}})
    assert (wrong.outcome, wrong.code) == ("broken", "StateValidationError")


async def test_modules_beside_the_graph_are_found(ctx: FakeTry, tmp_path: Path) -> None:
    (tmp_path / "beside_the_graph.py").write_text("def one(state):\n    return {'n': 1}\n")
    ctx.graph = Graph("g", base_dir=str(tmp_path))
    assert (await ctx.run(STEP, **{"class": "beside_the_graph:one"})).patch == {"n": 1}


async def test_an_interrupt_asks_with_all_it_was_given(ctx: FakeTry) -> None:
    result = await ctx.run(
        INTERRUPT, prompt="go?", payload={"a": 1}, schema={"type": "object"}, capability="runs:approve", timeout_s=5.0,
        on_timeout="later", output_field="reply",
    )  # fmt: skip
    ask = result.ask
    assert ask is not None
    assert (ask.prompt, ask.payload, ask.capability, ask.timeout_s, ask.goto, ask.output_field) == (
        "go?", {"a": 1}, "runs:approve", 5.0, "later", "reply",
    )  # fmt: skip
