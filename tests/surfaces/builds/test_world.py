"""Builders in a simulated world: one seed, a clock turned by hand, builders that crash, fall asleep and come back late. Each piece of work
is done under one lease at a time, a dead builder's is taken over by one other, and each task is completed once."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from astrarium.errors import Held, Refused
from astrarium.kernel.clock import HandClock
from astrarium.kernel.engine import Engine
from astrarium.kernel.machine import Registry
from astrarium.kernel.types import Actor, Command, Scope
from astrarium.store.sqlite import SqliteStore
from astrarium.surfaces.builds.life import TASK, register
from astrarium.surfaces.builds.machines.build import StartBuild, build_stream
from astrarium.surfaces.builds.machines.lock import AcquireLock, LockAcquired, LockReleased, ReleaseLock, RenewLock, lock_stream
from astrarium.surfaces.builds.machines.report import CompleteTask, RegisterTask
from astrarium.surfaces.builds.machines.task import task_stream

SCOPE, ACTOR = Scope("ws", "local"), Actor("key", "k")
TTL_S = 60
TASKS = tuple(f"t{number}" for number in range(6))
BODY = b'{"a":1}'


@asynccontextmanager
async def opened(folder: Path, clock: HandClock) -> AsyncIterator[Engine]:
    registry = Registry()
    register(registry)
    store = SqliteStore(folder / "world.db", tables=registry.tables, synchronous="normal")
    await store.open()
    await store.enlist("w1", "host", 1, "boot", 30.0)
    engine = Engine(store, registry, clock, "w1")
    await engine.start()
    await engine.jobs.start_working({})
    try:
        yield engine
    finally:
        await engine.jobs.drain(0.0)
        await engine.close()
        await store.close()


class World:
    """`done`: task → whom the registry told that they completed it."""

    def __init__(self, engine: Engine, clock: HandClock, seed: int) -> None:
        self.engine = engine
        self.clock = clock
        self.chance = random.Random(seed)
        self.done: dict[str, list[str]] = {task: [] for task in TASKS}

    async def tell(self, stream: str, order: object, *more: Command) -> Any:
        return await self.engine.submit_all([Command(stream, order, SCOPE, ACTOR), *more])

    async def acquire(self, owner: str, task: str) -> str:
        """`acquired`, or why not."""
        try:
            await self.tell(lock_stream("local", task), AcquireLock(owner, TTL_S))
        except (Held, Refused) as refused:
            return refused.code
        return "acquired"

    async def complete(self, owner: str, task: str, build: str) -> None:
        """Give the lock back with the task done, in one transaction: for the owner only."""
        more = Command(task_stream("local", task), CompleteTask(build), SCOPE, ACTOR)
        try:
            await self.tell(lock_stream("local", task), ReleaseLock(owner), more)
        except Refused as refused:
            assert refused.code == "not_owned"
        else:
            self.done[task].append(owner)

    async def renew(self, owner: str, task: str) -> None:
        try:
            await self.tell(lock_stream("local", task), RenewLock(owner, TTL_S))
        except Refused as refused:
            assert refused.code == "not_owned"

    async def check(self) -> int:
        """What the log tells: no live lease was taken from anybody, versions only grow, and each task was completed once, together with
        the release of the lease it was done under. How many leases were taken over after their time."""
        taken_over = 0
        for task in TASKS:
            owner, until, version, ends = "", 0, 0, 0
            for event in await self.engine.tail.read_stream(lock_stream("local", task), limit=10_000):
                told = event.body
                if isinstance(told, LockAcquired):
                    assert not owner or owner == told.owner or until <= event.at
                    taken_over += owner not in ("", told.owner)
                    owner = told.owner
                if isinstance(told, LockReleased):
                    assert told.owner == owner
                    owner, until, ends = "", 0, ends + 1
                else:
                    assert told.version > version
                    until, version = told.until, told.version
            assert (owner, ends) == ("", 1) and len(self.done[task]) == 1
        rows = await self.engine.store.read("SELECT stream, count(*) FROM events WHERE type = 'TaskCompleted' GROUP BY stream")
        assert dict(rows) == {task_stream("local", task): 1 for task in TASKS}
        assert not await self.engine.store.read("SELECT 1 FROM slots")
        return taken_over

    async def builder(self, number: int, build: str) -> None:
        """Works through the tasks in an order of its own; at any call it may die or sleep beyond its lease."""
        for task in self.chance.sample(TASKS, len(TASKS)):
            owner = f"b{number}-{task}"
            for _ in range(200):
                said = await self.acquire(owner, task)
                if said != "held_by_other":
                    break
                await self.pass_time(self.chance.choice((1, 5)))
            if said != "acquired":
                assert said == "already_completed"
                continue
            fate = self.chance.random()
            if fate < 0.25:
                return  # it dies and gives nothing back
            if fate < 0.5:
                await self.pass_time(TTL_S + 1)  # it sleeps, and does not know
            elif fate < 0.75:
                await self.pass_time(TTL_S // 2)
                await self.renew(owner, task)
            await self.complete(owner, task, build)

    async def pass_time(self, seconds: int) -> None:
        self.clock.turn(seconds)
        for _ in range(self.chance.randrange(1, 4)):
            await asyncio.sleep(0)


async def live(folder: Path, seed: int) -> int:
    clock = HandClock()
    async with opened(folder, clock) as engine:
        world = World(engine, clock, seed)
        build = "0197f000-0000-7000-8000-000000000000"
        await world.tell(build_stream(build), StartBuild("calm-owl-10"))
        body = hashlib.sha256(BODY).hexdigest()
        for task in TASKS:
            order = RegisterTask(build, f"id-{task}", task, body)
            await engine.submit(Command(task_stream("local", task), order, SCOPE, ACTOR), ((TASK, BODY),))
        await asyncio.gather(*(world.builder(number, build) for number in range(5)))
        clock.turn(TTL_S + 1)
        for task in TASKS:  # whatever was left by the dead is taken over by the one who is left
            if await world.acquire("last", task) == "acquired":
                await world.complete("last", task, build)
        return await world.check()


@pytest.mark.parametrize("seed", range(20))
async def test_each_task_is_done_once_whoever_dies(seed: int, tmp_path: Path) -> None:
    await live(tmp_path, seed)


@pytest.mark.all
async def test_each_task_is_done_once_in_many_worlds(tmp_path: Path) -> None:
    taken_over = 0
    for seed in range(100, 400):
        folder = tmp_path / str(seed)
        folder.mkdir()
        taken_over += await live(folder, seed)
    assert taken_over > 300
