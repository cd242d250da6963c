"""Queues on a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.specs.queue.conftest import GATE


@pytest.mark.postgres
@pytest.mark.all
@pytest.mark.net
def test_a_line_on_postgres(start_server: Callable[..., Any], postgres_database: str) -> None:
    server = start_server(database_url=postgres_database, queues={"heavy": 1})
    server.add("big", f"queue: heavy\n{GATE}")
    a, b, c, d = (server.enqueue("big", dagRunId=f"big-{no}", priority=no % 2) for no in range(4))
    server.running("big", a)
    assert server.in_queue("heavy") == ([a], [b, d, c])
    assert server.run("big", d)["waitingFor"] == "waits in queue heavy: 1 of 1 place taken by big/big-0; 1 run is before it"
    assert server.call("POST", f"/dag-runs/big/{b}/dequeue").status_code == 200
    server.close()
    server = start_server(database_url=postgres_database, queues={"heavy": 2})
    server.running("big", d)
    assert server.in_queue("heavy") == ([a, d], [c])
    assert server.post("/dags/big/stop-all") == {"errors": []}
    for run in (a, d):
        server.ended("big", run)
    assert server.in_queue("heavy") == ([], [])
