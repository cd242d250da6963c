"""The task step: builds in a real worker, with and without a server."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrarium.plugins.steps.task import STEP
from astrarium.runs.ports import Result, StepFailed
from astrarium.spec.graph import Graph
from tests.contracts.step import DEADLINE_S, FakeTry
from tests.specs.dags.desk import open_desk

from .graph import compile_text, ended

CODE = """
import time
from pathlib import Path

import astrarium as ar

@ar.task
def numbers(limit: int) -> list[int]:
    print("numbers runs")
    return list(range(limit))

@ar.task
def total(values: ar.Depends[list[int]]) -> int:
    print("total runs")
    return sum(values)

@ar.task
def breaks(message: str) -> int:
    raise RuntimeError(message)

@ar.task
def long(name: str) -> str:
    return name * 20_000

@ar.task
def waits(marker: str) -> int:
    Path(marker).touch()
    time.sleep(60)
    return 1

def chain(limit: int):
    return total(values=numbers(limit=limit))

def two(limit: int):
    return [numbers(limit=limit), numbers(limit=limit + 1)]
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, ctx: FakeTry) -> None:
    (tmp_path / "pipe.py").write_text(CODE)
    ctx.env = {**ctx.env, "HOME": str(tmp_path / "home")}


def said(result: Result) -> dict[str, Any]:
    assert result.output is not None
    found: dict[str, Any] = json.loads(result.output)
    return found


async def test_a_task_is_made_once_and_found_again(ctx: FakeTry, tmp_path: Path) -> None:
    ctx.variables["LIMIT"] = "4"
    first = said(await ctx.run(STEP, task="pipe:chain", params={"limit": "$LIMIT"}))
    assert (first["task_id"], first["value"], first["build_id"]) == ("bbdf0620-4ce0-546c-a972-34efeabff0f0", 6, None)
    assert first["uri"].startswith(str(tmp_path / "home")) and json.loads(Path(first["uri"]).read_text()) == 6
    assert ctx.out == "numbers runs\ntotal runs\n"
    assert [line.split()[0] for line in ctx.err.splitlines()] == ["made", "made"]
    assert said(await ctx.run(STEP, task="pipe:chain", params={"limit": 4})) == first
    assert ctx.out == "numbers runs\ntotal runs\n", "nothing ran again"
    assert ctx.err.splitlines()[-1] == "found total (bbdf0620-4ce0-546c-a972-34efeabff0f0)"


async def test_a_class_of_tasks_takes_its_fields(ctx: FakeTry) -> None:
    assert said(await ctx.run(STEP, task="pipe:numbers", params={"limit": "2"}))["value"] == [0, 1]
    body = '{"__name": "numbers", "__namespace": "", "limit": 3}'
    assert said(await ctx.run(STEP, task="pipe:total", params={"values": body}))["value"] == 3


async def test_a_long_result_is_told_by_its_place_alone(ctx: FakeTry) -> None:
    assert "value" not in said(await ctx.run(STEP, task="pipe:long", params={"name": "a"}))


async def test_a_graph_of_rules_gets_it_as_fields(ctx: FakeTry) -> None:
    ctx.graph = Graph(name="agent", router="rules")
    result = await ctx.run(STEP, task="pipe:numbers", params={"limit": 1})
    assert result.patch is not None and result.patch["value"] == [0]


@pytest.mark.parametrize(
    ("task", "params", "why"),
    [
        ("pipe:breaks", {"message": "boom"}, "boom"),
        ("pipe:two", {"limit": 1}, "gives 2 tasks"),
        ("pipe:nothing", {}, "has no 'nothing'"),
        ("nowhere:task", {}, "no module 'nowhere'"),
        ("pipe", {}, "names no task"),
        ("pipe:numbers", {"limit": "many"}, "make no pipe:numbers"),
        ("pipe:numbers", {"limmit": 1}, "limit: Field required; limmit: Extra"),
    ],
)
async def test_what_cannot_be_made_fails_with_the_reason(ctx: FakeTry, task: str, params: dict[str, Any], why: str) -> None:
    with pytest.raises(StepFailed) as failed:
        await ctx.run(STEP, task=task, params=params)
    assert re.search(why, f"{failed.value}\n{ctx.err}")


async def test_a_stop_ends_the_body(ctx: FakeTry, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    running = asyncio.ensure_future(ctx.run(STEP, task="pipe:waits", params={"marker": str(marker)}))
    async with asyncio.timeout(DEADLINE_S):
        while not marker.exists():
            await asyncio.sleep(0.01)
        (pid,) = ctx.pool.pids
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert not os.path.exists(f"/proc/{pid}")


async def test_a_node_of_a_graph_builds_with_fields_of_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = """
    id: sums
    state: {limit: int, value: int, uri: str, again: int}
    nodes:
      sum: {kind: task, task: "pipe:chain", params: {limit: "{limit}"}}
    """
    async with open_desk(tmp_path) as desk:
        compiled = compile_text(desk, text)
        graph = msgspec.structs.replace(compiled.graph, base_dir=str(tmp_path))
        run = await desk.start_graph(graph, state={"limit": 5})
        told = await ended(desk, run)
    assert (told.outcome, told.state["value"]) == ("succeeded", 10), told
    assert json.loads(Path(told.state["uri"]).read_text()) == 10
