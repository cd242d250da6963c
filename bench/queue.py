"""Latencies of queues, seen from outside a real server. A step's process writes the time at which it began into a file of its own,
the engine's rows carry the times of their commits: nobody looks again and again, and no figure contains a look's interval."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import select
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from .report import Figure, commit_ms, figure, rounded
from .server import ENDED, PREFIX, Server

TIMES = 50
LONG = 10_000
STAMP = "#!/bin/sh\ndate +%s.%N > {folder}/began.$1\n"
DEADLINE_S = 60.0
DRAIN_S = 300.0
DAGS = {
    "quick": "steps:\n  - name: one\n    type: noop\n",
    "stamp": "steps:\n  - name: one\n    command: {folder}/stamp $DAG_RUN_ID\n",
    "gate": "steps:\n  - name: gate\n    type: hitl\n",
    "sleep": "steps:\n  - name: nap\n    command: sleep 300\n",
}
BEGAN = "SELECT at FROM events WHERE stream = 'run:' || ? AND type = 'RunBegan'"


class Place:
    """A server with the DAGs of these figures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "dags").mkdir(parents=True)
        (folder / "stamp").write_text(STAMP.format(folder=folder))
        (folder / "stamp").chmod(0o755)
        for name, text in DAGS.items():
            (folder / "dags" / f"{name}.yaml").write_text(text.format(folder=folder))

    def began(self, run: str) -> float:
        """When a stamping step's process began, by its own clock."""
        return float(until(lambda: read_stamp(self.folder / f"began.{run}"), f"step of {run}"))

    def times(self, server: Server, run: str) -> dict[str, float]:
        """Seconds since 1970 of a run's rows once it has ended: queued, began, ended."""
        until(lambda: server.call("GET", f"/dag-runs/{self.name_of(run)}/{run}")["dagRunDetails"]["status"] in ENDED, run)
        with closing(sqlite3.connect(self.folder / "astrarium.db")) as db:
            row = db.execute("SELECT queued_at, began_at, ended_at FROM runs WHERE alias = ?", (run,)).fetchone()
        return dict(zip(("queued", "began", "ended"), (at / 1e6 for at in row), strict=True))

    @staticmethod
    def name_of(run: str) -> str:
        return run.partition(".")[0]


def read_stamp(path: Path) -> str:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return ""
    return text if text.endswith("\n") else ""


