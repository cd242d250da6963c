"""The limits: what a bare program of the same durability does here. `python -m bench.bare chains|spawn …` is one sample.

`chains` is the whole idea of the engine without the engine: runs of steps one after the other, many runs in flight, every
transition in the log and in a row, one fsynced commit before the next bodies run, one writer.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE events (position INTEGER PRIMARY KEY, stream TEXT, seq INTEGER, at INTEGER, type TEXT, body TEXT);
CREATE UNIQUE INDEX events_stream ON events (stream, seq);
CREATE TABLE steps (run TEXT, no INTEGER, status TEXT, started INTEGER, ended INTEGER, output TEXT, PRIMARY KEY (run, no));
CREATE TABLE runs (id TEXT PRIMARY KEY, status TEXT, at INTEGER);
"""
EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)"
STEP = (
    "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (run, no) DO UPDATE SET "
    "status = excluded.status, ended = excluded.ended, output = excluded.output"
)
RUN = "INSERT INTO runs VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET status = excluded.status, at = excluded.at"


class Turn(NamedTuple):
    """What one commit holds."""

    events: list[tuple[int, str, int, int, str, str]]
    steps: list[tuple[str, int, str, int, int, str]]
    runs: list[tuple[str, str, int]]


def chains(runs: int, steps: int, flight: int) -> Iterator[Turn]:
    """Turns of `runs` chains, `flight` at a time. Asking for the next turn says that the last one is durable."""
    begun = position = 0
    live: list[tuple[str, int, int]] = []
    while live or begun < runs:
        turn, now, left = Turn([], [], []), time.time_ns() // 1000, []

        def tell(run: str, seq: int, what: str, body: str, turn: Turn = turn, now: int = now) -> None:
            nonlocal position
            position += 1
            turn.events.append((position, run, seq, now, what, body))

        for run, no, seq in live:
            tell(run, seq + 1, "StepEnded", json.dumps({"no": no, "outcome": "succeeded"}))
            turn.steps.append((run, no, "succeeded", now, now, ""))
            if no + 1 < steps:
                left.append((run, no + 1, seq + 2))
            else:
                tell(run, seq + 2, "RunEnded", '{"outcome":"succeeded"}')
                turn.runs.append((run, "succeeded", now))
        while begun < runs and len(left) < flight:
            run = f"run:{begun:08x}-0000-7000-8000-000000000000"
            begun += 1
            tell(run, 1, "RunCreated", '{"graph":"bench"}')
            turn.runs.append((run, "running", now))
            left.append((run, 0, 2))
        for run, no, seq in left:
            tell(run, seq, "StepStarted", json.dumps({"no": no, "try": 1}))
            turn.steps.append((run, no, "running", now, 0, ""))
        yield turn
        live = left


def sqlite_chains(folder: Path, runs: int, steps: int, flight: int) -> float:
    """Steps per second, counted in the database afterwards."""
    db = sqlite3.connect(folder / "bare.db", isolation_level=None)
    db.executescript(SCHEMA)
    began = time.perf_counter()
    for turn in chains(runs, steps, flight):
        db.execute("BEGIN IMMEDIATE")
        db.executemany(EVENT, turn.events)
        db.executemany(STEP, turn.steps)
        db.executemany(RUN, turn.runs)
        db.execute("COMMIT")
    took = time.perf_counter() - began
    done = db.execute("SELECT count(*) FROM steps WHERE status = 'succeeded'").fetchone()[0]
    db.close()
    return done / took  # type: ignore[no-any-return]


SPAWN_LOOP = """
import os, sys
input()
for _ in range(int(sys.argv[1])):
    os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "true"], os.environ), 0)
"""


def spawn_rate(each: int) -> float:
    """`sh -c true` per second from one spawning process per core: the machine's own limit."""
    command = [sys.executable, "-S", "-c", SPAWN_LOOP, str(each)]
    loops = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(os.cpu_count() or 1)]
    time.sleep(0.2)  # the interpreters are up and wait for their line
    began = time.perf_counter()
    for loop in loops:
        assert loop.stdin is not None
        loop.stdin.write(b"\n")
        loop.stdin.close()
    for loop in loops:
        loop.wait()
    return each * len(loops) / (time.perf_counter() - began)


if __name__ == "__main__":
    if sys.argv[1] == "chains":
        print(json.dumps({"steps_per_s": sqlite_chains(Path(sys.argv[2]), *map(int, sys.argv[3:6]))}))
    else:
        print(json.dumps({"per_s": spawn_rate(int(sys.argv[2]))}))
