"""Carrying out: births, places, lines, due dates, and what becomes of results."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from astrarium.errors import Unavailable
from astrarium.kernel.clock import HandClock
from astrarium.kernel.types import Job, Receipt
from tests.kernel.tally import WS, Begun, Finish, Forgo, Owe, Room, open_room


async def test_places_bound_what_runs_and_the_line_is_fair(room: Room) -> None:
    for number in range(5):
        await room.tell("a", Owe(f"j{number}"))
    assert room.desk.begun == ["j0", "j1"]
    for number in range(5):
        room.desk.work[f"j{number}"].set_result("ok")
        await room.until(lambda: len(room.desk.begun) == min(5, number + 3))  # noqa: B023
    await room.engine.settle()
    await room.until(lambda: not room.busy)
    await room.engine.settle()
    assert (await room.sum("a")).said == [f"j{number}:ok" for number in range(5)]
    assert await room.count("jobs") == 0


async def test_the_claim_is_durable_before_the_work_begins(room: Room) -> None:
    await room.tell("a", Owe("j"))
    assert (await room.sum("a")).jobs == {"j": "begun"}
    assert (await room.store.read("SELECT owner FROM jobs"))[0][0] == "w1"


async def test_work_done_at_once_and_work_that_breaks(room: Room) -> None:
    await room.tell("a", Owe("good", place="once"))
    await room.tell("a", Owe("bad", place="once"))
    await room.engine.settle()
    assert (await room.sum("a")).said == ["good:at once", "bad:broke bad work"]
    await room.tell("a", Owe("j"))
    room.desk.work["j"].set_exception(RuntimeError("lost the thread"))
    await room.until(lambda: not room.busy)
    await room.engine.settle()
    assert (await room.sum("a")).said[-1] == "j:broke lost the thread"
    assert await room.count("jobs") == 0


async def test_a_job_with_a_date_waits_for_it(room: Room, clock: HandClock) -> None:
    await room.tell("a", Owe("late", after_s=60))
    await room.tell("a", Owe("later", after_s=120))
    clock.turn(59)
    await asyncio.sleep(0.02)
    assert room.desk.begun == []
    clock.turn(2)
    await room.until(lambda: room.desk.begun == ["late"])
    clock.turn(60)
    await room.until(lambda: room.desk.begun == ["late", "later"])


async def test_a_forgone_job_never_begins(room: Room, clock: HandClock) -> None:
    await room.tell("a", Owe("late", after_s=60))
    for number in range(3):
        await room.tell("a", Owe(f"j{number}"))
    await room.tell("a", Forgo("late"))
    await room.tell("a", Forgo("j2"))
    clock.turn(61)
    room.desk.work["j0"].set_result("")
    room.desk.work["j1"].set_result("")
    await room.until(lambda: not room.busy)
    await room.engine.settle()
    assert room.desk.begun == ["j0", "j1"]
    assert await room.count("jobs") == 0


async def test_a_stale_job_dies_quietly(room: Room) -> None:
    """The life moved on while the job stood in line; its result for an ended life is dropped."""
    for number in range(3):
        await room.tell("a", Owe(f"j{number}"))
    await room.tell("a", Finish())
    room.desk.work["j0"].set_result("")
    room.desk.work["j1"].set_result("")
    await room.until(lambda: not room.busy)
    await room.engine.settle()
    assert room.desk.begun == ["j0", "j1"]
    for _ in range(100):
        await room.engine.settle()
        if not await room.count("jobs"):
            return
    raise AssertionError("a job nobody owes is still there")


async def test_a_dead_workers_jobs_are_taken_over(tmp_path: Path, clock: HandClock) -> None:
    async with open_room(tmp_path, clock=clock) as room:
        for number in range(4):
            await room.tell("a", Owe(f"j{number}"))
        await room.tell("b", Owe("late", after_s=60))
    async with open_room(tmp_path, worker="w2", clock=clock) as room:
        await room.engine.settle()
        await room.until(lambda: room.desk.begun == ["j2", "j3"])
        assert sorted((await room.sum("a")).said) == ["j0:lost", "j1:lost"], "begun ones are lost, as their kind says"
        clock.turn(61)
        room.desk.work["j2"].set_result("")
        await room.until(lambda: "late" in room.desk.begun)


async def test_a_worker_that_drains_starts_nothing_and_waits_for_what_runs(room: Room) -> None:
    await room.tell("a", Owe("j0"))
    drained = asyncio.create_task(room.engine.jobs.drain(30.0))
    await asyncio.sleep(0)
    await room.tell("a", Owe("j1"))
    assert not drained.done() and room.desk.begun == ["j0"]
    room.desk.work["j0"].set_result("ok")
    assert await drained
    await room.engine.settle()
    assert (await room.sum("a")).said == ["j0:ok"]
    assert (await room.store.read("SELECT owner FROM jobs")) == [("",)], "left for others"


async def test_drain_gives_up_after_its_time(room: Room) -> None:
    await room.tell("a", Owe("j0"))
    assert not await room.engine.jobs.drain(0.0)
    room.desk.work["j0"].set_result("")
    assert await room.engine.jobs.drain(30.0)


async def test_work_that_meets_an_unavailable_store_is_tried_again(room: Room) -> None:
    class Stubborn:
        tries = 0

        async def __call__(self, id_: str) -> object:
            self.tries += 1
            if self.tries == 1:
                raise Unavailable("not now")
            return None

    stubborn = Stubborn()
    room.desk.claim = lambda job: None  # type: ignore[method-assign,assignment]
    room.desk._carry = stubborn  # type: ignore[method-assign,assignment]
    await room.tell("a", Owe("j0"))
    await room.until(lambda: stubborn.tries == 2)
    await room.engine.settle()
    await room.until(lambda: not room.busy)
    assert await room.count("jobs") == 0


async def test_a_claim_outlives_a_birth_of_the_same_job_that_is_taken_back(
    room: Room, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers told a lost try: one claims the job while its own telling, decided on an older state, bears the job anew; that
    batch is decided again, and only the claim remains."""
    await room.tell("a", Owe("j", after_s=60))
    jobs, told = room.engine.jobs, list[Any]()
    with monkeypatch.context() as patch:
        patch.setattr(room.engine, "post", lambda command, done=None: told.append((command, done)))
        clock.turn(61)
        await room.until(lambda: told)
        (claim, done), job = told[0], Job("tally:a/j", "work_desk", "tally:a", {"id": "j"})
        assert jobs.offer(job, WS, clock.now())
        jobs.withdraw(job)
        done(Receipt(claim.stream, 2, (Begun("j"),)), None)
    assert room.desk.begun == ["j"] and jobs.used() == {"desk": 1}
    room.desk.work["j"].set_result("")
    await room.until(lambda: not room.busy)
    assert jobs.used() == {"desk": 0}


async def test_what_is_due_and_not_given_is_asked_for_again_after_a_while(
    room: Room, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose lease is over is given nothing until it learns of that: it does not ask all the time."""
    asked = 0

    async def give_nothing(worker: str, now: int, limit: int) -> list[tuple[Any, ...]]:
        nonlocal asked
        asked += 1
        return []

    await room.tell("a", Owe("j", after_s=60))
    with monkeypatch.context() as patch:
        patch.setattr(room.store, "claim", give_nothing)
        clock.turn(61)
        await room.until(lambda: asked == 1 and clock.next_at() is not None)
        again_at = clock.next_at()
        assert again_at is not None and again_at > clock.now() + 100_000
    clock.turn_to(again_at)
    await room.until(lambda: room.desk.begun == ["j"])
