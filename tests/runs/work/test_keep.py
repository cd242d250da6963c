"""What a run keeps is made once, given to all, and closed once."""

from __future__ import annotations

import asyncio

import pytest

from astrarium.runs.work.keep import Keep


class Thing:
    def __init__(self) -> None:
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1


class Maker:
    def __init__(self) -> None:
        self.made: list[Thing] = []
        self.go = asyncio.Event()
        self.broken_off = False

    async def __call__(self) -> Thing:
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.broken_off = True
            raise
        self.made.append(Thing())
        return self.made[-1]


async def test_it_is_made_once_and_closed_with_its_run() -> None:
    keep, make, other = Keep(), Maker(), Maker()
    make.go.set()
    other.go.set()
    first, second = await asyncio.gather(keep.find("run", "a", make), keep.find("run", "a", make))
    assert first is second and len(make.made) == 1
    elsewhere = await keep.find("other", "a", other)
    await keep.close("run")
    await keep.close("run")
    assert make.made[0].closed == 1 and "run" not in keep
    assert elsewhere is other.made[0] and other.made[0].closed == 0
    await keep.close_all()
    assert other.made[0].closed == 1


async def test_a_cancelled_step_does_not_take_it_from_the_others() -> None:
    keep, make = Keep(), Maker()
    first = asyncio.create_task(keep.find("run", "a", make))
    second = asyncio.create_task(keep.find("run", "a", make))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    make.go.set()
    assert await second is make.made[0]


async def test_what_failed_is_made_again() -> None:
    keep, make = Keep(), Maker()

    async def fail() -> Thing:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await keep.find("run", "a", fail)
    make.go.set()
    assert await keep.find("run", "a", make) is make.made[0]


async def test_what_is_being_made_is_broken_off() -> None:
    keep, make = Keep(), Maker()
    waiting = asyncio.create_task(keep.find("run", "a", make))
    async with asyncio.timeout(20):
        while "run" not in keep:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    await keep.close("run")
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert make.broken_off and not make.made
