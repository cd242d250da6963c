"""One moment of a long run costs as little as one of a short run, and is the same as from the whole log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from astrarium.errors import Refused
from astrarium.runs.fork import Changes, fork_run
from astrarium.runs.past.mutate import Mutation
from astrarium.runs.past.read import checkpoints
from astrarium.runs.past.resume import resume_run
from astrarium.runs.past.seek import page, state_at
from astrarium.spec.graph import Graph
from astrarium.spec.ir import flow as f
from tests.runs.flow import nodes as gates
from tests.specs.dags.desk import ANNA, SCOPE, Desk, open_desk

from .desk import graph, node

MOST_READ = 500
"""Events read for one moment, however long the run is: from an anchor to the next, and the way back to it."""


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    gates.GATES.clear()
    async with open_desk(tmp_path) as desk:
        yield desk


def counting(to: int, last: str = "") -> Graph:
    """`a` counts and asserts; every turn goes through two branches, too."""
    rules = (f.FlowRule("more", (f.Goto("a"), f.Assert("turn", {"value": 1})), "fin", (f.Test("n", "lt", to),)),)
    nodes = [node("a", "Bump"), node("l", "Bump"), node("r"), node("fin", "Bump")]
    more = [node("end", last)] if last else []
    return graph(*nodes, *more, rules=rules, blocks=(f.Parallel(("l", "r"), "fin"),), max_steps=10_000)


async def same_as_whole(desk: Desk, run: str, places: range) -> None:
    """Every way to a moment tells the same of it."""
    whole = await checkpoints(desk.engine, run, SCOPE)
    for place in places:
        there = [one for one in whole if one.place == place]
        for one in there:
            assert await state_at(desk.engine, run, SCOPE, place, one.branch) == one
    found, after = list[Any](), -1
    while more := await page(desk.engine, run, SCOPE, after=after, limit=37):
        assert len({one.place for one in more} & {one.place for one in found}) == 0
        found, after = [*found, *more], more[-1].place
    assert [(one.place, one.branch, one.no) for one in found] == [(one.place, one.branch, one.no) for one in whole]
    assert found == whole


async def test_a_moment_of_a_long_run(desk: Desk) -> None:
    run = await desk.start_graph(counting(300))
    await desk.ended(run)
    await same_as_whole(desk, run, range(0, 300, 41))
    whole = {one.place: one for one in await checkpoints(desk.engine, run, SCOPE) if one.node == "fin"}
    joined = await state_at(desk.engine, run, SCOPE, 200 // 3 * 3 + 1)
    assert (joined.branch, joined.state["n"]) == ("", whole[200 // 3 * 3 + 2].state["n"] - 1)
    with pytest.raises(Refused, match="no ended step 9999"):
        await state_at(desk.engine, run, SCOPE, 9999)


async def test_little_is_read_for_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await desk.start_graph(counting(600))
    await desk.ended(run)
    read, count = desk.engine.tail.read_stream, 0

    async def counted(*args: Any) -> Any:
        nonlocal count
        events = await read(*args)
        count += len(events)
        return events

    assert len(await desk.events(run)) > 3 * MOST_READ
    monkeypatch.setattr(desk.engine.tail, "read_stream", counted)
    for place in (3, 300, 500):
        count = 0
        await state_at(desk.engine, run, SCOPE, place)
        assert count <= MOST_READ
        await page(desk.engine, run, SCOPE, after=place, limit=10)
        assert count <= 2 * MOST_READ


async def test_of_a_run_that_went_back(desk: Desk) -> None:
    run = await desk.start_graph(counting(200, "fail"))
    await desk.ended(run)
    for place in (80, 150, 30):
        await resume_run(desk.engine, run, SCOPE, place=place)
        await desk.ended(run)
    await same_as_whole(desk, run, range(0, 200, 23))


async def test_of_forks_of_forks(desk: Desk) -> None:
    run = await desk.start_graph(counting(300))
    await desk.ended(run)
    for place in (149, 80):
        changes = Changes(mutation=Mutation(document={"n": 200}))
        run = await fork_run(desk.engine, run, SCOPE, step=place, changes=changes, actor=ANNA)
        await desk.ended(run)
        assert (await state_at(desk.engine, run, SCOPE, place)).state["n"] == 200
        await same_as_whole(desk, run, range(0, 150, 13))
