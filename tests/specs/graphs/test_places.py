"""Runs of a graph with `concurrency_limit`: who rests gives the place to others, and asks for it again when it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.served import wait
from tests.specs.graphs.conftest import Server

OVEN = """
import asyncio
from pathlib import Path


async def bake(state, ctx):
    \"\"\"Until the file is there.\"\"\"
    while not Path(state["file"]).exists():
        await asyncio.sleep(0.01)
    return {"note": "baked"}


def cool(state, ctx):
    return {"note": "cool"}
"""
BAKE = """
ir_version: "1.1.0"
id: "graph:bake"
concurrency_limit: 1
state_schema: {file: {type: str}, note: {type: str, default: ""}}
nodes:
  - {id: bake, kind: "oven:bake"}
  - {id: cool, kind: "oven:cool"}
"""
ASK = """
ir_version: "1.1.0"
id: "graph:line"
concurrency_limit: 1
state_schema: {file: {type: str}, note: {type: str, default: ""}}
nodes:
  - {id: ask, kind: interrupt, config: {prompt: "bake it?"}}
  - {id: bake, kind: "oven:bake"}
"""
DAG = """
maxActiveRuns: 1
steps:
  - name: bake
    command: "bash -c 'until test -e {folder}/$FILE; do sleep 0.02; done'"
params: FILE=none
"""
Start = Callable[..., Server]
pytestmark = pytest.mark.net


OFFERED = {"oven.py": OVEN, "bake.yaml": BAKE, "line.yaml": ASK}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("places") / "data", OFFERED)
    try:
        yield made
    finally:
        made.close()


def ready(server: Server, file: str) -> None:
    (server.folder / file).touch()


def respond(server: Server, run: str) -> None:
    server.post(run, "respond", {"response": {}})


def test_an_awaiting_run_lets_others_go_and_comes_back_in_line(server: Server) -> None:
    first = server.start("line", {"file": "one"})
    server.status(first, "awaiting-input")
    second = server.start("line", {"file": "two"})
    server.status(second, "awaiting-input")
    respond(server, second)
    server.status(second, "running")
    third = server.start("line", {"file": "three"})
    respond(server, first)
    assert [server.run(run)["status"] for run in (first, second, third)] == ["pending", "running", "pending"]
    assert server.get("/v1/runs", status="pending")["total"] == 2
    ready(server, "two")
    assert server.ended(second)["status"] == "done"
    server.status(first, "running")
    assert server.run(third)["status"] == "pending", "the first came before it"
    ready(server, "one")
    assert server.ended(first)["status"] == "done"
    server.status(third, "awaiting-input")
    assert server.route(first) == ["ask", "bake"]
    types = [frame["type"] for frame in server.frames(first)]
    assert types.count("waiting_for_input") == 1 and types[-1] == "result"


def test_a_paused_run_lets_others_go(server: Server) -> None:
    first, second = server.start("bake", {"file": "a"}), server.start("bake", {"file": "b"})
    server.status(first, "running")
    assert server.post(first, "pause")["status"] == "running"
    assert server.run(second)["status"] == "pending", "a step of the first still runs"
    ready(server, "a")
    server.status(second, "running")
    assert server.run(first)["status"] == "paused"
    assert server.post(first, "resume", status=202)["status"] == "pending"
    assert server.run(first)["status"] == "pending"
    ready(server, "b")
    for run in (first, second):
        assert server.ended(run)["status"] == "done" and server.route(run) == ["bake", "cool"]


def test_a_pending_run_is_parked_and_goes_on_from_there(start_server: Start) -> None:
    server = start_server(offered=OFFERED)
    holder, parked, passer, stopped = (server.start("bake", {"file": name}) for name in ("one", "two", "three", "four"))
    server.status(holder, "running")
    for run in (parked, stopped):
        assert server.post(run, "pause")["status"] == "paused"
        again = server.call("POST", f"/v1/runs/{run}/pause")
        assert again.status_code == 409 and "cannot pause from state 'paused'" in again.json()["detail"]
    assert server.post(stopped, "cancel")["status"] == "cancelled"
    assert [frame["type"] for frame in server.frames(stopped)][-1] == "result"
    server.kill()
    server = start_server(offered={})
    ready(server, "one")
    assert server.ended(holder)["status"] == "done"
    server.status(passer, "running")
    assert server.run(parked)["status"] == "paused"
    assert server.post(parked, "resume", status=202) == {"run_id": parked, "status": "pending"}
    assert server.run(parked)["status"] == "pending"
    ready(server, "three")
    server.status(parked, "running")
    ready(server, "two")
    assert server.ended(parked)["status"] == "done" and server.route(parked) == ["bake", "cool"]
    types = [frame["type"] for frame in server.frames(parked)]
    assert types.index("run_paused") < types.index("checkpoint") and types.count("result") == 2


def test_a_fork_waits_for_its_place(server: Server) -> None:
    ready(server, "x")
    source = server.start("line", {"file": "x"})
    server.status(source, "awaiting-input")
    respond(server, source)
    server.ended(source)
    holder = server.start("line", {"file": "y"})
    server.status(holder, "awaiting-input")
    respond(server, holder)
    server.status(holder, "running")
    fork = server.fork(source, 0)
    assert server.run(fork)["status"] == "pending"
    ready(server, "y")
    assert server.ended(fork)["status"] == "done" and server.route(fork) == ["ask", "bake"]


def test_queued_runs_of_a_dag_are_parked_alike(start_server: Start) -> None:
    server = start_server(offered={})
    text = DAG.format(folder=server.folder)
    assert server.call("POST", "/api/v2/dags", {"name": "bread", "spec": text}).status_code in (200, 201)
    for run in ("one", "two", "three"):
        answer = server.call("POST", "/api/v2/dags/bread/enqueue", {"dagRunId": run, "params": f"FILE={run}"})
        assert answer.status_code == 200, answer.text
    server.status("one", "running")
    assert server.post("two", "pause")["status"] == "paused"
    ready(server, "one")
    server.status("three", "running")
    queue = server.get("/api/v2/queues")["queues"][0]
    assert (queue["runningCount"], queue["queuedCount"]) == (1, 0)
    server.post("two", "resume", status=202)
    shown = wait(lambda: server.get("/api/v2/dag-runs/bread/two")["dagRunDetails"], lambda one: one["statusLabel"] == "queued")
    assert "waits in queue bread" in shown["waitingFor"]
    ready(server, "three")
    server.status("two", "running")
    ready(server, "two")
    assert server.ended("two")["status"] == "done"
