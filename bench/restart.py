"""Restart with 10,000 live runs: `python -m bench.restart hold FOLDER COUNT` makes them and is killed; then a server starts."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

from astrarium.config import Settings
from astrarium.plugins.steps.noop import Noop
from astrarium.runs.message import StepStarted
from astrarium.runs.ports import Result
from astrarium.worker import Worker

from .drive import Load, graph_of, starter
from .report import ROOT, Figure, figure, interleave
from .server import Server

DEADLINE_S = 120.0
STARTED = "SELECT 1 FROM events WHERE workspace = 'personal' AND position > ? AND type = 'StepStarted'"
ALL_ENDED = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM runs WHERE status <> 'ended')"
BARE = """
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("PRAGMA synchronous = FULL")
for row in db.execute("SELECT stream, body FROM events ORDER BY stream, seq"): json.loads(row[1])
with db: db.execute("INSERT INTO workers VALUES ('bare', '', 0, '', 0, 0, 0)")
"""


class Held(Noop):
    """A no-op that never ends."""

    idempotent: ClassVar[bool] = True

    async def run(self, ctx: Any, params: Any) -> Result:  # type: ignore[override]
        await asyncio.Event().wait()
        return Result()


async def hold(folder: Path, count: int) -> None:
    """Start `count` runs whose first of two steps runs for ever, and say when all of it is durable."""
    worker = await Worker.open(Settings(data_dir=folder, dags_dir=folder / "dags"))
    worker.steps["noop"] = Held()
    running, all_run = 0, asyncio.Event()

    def on_start(stream: str, event: StepStarted) -> None:
        nonlocal running
        running += 1
        if running == count:
            all_run.set()

    worker.registry.listen(StepStarted, on_start)
    start = starter(worker, graph_of(Load(count, 2, count, "")), "dags")
    for begun in range(count):
        start()
        if begun % 500 == 499:
            await worker.engine.settle()
    await all_run.wait()
    await worker.engine.settle()
    print("held", flush=True)
    await asyncio.Event().wait()


def make(folder: Path, count: int) -> None:
    """A data folder as a killed worker leaves it."""
    command = [sys.executable, "-m", "bench.restart", "hold", str(folder), str(count)]
    holder = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline().strip() != "held":
            raise RuntimeError("the runs could not be made")
    finally:
        holder.kill()
        holder.wait()


def wait_for(server: Server, db: sqlite3.Connection, sql: str, *args: Any) -> float:
    """When a query first finds a row: the moment a commit is seen from outside."""
    deadline = time.time() + DEADLINE_S
    while time.time() < deadline and server.process.poll() is None:
        if db.execute(sql, args).fetchone():
            return time.time()
        time.sleep(0.005)
    log = (server.folder / "server.log").read_text()[-500:]
    raise RuntimeError(f"not within {DEADLINE_S:g} s, or the server ended: {sql}: {log}")


def restart(template: Path, folder: Path) -> dict[str, float]:
    """Seconds from the start of the process to the first step started, to health, to the end of all runs."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        data = Path(own, "data")
        shutil.copytree(template, data)
        with closing(sqlite3.connect(data / "astrarium.db", isolation_level=None)) as db:
            (last,) = db.execute("SELECT max(position) FROM events").fetchone()
        server = Server(data, wait=False)
        try:
            with closing(sqlite3.connect(data / "astrarium.db", isolation_level=None)) as db:
                first = wait_for(server, db, STARTED, last)
                server.connect()
                ready = time.time()
                over = wait_for(server, db, ALL_ENDED)
        finally:
            server.kill()
    return {"first_step_s": first - server.began, "ready_s": ready - server.began, "all_ended_s": over - server.began}


def bare_restart(template: Path, folder: Path) -> float:
    """A bare interpreter that reads the whole log and commits once."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        shutil.copytree(template, Path(own, "data"))
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", BARE, str(Path(own, "data", "astrarium.db"))], check=True)
        return time.perf_counter() - began


def measure(folder: Path, quick: bool) -> list[Figure]:
    count = 10_000
    with tempfile.TemporaryDirectory(dir=folder) as own:
        template = Path(own, "template")
        make(template, count)
        taken = interleave(
            3 if quick else 5,
            ours=lambda: restart(template, folder),
            bare=lambda: bare_restart(template, folder),
        )
    ends = {what: round(min(one[what] for one in taken["ours"]), 3) for what in ("ready_s", "all_ended_s")}
    return [
        figure("restart with 10,000 live runs: first step", "s", [one["first_step_s"] for one in taken["ours"]],
               bare={"read_log_and_commit": taken["bare"]}, limit="read_log_and_commit", most=1.5, notes={"runs": count, **ends})
    ]  # fmt: skip


if __name__ == "__main__":
    asyncio.run(hold(Path(sys.argv[2]), int(sys.argv[3])))
