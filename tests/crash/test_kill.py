"""`kill -9` of the process that works, with 200 runs in flight, at random moments: nothing is lost, nothing lives on."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from astrarium.kernel.audit import AuditLog
from astrarium.kernel.machine import Registry
from astrarium.kernel.memory import Memory
from astrarium.kernel.record.things import Things
from astrarium.kernel.types import Scope
from astrarium.runs.row import RUNS, STEPS, all_rows
from astrarium.runs.run import RunMachine
from astrarium.runs.state import decode_definition
from tests.crash.dag import LIMIT, RETRIED, write_dags

ROOT = Path(__file__).parent.parent.parent
RUNS_IN_FLIGHT = 200
DEADLINE_S = 110.0
SCOPE = Scope("personal", "local")

pytestmark = [pytest.mark.crash, pytest.mark.slow]


class Driver:
    """One process of `tests.crash.driver`."""

    def __init__(self, folder: Path, url: str, count: int) -> None:
        command = [sys.executable, "-m", "tests.crash.driver", str(folder), str(count), *([url] if url else [])]
        self.errors = (folder / "driver.err").open("ab")
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self.errors, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )

    def until(self, word: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == word:
                return
        self.process.wait()
        raise AssertionError(f"the driver ended with {self.process.returncode} before it was {word}: {self.told()}")

    def told(self) -> str:
        return Path(self.errors.name).read_text()[-2000:]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.close()

    def close(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()


def living(folder: Path) -> dict[int, str]:
    """Processes any of our drivers left, by their environment (the folder is in it) and by the pids the steps wrote."""
    found = {}
    for process in psutil.process_iter():
        try:
            env = process.environ()
            if env.get("CRASH_FOLDER") == str(folder) and "ASTRARIUM_TRY" in env:
                found[process.pid] = f"{env['ASTRARIUM_TRY']} of {env.get('ASTRARIUM_SERVER')} {process.status()}"
        except psutil.Error:
            continue
    return found


def live_through(folder: Path, url: str, kills: int, count: int = RUNS_IN_FLIGHT) -> None:
    """Start the runs, kill the worker `kills` times, and wait until all have ended."""
    seed = int(os.environ.get("ASTRARIUM_SEED", "0")) or random.randrange(1 << 30)
    print(f"seed {seed}")
    moments = random.Random(seed)
    write_dags(folder)
    for number in range(kills):
        driver = Driver(folder, url, count)
        driver.until("started" if number == 0 else "ready")
        before = servers_of(living(folder))
        # Not a wait for something: the moment of the kill is random.
        time.sleep(moments.uniform(0.05, 1.2))
        driver.kill()
        assert before is not None
    last = Driver(folder, url, count)
    last.until("ready")
    assert dead_servers(folder, last.process.pid) == {}
    end = time.monotonic() + DEADLINE_S
    last.until("done")
    assert time.monotonic() < end
    assert last.process.wait(30) == 0, last.told()
    last.close()
    assert living(folder) == {}


def servers_of(found: dict[int, str]) -> set[str]:
    return {what.split(" of ")[1] for what in found.values()}


def dead_servers(folder: Path, alive: int) -> dict[int, str]:
    """Processes that are no descendants of the living driver."""
    own = {child.pid for child in psutil.Process(alive).children(recursive=True)}
    strays = {pid: what for pid, what in living(folder).items() if pid not in own}
    # A process the living driver has just started may be in the second list only.
    again = {child.pid for child in psutil.Process(alive).children(recursive=True)}
    return {pid: what for pid, what in strays.items() if pid not in again and psutil.pid_exists(pid)}


# -- what must be true afterwards -------------------------------------------------------------------------------------


def effects(folder: Path) -> tuple[Counter[str], Counter[str]]:
    """How often each step began and came to its end, by `<run>.<step>`."""
    began: Counter[str] = Counter()
    over: Counter[str] = Counter()
    for path in (folder / "effects").iterdir():
        for line in path.read_text().splitlines():
            (began if line.startswith("began") else over)[path.name] += 1
    return began, over


async def read_all(folder: Path, url: str) -> tuple[Any, Registry]:
    registry = Registry()
    registry.add_machine(RunMachine())
    registry.add_machine(AuditLog())
    registry.add_thing("graph", decode_definition)
    if url:
        from astrarium.store.postgres import PostgresStore

        return PostgresStore(url, tables=registry.tables), registry
    from astrarium.store.sqlite import SqliteStore

    return SqliteStore(folder / "data" / "astrarium.db", tables=registry.tables), registry


async def check_store(folder: Path, url: str, count: int) -> None:
    store, registry = await read_all(folder, url)
    await store.open()
    try:
        await check_runs(store, count)
        await check_fold(store, registry)
        await check_effects(store, folder)
    finally:
        await store.close()


async def check_runs(store: Any, count: int) -> None:
    top = await store.read("SELECT status, count(*) FROM runs WHERE parent_run = '' GROUP BY status")
    assert top == [("ended", count)], "a run is lost or has not ended"
    assert await store.read("SELECT id FROM runs WHERE status <> 'ended'") == []
    assert await store.read("SELECT id, kind FROM jobs") == []
    twice = "SELECT parent_run, alias, count(*) FROM runs GROUP BY parent_run, alias HAVING count(*) > 1"
    assert await store.read(twice) == []
    positions = await store.read("SELECT count(*), min(position), max(position) FROM events WHERE workspace = 'personal'")
    assert positions[0][0] == positions[0][2] and positions[0][1] == 1


async def check_fold(store: Any, registry: Registry) -> None:
    """The log of each run folds to its rows, without the help of snapshots."""
    streams = [row[0] for row in await store.read("SELECT DISTINCT stream FROM events WHERE stream LIKE 'run:%'")]
    memory = Memory(store, registry, Things(store, registry), 1_000_000)
    await memory.load_many(streams, SCOPE)
    columns = {of.name: ", ".join(f'"{column.name}"' for column in of.columns) for of in (RUNS, STEPS)}
    runs = {row[0]: tuple(row) for row in await store.read(f"SELECT {columns['runs']} FROM runs")}
    steps = {tuple(row[:3]): tuple(row) for row in await store.read(f"SELECT {columns['steps']} FROM steps")}
    assert len(runs) == len(streams)
    for stream in streams:
        for of, row in all_rows(memory.hot[stream].state):
            assert (runs[row[0]] if of is RUNS else steps[row[:3]]) == row


async def check_effects(store: Any, folder: Path) -> None:
    began, over = effects(folder)
    rows = await store.read(
        "SELECT r.id, r.alias, r.parent_run, s.node, s.kind, s.outcome, s.tries, s.retries"
        " FROM steps s JOIN runs r ON r.id = s.run WHERE s.kind IN ('shell', 'python')"
    )
    assert rows
    known = set()
    for run, alias, _, node, _, outcome, tries, retries in rows:
        place = f"{alias}.{node}"
        known.add(place)
        told = f"{place} of {run}: {outcome} after {tries} tries, began {began[place]}, over {over[place]}"
        assert over[place] <= began[place] <= tries, told
        if outcome == "succeeded":
            assert over[place] >= 1, told
        if node in RETRIED:
            assert outcome in ("succeeded", "lost", "aborted") and (outcome != "lost" or retries == LIMIT), told
            continue
        assert outcome in ("succeeded", "lost", "aborted"), told
        assert began[place] <= 1, told
        assert began[place] == 1 or outcome != "succeeded", told
        assert outcome != "aborted" or began[place] == 0, told
    assert set(began) <= known, "a step left effects and no record"


@pytest.mark.timeout(180)
def test_three_kills(tmp_path: Path) -> None:
    live_through(tmp_path, "", 3)
    asyncio.run(check_store(tmp_path, "", RUNS_IN_FLIGHT))


@pytest.mark.all
@pytest.mark.timeout(400)
def test_ten_kills(tmp_path: Path) -> None:
    live_through(tmp_path, "", 10)
    asyncio.run(check_store(tmp_path, "", RUNS_IN_FLIGHT))


@pytest.mark.all
@pytest.mark.postgres
@pytest.mark.timeout(400)
def test_ten_kills_on_postgres(tmp_path: Path, postgres_database: str) -> None:
    live_through(tmp_path, postgres_database, 10)
    asyncio.run(check_store(tmp_path, postgres_database, RUNS_IN_FLIGHT))
