"""Two servers on one database: neither loses what the other did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from astrarium.errors import AstrariumError, Conflict, Refused
from astrarium.kernel.clock import SystemClock
from astrarium.runs.message import AnswerAsk, PauseRun, ResumeRun, StopRun
from astrarium.store.postgres import PostgresStore
from tests.kernel.tally import Add, Desk, Free, Owe, Room, Take, make_registry, open_room
from tests.specs.dags.desk import SCOPE, open_desk

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture
async def rooms(postgres_database: str) -> AsyncIterator[tuple[Room, Room]]:
    async with AsyncExitStack() as stack:
        made = []
        for worker in ("w1", "w2"):
            store = PostgresStore(postgres_database, tables=make_registry(Desk("desk")).tables)
            made.append(await stack.enter_async_context(open_room(store, worker=worker, clock=SystemClock())))
        yield made[0], made[1]


async def log_of(room: Room, stream: str) -> list[int]:
    return [event.seq for event in await room.engine.tail.read_stream(stream, limit=10_000)]


async def test_no_update_is_lost(rooms: tuple[Room, Room]) -> None:
    """Both add to the same life at the same time."""
    await asyncio.gather(*(room.tell("a", Add(1)) for _ in range(40) for room in rooms))
    for room in rooms:
        room.engine.memory.hot.clear()
        assert (await room.sum("a")).n == 80
    assert await log_of(rooms[0], "tally:a") == list(range(1, 81))


async def test_a_limit_over_two_lives_holds(rooms: tuple[Room, Room]) -> None:
    """The facts of a decision are verified, not only its own life."""

    async def add(room: Room, name: str, beside: str) -> int:
        try:
            await room.tell(name, Add(1, most=10, beside=beside))
        except Refused:
            return 0
        return 1

    added = await asyncio.gather(
        *(add(room, *pair) for _ in range(10) for room, pair in zip(rooms, (("a", "b"), ("b", "a")), strict=True))
    )
    assert sum(added) == 10
    rooms[0].engine.memory.hot.clear()
    assert (await rooms[0].sum("a")).n + (await rooms[0].sum("b")).n == 10


async def test_a_key_acts_once_over_both(rooms: tuple[Room, Room]) -> None:
    receipts = await asyncio.gather(*(room.tell("a", Add(1), key="k") for _ in range(10) for room in rooms))
    assert sum(not receipt.replayed for receipt in receipts) == 1
    assert await log_of(rooms[0], "tally:a") == [1]
    with pytest.raises(Conflict):
        await rooms[1].tell("a", Add(2), key="k")


async def test_a_slot_is_never_over_its_limit(rooms: tuple[Room, Room]) -> None:
    """Many take and free a slot of two places, at both servers; the log says who held it when."""

    async def visit(room: Room, name: str) -> None:
        await room.tell(name, Take("s", limit=2))
        for _ in range(2000):
            if (await room.sum(name)).held:
                break
            await asyncio.sleep(0.005)
        else:
            raise AssertionError(f"{name} never got its place")
        await room.tell(name, Free("s"))

    await asyncio.gather(*(visit(room, f"{number}-{place}") for number, room in enumerate(rooms) for place in range(8)))
    holders: set[str] = set()
    fences: list[int] = []
    for event in await rooms[0].engine.tail.read("ws", limit=1000):
        body: Any = event.body
        if type(body).__name__ == "Held":
            holders.add(event.stream)
            fences.append(body.fence)
        elif type(body).__name__ == "Freed":
            holders.discard(event.stream)
    assert not holders and len(set(fences)) == 16
    assert await rooms[0].count("slots") == 0


async def test_positions_have_no_gaps_and_a_follower_sees_each_once(rooms: tuple[Room, Room]) -> None:
    seen: list[int] = []

    async def follow() -> None:
        async for event in rooms[1].engine.tail.follow("ws"):
            seen.append(event.position)
            if event.position == 200:
                return

    following = asyncio.create_task(follow())
    await asyncio.gather(*(room.tell(f"t{n % 9}", Add(1)) for n in range(100) for room in rooms))
    await asyncio.wait_for(following, 20)
    assert seen == list(range(1, 201))


async def test_a_dead_servers_jobs_are_taken_over(postgres_database: str) -> None:
    tables = make_registry(Desk("desk")).tables
    async with AsyncExitStack() as stack:
        first_store = PostgresStore(postgres_database, tables=tables)
        dead = await stack.enter_async_context(
            open_room(first_store, worker="dead", clock=SystemClock(), lease_s=0.2, settle=False)
        )
        for number in range(4):
            await dead.tell("a", Owe(f"j{number}"))
        assert dead.desk.begun == ["j0", "j1"]
        alive = await stack.enter_async_context(
            open_room(PostgresStore(postgres_database, tables=tables), worker="alive", clock=SystemClock())
        )
        for _ in range(400):
            await alive.store.renew("alive", 30.0)
            await alive.engine.jobs.take_over()
            if len(alive.desk.begun) == 2:
                break
            await asyncio.sleep(0.02)
        await alive.engine.settle()
        assert sorted((await alive.sum("a")).said) == ["j0:lost", "j1:lost"]
        with pytest.raises(AstrariumError):
            await dead.tell("a", Add(1))
        assert dead.engine.fenced.is_set(), "who lost its lease commits nothing more"


async def test_a_server_that_drains_leaves_its_line_to_the_others(rooms: tuple[Room, Room]) -> None:
    leaving, staying = rooms
    for number in range(4):
        await leaving.tell("a", Owe(f"j{number}"))
    assert leaving.desk.begun == ["j0", "j1"] and staying.desk.begun == []
    drained = asyncio.create_task(leaving.engine.jobs.drain(30.0))
    await staying.until(lambda: staying.desk.begun == ["j2", "j3"])
    assert not drained.done(), "what runs is waited for"
    for room in rooms:
        for work in room.desk.work.values():
            work.set_result("done")
    assert await drained
    for room in rooms:
        await room.engine.settle()
    await staying.until(lambda: not staying.busy)
    await staying.engine.settle()
    assert sorted((await staying.sum("a")).said) == ["j0:done", "j1:done", "j2:done", "j3:done"]


# -- runs ----------------------------------------------------------------------------------------------------------------


async def test_two_servers_command_the_same_run(postgres_database: str, tmp_path: Path) -> None:
    text = """
