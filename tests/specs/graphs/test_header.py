"""What headers of requests and answers under `/v1` say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.specs.graphs.conftest import Server

pytestmark = [pytest.mark.net]

ECHO = {"graph_id": "graph:echo", "inputs": {"message": "x"}}


@pytest.mark.parametrize(
    ("body", "named"),
    [({}, None), ({"zip": 1, "zap": None}, "zip, zap"), ({"brötchen": 1}, "br?tchen"), ({"a\r\nset-cookie: b": 1}, None)],
)
def test_ignored_fields_are_named(server: Server, body: dict[str, Any], named: str | None) -> None:
    answer = server.call("POST", "/v1/runs", {**ECHO, **body})
    assert answer.status_code == 202 and answer.headers.get("x-ignored-fields") == named
    assert "set-cookie" not in answer.headers


def test_orders_name_them_too(server: Server) -> None:
    run, _ = server.did("loop", {"n": 0})
    path = f"/v1/runs/{run['run_id']}/counterfactual"
    forked = server.call("POST", path, {"step": 0, "why": "not"})
    assert forked.status_code == 200 and forked.headers["x-ignored-fields"] == "why"
    refused = server.call("POST", path, {"step": 0, "mutation": {"why": "not"}})
    assert refused.status_code == 422 and refused.json()["detail"][0]["type"] == "extra_forbidden"
    asynchronous = server.call("POST", path, {"step": 0}, headers={"Prefer": "wait=5, respond-async"})
    assert asynchronous.status_code == 202 and asynchronous.json()["status"] == "pending"
    paused = server.start("slow")
    server.post(paused, "pause")
    server.status(paused, "paused")
    resumed = server.call("POST", f"/v1/runs/{paused}/resume", {"soon": True})
    assert resumed.status_code == 202 and resumed.headers["x-ignored-fields"] == "soon"


def test_two_keys_that_differ(server: Server) -> None:
    answer = server.call("POST", "/v1/runs", {**ECHO, "idempotency_key": "one"}, headers={"Idempotency-Key": "two"})
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body", "idempotency_key"]


def test_a_body_may_not_be_too_large(server: Server) -> None:
    answer = server.call("POST", "/v1/runs", {**ECHO, "inputs": {"message": "x" * (8 * 1024 * 1024)}})
    assert answer.status_code == 413 and "8,388,608 bytes" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("ask", "kind", "loc"),
    [
        (lambda server: server.call("GET", "/v1/runs", limit="many"), "int_parsing", ["query", "limit"]),
        (lambda server: server.call("GET", "/v1/runs", since="soon"), "datetime_parsing", ["query", "since"]),
        (lambda server: server.call("GET", "/v1/runs", status="odd"), "enum", ["query", "status"]),
        (lambda server: server.call("GET", "/v1/runs", trigger_source="moon"), "enum", ["query", "trigger_source"]),
        (lambda server: server.call("POST", "/v1/runs", {**ECHO, "trigger_source": "moon"}), "enum", ["body", "trigger_source"]),
        (lambda server: server.call("POST", "/v1/runs", {"graph_id": 3}), "string_type", ["body", "graph_id"]),
        (lambda server: server.call("POST", "/v1/runs", [1]), "dict_type", ["body"]),
        (lambda server: server.call("POST", "/v1/runs"), "missing", ["body"]),
        (lambda server: server.call("POST", "/v1/runs/nobody/respond", {}), "missing", ["body", "response"]),
        (lambda server: server.call("POST", "/v1/runs/nobody/resume", {"from_step": "x"}), "int_type", ["body", "from_step"]),
        (
            lambda server: server.call("GET", f"/v1/runs/{server.start('echo', ECHO['inputs'])}/events", last_event_id="nonsense"),
            "value_error", ["header", "Last-Event-Id"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_has_a_type_and_a_place(server: Server, ask: Callable[[Server], Any], kind: str, loc: list[str]) -> None:
    answer = ask(server)
    (wrong,) = answer.json()["detail"]
    assert (answer.status_code, wrong["type"], wrong["loc"]) == (422, kind, loc)
