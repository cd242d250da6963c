"""One one-step run: from sending the HTTP start to reading that it is done."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from .report import Figure, commit_ms, figure
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
    with tempfile.TemporaryDirectory(dir=folder) as own, Server(Path(own)) as server:
        for name, text in DAGS.items():
            (server.dags / f"{name}.yaml").write_text(text)
            for _ in range(5):
                one_run(server, name)
        done: dict[str, list[tuple[float, float, int]]] = {name: [] for name in DAGS}
        trips, spawns, commits = [], [], [commit_ms(Path(own)) for _ in range(3)]
        for _ in range(times):
            for name, taken in done.items():
                taken.append(one_run(server, name))
            trips.append(round_trip_ms(server))
            spawns.append(spawn_ms())
    found = []
    for name, most in (("noop", 5.0), ("shell", 10.0)):
        # two exchanges (start, details) and two commits (start, end) cannot be saved
        limits = [2 * trip + 2 * min(commits) + (spawn if name == "shell" else 0.0) for trip, spawn in zip(trips, spawns, strict=True)]
        bare = {"two_exchanges_two_commits" + ("_one_spawn" if name == "shell" else ""): limits, "exchange": trips}
        times_taken = [one[1] for one in done[name]]
        middle = sorted(one[0] for one in done[name])[times // 2]
        notes = {"observed": OBSERVED, "start_answered_ms": round(middle, 3), "p95_ms": round(sorted(times_taken)[int(times * 0.95)], 3),
                 "asked": sorted(one[2] for one in done[name])[times // 2]}  # fmt: skip
        title = "no-op" if name == "noop" else "shell"
        found.append(figure(f"one-step {title} run, HTTP start to done", "ms", times_taken, bare=bare, limit=next(iter(bare)), most=most,
                            notes=notes))  # fmt: skip
    return found
