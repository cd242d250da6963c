"""Receipts of keys that were used long ago leave the store; a key whose answer is kept acts once for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from astrarium.errors import Unavailable
from astrarium.kernel.clock import HandClock
from astrarium.kernel.ports import Batch
from astrarium.kernel.record import receipt
from astrarium.kernel.record.receipt import forget_receipts
from astrarium.store.postgres import PostgresStore
from astrarium.store.sqlite import SqliteStore
from tests.kernel.tally import Add, Desk, Room, make_registry, open_room

KEPT = "stream = 'tally:kept'"


async def keys(room: Room) -> list[str]:
    return [row[0] for row in await room.store.read("SELECT key FROM receipts ORDER BY key")]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def either(request: pytest.FixtureRequest, tmp_path: Path, clock: HandClock) -> AsyncIterator[Room]:
    store: Any = tmp_path
    if request.param == "postgres":
        store = PostgresStore(request.getfixturevalue("postgres_database"), tables=make_registry(Desk("desk")).tables)
    async with open_room(store, clock=clock) as room:
        yield room


async def test_old_receipts_go_unless_what_they_answer_with_is_kept(
    either: Room, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipt, "AT_ONCE", 3)
    for number in range(7):
        await either.tell("a", Add(1), key=f"old-{number}")
        await either.tell("kept", Add(1), key=f"kept-{number}")
    clock.turn(60)
    await either.tell("a", Add(1), key="young")
    assert await forget_receipts(either.engine, clock.now() - 60_000_000, KEPT) == 0, "not before its time"
    assert await forget_receipts(either.engine, clock.now(), KEPT) == 7
    assert await keys(either) == [*(f"kept-{number}" for number in range(7)), "young"]
    assert (await either.tell("kept", Add(1), key="kept-3")).replayed
    assert (await either.tell("a", Add(1), key="young")).replayed
    for again in (False, True):
        assert (await either.tell("a", Add(5), key="old-3")).replayed is again, "it acts anew, and then once"
    assert (await either.sum("a")).n == 13
    assert await forget_receipts(either.engine, clock.now() + 1, "1 = 0") == 9
    assert await keys(either) == []


class Failing(SqliteStore):
    fail = False

    async def write(self, batch: Batch, worker: str) -> None:
        if self.fail:
            raise Unavailable("the disk is full")
        await super().write(batch, worker)


async def test_what_could_not_be_written_changes_nothing(tmp_path: Path, clock: HandClock) -> None:
    store = Failing(tmp_path / "kernel.db", tables=make_registry(Desk("desk")).tables, synchronous="normal")
    async with open_room(store, clock=clock) as room:
        await room.tell("a", Add(1), key="k")
        store.fail = True
        with pytest.raises(Unavailable):
            await forget_receipts(room.engine, clock.now() + 1, "1 = 0")
        store.fail = False
        assert (await room.tell("a", Add(1), key="k")).replayed
        assert await forget_receipts(room.engine, clock.now() + 1, "1 = 0") == 1


@pytest.mark.postgres
async def test_two_servers_that_forget_at_once_end_and_a_key_acts_once(postgres_database: str, clock: HandClock) -> None:
    async with AsyncExitStack() as stack:
        rooms = [
            await stack.enter_async_context(
                open_room(PostgresStore(postgres_database, tables=make_registry(Desk("desk")).tables), worker=worker, clock=clock)
            )
            for worker in ("w1", "w2")
        ]
        for number in range(40):
            await rooms[number % 2].tell("a", Add(1), key=f"k{number}")
        forgetting = [forget_receipts(room.engine, clock.now() + 1, "1 = 0") for room in rooms]
        using = [room.tell("b", Add(1), key=f"k{number}") for number in range(40) for room in rooms]
        done = await asyncio.wait_for(asyncio.gather(*forgetting, *using, return_exceptions=True), 30)
        assert sum(done[:2]) <= 40  # type: ignore[arg-type]
        fresh = [one for one in done[2:] if not isinstance(one, Exception) and not one.replayed]
        for room in rooms:
            room.engine.memory.hot.clear()
        assert (await rooms[0].sum("b")).n == len(fresh) <= 40
