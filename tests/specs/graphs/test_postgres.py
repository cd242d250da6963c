"""Graphs on PostgreSQL: what this surface asks of the store, asked there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.specs.graphs.conftest import DOCUMENTS, Server

pytestmark = [pytest.mark.net, pytest.mark.postgres, pytest.mark.all]


def test_a_life_with_all_its_questions(start_server: Callable[..., Server], postgres_database: str) -> None:
    long = DOCUMENTS["forever.yaml"].replace("graph:forever", "graph:long").replace("max_steps: 5", "max_steps: 300")
    server = start_server(offered={**DOCUMENTS, "long.yaml": long}, database_url=postgres_database)
    run, asking, broken = server.start("loop", {"n": 0}, idempotency_key="k"), server.start("ask"), server.start("broken")
    server.ended(run)
    assert server.ended(broken)["error_class"] == "ValueError"
    assert server.start("loop", {"n": 0}) != run
    again = server.call("POST", "/v1/runs", {"graph_id": "graph:loop", "inputs": {"n": 0}, "idempotency_key": "k"})
    assert again.json() == {"run_id": run, "status": "done"}
    server.status(asking, "awaiting-input")
    fork = server.fork(run, 1, state_overrides={"phase": "stop"})
    assert server.ended(fork)["parent_run_id"] == run
    page = server.get("/v1/runs", status="done,error,awaiting-input", since="2020-01-01T00:00:00Z", limit=2)
    assert page["total"] == 5 and len(server.get("/v1/runs", cursor=page["cursor"])["items"]) == 3
    assert server.get("/v1/runs", parent_run_id=run)["total"] == 1 and server.get("/v1/runs", trigger_source="cron")["total"] == 0
    endless = server.ended(server.start("long"))["run_id"]
    steps = server.get(f"/v1/runs/{endless}/steps")
    assert [step["step"] for step in steps] == list(range(300))
    assert server.get(f"/v1/runs/{endless}/steps", after_step=200, limit=2) == steps[201:203]
    assert server.get(f"/v1/runs/{endless}/steps/250") == steps[250]
    server.kill()
    other = start_server("other", database_url=postgres_database, lease_s=2.0)
    other.post(asking, "respond", {"response": {"decision": "yes"}})
    assert other.ended(asking)["status"] == "done" and other.state(asking)["note"] == "baked"
    assert [frame["seq"] for frame in other.frames(fork)] == list(range(len(other.frames(fork))))
