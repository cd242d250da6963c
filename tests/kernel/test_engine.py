"""The write path: one transaction, keys, expectations, several commands, failing stores."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from astrarium.errors import Bug, Conflict, NotFound, Refused, Unavailable
from astrarium.kernel.audit import verify_chain
from astrarium.kernel.ports import Batch, Fenced
from astrarium.kernel.record.past import prune_past
from astrarium.kernel.types import Scope, Tombstone
from astrarium.store.sqlite import SqliteStore
from tests.kernel.tally import WS, Add, Break, Desk, Finish, Forgo, Free, Owe, Room, Take, make_registry, open_room


class Watched(SqliteStore):
    """A store that keeps what it was asked to write, and fails when told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "kernel.db", tables=make_registry(Desk("desk")).tables, synchronous="normal")
        self.batches: list[Batch] = []
        self.fail: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def write(self, batch: Batch, worker: str) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.fail is not None:
            raise self.fail
        await super().write(batch, worker)
        self.batches.append(batch)


async def test_one_transaction_for_all_that_follows(tmp_path: Path) -> None:
    store = Watched(tmp_path)
    async with open_room(store) as room:
        command = room.command("a", Owe("j1"), key="k1")
        await room.engine.submit(command, things=[("text", b"hello")])
        batch = store.batches[0]
        assert [event.type for event in batch.events] == ["Owed", "Begun"], "claimed at birth"
        assert {table.name for table in batch.rows} == {"jobs", "receipts", "things"}
        assert batch.moved == {"tally:a": 2, "key:ws/k1": 1}
        assert batch.heads["tally:a"] == 0


async def test_a_refusal_leaves_no_trace(room: Room) -> None:
    await room.tell("a", Add(5))
    with pytest.raises(Refused, match="more than 9"):
        await room.tell("a", Add(5, most=9))
    assert (await room.sum("a")).n == 5
    assert await room.count("events") == 1
    with pytest.raises(Refused):
        await room.tell("new", Add(5, most=1))
    assert (await room.sum("new")).n == 0


async def test_the_same_key_and_body_get_the_first_receipt(room: Room) -> None:
    first = await room.tell("a", Add(1), key="k")
    again = await room.tell("a", Add(1), key="k")
    assert (again.seq, again.stream, again.replayed) == (first.seq, first.stream, True)
    assert (await room.sum("a")).n == 1
    for name, body in (("a", Add(2)), ("b", Add(1)), ("a", Finish())):
        with pytest.raises(Conflict, match="another request"):
            await room.tell(name, body, key="k")


async def test_a_key_used_by_many_at_once_acts_once(room: Room) -> None:
    receipts = await asyncio.gather(*(room.tell("a", Add(1), key="k") for _ in range(20)))
    assert (await room.sum("a")).n == 1
    assert sum(not receipt.replayed for receipt in receipts) == 1