def until(true: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Wait for something whose own time is in what is found: how often we look does not matter."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        found = true()
        if found:
            return found
        time.sleep(0.02)
    raise RuntimeError(f"not within {deadline_s:g} s: {what}")


def enqueue(server: Server, dag: str, number: int, **body: Any) -> str:
    run = f"{dag}.{number}"
    server.call("POST", f"/dags/{dag}/enqueue", {"dagRunId": run, **body})
    return run


def enqueue_call(server: Server, number: int) -> float:
    """Milliseconds of the call that enqueues behind somebody who holds the only place."""
    began = time.perf_counter()
    enqueue(server, "gate", number)
    return (time.perf_counter() - began) * 1000


def to_running(place: Place, server: Server, number: int) -> tuple[float, float]:
    """Milliseconds from sending the call to the run's beginning (its row) and to its process (its own clock)."""
    asked = time.time()
    run = enqueue(server, "stamp", number)
    process = place.began(run)
    return (place.times(server, run)["began"] - asked) * 1000, (process - asked) * 1000


def to_next(place: Place, server: Server, number: int) -> tuple[float, float]:
    """Milliseconds from the end of who held the only place to the beginning of the next (rows), and to its process."""
    first, second = enqueue(server, "gate", number, queue="narrow"), enqueue(server, "stamp", number, queue="narrow")
    server.call("POST", f"/dag-runs/gate/{first}/steps/gate/approve", {})
    process = place.began(second)
    freed = place.times(server, first)["ended"]
    return (place.times(server, second)["began"] - freed) * 1000, (process - freed) * 1000


def to_dead(server: Server, number: int) -> float:
    """Milliseconds from sending the stop to the death of a process that obeys its signal, seen by a descriptor of it."""
    run = f"sleep.{number}"
    server.call("POST", "/dags/sleep/start", {"dagRunId": run})
    pid = until(lambda: sleeper_of(server.process.pid), "the sleeping process")
    watch = os.pidfd_open(pid)
    asked = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        dead = pool.submit(when_readable, watch)
        server.call("POST", f"/dag-runs/sleep/{run}/stop")
        took = (dead.result(DEADLINE_S) - asked) * 1000
    os.close(watch)
    until(lambda: server.call("GET", f"/dag-runs/sleep/{run}")["dagRunDetails"]["status"] in ENDED, run)
    return took


def when_readable(watch: int) -> float:
    """A process descriptor becomes readable when its process ends."""
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    poll.poll(DEADLINE_S * 1000)
    return time.perf_counter()


def sleeper_of(parent: int) -> int:
    """The process `sleep 300` below the server."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cmdline").read_bytes() == b"sleep\x00300\x00" and below(int(entry.name), parent):
                    return int(entry.name)
            except OSError:
                continue
    return 0


def below(pid: int, parent: int) -> bool:
    while pid > 1 and pid != parent:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid == parent


def take_up(place: Place, number: int) -> float:
    """Seconds from starting a server anew after `kill -9` to the first run of its line that begins."""
    with Server(place.folder) as server:
        head = enqueue(server, "sleep", number)
        waiting = enqueue(server, "stamp", number, queue="sleep")
        until(lambda: sleeper_of(server.process.pid), f"the process of {head}")
        server.kill()
    with Server(place.folder) as server:
        return place.began(waiting) - server.began


def long_line(folder: Path, count: int) -> dict[str, list[float]]:
    """Milliseconds of what is done to a line of so many runs."""
    taken: dict[str, list[float]] = {"enqueue_ms": [], "list_ms": [], "why_ms": [], "dequeue_ms": [], "drain_ms": []}

    def timed(what: str, act: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        found = act()
        taken[what].append((time.perf_counter() - began) * 1000)
        return found

    place = Place(folder)
    with Server(folder) as server:
        enqueue(server, "gate", 0, queue="long")
        fill(server, count)
        for number in range(20):
            timed("enqueue_ms", lambda number=number: enqueue(server, "quick", count + number, queue="long"))
            timed("list_ms", lambda: server.call("GET", "/queues"))
            middle = f"quick.{count // 2 + number}"
            timed("why_ms", lambda middle=middle: server.call("GET", f"/dag-runs/quick/{middle}"))
            timed("dequeue_ms", lambda middle=middle: server.call("POST", f"/dag-runs/quick/{middle}/dequeue"))
        server.call("POST", "/dag-runs/gate/gate.0/steps/gate/approve", {})
        with closing(sqlite3.connect(folder / "astrarium.db")) as db:
            until(lambda: not db.execute("SELECT 1 FROM slots WHERE name = 'queue/long'").fetchone(), "an empty line", DRAIN_S)
    with closing(sqlite3.connect(folder / "astrarium.db")) as db:
        began = [
            at / 1000 for (at,) in db.execute("SELECT began_at FROM runs WHERE name = 'quick' AND began_at > 0 ORDER BY began_at")
        ]
    taken["drain_ms"] = [later - earlier for earlier, later in itertools.pairwise(began)]
    shutil.rmtree(place.folder)
    return taken


def fill(server: Server, count: int) -> None:
    """Enqueue `count` runs on a few connections."""

    def some(first: int) -> None:
        with closing(http.client.HTTPConnection(server.client.host, server.client.port)) as client:
            for number in range(first, count, 4):
                body = json.dumps({"dagRunId": f"quick.{number}", "queue": "long"})
                client.request("POST", f"{PREFIX}/dags/quick/enqueue", body, {"Content-Type": "application/json"})
                client.getresponse().read()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(some, range(4)))
    server.client.close()  # idle for too long meanwhile; it connects anew by itself


def measure(folder: Path, quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        place = Place(Path(own, "data"))
        commits = [commit_ms(Path(own), 1) for _ in range(TIMES)]
        with Server(place.folder) as server:
            enqueue(server, "gate", 0)
            for number in range(5):
                to_running(place, server, -number - 1)
            call = [enqueue_call(server, number) for number in range(1, TIMES + 1)]
            running = [to_running(place, server, number) for number in range(TIMES)]
            following = [to_next(place, server, 2 * TIMES + number) for number in range(TIMES)]
            dead = [to_dead(server, number) for number in range(TIMES)]
        up = [take_up(place, 1000 + number) for number in range(3 if quick else 10)]
        line = long_line(Path(own, "long"), LONG // 10 if quick else LONG)
    return [
        late("enqueue call", "ms", call, commits, 10.0),
        late("enqueue to running, idle queue", "ms", [one[0] for one in running], commits, 20.0, [one[1] for one in running]),
        late("slot freed to next run started", "ms", [one[0] for one in following], commits, 20.0, [one[1] for one in following]),
        late("stop to process dead", "ms", dead, commits, 50.0),
        late("killed server started to its line taken up", "s", up, commits, 2.0),
        figure(
            f"queue of {len(line['drain_ms']) + 20:,}: one run to the next", "ms", line["drain_ms"],
            notes={what: rounded(statistics.median(taken)) for what, taken in line.items()},
        ),
    ]  # fmt: skip


def late(
    name: str, unit: str, taken: list[float], commits: list[float], most: float, process: list[float] | None = None
) -> Figure:
    """The median, with the 95th percentile and what one commit costs beside it; `process`: until the step's process ran."""
    p95 = sorted(taken)[max(int(len(taken) * 0.95) - 1, 0)]
    notes: dict[str, Any] = {"p95": rounded(p95), "p95_to_median": rounded(p95 / statistics.median(taken))}
    if process is not None:
        notes["process_began"] = rounded(statistics.median(process))
    return figure(name, unit, taken, bare={"commit_ms": commits}, most=most, notes=notes)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as here:
        print(json.dumps([[one.name, one.value, one.met, one.notes] for one in measure(Path(here), True)], indent=1))
