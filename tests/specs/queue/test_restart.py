"""Queues over restarts: order, places and limits, after an end in good order and after `kill -9`."""

from __future__ import annotations

import itertools
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.specs.queue.conftest import GATE

pytestmark = [pytest.mark.all, pytest.mark.net]

DEADLINE_S = 60.0


def test_a_changed_setting_holds_for_those_in_line(start_server: Callable[..., Any]) -> None:
    server = start_server(queues={"heavy": 1})
    server.add("big", f"queue: heavy\n{GATE}")
    runs = [server.enqueue("big") for _ in range(5)]
    assert server.in_queue("heavy") == (runs[:1], runs[1:])
    server.close()
    server = start_server(queues={"heavy": 3})
    server.running("big", runs[2])
    assert server.in_queue("heavy") == (runs[:3], runs[3:])
    server.close()
    server = start_server(queues={"heavy": 1})
    server.open(runs[0])
    server.ended("big", runs[0])
    assert server.in_queue("heavy") == (runs[1:3], runs[3:])


def test_a_changed_file_and_a_queue_that_is_gone(start_server: Callable[..., Any]) -> None:
    server = start_server(queues={"heavy": 2})
    server.add("own", GATE)
    server.add("big", f"queue: heavy\n{GATE}")
    own, big = [server.enqueue("own") for _ in range(3)], [server.enqueue("big") for _ in range(4)]
    assert server.in_queue("own") == (own[:1], own[1:])
    server.close()
    (server.dags / "own.yaml").write_text(f"maxActiveRuns: 2\n{GATE}")
    (server.dags / "big.yaml").write_text(f"queue: heavy\nmaxActiveRuns: -1\n{GATE}")
    server = start_server()
    server.running("big", big[3])
    server.running("own", own[1])
    assert server.in_queue("own") == (own[:2], own[2:])
    assert server.in_queue("heavy") == (big, [])
    assert server.queue("heavy")["type"] == "dag-based"


@pytest.mark.parametrize("count", [1_500, pytest.param(10_000, marks=pytest.mark.all)])
def test_many_in_one_line(start_server: Callable[..., Any], count: int) -> None:
    """Nothing of a queue costs by its length: listing is bounded, the middle leaves, the head is taken, all in the same line."""
    server = start_server()
    server.add("long", GATE)
    head = server.enqueue("long")
    runs = enqueue_many(server, "long", count)
    told = server.queue("long")
    assert (told["runningCount"], told["queuedCount"], len(told["queued"])) == (1, count, 1000)
    middle = runs[count // 2]
    assert server.run("long", middle)["waitingFor"].endswith(" runs are before it")
    server.post(f"/dag-runs/long/{middle}/dequeue")
    first = told["queued"][0]["dagRunId"]
    server.open(head)
    server.running("long", first)
    assert server.queue("long")["queuedCount"] == count - 2
    assert server.post("/dags/long/stop-all") == {"errors": []}
    server.ended("long", first)
    assert server.queue("long") == {"name": "long", "running": [], "queued": []}


def enqueue_many(server: Any, name: str, count: int) -> list[str]:
    """Enqueue on a few connections at once; the order among them is the server's."""
    numbers = itertools.count()
    made: list[str] = []

    def work() -> None:
        with httpx2.Client(base_url=server.client.base_url, timeout=DEADLINE_S) as client:
            while next(numbers) < count:
                answer = client.post(f"/dags/{name}/enqueue", json={})
                assert answer.status_code == 200, answer.text
                made.append(answer.json()["dagRunId"])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == count
    return made


# -- kill -9 ------------------------------------------------------------------------------------------------------------

LIMIT = 3
RUNS = 90


class Asker(threading.Thread):
    """Somebody who enqueues `RUNS` runs in order, takes every tenth out again, and goes on at the next server after each death.
    `acked` are the answers that came."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.server: Any = None
        self.acked: list[str] = []
        self.dequeued: set[str] = set()

    def run(self) -> None:
        for number in range(RUNS):
            name = f"run-{number:03}"
            if not self.ask("POST", "/dags/line/enqueue", {"dagRunId": name}, good=(200, 409)):
                return
            self.acked.append(name)
            if number % 10 == 9 and self.ask("POST", f"/dag-runs/line/{name}/dequeue", None, good=(200, 400)):
                self.dequeued.add(name)

    def ask(self, method: str, path: str, body: Any, good: tuple[int, ...]) -> bool:
        """Ask until there is an answer; a repetition of what was done already is told so by the second status."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            try:
                answer = self.server.call(method, path, body)
            except (httpx2.HTTPError, RuntimeError):
                time.sleep(0.01)  # a dead server's: the next one is coming up
                continue
            assert answer.status_code in good, answer.text
            return True
        raise AssertionError(f"no answer to {method} {path}")


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(170)
@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.all)])
def test_kill_9_keeps_order_and_loses_nothing(start_server: Callable[..., Any], tmp_path: Path, kills: int) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    moments = random.Random(seed)
    server = start_server(queues={"line": LIMIT})
    server.add("line", "steps:\n  - name: nap\n    command: sleep 0.02\n    retryPolicy: {limit: 30, intervalSec: 0}\n")
    asker = Asker()
    asker.server = server
    asker.start()
    for _ in range(kills):
        time.sleep(moments.uniform(0.1, 0.8))  # not a wait for something: the moment of the kill is random
        server.kill()
        asker.server = server = start_server(queues={"line": LIMIT})
    asker.join(DEADLINE_S)
    assert len(asker.acked) == RUNS
    until_drained(server)
    server.close()
    check(tmp_path / "data" / "astrarium.db", asker)


def until_drained(server: Any) -> None:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if server.in_queue("line") == ([], []):
            return
        time.sleep(0.05)
    raise AssertionError(f"the queue does not drain: {server.queue('line')}")


def check(path: Path, asker: Asker) -> None:
    with closing(sqlite3.connect(path)) as db:
        runs = {alias: (id_, status, outcome, reason) for id_, alias, status, outcome, reason in db.execute(
            "SELECT id, alias, status, outcome, reason FROM runs")}  # fmt: skip
        events = db.execute("SELECT substr(stream, 5), type FROM events WHERE stream LIKE 'run:%' ORDER BY position").fetchall()
        left = db.execute("SELECT name, holder FROM slots WHERE name LIKE 'queue/%'").fetchall()
    assert sorted(runs) == sorted(asker.acked), "a run is lost, or there is one nobody asked for"
    assert left == []
    ends = Counter((status, outcome) for _, status, outcome, _ in runs.values())
    assert set(ends) <= {("ended", "succeeded"), ("ended", "cancelled")}, ends
    taken_out = {alias for alias, (_, _, outcome, _) in runs.items() if outcome == "cancelled"}
    assert taken_out <= asker.dequeued
    names = {id_: alias for alias, (id_, *_) in runs.items()}
    began = [names[run] for run, type_ in events if type_ == "RunBegan"]
    for at, run in enumerate(began):  # those who were given their places together may begin in any order, nobody else
        assert sum(earlier > run for earlier in began[:at]) < LIMIT, f"the line was not kept: {began}"
    assert len(began) == len(set(began)) == RUNS - len(taken_out)
    most = 0
    running: set[str] = set()
    for run, type_ in events:
        if type_ == "RunBegan":
            running.add(run)
        elif type_ == "RunEnded":
            running.discard(run)
        most = max(most, len(running))
    assert most == LIMIT