type: graph
steps:
""" + "".join(f"  - {{name: g{n}, type: hitl, config: {{prompt: go}}}}\n" for n in range(8))
    async with (
        open_desk(tmp_path / "a", database_url=postgres_database) as one,
        open_desk(tmp_path / "b", database_url=postgres_database) as two,
    ):
        run = await one.start(text)
        await one.status(run, "waiting")

        async def tell(desk: Any, body: Any) -> str:
            try:
                await desk.order(run, body)
            except AstrariumError as error:
                return type(error).__name__
            return "done"

        answers = await asyncio.gather(
            *(tell(desk, AnswerAsk(no, "anna")) for no in range(7) for desk in (one, two)),
            tell(one, PauseRun()), tell(two, ResumeRun()), tell(two, PauseRun()), tell(one, ResumeRun()),
        )  # fmt: skip
        assert answers[:14].count("done") == 7 and set(answers[:14]) == {"done", "Refused"}
        stops = await asyncio.gather(tell(one, StopRun()), tell(two, StopRun()))
        assert "done" in stops
        row = await one.ended(run)
        assert row.outcome == "cancelled"
        seqs = [event.seq for event in await two.engine.tail.read_stream(f"run:{run}")]
        assert seqs == list(range(1, len(seqs) + 1))
        for desk in (one, two):
            desk.engine.memory.hot.clear()
            state = await desk.engine.state(f"run:{run}", SCOPE)
            assert state is not None and state.status == "ended"
            assert [step.outcome for step in state.steps.values()].count("succeeded") == 7


async def test_a_stop_at_one_server_ends_the_process_of_the_other(postgres_database: str, tmp_path: Path) -> None:
    async with (
        open_desk(tmp_path / "a", database_url=postgres_database) as one,
        open_desk(tmp_path / "b", database_url=postgres_database, max_processes=1) as two,
    ):
        run = await one.start("steps:\n  - {name: slow, command: 'echo $$ > pid; sleep 60'}\n")
        pid = int(await one.file("pid"))
        assert Path(f"/proc/{pid}").exists()
        await two.order(run, StopRun())
        assert (await two.ended(run)).outcome == "cancelled"
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()


async def test_work_is_shared(postgres_database: str, tmp_path: Path) -> None:
    """More steps than one server has places for: the other helps, and each runs once."""
    text = "type: graph\nsteps:\n" + "".join(f"  - {{name: s{n}, command: 'sleep 0.05; echo {n}'}}\n" for n in range(40))
    async with (
        open_desk(tmp_path / "a", database_url=postgres_database, max_processes=1) as one,
        open_desk(tmp_path / "b", database_url=postgres_database, max_processes=1) as two,
    ):
        run = await one.start(text)
        assert (await one.ended(run)).outcome == "succeeded"
        rows = await two.worker.store.read("SELECT worker, count(*), max(tries) FROM steps GROUP BY worker")
        assert {row[0] for row in rows} == {one.worker.id, two.worker.id}
        assert sum(row[1] for row in rows) == 40 and all(row[2] == 1 for row in rows)


async def test_a_run_id_is_used_once(postgres_database: str, tmp_path: Path) -> None:
    """The life that has that id is found in the store although the order to start takes its id for new."""
    async with open_desk(tmp_path / "a", database_url=postgres_database) as desk:
        run = await desk.start('steps: ["true"]')
        await desk.ended(run)
        await desk.engine.settle()
        desk.engine.memory.hot.clear()
        before = await desk.events(run)
        with pytest.raises(Refused, match="has begun already"):
            await desk.order(run, before[0].start)
        assert await desk.events(run) == before
