"""Python code of graphs that changes while a server offers them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Server

pytestmark = [pytest.mark.all, pytest.mark.net]
Start = Callable[..., Server]
SHELF = 'def before(state):\n    return {{"said": "{v}"}}\n\n\ndef after(state):\n    return {{"said": state["said"] + " then {v}"}}\n'
GRAPH = """
ir_version: "1.1.0"
id: "graph:g"
state_schema: {said: {type: str, default: ""}, answer: {type: str, default: ""}}
nodes:
  - {id: before, kind: "shelf:before"}
  - {id: ask, kind: interrupt, config: {prompt: "Well?"}}
  - {id: after, kind: "shelf:after"}
"""


def respond(server: Server, run: str) -> str:
    """Answer, and what the run came to say."""
    assert server.call("POST", f"/v1/runs/{run}/respond", {"response": {"answer": "x"}}).status_code == 200
    server.ended(run)
    return str(server.state(run)["said"])


def test_new_runs_have_the_new_code_and_those_that_began_their_own(start_server: Start) -> None:
    offered = {"g.yaml": GRAPH, "shelf.py": SHELF.format(v="one")}
    server = start_server(offered=offered)
    early, late = server.start("g"), server.start("g")
    for run in (early, late):
        server.status(run, "awaiting-input")
    (server.graphs / "shelf.py").write_text(SHELF.format(v="three"))
    new = server.start("g")
    server.status(new, "awaiting-input")
    assert respond(server, new) == "three then three"
    assert respond(server, early) == "one then one"
    server.close()

    server = start_server(offered={**offered, "shelf.py": SHELF.format(v="three")})
    assert server.call("POST", f"/v1/runs/{late}/respond", {"response": {"answer": "x"}}).status_code == 200
    found = server.ended(late)
    assert (found["status"], found["error_class"]) == ("failed", "graph-hash-mismatch"), "what it began with is not kept"
    refused = server.call("POST", f"/v1/runs/{late}/resume", {})
    assert (refused.status_code, refused.json()["reason"]) == (409, "graph-hash-mismatch")
    pair = {name: refused.json()[name] for name in ("expected_hash", "actual_hash")}
    migrate = f"migrate: [{{from_hash: {pair['expected_hash']}, to_hash: {pair['actual_hash']}}}]\n"
    (server.graphs / "g.yaml").write_text(GRAPH + migrate)
    assert server.call("POST", f"/v1/runs/{late}/resume", {}).status_code == 202
    assert server.ended(late)["status"] == "done"
    assert server.state(late)["said"] == "one then three", "the graph says that it takes the place of what it was"
