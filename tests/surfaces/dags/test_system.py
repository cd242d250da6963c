"""What a server tells of itself: its health when a part does not work, and the servers beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from astrarium.errors import Unavailable
from astrarium.kernel.types import Scope
from astrarium.surfaces.dags.routes.system import get_health
from astrarium.surfaces.dags.views.system import list_workers
from astrarium.web.stream import Streams

SCOPE = Scope("personal", "local")
SECOND = 1_000_000


class Rows:
    """A store that knows these live servers and what they carry out."""

    def __init__(self, workers: Sequence[tuple[Any, ...]], tasks: Sequence[tuple[Any, ...]] = (), shared: bool = False) -> None:
        self.workers = list(workers)
        self.tasks = list(tasks)
        self.shared = shared
        self.broken = False

    async def read(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if self.broken:
            raise Unavailable("the disk is full")
        if "FROM leases" in sql:
            return self.tasks
        return self.workers if "FROM workers" in sql else [(1,)]


@pytest.mark.parametrize(
    ("fenced", "broken", "follows", "parts"),
    [
        (False, False, True, {"engine": "healthy", "scheduler": "healthy", "store": "healthy"}),
        (True, False, False, {"engine": "unhealthy", "scheduler": "unhealthy", "store": "healthy"}),
        (False, True, True, {"engine": "healthy", "scheduler": "healthy", "store": "unhealthy"}),
        (False, False, False, {"engine": "healthy", "scheduler": "unhealthy", "store": "healthy"}),
    ],
)
def test_health_names_what_does_not_work(fenced: bool, broken: bool, follows: bool, parts: dict[str, str]) -> None:
    store, lost = Rows([]), asyncio.Event()
    store.broken = broken
    if fenced:
        lost.set()
    app = Starlette()
    app.add_route("/health", get_health)
    engine = SimpleNamespace(fenced=lost, store=store)
    app.state.streams = Streams()
    app.state.dags = SimpleNamespace(engine=engine, version="1", uptime_s=7, follows_schedules=lambda: follows)
    answer = TestClient(app).get("/health")
    good = follows and not (fenced or broken)
    assert answer.status_code == (200 if good else 503)
    told = answer.json()
    assert (told["status"], told["components"]) == ("healthy" if good else "unhealthy", parts)
    assert (told["version"], told["uptime"]) == ("1", 7)


async def test_a_server_alone_on_its_store_is_healthy_with_what_it_carries_out() -> None:
    task = ("child", "c1", 5 * SECOND, "top", "t1", "up", "u1")
    plain = ("top", "t1", 4 * SECOND, "top", "t1", None, None)
    told = await list_workers(Rows([("w1", "box", 42, 1, 0)], [task, plain]), SCOPE, places=8, lease_s=10)
    (worker,) = told.workers
    assert (worker.id, worker.labels, worker.health_status) == ("w1", {"host": "box", "pid": "42"}, "healthy")
    assert (worker.total_pollers, worker.busy_pollers) == (8, 2)
    first, second = worker.running_tasks
    assert (first.dag_name, first.dag_run_id, first.root_dag_run_name, first.root_dag_run_id) == ("child", "c1", "top", "t1")
    assert (first.parent_dag_run_name, first.parent_dag_run_id) == ("up", "u1")
    assert second.parent_dag_run_id == ""
    assert told.errors == []


@pytest.mark.parametrize(("left_s", "health"), [(9, "healthy"), (6, "healthy"), (3, "warning"), (-1, "unhealthy")])
async def test_the_health_of_a_server_on_a_shared_store_is_its_lease(left_s: float, health: str) -> None:
    now = time.time_ns() // 1000
    row = ("w1", "box", 42, 1, now + int(left_s * SECOND))
    told = await list_workers(Rows([row], shared=True), SCOPE, places=8, lease_s=10)
    assert told.workers[0].health_status == health
