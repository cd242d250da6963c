"""A build followed as it goes on, and lives brought into memory in company."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrarium.errors import Invalid
from astrarium.kernel.clock import SystemClock
from astrarium.kernel.engine import Engine
from astrarium.kernel.types import Scope
from astrarium.spec.ids import uuid7
from astrarium.store.sqlite import SqliteStore
from astrarium.surfaces.builds import room, wire
from astrarium.surfaces.builds.desk import Desk
from astrarium.surfaces.builds.machines.build import EndBuild
from astrarium.surfaces.builds.machines.report import CompleteTask, StartTask
from astrarium.surfaces.builds.machines.task import task_stream
from astrarium.surfaces.builds.views.live import BuildLog, parse_cursor
from astrarium.surfaces.builds.work.load import Loader
from astrarium.surfaces.feed import Feed
from astrarium.web.caller import LOCAL_OWNER
from tests.kernel.book import make_registry, open_engine

SCOPE = LOCAL_OWNER.scope


@asynccontextmanager
async def open_desk(folder: Path) -> AsyncIterator[Desk]:
    registry = make_registry()
    room.register(registry)
    store = SqliteStore(folder / "builds.db", tables=registry.tables, synchronous="normal")
    async with open_engine(store, registry, uuid7(), SystemClock()) as engine:
        yield Desk(engine)


@asynccontextmanager
async def feed_of(engine: Engine) -> AsyncIterator[Feed]:
    feed = Feed(engine)
    try:
        yield feed
    finally:
        await feed.aclose()


def task(id_: str) -> wire.CreateTask:
    return wire.CreateTask(id_, id_.title(), msgspec.Raw(b"{}"))


def told(piece: bytes) -> list[str]:
    return [line.removeprefix("event: ") for line in piece.decode().splitlines() if line.startswith("event: ")]


async def test_what_happens_is_told_when_it_happens_and_only_of_this_build(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, feed_of(desk.engine) as feed:
        mine, other = [(await desk.create_build(LOCAL_OWNER, wire.CreateBuild())).id for _ in range(2)]
        await desk.register(LOCAL_OWNER, mine, task("a"))
        log = BuildLog(desk.engine, feed, SCOPE, mine, False)
        async with aclosing(log.frames(0)) as frames:
            assert told(await anext(frames)) == ["build_started", "task_pending"]
            for build in (other, mine):
                await desk.report(LOCAL_OWNER, "a", StartTask(build))
            await desk.register(LOCAL_OWNER, other, task("b"))
            assert told(await asyncio.wait_for(anext(frames), 10)) == ["task_started"]
            await desk.report(LOCAL_OWNER, "a", CompleteTask(mine))
            assert told(await asyncio.wait_for(anext(frames), 10)) == ["task_completed"]
            await desk.end_build(LOCAL_OWNER, mine, EndBuild("completed"))
            rest = [name async for piece in frames for name in told(piece)]
            assert rest == ["build_completed", "end"]


async def test_a_long_past_is_told_in_parts_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astrarium.surfaces.builds.views.live.PAGE", 7)
    async with open_desk(tmp_path) as desk, feed_of(desk.engine) as feed:
        build = (await desk.create_build(LOCAL_OWNER, wire.CreateBuild())).id
        await desk.register_all(LOCAL_OWNER, build, [task(f"t{number}") for number in range(40)])
        for number in range(40):
            await desk.report(LOCAL_OWNER, f"t{number}", CompleteTask(build))
        await desk.end_build(LOCAL_OWNER, build, EndBuild("failed"))
        log = BuildLog(desk.engine, feed, SCOPE, build, True)
        past = await log.past(0, 10_000, 10_000)
        whole = [name async for piece in log.frames(0) for name in told(piece)]
        assert len(whole) == 83 and whole[-2:] == ["build_failed", "end"] and len(past) == 82
        for place in (0, 30, 81):
            rest = [name async for piece in log.frames(past[place][0]) for name in told(piece)]
            assert rest == whole[place + 1 :]


@pytest.mark.parametrize("text", ["x", "-1", "11", "1e3", "٣", "9" * 30])
def test_a_cursor_is_a_position_of_the_log(text: str) -> None:
    assert (parse_cursor("", 10), parse_cursor("10", 10)) == (0, 10)
    with pytest.raises(Invalid):
        parse_cursor(text, 10)


async def test_those_who_wait_share_a_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_desk(tmp_path) as desk:
        reads: list[list[str]] = []
        load_many = desk.engine.memory.load_many

        async def counted(streams: Any, scope: Scope) -> None:
            reads.append(list(streams))
            await load_many(streams, scope)

        monkeypatch.setattr(desk.engine.memory, "load_many", counted)
        loader = Loader(desk.engine)
        streams = [task_stream("local", f"t{number}") for number in range(30)]
        await asyncio.gather(*(loader.bring(stream, SCOPE) for stream in [*streams, *streams]))
        assert reads == [sorted(streams)] and all(stream in desk.engine.memory.hot for stream in streams)
        await asyncio.gather(*(loader.bring(stream, SCOPE) for stream in streams))
        assert len(reads) == 1, "what is at hand costs nothing"


async def test_many_registrations_at_once_of_the_same_tasks(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        builds = [(await desk.create_build(LOCAL_OWNER, wire.CreateBuild())).id for _ in range(4)]
        made = await asyncio.gather(
            *(desk.register(LOCAL_OWNER, build, task(f"t{number}")) for build in builds for number in range(50))
        )
        assert len({one.id for one in made}) == 50
        rows = await desk.store.read("SELECT count(*) FROM tasks")
        counted = await desk.store.read("SELECT amount FROM counters WHERE name = 'builds.tasks'")
        assert rows == [(50,)] == counted


async def test_a_task_that_left_memory_goes_on_where_it_was(tmp_path: Path) -> None:
    for round_ in range(3):
        async with open_desk(tmp_path) as desk:
            build = (await desk.create_build(LOCAL_OWNER, wire.CreateBuild())).id
            await desk.register(LOCAL_OWNER, build, task("a"))
            said = await desk.report(LOCAL_OWNER, "a", StartTask(build))
            assert said.status == "running"
            await desk.report(LOCAL_OWNER, "a", CompleteTask(build))
            assert (await desk.store.read("SELECT count(*) FROM events WHERE stream = 'task:local/a'"))[0][0] == 3 * (round_ + 1)
            status = await desk.store.read("SELECT status, build FROM task_states")
            assert status == [("completed", build)]
