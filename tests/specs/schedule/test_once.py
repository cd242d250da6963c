"""Every slot starts exactly one run: whatever is killed, however many servers follow the schedules of one database."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from astrarium.kernel.clock import HandClock
from astrarium.surfaces.dags.machines.plan import Plan
from astrarium.surfaces.dags.machines.slot import SetSchedule, SlotFired, SuspendSchedule
from astrarium.surfaces.dags.work.schedule import shown
from tests.conftest import ROOT
from tests.specs.schedule.clock import FastClock
from tests.specs.schedule.room import DEADLINE_S, MINUTE, SCOPE, House, open_house

pytestmark = pytest.mark.all
BASE = 1_700_000_040_000_000 // MINUTE * MINUTE
SPEED = 60.0
"""A minute a second."""
DAGS = 8
TEXT = 'schedule: "* * * * *"\noverlapPolicy: all\ncatchup: all\ncatchupWindow: 1d\nsteps: ["true"]\n'


class Followers:
    """Servers in processes of their own, over one folder and one clock."""

    def __init__(self, folder: Path, database: str = "") -> None:
        self.folder = folder
        self.database = database
        self.clock = FastClock(BASE, time.monotonic(), SPEED)
        self.alive: list[subprocess.Popen[str]] = []
        (folder / "dags").mkdir()
        for number in range(DAGS):
            (folder / f"dags/d{number}.yaml").write_text(TEXT)

    def begin(self) -> subprocess.Popen[str]:
        words = [str(self.folder), self.database, str(BASE), repr(self.clock.since), str(SPEED)]
        command = [sys.executable, "-m", "tests.specs.schedule.follow", *words]
        with (self.folder / "errors").open("a") as errors:
            one = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.alive.append(one)
        assert one.stdout is not None
        assert one.stdout.readline() == "follows\n", (self.folder / "errors").read_text()
        return one

    def kill(self, one: subprocess.Popen[str]) -> None:
        one.kill()
        one.wait()
        assert one.stdout is not None
        one.stdout.close()
        self.alive.remove(one)

    def close(self) -> None:
        for one in list(self.alive):
            self.kill(one)


@pytest.fixture
def followers(tmp_path: Path) -> Iterator[Followers]:
    made = Followers(tmp_path)
    yield made
    made.close()


async def count_slots(house: House, least: int) -> dict[str, list[str]]:
    """DAG → the slots its runs belong to, once each DAG has at least so many and owes none."""

    async def there() -> bool:
        rows = await house.engine.store.read("SELECT count(*), sum(backlog), min(last_slot) FROM schedules")
        return bool(rows[0][0] == DAGS and not rows[0][1] and rows[0][2] >= BASE + least * MINUTE)

    await house.until(there)
    found: dict[str, list[str]] = {}
    for name, labels in await house.engine.store.read("SELECT name, labels FROM runs WHERE trigger = 'schedule' ORDER BY name"):
        found.setdefault(name, []).append(json.loads(labels)["slot"])
    return found


def check(found: dict[str, list[str]], decided: dict[str, list[Any]]) -> None:
    """Each slot once: as many runs as slots, no slot twice, none left out between the first and the last."""
    assert len(found) == DAGS
    for name, slots in found.items():
        assert len(set(slots)) == len(slots), f"a slot of {name} was started twice"
        fired = [event.slot for event in decided[name] if type(event).__name__ == "SlotFired"]
        assert sorted(fired) == list(range(min(fired), max(fired) + 1, MINUTE)), f"a slot of {name} was left out"
        assert len(fired) == len(slots), "every decision has its run"


async def look(folder: Path, database: str, least: int, now: int) -> None:
    """Judge with a server whose clock stands still."""
    clock = FastClock(now, time.monotonic(), 0.001)
    async with open_house(folder, clock, database_url=database, lease_s=1.0) as house:
        found = await count_slots(house, least)
        check(found, {name: await house.events(name) for name in found})


@pytest.mark.crash
@pytest.mark.slow
async def test_killed_at_any_moment(followers: Followers) -> None:
    dice = random.Random(7)
    for _ in range(3):
        one = followers.begin()
        time.sleep(dice.uniform(0.9, 1.3))  # about when a slot comes due: once a second
        followers.kill(one)
    await look(followers.folder, "", 2, followers.clock.now())


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.all
async def test_two_servers_on_one_database(tmp_path: Path, postgres_database: str) -> None:
    followers = Followers(tmp_path, postgres_database)
    try:
        first, second = followers.begin(), followers.begin()
        end = time.monotonic() + DEADLINE_S
        while followers.clock.now() < BASE + 6 * MINUTE and time.monotonic() < end:
            time.sleep(0.1)
        followers.kill(first)
        third = followers.begin()
        while followers.clock.now() < BASE + 10 * MINUTE and time.monotonic() < end:
            time.sleep(0.1)
        for one in (second, third):
            followers.kill(one)
        await look(followers.folder, postgres_database, 8, followers.clock.now())
    finally:
        followers.close()


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres])])
async def test_two_who_decide_one_slot_at_once(tmp_path: Path, request: pytest.FixtureRequest, database: str) -> None:
    """Should a slot's job ever be carried out twice, one decision is committed with its run and the other not at all."""
    url = request.getfixturevalue("postgres_database") if database == "postgres" else ""
    clock = HandClock(BASE)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags/a.yaml").write_text(TEXT)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(open_house(tmp_path, clock, 0, database_url=url))
        second = first
        if url:
            second = await stack.enter_async_context(open_house(tmp_path, clock, 0, database_url=url))
        await first.tell(
            "a", SetSchedule(Plan("a", "a.yaml", "UTC", ("* * * * *",), catchup="all", window_s=86_400, overlap="all"))
        )
        for minute in range(1, 6):
            state: Any = await first.engine.state("schedule:a", SCOPE)
            (job,) = state.owed().values()
            clock.turn_to(BASE + minute * MINUTE)
            each = (house.room.clockwork.carry_slot(job) for house in (first, second, first, second))
            await asyncio.gather(*each)
            runs = await first.statuses("a", *["succeeded"] * minute)
            assert runs[-1]["slot"] == shown(BASE + minute * MINUTE)
        fired = [event for event in await first.events("a") if isinstance(event, SlotFired)]
        assert [event.run for event in fired] == [row["id"] for row in runs]


async def test_a_run_without_a_server_leaves_the_clock_alone(tmp_path: Path) -> None:
    clock = HandClock(BASE)
    (tmp_path / "dags").mkdir()
    async with open_house(tmp_path, clock) as house:
        house.write("a.yaml", TEXT)
        await house.is_("a", status="on")
    async with open_house(tmp_path, clock, 0) as house:
        house.write("b.yaml", TEXT)
        assert house.room.watcher is None
        clock.turn(90)
        await house.tell("other", SuspendSchedule(True))
        await house.engine.settle()
        assert (await house.schedule("a") or {})["last_slot"] == 0
        assert await house.schedule("b") is None
    async with open_house(tmp_path, clock) as house:
        assert [row["slot"] for row in await house.statuses("a", "succeeded")] == [shown(BASE + MINUTE)]
