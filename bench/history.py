"""A long past: lists, details and history over 1,000,000 ended runs, through a real server over HTTP.

One real run is made, and its rows are copied with new ids, names and times: what readers see is real, the making takes a minute.
The copies have no events of their own, as runs whose stream was pruned.
"""

from __future__ import annotations

import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

from .report import Figure, figure
from .server import PREFIX, Server

NAMES = 200
DAG = "steps:\n  - name: load\n    command: echo loaded\n    output: WHAT\n  - name: store\n    command: echo stored\n"
EVERY_US = 3_000_000
BEGAN_US = 1_700_000_000_000_000
FAILED_SHARE = 0.01
EXACT_MS = 20.0
SUBSTRING_MS = 100.0
MOST_MORE_MB = 64.0
"""How much the server may grow while it answers."""


def run_id(at_us: int, chance: random.Random) -> str:
    """A UUIDv7 of that time."""
    text = ((at_us // 1000).to_bytes(6, "big") + chance.randbytes(10)).hex()
    return f"{text[:8]}-{text[8:12]}-7{text[13:16]}-8{text[17:20]}-{text[20:]}"


def columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


def fill(path: Path, count: int) -> list[tuple[str, str]]:
    """Copy the one run of the database `count` times; (name, id) of some of them."""
    chance, kept = random.Random(1), []
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA synchronous = OFF")
        names, step_names = columns(db, "runs"), columns(db, "steps")
        run = dict(zip(names, db.execute("SELECT * FROM runs").fetchone(), strict=True))
        steps = [dict(zip(step_names, row, strict=True)) for row in db.execute("SELECT * FROM steps")]
        made: list[dict[str, Any]] = []

        def copies() -> Iterator[tuple[Any, ...]]:
            for number in range(count):
                at = BEGAN_US + number * EVERY_US
                key, failed = run_id(at, chance), chance.random() < FAILED_SHARE
                more = {
                    "id": key, "alias": key, "root": key, "name": f"dag-{chance.randrange(NAMES):04d}", "created_at": at,
                    "queued_at": 0, "began_at": at + 2_000, "ended_at": at + 900_000, "outcome": "failed" if failed else "succeeded",
                }  # fmt: skip
                made.append({"run": key, "started_at": at + 3_000, "ended_at": at + 800_000})
                if number % (count // 50 or 1) == 0:
                    kept.append((str(more["name"]), key))
                yield tuple((run | more).values())

        with db:
            db.executemany(f"INSERT INTO runs VALUES ({', '.join('?' * len(names))})", copies())
            rows = (tuple((step | more).values()) for more in made for step in steps)
            db.executemany(f"INSERT INTO steps VALUES ({', '.join('?' * len(step_names))})", rows)
    os.sync()
    return kept


def timed(server: Server, path: Callable[[int], str], times: int) -> list[float]:
    """Milliseconds of `times` calls, to the last byte of the answer."""
    taken = []
    for number in range(times):
        began = time.perf_counter()
        server.client.request("GET", PREFIX + path(number))
        answer = server.client.getresponse()
        answer.read()
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status != 200:
            raise RuntimeError(f"GET {path(number)}: {answer.status}")
    return taken


def questions(kept: list[tuple[str, str]], count: int) -> dict[str, tuple[float, Callable[[int], str]]]:
    """What is asked, with the time it may take."""
    first_s = BEGAN_US // 1_000_000
    last_s = first_s + count * EVERY_US // 1_000_000

    def some(number: int) -> tuple[str, str]:
        return kept[number * 7 % len(kept)]

    return {
        "runs of a name": (EXACT_MS, lambda n: f"/dag-runs/{some(n)[0]}"),
        "failed runs of a name": (EXACT_MS, lambda n: f"/dag-runs/{some(n)[0]}?status=2"),
        "failed runs": (EXACT_MS, lambda n: "/dag-runs?status=2"),
        "active runs": (EXACT_MS, lambda n: "/dag-runs?status=1"),
        "runs of 15 minutes": (EXACT_MS, lambda n: f"/dag-runs?fromDate={last_s - 9000 - n}&toDate={last_s - 8100 - n}"),
        "newest runs": (EXACT_MS, lambda n: "/dag-runs"),
        "one run": (EXACT_MS, lambda n: "/dag-runs/{}/{}".format(*some(n))),
        "newest run of a name": (EXACT_MS, lambda n: f"/dag-runs/{some(n)[0]}/latest"),
        "history of a DAG": (EXACT_MS, lambda n: f"/dags/dag-{n % 10:04d}/dag-runs"),
        "DAG list": (EXACT_MS, lambda n: "/dags"),
        "runs by a part of the name": (SUBSTRING_MS, lambda n: f"/dag-runs?name={some(n)[0][2:]}"),
        "runs by a part of the id": (SUBSTRING_MS, lambda n: f"/dag-runs?dagRunId={some(n)[1][20:32]}"),
        "runs by a part no id has": (SUBSTRING_MS, lambda n: "/dag-runs?dagRunId=zzzz"),
    }


def measure(folder: Path, quick: bool) -> list[Figure]:
    count, times = (50_000, 11) if quick else (1_000_000, 31)
    with tempfile.TemporaryDirectory(dir=folder) as own:
        place = Path(own)
        (place / "dags").mkdir()
        for number in range(10):
            (place / "dags" / f"dag-{number:04d}.yaml").write_text(DAG)
        with Server(place) as server:
            server.call("POST", "/dags/dag-0000/start", {})
            while server.call("GET", "/dag-runs/dag-0000/latest")["dagRunDetails"]["status"] != 4:
                time.sleep(0.01)
        kept = fill(place / "astrarium.db", count)
        with Server(place) as server:
            process = psutil.Process(server.process.pid)
            asked = questions(kept, count)
            for _, path in asked.values():
                timed(server, path, 2)
            before_mb = process.memory_info().rss / 1e6
            found = [
                figure(f"{count:,} past runs: {name}", "ms", timed(server, path, times), most=most)
                for name, (most, path) in asked.items()
            ]
            grown_mb = process.memory_info().rss / 1e6 - before_mb
        notes = {"resident_mb_before": round(before_mb)}
        return [*found, figure(f"{count:,} past runs: growth of the server", "MB", [grown_mb], most=MOST_MORE_MB, notes=notes)]
