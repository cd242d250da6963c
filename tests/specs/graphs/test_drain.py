"""A server that was told to stop, and waits for the step under way: it answers, and takes nothing new."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from tests.specs.graphs.conftest import DEADLINE_S, DOCUMENTS, Server

pytestmark = [pytest.mark.net]

HOLD = """
ir_version: "1.1.0"
id: "graph:hold"
state_schema: {note: {type: str, default: ""}}
nodes:
  - {id: hold, kind: "hold:hold"}
  - {id: after, kind: passthrough}
"""
CODE = """
import asyncio
from pathlib import Path

async def hold(state, ctx):
    with Path("began").open("a") as file:
        file.write("x")
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    return {"note": "held"}
"""


def until(good: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not good():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@pytest.mark.all
def test_new_work_is_told_to_come_back_while_the_step_under_way_ends(start_server: Callable[..., Server]) -> None:
    offered = {"hold.yaml": HOLD, "hold.py": CODE, "ask.yaml": DOCUMENTS["ask.yaml"], "bakery.py": DOCUMENTS["bakery.py"]}
    server = start_server(offered=offered, drain_timeout_s=DEADLINE_S)
    asking, run = server.start("ask"), server.start("hold")
    server.status(asking, "awaiting-input")
    until((server.folder / "began").exists, "the step has not begun")
    with server.connect(asking) as socket:
        socket.recv(timeout=DEADLINE_S)
        server.process.send_signal(signal.SIGTERM)
        list(socket)
        assert socket.close_code == 1001 and socket.close_reason == "server draining"
    until(lambda: server.call("GET", "/health").status_code == 503, "the server does not say that it stops")
    orders = (
        ("/v1/runs", {"graph_id": "graph:ask"}),
        (f"/v1/runs/{run}/resume", {}),
        (f"/v1/runs/{run}/counterfactual", {"step": 0}),
    )
    for path, body in orders:
        answer = server.call("POST", path, body)
        assert (answer.status_code, answer.json()) == (503, {"detail": "the server is stopping"}), path
        assert int(answer.headers["retry-after"]) >= 1
    assert server.run(run)["status"] == "running"
    answered = server.post(asking, "respond", {"response": {"decision": "no"}})
    assert answered["status"] == "running", "what is recorded now is carried out by the next server"
    (server.folder / "go").touch()
    assert server.process.wait(DEADLINE_S) == 0
    again = start_server(offered={})
    assert again.ended(run)["status"] == again.ended(asking)["status"] == "done"
    assert again.state(run) == {"note": "held"} and again.route(run) == ["hold", "after"]
    assert (again.folder / "began").read_text() == "x", "the step ran once"
