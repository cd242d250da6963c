"""Limits, queues and locks: one primitive."""

from __future__ import annotations

from pathlib import Path

from astrarium.kernel.clock import HandClock
from astrarium.kernel.ports import Batch
from astrarium.kernel.slots import Slot
from astrarium.kernel.types import SlotAsk
from tests.kernel.tally import WS, Free, Room, Take, open_room


async def held(room: Room, *names: str) -> list[str]:
    return [name for name in names if (await room.sum(name)).held]


async def settled(room: Room) -> None:
    """Grants are jobs: wait until none is owed."""
    for _ in range(3):
        await room.engine.settle()
        await room.until(lambda: not room.busy)


async def test_a_free_place_is_granted_in_the_same_transaction(room: Room) -> None:
    receipt = await room.tell("a", Take("s", limit=1))
    assert (await room.sum("a")).held == {"s": 2}
    events = await room.engine.tail.read("ws")
    assert [type(event.body).__name__ for event in events] == ["Took", "Held"]
    assert receipt.seq == 2
    assert await room.count("jobs") == 0


async def test_no_more_than_the_limit_hold_it(room: Room) -> None:
    for name in "abcd":
        await room.tell(name, Take("s", limit=2))
    assert await held(room, *"abcd") == ["a", "b"]
    await room.tell("a", Free("s"))
    await room.until(lambda: room.engine.memory.hot["tally:c"].state.held)
    assert await held(room, *"abcd") == ["b", "c"]
    assert await room.count("slots") == 3


async def test_without_a_limit_all_hold_it(room: Room) -> None:
    for name in "abc":
        await room.tell(name, Take("s", limit=0))
    assert await held(room, *"abc") == ["a", "b", "c"]


async def test_the_line_goes_by_priority_then_time(room: Room, clock: HandClock) -> None:
    await room.tell("first", Take("s"))
    for name, priority in (("low", 0), ("late", 0), ("high", 5), ("higher", 9)):
        clock.turn(1)
        await room.tell(name, Take("s", priority=priority))
    order = []
    for _ in range(4):
        (holder,) = await held(room, "first", "low", "late", "high", "higher")
        await room.tell(holder, Free("s"))
        await settled(room)
        order += await held(room, "first", "low", "late", "high", "higher")
    assert order == ["higher", "high", "low", "late"]


async def test_the_fence_grows_with_every_grant(room: Room) -> None:
    fences = []
    for name in "abcab":
        await room.tell(name, Take("s"))
        fences.append((await room.sum(name)).held["s"])
        await room.tell(name, Free("s"))
    assert fences == sorted(set(fences))


async def test_asking_twice_and_leaving_the_line(room: Room) -> None:
    await room.tell("a", Take("s"))
    fence = (await room.sum("a")).held["s"]
    await room.tell("a", Take("s"))
    assert (await room.sum("a")).held["s"] == fence
    await room.tell("b", Take("s"))
    await room.tell("b", Take("s"))
    await room.tell("b", Free("s"))
    await room.tell("c", Take("s"))
    await room.tell("a", Free("s"))
    await settled(room)
    assert await held(room, *"abc") == ["c"]


async def test_holds_end_by_themselves_each_at_its_time(room: Room, clock: HandClock) -> None:
    await room.tell("short", Take("s", limit=2, hold_s=10))
    await room.tell("long", Take("s", limit=2, hold_s=30))
    await room.tell("next", Take("s", limit=2, hold_s=100))
    await room.tell("last", Take("s", limit=2))
    assert (await room.sum("next")).held == {}
    clock.turn(9)
    await settled(room)
    assert (await room.sum("next")).held == {}
    clock.turn(2)
    await room.until(lambda: room.engine.memory.hot["tally:next"].state.held)
    assert (await room.sum("last")).held == {}
    clock.turn(20)
    await room.until(lambda: room.engine.memory.hot["tally:last"].state.held)
    clock.turn(100)
    await room.until(lambda: list(room.engine.memory.slots[("ws", "s")].holders) == ["tally:last"])


async def test_slots_survive_a_restart(tmp_path: Path, clock: HandClock) -> None:
    async with open_room(tmp_path, clock=clock) as room:
        await room.tell("a", Take("s", hold_s=60))
        await room.tell("b", Take("s"))
    async with open_room(tmp_path, worker="w2", clock=clock) as room:
        await room.tell("c", Take("s"))
        assert (await room.sum("c")).held == {}
        clock.turn(61)
        await room.until(lambda: "tally:b" in room.engine.memory.slots[("ws", "s")].holders)
        await settled(room)
        assert "s" in (await room.sum("b")).held


