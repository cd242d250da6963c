"""Orders that make no sense, in every state: each gets the contract's status and code, and nothing is written to the log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.net

FILES = {
    "done.yaml": "steps:\n  - name: a\n    command: echo a\n",
    "ask.yaml": "steps:\n  - name: before\n    type: noop\n  - name: sign\n    type: hitl\n"
    "    config: {prompt: ok?, input: [WHO], required: [WHO]}\n",
    "line.yaml": "maxActiveRuns: 1\nsteps:\n  - name: hold\n    command: sleep 600\n"
    "  - name: sign\n    type: hitl\n    config: {prompt: ok?}\n",
    "held.yaml": "steps:\n  - name: long\n    command: sleep 600\n",
    "fixed.yaml": "runConfig: {disableParamEdit: true, disableRunIdEdit: true}\nsteps: [echo a]\n",
    "parent.yaml": "steps:\n  - name: call\n    call: done\n",
    "broken.yaml": "steps:\n  - command: echo\n    depend: b\n",
}
GOOD = "steps: [echo a]\n"
DONE, ASK, HELD, QUEUED = "/dag-runs/done/one", "/dag-runs/ask/one", "/dag-runs/held/one", "/dag-runs/line/second"
NOBODY = "/dag-runs/done/nobody"

Case = tuple[str, str, Any, int, str]
UNKNOWN: list[Case] = [
    *((method, f"/dags/nowhere{rest}", body, 404, "not_found") for method, rest, body in (
        ("GET", "", None), ("DELETE", "", None), ("GET", "/spec", None), ("PUT", "/spec", {"spec": GOOD}), ("POST", "/start", {}),
        ("POST", "/enqueue", {}), ("GET", "/dag-runs", None), ("GET", "/dag-runs/one", None), ("POST", "/suspend", {"suspend": True}),
        ("POST", "/rename", {"newFileName": "x"}), ("POST", "/stop-all", None),
    )),
    *((method, f"{run}{rest}", body, 404, "not_found") for run in (NOBODY, "/dag-runs/nowhere/one", "/dag-runs/nowhere/latest")
      for method, rest, body in (
        ("GET", "", None), ("GET", "/spec", None), ("GET", "/log", None), ("GET", "/outputs", None), ("GET", "/sub-dag-runs", None),
        ("POST", "/stop", None), ("POST", "/retry", {"dagRunId": "nobody"}), ("POST", "/fork", {}),
        ("POST", "/reschedule", {}), ("GET", "/dequeue", None),
    )),
    *((method, f"{DONE}/steps/nothing{rest}", body, 404, "not_found") for method, rest, body in (
        ("GET", "/log", None), ("PATCH", "/status", {"status": 4}), ("POST", "/approve", {}), ("POST", "/reject", {}),
    )),
    *((method, f"/dag-runs/parent/one/sub-dag-runs/nobody{rest}", body, 404, "not_found") for method, rest, body in (
        ("GET", "", None), ("GET", "/log", None), ("GET", "/steps/a/log", None), ("PATCH", "/steps/a/status", {"status": 4}),
        ("POST", "/steps/a/approve", {}), ("POST", "/steps/a/reject", {}),
    )),
    ("GET", "/dags/done/dag-runs/nobody", None, 404, "not_found"),
    ("GET", "/dag-runs/parent/one/sub-dag-runs?parentSubDAGRunId=nobody", None, 404, "not_found"),
    ("POST", f"{DONE}/retry", {"dagRunId": "one", "stepName": "nothing"}, 404, "not_found"),
    ("POST", f"{DONE}/fork", {"stepName": "nothing"}, 404, "not_found"),
    ("POST", f"{DONE}/fork", {"outputs": {"nothing": "x"}}, 404, "not_found"),
]  # fmt: skip
WRONG_STATE: list[Case] = [
    ("POST", f"{DONE}/stop", None, 400, "not_running"),
    ("POST", f"{DONE}/steps/a/approve", {}, 400, "bad_request"),
    ("POST", f"{DONE}/steps/a/reject", {}, 400, "bad_request"),
    ("GET", f"{DONE}/dequeue", None, 400, "bad_request"),
    ("GET", f"{HELD}/dequeue", None, 400, "bad_request"),
    ("POST", f"{HELD}/retry", {"dagRunId": "one"}, 409, "already_running"),
    ("PATCH", f"{HELD}/steps/long/status", {"status": 4}, 400, "bad_request"),
    ("POST", f"{HELD}/steps/long/approve", {}, 400, "bad_request"),
    ("POST", f"{ASK}/steps/before/approve", {}, 400, "bad_request"),
    ("POST", f"{ASK}/steps/sign/approve", {}, 400, "bad_request"),
    ("POST", f"{ASK}/steps/sign/approve", {"inputs": {"OTHER": "x"}}, 400, "bad_request"),
    ("GET", f"{ASK}/dequeue", None, 400, "bad_request"),
    ("POST", f"{QUEUED}/retry", {"dagRunId": "second"}, 409, "already_running"),
    ("POST", f"{QUEUED}/steps/sign/approve", {}, 400, "bad_request"),
    ("PATCH", f"{QUEUED}/steps/sign/status", {"status": 4}, 400, "bad_request"),
    ("POST", "/dags/held/start", {"singleton": True}, 409, "already_running"),
    ("POST", "/dags/line/start", {}, 409, "already_running"),
    ("POST", "/dags/done/start", {"dagRunId": "one"}, 409, "already_exists"),
    ("POST", "/dags/done/enqueue", {"dagRunId": "one"}, 409, "already_exists"),
    ("POST", "/dag-runs", {"spec": GOOD, "name": "done", "dagRunId": "one"}, 409, "already_exists"),
    ("POST", "/dag-runs/enqueue", {"spec": GOOD, "name": "done", "dagRunId": "one"}, 409, "already_exists"),
    ("POST", f"{DONE}/retry", {"dagRunId": "two"}, 409, "already_exists"),
    ("POST", f"{DONE}/fork", {"dagRunId": "two"}, 409, "already_exists"),
    ("POST", f"{DONE}/fork", {"dagRunId": "a b"}, 400, "bad_request"),
    ("POST", f"{DONE}/fork", {"outputs": {"a": 1}}, 400, "bad_request"),
    ("POST", f"{DONE}/reschedule", {"dagRunId": "two"}, 409, "already_exists"),
    ("POST", "/dags", {"name": "done"}, 409, "already_exists"),
    ("POST", "/dags", {"name": "done.yml"}, 409, "already_exists"),
    ("POST", "/dags/done/rename", {"newFileName": "ask"}, 409, "already_exists"),
    ("POST", "/dags/done/rename", {"newFileName": "ask.yml"}, 409, "already_exists"),
    ("POST", "/dags/done/rename", {"newFileName": "done"}, 409, "already_exists"),
    ("POST", "/dags/held/rename", {"newFileName": "other"}, 400, "not_running"),
    ("POST", "/dags/line/rename", {"newFileName": "other"}, 400, "not_running"),
    ("POST", "/dags/fixed/start", {"params": "A=1"}, 403, "forbidden"),
    ("POST", "/dags/fixed/start", {"dagRunId": "mine"}, 403, "forbidden"),
    ("POST", "/dags/broken/start", {}, 400, "bad_request"),
    ("POST", "/dags/broken/enqueue", {}, 400, "bad_request"),
]
WRONG_VALUE: list[Case] = [
    *(("POST", "/dags/done/start", {"dagRunId": name}, 400, "bad_request") for name in ("a b", "latest", "x" * 129, "a/b", ".a")),
    *(("POST", "/dags/done/rename", {"newFileName": name}, 400, "bad_request") for name in ("", "../x", "a b", "x" * 41, ".x", "a/b")),
    *(("PATCH", f"{DONE}/steps/a/status", {"status": number}, 400, "bad_request") for number in (-1, 9, 10**30, "4", None, 4.5)),
    *(("GET", f"/dag-runs?{query}", None, 400, "bad_request") for query in (
        "status=x", "status=9", "status=-1", "fromDate=yesterday", "toDate=1e9", "fromDate=%00",
    )),
    *(("GET", f"{DONE}/log?{query}", None, 400, "bad_request") for query in ("tail=x", "head=-1", "offset=0", "limit=10001")),
    ("GET", f"{DONE}/steps/a/log?stream=stdin", None, 400, "bad_request"),
    ("GET", "/dags/search?q=(", None, 400, "bad_request"),
    ("GET", "/services/resources/history?duration=1d", None, 400, "bad_request"),
    ("GET", "/dags?remoteNode=mars", None, 400, "bad_request"),
    ("POST", "/dags/done/start", {"params": "A=\0"}, 400, "bad_request"),
    ("POST", "/dags/done/start", {"params": {"A": 1}}, 400, "bad_request"),
    ("POST", "/dags/done/start?remoteNode=mars", {}, 400, "bad_request"),
    ("POST", "/dags/done/suspend", {"suspend": "yes"}, 400, "bad_request"),
    ("POST", "/dags/done/suspend", {}, 400, "bad_request"),
    ("POST", "/dag-runs", {"spec": "steps: 3", "name": "x"}, 400, "bad_request"),
    ("POST", "/dag-runs", {"spec": GOOD}, 400, "bad_request"),
    ("POST", "/dag-runs/enqueue", {"spec": GOOD}, 400, "bad_request"),
    ("POST", f"{ASK}/steps/sign/approve", {"inputs": ["WHO"]}, 400, "bad_request"),
    ("POST", f"{DONE}/stop", {"graceSec": "long"}, 400, "bad_request"),
]  # fmt: skip


@pytest.fixture(scope="module")
def stood(server: Any) -> Iterator[Any]:
    """A server with a run in each state."""
    for name, text in FILES.items():
        server.add(name, text)
    for name, run in (("done", "one"), ("done", "two"), ("parent", "one")):
        server.start(name, dagRunId=run)
        assert server.ended(name, run)["status"] == 4
    server.start("held", dagRunId="one")
    server.until("held", "one", lambda found: found["nodes"][0]["status"] == 1)
    server.start("ask", dagRunId="one")
    server.until("ask", "one", lambda found: found["status"] == 7)
    for run in ("first", "second"):
        assert server.call("POST", "/dags/line/enqueue", {"dagRunId": run}).status_code == 200
    server.until("line", "first", lambda found: found["status"] == 1)
    assert server.run("line", "second")["status"] == 5
    yield server
    assert server.call("POST", f"{HELD}/stop").status_code == 200
    assert server.call("POST", "/dags/line/stop-all").status_code == 200


def head(server: Any) -> list[tuple[Any, ...]]:
    """How far the log of every workspace is."""
    with sqlite3.connect(f"file:{server.folder / 'astrarium.db'}?mode=ro", uri=True) as connection:
        return connection.execute("SELECT workspace, position FROM log_heads ORDER BY workspace").fetchall()


@pytest.mark.parametrize("cases", [UNKNOWN, WRONG_STATE, WRONG_VALUE], ids=["unknown", "state", "value"])
def test_what_makes_no_sense_is_refused_and_not_written_down(stood: Any, cases: list[Case]) -> None:
    wrong = []
    for method, path, body, status, code in cases:
        before = head(stood)
        answer = stood.client.request(method, path, json=body) if body is not None else stood.client.request(method, path)
        told = answer.json() if answer.content else {}
        if (answer.status_code, told.get("code")) != (status, code) or not told.get("message"):
            wrong.append(f"{method} {path} {body}: {answer.status_code} {answer.text[:200]}, not {status} {code}")
        if head(stood) != before:
            wrong.append(f"{method} {path} {body}: the log moved")
    assert not wrong, "\n".join(wrong)


def test_the_files_are_as_they_were(stood: Any) -> None:
    assert {path.name: path.read_text() for path in stood.dags.iterdir()} == FILES
