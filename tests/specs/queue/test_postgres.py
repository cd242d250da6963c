"""Queues on a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

GATE = "steps:\n  - name: gate\n    type: hitl\n"


@pytest.mark.postgres
@pytest.mark.all
@pytest.mark.net
def test_a_line_on_postgres(start_server: Callable[..., Any], postgres_database: str) -> None:
    server = start_server(database_url=postgres_database, queues={"heavy": 1})
    server.add("big", f"queue: heavy\n{GATE}")
    a, b, c, d = (server.enqueue("big", dagRunId=f"big-{no}", priority=no % 2) for no in range(4))
    server.until("big", a, lambda found: found["status"] == 7)
    assert server.in_queue("heavy") == ([a], [b, d, c])
    assert server.run("big", d)["waitingFor"] == "waits in queue heavy: 1 of 1 place taken by big/big-0; 1 run is before it"
    listed = {run["dagRunId"]: run["waitingFor"] for run in server.get("/dag-runs/big")["dagRuns"]}
    assert listed[a] == "waits for a person: step gate asks"
    assert server.call("POST", f"/dag-runs/big/{b}/dequeue").status_code == 200
    server.close()
    server = start_server(database_url=postgres_database, queues={"heavy": 2})
    server.until("big", d, lambda found: found["status"] == 7)
    assert server.in_queue("heavy") == ([a, d], [c])
    assert server.told(server.call("POST", "/dags/big/stop-all")) == {"errors": []}
    assert server.in_queue("heavy") == ([], [])
