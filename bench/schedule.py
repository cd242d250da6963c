"""Many schedules of one minute: how long after it all of their runs are running. `python -m bench.schedule FOLDER COUNT`."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from astrarium import worker as opened
from astrarium.config import Settings
from astrarium.kernel.clock import SystemClock
from astrarium.kernel.machine import Registry
from astrarium.runs.message import RunBegan, RunEnded, StepStarted
from astrarium.surfaces.dags.machines.slot import ScheduleSet
from astrarium.surfaces.dags.room import CLOCK_PLACE, CLOCK_PLACES, Room
from astrarium.worker import Worker, load_steps

from .report import Figure, figure, interleave, sample

COUNT = 500
MINUTE = 60_000_000
AHEAD = 500_000
"""Microseconds before the minute at which the clock is put, once everything stands by."""
TEXT = 'schedule: "* * * * *"\nsteps: ["true"]\n'


class PutTimer:
    __slots__ = ("at", "call", "handle")

    def __init__(self, at: int, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.handle: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        if self.handle is not None:
            self.handle.cancel()


class PutClock(SystemClock):
    """The machine's clock, put forward once so that nobody waits for a minute to pass."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 5_000_000 - super().now() % MINUTE  # no minute begins while everything is made ready
        self.timers: list[PutTimer] = []

    def now(self) -> int:
        return super().now() + self.ahead

    def call_at(self, at: int, call: Callable[[], None]) -> PutTimer:
        timer = PutTimer(at, call)
        self.timers.append(timer)
        self.arm(timer)
        return timer

    def arm(self, timer: PutTimer) -> None:
        delay_s = max(0, timer.at - self.now()) / 1_000_000
        timer.handle = asyncio.get_running_loop().call_later(delay_s, timer.call)

    def put(self, at: int) -> None:
        self.ahead += at - self.now()
        for timer in self.timers:
            if (
                timer.handle is not None
                and not timer.handle.cancelled()
                and timer.handle.when() > asyncio.get_running_loop().time()
            ):
                timer.cancel()
                self.arm(timer)


class Last:
    """When the last of `count` events was durable, in milliseconds after the slot."""

    def __init__(self, clock: PutClock, count: int) -> None:
        self.clock = clock
        self.count = count
        self.slot = 0
        self.at_ms = self.cpu_s = 0.0
        self.over = asyncio.Event()

    def heard(self, stream: str, event: object) -> None:
        self.count -= 1
        if not self.count:
            self.at_ms, self.cpu_s = (self.clock.now() - self.slot) / 1000, time.process_time()
            self.over.set()


async def fire(folder: Path, count: int) -> dict[str, float]:
    dags = folder / "dags"
    dags.mkdir()
    for number in range(count):
        (dags / f"d{number}.yaml").write_text(TEXT)
    clock = PutClock()
    opened.SystemClock = lambda: clock  # type: ignore[misc, assignment]
    settings = Settings(data_dir=folder, dags_dir=dags, time_zone="UTC")
    room, registry = Room(settings, load_steps()), Registry()
    room.register(registry)
    lasts = {RunBegan: Last(clock, count), StepStarted: Last(clock, count), RunEnded: Last(clock, count)}
    ready = Last(clock, count)
    for kind, last in (*lasts.items(), (ScheduleSet, ready)):
        registry.listen(kind, last.heard)
    worker = await Worker.open(settings, definitions=room.definitions, registry=registry, places={CLOCK_PLACE: CLOCK_PLACES})
    await room.open(worker.engine)
    await ready.over.wait()
    await worker.engine.settle()
    slot = clock.now() // MINUTE * MINUTE + MINUTE
    for last in lasts.values():
        last.slot = slot
    clock.put(slot - AHEAD)
    cpu = time.process_time()
    for last in lasts.values():
        await last.over.wait()
    await room.close()
    await worker.close(1.0)
    began, started, ended = (last.at_ms for last in lasts.values())
    cpu_ms = (lasts[RunBegan].cpu_s - cpu) * 1000
    return {"began_ms": began, "started_ms": started, "ended_ms": ended, "cpu_ms_until_began": cpu_ms}


def measure(folder: Path, quick: bool) -> list[Figure]:
    taken = interleave(
        3 if quick else 9,
        ours=lambda: sample("schedule", folder, COUNT),
        bare=lambda: COUNT / sample("bare", "spawn", COUNT)["per_s"] * 1000,
    )
    notes = {
        name: sorted(one[name] for one in taken["ours"])[len(taken["ours"]) // 2]
        for name in ("started_ms", "ended_ms", "cpu_ms_until_began")
    }
    return [
        figure(f"{COUNT} schedules of one minute: all running", "ms", [one["began_ms"] for one in taken["ours"]],
               bare={"that_many_spawns": taken["bare"]}, most=1000, notes=notes)
    ]  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as own, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        began = time.perf_counter()
        found = runner.run(fire(Path(own), int(sys.argv[2])))
        print(json.dumps({**found, "took_s": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