async def test_a_key_is_remembered_after_a_restart(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        await room.tell("a", Add(1), key="k")
    async with open_room(tmp_path, worker="w2") as room:
        again = await room.tell("a", Add(1), key="k")
        assert again.replayed and (await room.sum("a")).n == 1
        with pytest.raises(Conflict):
            await room.tell("a", Add(2), key="k")


async def test_a_refused_command_does_not_use_up_its_key(room: Room) -> None:
    with pytest.raises(Refused):
        await room.tell("a", Add(5, most=1), key="k")
    assert not (await room.tell("a", Add(5), key="k")).replayed


async def test_expect(room: Room) -> None:
    await room.tell("a", Add(1), expect=0)
    with pytest.raises(Conflict, match="is at 1, not at 0"):
        await room.tell("a", Add(1), expect=0)
    await room.tell("a", Add(1), expect=1)


async def test_facts_of_another_life(room: Room) -> None:
    await room.tell("b", Add(7))
    with pytest.raises(Refused):
        await room.tell("a", Add(3, most=9, beside="b"))
    await room.tell("a", Add(2, most=9, beside="b"))


async def test_several_commands_happen_together_or_not_at_all(room: Room) -> None:
    await room.tell("a", Add(1))
    await room.tell("holder", Take("s"))
    command = room.command
    bad = command("c", Add(5, most=1))
    with pytest.raises(Refused):
        await room.engine.submit_all(
            [command("a", Add(10), key="k"), command("new", Owe("j")), command("a", Take("t")), command("holder", Free("s")), bad]
        )
    assert (await room.sum("a")).n == 1
    assert (await room.sum("new")).jobs == {} and room.desk.begun == []
    assert "s" in (await room.sum("holder")).held
    assert room.engine.jobs._used.get("desk", 0) == 0, "no place is lost"
    await room.tell("b", Take("t"))
    assert "t" in (await room.sum("b")).held, "the slot was not taken by what did not happen"
    assert not (await room.tell("a", Add(10), key="k")).replayed
    receipts = await room.engine.submit_all([command("a", Add(1)), command("a", Add(1)), command("b", Add(1))])
    assert [receipt.stream for receipt in receipts] == ["tally:a", "tally:a", "tally:b"]
    assert (await room.sum("a")).n == 13


async def test_a_job_waiting_in_line_survives_a_refused_whole(room: Room) -> None:
    for number in range(3):
        await room.tell("a", Owe(f"j{number}"))
    assert room.desk.begun == ["j0", "j1"]
    with pytest.raises(Refused):
        await room.engine.submit_all([room.command("a", Forgo("j2")), room.command("b", Add(5, most=1))])
    room.desk.work["j0"].set_result("")
    await room.until(lambda: "j2" in room.desk.begun)


async def test_a_move_without_a_row_is_a_bug_and_changes_nothing(room: Room) -> None:
    await room.tell("a", Add(1))
    with pytest.raises(Bug, match="no row: while open, Break gives Added"):
        await room.tell("a", Break())
    assert (await room.sum("a")).n == 1
    await room.tell("a", Add(1))
    assert (await room.sum("a")).n == 2


async def test_another_workspaces_life_is_not_found(room: Room) -> None:
    other = Scope("other", "local")
    await room.tell("a", Add(1))
    with pytest.raises(NotFound):
        await room.tell("a", Add(1), scope=other)
    with pytest.raises(NotFound):
        await room.engine.state("tally:a", other)
    told: list[Any] = []
    room.engine.post(room.command("a", Add(1), scope=other), lambda receipt, error: told.append(error))
    await room.until(lambda: told)
    assert isinstance(told[0], NotFound)
    room.engine.memory.hot.clear()
    with pytest.raises(NotFound):
        await room.tell("a", Add(1), scope=other)


async def test_group_commit(tmp_path: Path) -> None:
    store = Watched(tmp_path)
    async with open_room(store) as room:
        store.gate = asyncio.Event()
        left = 500

        def done(receipt: Any, error: Exception | None) -> None:
            nonlocal left
            assert error is None
            left -= 1

        for number in range(500):
            room.engine.post(room.command(f"t{number % 50}", Add(1)), done)
        store.gate.set()
        await room.until(lambda: not left)
        assert len(store.batches) <= 60
        assert await room.count("events") == 500


async def test_a_store_that_fails_loses_nothing(tmp_path: Path) -> None:
    store = Watched(tmp_path)
    async with open_room(store, places=1) as room:
        await room.tell("a", Add(1))
        await room.tell("a", Owe("j1"))
        await room.tell("a", Owe("j2"))
        await room.tell("slot", Take("s"))
        store.fail = Unavailable("the disk is full")
        commands = [("a", Add(1)), ("b", Add(1)), ("a", Forgo("j2")), ("a", Owe("j3")), ("slot", Free("s")), ("b", Take("s"))]
        for name, body in commands:
            with pytest.raises(Unavailable, match="disk is full"):
                await room.tell(name, body, key=f"{name}{body}")
        assert (await room.sum("a")).n == 1 and (await room.sum("a")).jobs == {"j1": "begun", "j2": "owed"}
        room.desk.work["j1"].set_result("kept")
        await asyncio.sleep(0)
        store.fail = None
        for name, body in [("a", Add(1)), ("b", Add(1))]:
            assert not (await room.tell(name, body, key=f"{name}{body}")).replayed
        await room.until(lambda: "j2" in room.desk.begun)
        await room.engine.settle()
        state = await room.sum("a")
        assert (state.n, state.said, state.jobs) == (2, ["j1:kept"], {"j2": "begun"}), "the result was sent again, the line kept"
        assert "s" in (await room.sum("slot")).held
        room.engine.memory.hot.clear()
        assert await room.sum("a") == state, "what memory holds is what the store holds"


async def test_what_was_decided_on_a_failed_batch_is_decided_again(tmp_path: Path) -> None:
    store = Watched(tmp_path)
    async with open_room(store) as room:
        await room.tell("a", Add(1))
        store.gate, store.fail = asyncio.Event(), Unavailable("gone")
        first = asyncio.create_task(room.tell("a", Add(10)))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(room.tell("a", Add(100)))
        await asyncio.sleep(0.01)
        store.gate.set()
        with pytest.raises(Unavailable):
            await first
        store.fail = None
        await asyncio.gather(second, return_exceptions=True)
        if second.exception() is None:
            assert (await room.sum("a")).n == 101
        else:
            assert (await room.sum("a")).n == 1


async def test_a_refusal_waits_for_what_it_rests_on(tmp_path: Path) -> None:
    store = Watched(tmp_path)
    async with open_room(store) as room:
        await room.tell("a", Add(1))
        store.gate = asyncio.Event()
        first = asyncio.create_task(room.tell("a", Add(8)))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(room.tell("a", Add(5, most=9)))
        with pytest.raises(Refused):
            await room.tell("b", Add(10, most=9))  # rests on nothing that moves: at once
        assert not second.done(), "what it would be refused for is not durable yet"
        store.gate.set()
        await first
        with pytest.raises(Refused):
            await second


async def test_a_refusal_that_rests_on_a_failed_batch_is_decided_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Watched(tmp_path)
    async with open_room(store) as room:
        await room.tell("a", Add(1))
        gate, write, failures = asyncio.Event(), store.write, [Unavailable("gone")]

        async def failing_once(batch: Batch, worker: str) -> None:
            await gate.wait()
            if failures:
                raise failures.pop()
            await write(batch, worker)

        monkeypatch.setattr(store, "write", failing_once)
        first = asyncio.create_task(room.tell("a", Add(8)))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(room.tell("a", Add(5, most=9)))
        await asyncio.sleep(0.01)
        gate.set()
        with pytest.raises(Unavailable):
            await first
        await second
        assert (await room.sum("a")).n == 6


async def test_a_fenced_server_commits_nothing_more(tmp_path: Path) -> None:
    store = Watched(tmp_path)
    async with open_room(store) as room:
        store.fail = Fenced()
        with pytest.raises(Unavailable, match="lease"):
            await room.tell("a", Add(1))
        assert room.engine.fenced.is_set()
        store.fail = None


async def test_after_close_commands_are_unavailable(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        told: list[Any] = []
        for _ in range(50):
            room.engine.post(room.command("a", Add(1)), lambda receipt, error: told.append(error))
        await room.engine.close()
        assert told == [None] * 50, "what was posted is committed first"
        with pytest.raises(Unavailable, match="stopping"):
            await room.tell("a", Add(1))


async def test_settle_waits_for_everything_posted(room: Room) -> None:
    told: list[Any] = []
    room.engine.memory.hot.clear()
    for number in range(100):
        room.engine.post(room.command(f"t{number}", Add(1), key=f"k{number}"), lambda receipt, error: told.append(error))
    await room.engine.settle()
    assert told == [None] * 100


async def test_things_are_stored_with_the_command_and_once(room: Room) -> None:
    for _ in range(3):
        await room.engine.submit(room.command("a", Add(1)), things=[("text", b"graph")])
    assert await room.count("things") == 1
    room.engine.things.forget()
    key = (await room.store.read("SELECT hash FROM things"))[0][0]
    assert await room.engine.things.fetch([key]) == {key: "graph"}
    with pytest.raises(Bug, match="not in the store"):
        await room.engine.things.fetch(["0" * 64])


async def test_snapshot_and_tail_give_the_state(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        for number in range(300):
            room.engine.post(room.command("a", Add(number)))
        await room.engine.settle()
        state = await room.sum("a")
        seq = (await room.store.read("SELECT seq FROM snapshots"))[0][0]
        assert 0 < seq <= 300
        room.engine.memory.hot.clear()
        assert await room.sum("a") == state
        await room.tell("a", Add(1))
        assert room.engine.memory.hot["tally:a"].seq == 301


async def test_memory_is_bounded_and_comes_back(tmp_path: Path) -> None:
    async with open_room(tmp_path, hot_limit=10) as room:
        for number in range(50):
            await room.tell(f"t{number}", Add(number))
        assert len(room.engine.memory.hot) <= 11
        for number in range(50):
            assert (await room.sum(f"t{number}")).n == number


async def test_pruning_leaves_the_state_a_tombstone_and_an_act(room: Room) -> None:
    for number in range(5):
        await room.tell("a", Add(number))
    with pytest.raises(Refused, match="has not ended"):
        await room.engine.prune("tally:a", WS)
    await room.tell("a", Finish())
    state = await room.sum("a")
    assert await room.engine.prune("tally:a", WS) == 6
    room.engine.memory.hot.clear()
    assert await room.sum("a") == state
    with pytest.raises(Refused):
        await room.tell("a", Add(1))
    with pytest.raises(Refused, match="left the log"):
        await room.engine.prune("tally:a", WS)
    events = await room.engine.tail.read("ws")
    assert [type(event.body) for event in events][:1] == [Tombstone], "followers read on over it"
    records = await room.store.read("SELECT workspace, number, at, actor, act, subject, detail, previous, hash FROM audit")
    assert verify_chain([(*row[:6], json.loads(row[6]), *row[7:]) for row in records]) is None
    assert records[0][4] == "log.pruned"


async def test_the_past_of_a_life_that_goes_on_leaves_the_log_as_far_as_its_snapshot(room: Room) -> None:
    for number in range(300):
        await room.tell("a", Add(number))
    await room.tell("b", Add(1))
    before = await room.sum("a")
    (snapshot,) = await room.store.read("SELECT seq FROM snapshots WHERE stream = 'tally:a'")
    assert 100 < snapshot[0] < 300
    assert await prune_past(room.engine, WS, ("tally",), 0) == 0, "none is that old"
    assert await prune_past(room.engine, WS, ("other",), 2**62) == 0
    assert await prune_past(room.engine, Scope("else", "local"), ("tally",), 2**62) == 0
    assert await prune_past(room.engine, WS, ("tally",), 2**62) == snapshot[0]
    assert await room.store.read("SELECT min(seq), max(seq) FROM events WHERE stream = 'tally:a'") == [(snapshot[0] + 1, 300)]
    room.engine.memory.hot.clear()
    assert await room.sum("a") == before
    await room.tell("a", Add(1))
    assert await prune_past(room.engine, WS, ("tally",), 2**62) == 0
    ((told, detail),) = await room.store.read("SELECT act, detail FROM audit")
    assert told == "log.pruned" and json.loads(detail)["events"] == snapshot[0]


async def test_an_order_that_follows_is_decided_in_the_same_transaction(room: Room) -> None:
    receipt = await room.tell("a", Add(1, then=2))
    assert (receipt.seq, (await room.sum("a")).n) == (2, 3)
    receipt = await room.tell("a", Add(1, then=20))
    assert (receipt.seq, (await room.sum("a")).n) == (3, 4), "one that is refused leaves no trace"