async def test_slots_of_workspaces_are_apart(room: Room) -> None:
    from astrarium.kernel.types import Scope

    await room.tell("a", Take("s"))
    await room.tell("b", Take("s"), scope=Scope("other", "local"))
    state = await room.engine.state("tally:b", Scope("other", "local"))
    assert state is not None and "s" in state.held


async def test_the_newest_limit_holds_for_those_in_line(room: Room) -> None:
    for name in "abcd":
        await room.tell(name, Take("s", limit=1))
    assert await held(room, *"abcd") == ["a"]
    await room.tell("e", Take("s", limit=3))
    await settled(room)
    assert await held(room, *"abcde") == ["a", "b", "c"]
    await room.tell("f", Take("s", limit=2))
    await room.tell("a", Free("s"))
    await settled(room)
    assert await held(room, *"abcdef") == ["b", "c"], "those beyond a lower limit stay, nobody follows them"
    await room.tell("b", Free("s"))
    await settled(room)
    assert await held(room, *"cdef") == ["c", "d"]


async def test_a_limit_may_be_set_without_an_ask(tmp_path: Path, clock: HandClock) -> None:
    async with open_room(tmp_path, clock=clock) as room:
        for name in "abcd":
            await room.tell(name, Take("s", limit=1))
        await room.engine.limit_slot(WS, "s", 2)
        await settled(room)
        assert await held(room, *"abcd") == ["a", "b"]
        await room.engine.limit_slot(WS, "nobody", 7)
        assert await room.count("slots", "name = 'nobody'") == 0
    async with open_room(tmp_path, worker="w2", clock=clock) as room:
        await room.tell("a", Free("s"))
        await settled(room)
        assert await held(room, *"bcd") == ["b", "c"], "the limit was forgotten"
        for name in "bcd":
            await room.tell(name, Free("s"))
        await settled(room)
        assert await room.count("slots") == 0


async def test_an_ask_over_the_limit_takes_a_place_and_changes_nothing_for_others(room: Room) -> None:
    for name in "ab":
        await room.tell(name, Take("s", limit=1))
    await room.tell("c", Take("s", limit=5, over=True))
    assert await held(room, *"abc") == ["a", "c"]
    await room.tell("a", Free("s"))
    await settled(room)
    assert await held(room, *"bc") == ["c"]
    await room.tell("c", Free("s"))
    await settled(room)
    assert await held(room, *"bc") == ["b"]


def test_who_leaves_a_long_line_costs_nothing_later() -> None:
    slot, batch = Slot("ws", "s"), Batch()
    for no in range(10_000):
        slot.ask(f"h{no}", SlotAsk("s"), no, batch)
    for no in range(1, 10_000):
        if no % 100:
            slot.free(f"h{no}", batch)
    assert len(slot.waiting) == 99
    assert len(slot.line) <= 2 * 99 + 64, "the line keeps those who left"
    order = ["h0"]
    for _ in range(99):
        order += [place.holder for place in slot.free(order[-1], batch)]
    assert order == [f"h{no}" for no in range(0, 10_000, 100)]


def test_who_comes_back_stands_where_it_stood() -> None:
    slot, batch = Slot("ws", "s"), Batch()
    for at, holder in enumerate(("early", "holds", "young"), 1):
        slot.ask(holder, SlotAsk("s"), at, batch)
    slot.free("early", batch)
    assert list(slot.holders) == ["holds"]
    assert not slot.ask("early", SlotAsk("s", limit=5, since=1), 9, batch)
    assert slot.limit == 1, "it changes the limit of nobody"
    assert [place.holder for place in slot.free("holds", batch)] == ["early"]
    assert [place.holder for place in slot.free("early", batch)] == ["young"]


def test_a_line_read_while_it_moved_bears_places_of_one_rank() -> None:
    """The row of a place is newer than the head it was read with: the number it has is given once more. No commit takes that."""
    slot, batch = Slot("ws", "s"), Batch()
    slot.ask("holds", SlotAsk("s"), 1, batch)
    slot.ask("comes", SlotAsk("s", since=1), 2, batch)
    slot.free("comes", batch)
    slot.fence -= 2
    slot.ask("comes", SlotAsk("s", since=1), 3, batch)
    assert [place.holder for place in slot.free("holds", batch)] == ["comes"]
