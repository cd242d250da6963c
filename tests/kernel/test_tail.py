"""Reading on: each event once, in order, from any position."""

from __future__ import annotations

import asyncio

import pytest

from astrarium.kernel.tail import PAGE
from astrarium.kernel.types import Event, Scope
from tests.kernel.tally import Add, Added, Room


async def follow(room: Room, after: int, until: int) -> list[int]:
    seen = []
    async for event in room.engine.tail.follow("ws", after):
        seen.append(event.position)
        if event.position >= until:
            break
    return seen


async def test_live_and_replay_are_the_same_read(room: Room) -> None:
    live = asyncio.create_task(follow(room, 0, 1500))
    for number in range(1500):
        room.engine.post(room.command(f"t{number % 7}", Add(1)))
        if number % 100 == 0:
            await asyncio.sleep(0)
    everything = list(range(1, 1501))
    assert await asyncio.wait_for(live, 20) == everything
    assert await follow(room, 0, 1500) == everything
    assert await follow(room, 777, 1500) == everything[777:], "resumed in the middle"


async def test_a_follower_that_is_cut_off_resumes_by_position(room: Room) -> None:
    seen: list[int] = []

    async def read() -> None:
        while len(seen) < 300:
            async for event in room.engine.tail.follow("ws", seen[-1] if seen else 0):
                seen.append(event.position)
                if event.position % 37 == 0 or event.position == 300:
                    break

    reading = asyncio.create_task(read())
    for _ in range(300):
        await room.tell("a", Add(1)) if _ % 10 == 0 else room.engine.post(room.command("a", Add(1)))
    await asyncio.wait_for(reading, 20)
    assert seen == list(range(1, 301))


async def test_who_follows_reads_the_store_only_to_catch_up(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = room.engine.tail
    reads, read = [], tail.read

    async def counting(workspace: str, after: int = 0) -> list[Event]:
        reads.append(after)
        return await read(workspace, after)

    for number in range(3):
        await room.tell(f"t{number}", Add(1))
    following = tail.follow("ws")
    assert [(await anext(following)).position for _ in range(3)] == [1, 2, 3]
    monkeypatch.setattr(tail, "read", counting)
    for number in range(4, 2000):
        coming = asyncio.ensure_future(anext(following))
        await room.tell("a", Add(1))
        event = await coming
        assert (event.position, event.stream, event.body, event.actor) == (number, "tally:a", Added(1), "user:anna")
    assert reads == [], "nobody else commits here"
    for _ in range(2 * PAGE):  # more than is kept for one who does not read
        await room.tell("a", Add(1))
    assert [(await anext(following)).position for _ in range(2 * PAGE)] == list(range(2000, 2000 + 2 * PAGE))
    assert reads
    await following.aclose()


async def test_workspaces_have_logs_of_their_own(room: Room) -> None:
    other = Scope("other", "local")
    for number in range(4):
        await room.tell(f"a{number}", Add(1))
        await room.tell(f"b{number}", Add(1), scope=other)
    assert [event.stream for event in await room.engine.tail.read("other")] == [f"tally:b{number}" for number in range(4)]
    assert [event.position for event in await room.engine.tail.read("other", 2)] == [3, 4]
    assert await room.engine.tail.head("ws") == 4
    assert await room.engine.tail.head("nowhere") == 0


async def test_an_event_tells_who_when_and_what(room: Room) -> None:
    await room.tell("a", Add(3))
    (event,) = await room.engine.tail.read_stream("tally:a")
    assert (event.position, event.workspace, event.stream, event.seq, event.actor, event.body, event.v) == (
        1, "ws", "tally:a", 1, "user:anna", Added(3), 1,
    )  # fmt: skip
    assert event.at == room.engine.clock.now()
    assert await room.engine.tail.read_stream("tally:a", 1) == []
