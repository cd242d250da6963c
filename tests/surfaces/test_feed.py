"""What clients are told of a life: until it has ended, and on when it is taken up again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from astrarium.kernel.audit import AuditLog
from astrarium.kernel.engine import Engine
from astrarium.kernel.machine import Registry
from astrarium.kernel.record.entry import EntryMachine, EntryTouched, PutEntry, TouchEntry
from astrarium.kernel.types import Command, Event, Scope
from astrarium.store.sqlite import SqliteStore
from astrarium.surfaces.feed import Feed
from astrarium.web.stream import Frame, Frames, as_pieces
from tests.kernel.book import open_engine

HERE = Scope("ws", "env")


@pytest.fixture
async def feed(tmp_path: Path) -> AsyncIterator[tuple[Engine, Feed]]:
    registry = Registry()
    registry.add_machine(EntryMachine())
    registry.add_machine(AuditLog())
    async with open_engine(SqliteStore(tmp_path / "a.db", tables=registry.tables, synchronous="normal"), registry) as engine:
        feed = Feed(engine)
        yield engine, feed
        await feed.aclose()


async def translate(events: Sequence[Event]) -> list[Frame]:
    """Puts are told, touches only move the cursor."""
    return [
        Frame(b"" if isinstance(event.body, EntryTouched) else event.body.body["n"].encode(), "", str(event.position))
        for event in events
    ]


def ends(event: Event) -> bool | None:
    """A life that ends with `end`, and goes on with `again`."""
    said = event.body.body["n"] if not isinstance(event.body, EntryTouched) else ""
    return {"end": True, "again": False}.get(said)


async def put(engine: Engine, n: str) -> None:
    await engine.submit(Command("entry:note/1", PutEntry("", {"n": n}, "me"), HERE))


def follow(feed: Feed, after: int = 0, over: bool = False) -> Frames:
    return feed.frames("ws", "entry:note/1", after, lambda event: event.stream == "entry:note/1", translate, ends, over)


async def all_of(frames: Frames) -> list[str]:
    async with asyncio.timeout(15):
        return [frame.data.decode() async for made in frames for frame in made]


async def test_it_ends_with_the_life(feed: tuple[Engine, Feed]) -> None:
    engine, source = feed
    for n in ("1", "2", "end"):
        await put(engine, n)
    assert await all_of(follow(source)) == ["1", "2", "end"]
    assert await all_of(follow(source, 3, over=True)) == []
    assert await all_of(follow(source, 99, over=True)) == []


async def test_a_life_that_is_taken_up_again_is_followed_on(feed: tuple[Engine, Feed]) -> None:
    engine, source = feed
    for n in ("1", "end", "again"):
        await put(engine, n)
    following = asyncio.create_task(all_of(follow(source, 0, over=True)))
    await put(engine, "2")
    await put(engine, "end")
    assert await following == ["1", "end", "again", "2", "end"]


async def test_what_is_not_told_moves_the_cursor(feed: tuple[Engine, Feed]) -> None:
    engine, source = feed
    await put(engine, "1")
    await engine.submit(Command("entry:note/1", TouchEntry(), HERE))
    await put(engine, "end")
    async with asyncio.timeout(15):
        told = b"".join([piece async for piece in as_pieces(follow(source))])
    assert told == b"id: 1\ndata: 1\n\nid: 2\n\nid: 3\ndata: end\n\n"
