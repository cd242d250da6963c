"""One one-step run: from sending the HTTP start to reading that it is done."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from .report import Figure, commit_ms, figure, rounded
from .server import ENDED, Server

DAGS = {"noop": "steps:\n  - name: one\n    type: noop\n", "shell": "steps:\n  - name: one\n    command: 'true'\n"}
OBSERVED = "GET of the run's details, again and again on one connection without pause, until its status is an end"


def one_run(server: Server, name: str) -> tuple[float, float, int]:
    """Milliseconds until the start was answered and until the run was seen ended, and how often was asked."""
    began = time.perf_counter()
    run = server.call("POST", f"/dags/{name}/start", {})["dagRunId"]
    answered = time.perf_counter()
    asked = 0
    while True:
        asked += 1
        status = server.call("GET", f"/dag-runs/{name}/{run}")["dagRunDetails"]["status"]
        if status in ENDED:
            break
    took = time.perf_counter() - began
    if status != 4:
        raise RuntimeError(f"run {run} of {name} ended with status {status}")
    return (answered - began) * 1000, took * 1000, asked


def spawn_ms() -> float:
    began = time.perf_counter()
    os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "true"], dict(os.environ)), 0)
    return (time.perf_counter() - began) * 1000


def round_trip_ms(server: Server) -> float:
    began = time.perf_counter()
    server.call("GET", "/health")
    return (time.perf_counter() - began) * 1000


def measure(folder: Path, quick: bool) -> list[Figure]:
    times = 30 if quick else 100
    done: dict[str, list[tuple[float, float, int]]] = {name: [] for name in DAGS}
    with tempfile.TemporaryDirectory(dir=folder) as own, Server(Path(own)) as server:
        for name, text in DAGS.items():
            (server.dags / f"{name}.yaml").write_text(text)
            for _ in range(5):
                one_run(server, name)
        trips, commits, spawns = [], [], []
        for _ in range(times):
            for name, taken in done.items():
                taken.append(one_run(server, name))
            trips.append(round_trip_ms(server))
            commits.append(commit_ms(Path(own), 1))
            spawns.append(spawn_ms())
    # two exchanges (start, details) and two commits (start, end) cannot be saved
    least = [2 * trip + 2 * commit for trip, commit in zip(trips, commits, strict=True)]
    with_spawn = [spared + spawn for spared, spawn in zip(least, spawns, strict=True)]
    parts = {"exchange": trips, "commit": commits, "spawn": spawns}
    return [
        latency("no-op", done["noop"], {"two_exchanges_two_commits": least, **parts}, 5.0),
        latency("shell", done["shell"], {"two_exchanges_two_commits_one_spawn": with_spawn, **parts}, 10.0),
    ]


def latency(title: str, taken: list[tuple[float, float, int]], bare: dict[str, list[float]], most: float) -> Figure:
    ended = [one[1] for one in taken]
    notes = {
        "observed": OBSERVED,
        "start_answered_ms": rounded(statistics.median(one[0] for one in taken)),
        "p95_ms": rounded(sorted(ended)[int(len(ended) * 0.95)]),
        "asked": statistics.median(one[2] for one in taken),
    }
    name = f"one-step {title} run, HTTP start to done"
    return figure(name, "ms", ended, bare=bare, limit=next(iter(bare)), most=most, notes=notes)
