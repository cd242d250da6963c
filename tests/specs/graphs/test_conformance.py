"""The conformance checklist of the contract (17): each of its 31 points over HTTP and WebSocket against a real server process."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.specs.access.test_sign_in import command
from tests.specs.graphs.conftest import DEADLINE_S, DOCUMENTS, Server

pytestmark = [pytest.mark.all, pytest.mark.net]
Start = Callable[..., Server]


def closing(socket: Any) -> tuple[int, str]:
    """How a socket is closed: (code, reason)."""
    try:
        while True:
            socket.recv(timeout=DEADLINE_S)
    except ConnectionClosed as closed:
        assert closed.rcvd is not None
        return closed.rcvd.code, closed.rcvd.reason


def test_01_inputs_and_params_are_one_thing(server: Server) -> None:
    ended = []
    for name in ("inputs", "params"):
        answer = server.call("POST", "/v1/runs", {"graph_id": "graph:loop", name: {"n": 0}, "colour": "red"})
        assert answer.status_code == 202 and answer.headers["x-ignored-fields"] == "colour"
        server.ended(answer.json()["run_id"])
        ended.append(server.state(answer.json()["run_id"]))
    assert ended[0] == ended[1] == {"n": 3, "phase": "stop", "note": "wrapped"}
    both = {"graph_id": "graph:loop", "inputs": {"n": 0}, "params": {"n": 1}}
    assert server.call("POST", "/v1/runs", both).status_code == 422


def test_02_unknown_graph(server: Server) -> None:
    answer = server.call("POST", "/v1/runs", {"graph_id": "graph:none"})
    assert answer.status_code == 404 and answer.json()["detail"] == "graph 'graph:none' not found"


@pytest.mark.parametrize(("inputs", "where"), [({}, "n"), ({"n": "x"}, "n"), ({"n": True}, "n")])
def test_03_a_seed_that_does_not_fit(server: Server, inputs: dict[str, Any], where: str) -> None:
    for name in ("inputs", "params"):
        answer = server.call("POST", "/v1/runs", {"graph_id": "graph:loop", name: inputs})
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", name, where]
        assert set(answer.json()["detail"][0]) >= {"type", "loc", "msg"}


def test_04_a_key_twice_is_one_execution(server: Server) -> None:
    body = {"graph_id": "graph:loop", "inputs": {"n": 0}}
    first = server.call("POST", "/v1/runs", {**body, "idempotency_key": "once"})
    assert "idempotent-replay" not in first.headers
    run = first.json()["run_id"]
    server.ended(run)
    before = len(server.get(f"/v1/runs/{run}/steps"))
    by_body = server.call("POST", "/v1/runs", {**body, "idempotency_key": "once"})
    by_header = server.call("POST", "/v1/runs", body, headers={"Idempotency-Key": "once"})
    for again in (by_body, by_header):
        assert again.status_code == 202 and again.headers["idempotent-replay"] == "true"
        assert again.json() == {"run_id": run, "status": "done"}
    assert len(server.get(f"/v1/runs/{run}/steps")) == before
    other = server.call("POST", "/v1/runs", {**body, "inputs": {"n": 1}, "idempotency_key": "once"})
    assert other.status_code == 409


def test_05_a_run_is_found_queued_after_an_error_and_after_a_restart(start_server: Start) -> None:
    server = start_server(drain_timeout_s=0.2)
    holder = server.start("single")
    server.status(holder, "running")
    queued = server.start("single")
    assert server.run(queued)["status"] == "pending"
    broken = server.start("broken")
    found = server.ended(broken)
    assert (found["status"], found["error_class"]) == ("error", "ValueError")
    assert "hunter2" not in found["error_cause"]
    server.signal()
    again = start_server()
    assert again.run(broken)["status"] == "error"
    assert again.run(holder)["status"] == "running"
    assert again.run(queued)["status"] == "pending"
    assert again.call("GET", "/v1/runs/nobody").json() == {"detail": "run 'nobody' not found"}


def test_06_the_list_and_its_filters(server: Server) -> None:
    runs = [server.start("echo", {"message": str(number)}) for number in range(5)]
    for run in runs:
        server.ended(run)
    page = server.get("/v1/runs", graph_id="graph:echo", limit=2)
    assert page["total"] == 5 and page["limit"] == 2 and [one["run_id"] for one in page["items"]] == runs[:2:-1]
    seen = [one["run_id"] for one in page["items"]]
    while page["cursor"]:
        page = server.get("/v1/runs", graph_id="graph:echo", limit=2, cursor=page["cursor"])
        seen += [one["run_id"] for one in page["items"]]
    assert seen == runs[::-1]
    assert server.get("/v1/runs", graph_id="graph:echo", limit=2, offset=4)["items"][0]["run_id"] == runs[0]
    moment = server.run(runs[2])["started_at"]
    east = moment.replace("Z", "+00:00")
    assert {one["run_id"] for one in server.get("/v1/runs", graph_id="graph:echo", since=east)["items"]} == set(runs[2:])
    assert {one["run_id"] for one in server.get("/v1/runs", graph_id="graph:echo", until=moment)["items"]} == set(runs[:2])
    assert server.get("/v1/runs", since="2100-01-01T00:00:00-05:00")["total"] == 0
    shifted = re.sub(r"T(\d\d)", lambda found: f"T{(int(found[1]) - 5) % 24:02}", moment.replace("Z", "-05:00"))
    if int(moment[11:13]) >= 5:
        assert server.get("/v1/runs", graph_id="graph:echo", since=shifted)["total"] == 3
    assert server.get("/v1/runs", graph_id="graph:echo", status="done,failed")["total"] == 5
    assert server.get("/v1/runs", graph_id="graph:echo", status="paused")["total"] == 0
    for query in ({"limit": 0}, {"limit": 1001}, {"offset": -1}, {"status": "odd"}, {"since": "yesterday"}, {"cursor": "%%"},
                  {"trigger_source": "moon"}):  # fmt: skip
        assert server.call("GET", "/v1/runs", **query).status_code == 422, query


def test_07_pause_lands_at_a_boundary_and_resume_goes_on(server: Server) -> None:
    run = server.start("slow")
    server.post(run, "pause")
    paused = server.status(run, "paused")
    assert paused["step"] == 0 and paused["finished_at"] is None
    assert server.post(run, "resume", status=202) == {"run_id": run, "status": "pending"}
    assert server.ended(run)["status"] == "done"
    steps = server.get(f"/v1/runs/{run}/steps")
    assert [(step["step"], step["last_node"]) for step in steps] == [(0, "one"), (1, "two"), (2, "three")]
    assert server.call("POST", f"/v1/runs/{run}/resume").status_code == 409


def test_08_cancel_in_each_state_frees_the_slot(server: Server) -> None:
    holding, queued, third = (server.start("single") for _ in range(3))
    server.status(holding, "running")
    assert server.post(queued, "cancel")["status"] == "cancelled"
    assert server.post(holding, "cancel", {"grace_seconds": 0})["status"] == "cancelled"
    server.status(third, "running")
    server.post(third, "cancel", {"grace_seconds": 0})
    waiting = server.start("ask")
    server.status(waiting, "awaiting-input")
    assert server.post(waiting, "cancel")["status"] == "cancelled"
    running = server.start("slow")
    assert server.post(running, "cancel")["status"] == "cancelled"
    ended = server.until(running, lambda found: found["finished_at"] is not None)
    assert (ended["status"], ended["step"]) == ("cancelled", 0) and server.state(running)["note"] == "one", (
        "the step ended by itself"
    )
    paused = server.start("slow")
    server.post(paused, "pause")
    server.status(paused, "paused")
    assert server.post(paused, "cancel")["status"] == "cancelled"
    for over in (holding, waiting, queued, running, paused):
        told = server.call("POST", f"/v1/runs/{over}/cancel")
        assert told.status_code == 409 and told.json()["detail"].startswith(
            "cannot cancel from state 'cancelled'; valid states are"
        )
    assert server.call("POST", "/v1/runs/nobody/cancel").status_code == 404


def test_09_respond(server: Server) -> None:
    run = server.start("ask")
    asked = server.status(run, "awaiting-input")["awaiting"]
    assert asked["prompt"] == "Shall it be baked?" and asked["requested_capability"] == "promotion:approve"
    assert server.call("POST", f"/v1/runs/{run}/respond", {"response": ["yes"]}).json()["detail"][0]["type"] == "dict_type"
    assert server.call("POST", f"/v1/runs/{run}/respond", {"response": {"decision": "perhaps"}}).status_code == 422
    assert server.call("POST", f"/v1/runs/{run}/pause").status_code == 409
    server.post(run, "respond", {"response": {"decision": "yes"}, "actor": "baker"})
    assert server.ended(run)["status"] == "done"
    assert server.state(run) == {"decision": "yes", "note": "baked"} and server.route(run) == ["ask", "bake"]
    assert server.call("POST", f"/v1/runs/{run}/respond", {"response": {"decision": "no"}}).status_code == 409
    fact = next(frame["fact"] for frame in server.frames(run) if frame["type"] == "bosun_audit")
    assert fact["kind"] == "respond" and fact["actor"] == "baker"
    assert fact["body_hash"] == hashlib.sha256(b'{"decision":"yes"}').hexdigest()
    other = server.start("slow")
    assert server.call("POST", f"/v1/runs/{other}/respond", {"response": {}}).status_code == 409


def test_10_nobody_answers(server: Server) -> None:
    found = server.ended(server.start("expire"))
    assert (found["status"], found["error_class"]) == ("failed", "interrupt_timeout")
    assert [frame["on_timeout"] for frame in server.frames(found["run_id"]) if frame["type"] == "interrupt_timeout"] == ["halt"]
    found, state = server.did("expire-goto")
    assert found["status"] == "done" and state["note"] == "late" and server.route(found["run_id"]) == ["ask", "late"]


def test_11_a_counterfactual_runs_and_leaves_its_parent_alone(server: Server) -> None:
    run = server.start("loop", {"n": 0})
    server.ended(run)
    before = (server.run(run), server.get(f"/v1/runs/{run}/steps"), server.frames(run))
    told = server.post(
        run, "counterfactual", {"step": 1, "mutation": {"state_overrides": {"phase": "stop"}}, "reason": "why not"}
    )
    assert re.fullmatch(r"cf-[0-9a-f-]{36}", told["run_id"]) and told["parent_run_id"] == run and told["status"] == "pending"
    child = server.ended(told["run_id"])
    assert (
        child["parent_run_id"] == run
        and child["reason"] == "why not"
        and server.route(told["run_id"]) == ["bump", "bump", "wrap"]
    )
    canonical = b'{"state_overrides":{"phase":"stop"}}'
    derived = hashlib.sha256(b"stargraph-cf-v1\0" + before[0]["graph_hash"].encode() + b"\0" + canonical).hexdigest()
    assert child["graph_hash"] == derived == told["derived_hash"]
    assert (server.run(run), server.get(f"/v1/runs/{run}/steps"), server.frames(run)) == before
    diff = server.get(f"/v1/runs/{run}/diff", against=told["run_id"])
    assert min(step["step"] for step in diff["steps"]) == 1 and diff["routes"]["cf"] == ["bump", "bump", "wrap"]
    assert diff["final_state_diff"] and diff["derived_hash"] == derived
    overridden = server.fork(run, 0, node_output_overrides={"bump": {"n": 9, "phase": "stop"}})
    server.ended(overridden)
    assert server.state(overridden)["n"] == 9
    assert [one["run_id"] for one in server.get("/v1/runs", parent_run_id=run)["items"]] == [overridden, told["run_id"]]
    missing = server.call("POST", f"/v1/runs/{run}/counterfactual", {"step": 99})
    assert missing.status_code == 409 and missing.json()["reason"] == "missing-step"
    assert server.call("POST", "/v1/runs/nobody/counterfactual", {"step": 0}).status_code == 404
    assert server.call("POST", f"/v1/runs/{run}/counterfactual", {"step": 0, "mutation": {"odd": 1}}).status_code == 422
    again = server.fork(told["run_id"], 1, state_overrides={"phase": "more"})
    assert server.ended(again)["status"] == "done", "a fork of a fork"


def test_12_forks_are_limited(start_server: Start) -> None:
    server = start_server(offered={"echo.yaml": DOCUMENTS["echo.yaml"]})
    statuses = [server.call("POST", "/v1/runs/nobody/counterfactual", {"step": 0}) for _ in range(11)]
    assert [one.status_code for one in statuses] == [404] * 10 + [429]
    assert (
        statuses[-1].json() == {"detail": "counterfactual_rate_limit_exceeded"} and int(statuses[-1].headers["retry-after"]) >= 1
    )


def test_13_rate_headers_on_every_answer(start_server: Start) -> None:
    server = start_server(offered={}, rate_limit="standard", rate_limit_requests=5, rate_limit_burst=5)
    answers = [server.call("GET", path) for path in ("/v1/graphs", "/v1/runs", "/v1/runs/nobody")]
    answers += [server.call("GET", "/v1/runs", limit=0), server.call("GET", "/v1/graphs"), server.call("GET", "/v1/graphs")]
    assert [one.status_code for one in answers] == [200, 200, 404, 422, 200, 429]
    assert answers[-1].json() == {"detail": "rate_limit_exceeded"} and int(answers[-1].headers["retry-after"]) >= 1
    for one in answers:
        assert one.headers["x-ratelimit-limit"] == "5" and int(one.headers["x-ratelimit-reset"]) > time.time() - 5
    assert server.call("GET", "/health").status_code == 200


def test_14_a_server_error_is_redacted(server: Server) -> None:
    answer = server.call("GET", "/v1/runs/explode")
    assert answer.status_code == 500 and answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"detail", "error_id"} and answer.json()["detail"] == "internal_error"
    assert "hunter2" not in answer.text
    assert server.call("GET", "/v1/nothing").json() == {"detail": "Not Found"}
    assert server.call("PATCH", "/v1/runs").status_code == 405


PASSWORD = "correct-horse-battery"
GATED = (
    ("POST", "/v1/runs", {"graph_id": "graph:echo"}, "runs:start"),
    ("POST", "/v1/runs/nobody/cancel", None, "runs:cancel"),
    ("POST", "/v1/runs/nobody/pause", None, "runs:pause"),
    ("POST", "/v1/runs/nobody/resume", None, "runs:resume"),
    ("POST", "/v1/runs/nobody/respond", {"response": {}}, "runs:respond"),
    ("POST", "/v1/runs/nobody/counterfactual", {"step": 0}, "counterfactual:run"),
    ("GET", "/v1/runs", None, "runs:read"), ("GET", "/v1/runs/nobody", None, "runs:read"),
    ("GET", "/v1/graphs", None, "runs:read"), ("GET", "/v1/registry/tools", None, "runs:read"),
    ("GET", "/v1/runs/nobody/artifacts", None, "artifacts:read"), ("GET", "/v1/artifacts/none", None, "artifacts:read"),
)  # fmt: skip


def test_15_under_cleared_a_missing_capability_is_403_and_recorded(start_server: Start) -> None:
    offered = {"echo.yaml": DOCUMENTS["echo.yaml"]}
    server = start_server(
        offered=offered, auth="builtin", admin_password=PASSWORD, server_profile="cleared", trusted_proxies="127.0.0.1"
    )  # fmt: skip
    assert server.call("GET", "/v1/runs").status_code == 401 and "www-authenticate" in server.call("GET", "/v1/runs").headers
    token = server.call("POST", "/api/v2/auth/login", {"username": "admin", "password": PASSWORD}).json()["token"]
    signed = {"authorization": f"Bearer {token}"}
    team = server.call("POST", "/api/v1/ui/workspaces", {"name": "bakers", "slug": "bakers"}, headers=signed).json()
    place = f"/api/v1/ui/workspaces/{team['id']}/environments"
    first = server.call("GET", place, headers=signed).json()[0]["id"]
    made = server.call("POST", f"{place}/{first}/api-keys", {"name": "meter", "role": "metrics"}, headers=signed)
    assert made.status_code == 201, made.text
    weak = {"authorization": f"Bearer {made.json()['key']}"}
    for method, path, body, capability in GATED:
        answer = server.call(method, path, body, headers=weak)
        assert answer.status_code == 403, (path, answer.text)
        assert answer.json()["detail"] == f"capability '{capability}' not granted under cleared profile"
    with pytest.raises(Exception, match="403"):
        server.connect("nobody", weak)
    with sqlite3.connect(server.folder / "astrarium.db") as store:
        denied = [json.loads(detail) for (detail,) in store.execute("SELECT detail FROM audit WHERE act LIKE '%denied%'")]
    assert len(denied) == len(GATED) + 1, "the socket too"
    assert {one["needs"] for one in denied} == {capability for *_, capability in GATED}


def test_16_a_certificate_named_by_a_stranger_counts_for_nothing(start_server: Start) -> None:
    server = start_server(auth="builtin", admin_password=PASSWORD, offered={})
    forged = {"X-Forwarded-Client-Cert": 'Subject="CN=admin"', "X-Forwarded-User": "admin"}
    assert server.call("GET", "/v1/runs", headers=forged).status_code == 401


def test_17_frames_cursors_and_how_a_stream_ends(server: Server) -> None:
    run = server.start("loop", {"n": 0})
    server.ended(run)
    frames = server.frames(run)
    assert [frame["seq"] for frame in frames] == list(range(len(frames)))
    assert len({frame["event_id"] for frame in frames}) == len(frames)
    assert all({"type", "run_id", "step", "branch_id", "ts", "payload", "offset"} <= set(frame) for frame in frames)
    assert frames[-1]["type"] == "result" and frames[-1]["status"] == "done"
    assert server.events(run) == frames
    at = frames[3]
    forms = [f"{at['event_id']},{at['offset']},{at['seq']}", f"{run}:{at['step']}:1", at["event_id"]]
    assert at["step"] == 1 and frames[2]["step"] == 1
    for cursor in forms:
        assert server.frames(run, {"Last-Event-Id": cursor}) == frames[4:], cursor
        assert server.frames(run, last_event_id=cursor) == frames[4:]
        assert server.events(run, **{"Last-Event-ID": cursor}) == frames[4:]
    assert server.frames(run, {"Last-Event-Id": f"x,0,{len(frames) + 9}"}) == []
    with server.connect(run) as socket:
        assert closing(socket) == (1000, "run finished")
    for wrong, reason in (
        ("nonsense", "malformed last_event_id: 'nonsense'"), ("other,0,3", "cursor mismatch"),
        ("run-x:0:0", f"last_event_id run_id mismatch: cursor='run-x' path='{run}'"),
    ):  # fmt: skip
        with server.connect(run, {"Last-Event-Id": wrong}) as socket:
            assert closing(socket) == (1008, reason)
    with server.connect("nobody") as socket:
        assert closing(socket) == (1008, "run 'nobody' not found")


def test_17_live_frames_come_as_they_happen_and_all_of_them(server: Server) -> None:
    run = server.start("ask")
    with server.connect(run) as socket:
        first = json.loads(socket.recv(timeout=DEADLINE_S))
        assert first["type"] == "waiting_for_input" and first["requested_capability"] == "promotion:approve"
        server.post(run, "respond", {"response": {"decision": "no"}})
        rest = [json.loads(text) for text in socket]
    assert [first, *rest] == server.frames(run)
    assert {frame["type"] for frame in rest} == {"bosun_audit", "transition", "checkpoint", "result"}


@pytest.mark.parametrize(("graph", "inputs"), [("calc", {"expression": "6*7"}), ("fan-all", {}), ("broken", {})])
def test_17_every_frame_is_a_place_to_go_on_from(server: Server, graph: str, inputs: dict[str, Any]) -> None:
    run = server.start(graph, inputs)
    server.ended(run)
    frames = server.frames(run)
    for number, frame in enumerate(frames):
        cursor = f"{frame['event_id']},{frame['offset']},{frame['seq']}"
        assert server.events(run, **{"Last-Event-ID": cursor}) == frames[number + 1 :], frame
        assert server.events(run, **{"Last-Event-ID": frame["event_id"]}) == frames[number + 1 :], frame
    if graph == "calc":
        told = [(frame["type"], frame["offset"] > 0) for frame in frames[:2]]
        assert told == [("tool_call", True), ("tool_result", True)]
        assert frames[0]["tool_name"] == "calculator" and frames[0]["args"] == inputs and frames[1]["ok"] is True


def test_17_a_run_of_a_dag_comes_through_the_same_door(start_server: Start) -> None:
    dag = "steps:\n  - {name: a, command: echo one, output: A}\n  - {name: b, command: 'echo ${A} two', output: B, depends: a}\n"
    server = start_server(offered={"../dags/pair.yaml": dag})
    run = server.call("POST", "/api/v2/dags/pair/start", {}).json()["dagRunId"]
    found = server.ended(run)
    assert (found["status"], found["surface"], found["graph_id"]) == ("done", "dags", "pair")
    frames = server.frames(run)
    assert [frame["type"] for frame in frames] == ["step_started", "step_ended"] * 2 + ["result"]
    assert frames[-1]["final_state"] == {"outputs": {"a": "one", "b": "one two"}}
    fork = server.post(run, "counterfactual", {"step": "b", "outputs": {"a": "eins"}})["run_id"]
    assert server.ended(fork)["parent_run_id"] == run
    assert server.frames(fork)[-1]["final_state"]["outputs"]["b"] == "eins two"
    assert server.get(f"/v1/runs/{run}/diff", against=fork)["steps"]
    assert server.call("POST", f"/v1/runs/{run}/cancel").status_code == 409


@pytest.mark.all
def test_17_a_slow_client_is_cut_off_and_continues(start_server: Start) -> None:
    server = start_server(
        offered={name: DOCUMENTS[name] for name in ("talk.yaml", "bakery.py")}, stream_queue=2, stream_slow_s=0.2
    )
    big = "x" * 2000
    run = server.start("talk", {"n": 0})
    server.ended(run)
    del big
    with server.connect(run) as socket:
        socket.socket.setsockopt(1, 8, 4096)  # SO_RCVBUF
        whole = server.frames(run)
        assert len(whole) > 600
        time.sleep(1.0)
        seen: list[dict[str, Any]] = []
        try:
            while True:
                seen.append(json.loads(socket.recv(timeout=DEADLINE_S)))
        except ConnectionClosed as closed:
            assert closed.rcvd is not None and closed.rcvd.code in (1000, 1011)
    last = seen[-1]
    assert seen == whole[: len(seen)]
    assert server.frames(run, {"Last-Event-Id": f"{last['event_id']},0,{last['seq']}"}) == whole[len(seen) :]


def test_18_ties_between_rules(server: Server) -> None:
    found, _ = server.did("ties", {"case": "c"})
    assert found["status"] == "done" and server.route(found["run_id"]) == ["salience", "recency", "order", "precedence"]


def test_19_all_seven_actions(server: Server) -> None:
    run = server.start("actions")
    server.status(run, "awaiting-input")
    server.post(run, "respond", {"response": {"ok": True}})
    assert server.ended(run)["status"] == "done"
    state = server.state(run)
    assert state == {"n": 3, "left": "l", "right": "r", "ok": True}
    kinds = [step["next_action"]["kind"] for step in server.get(f"/v1/runs/{run}/steps") if step["next_action"]]
    assert {"goto", "retry", "parallel", "interrupt", "halt"} <= set(kinds)
    facts = [len(step["clips_facts"]) for step in server.get(f"/v1/runs/{run}/steps")]
    assert max(facts) == 1 and facts[-1] == 0, "asserted, then retracted"


@pytest.mark.parametrize(("how", "wrote"), [("all", "abc"), ("any", "a"), ("race", "a"), ("quorum", "ab")])
def test_20_branches_and_their_join(server: Server, how: str, wrote: str) -> None:
    found, state = server.did(f"fan-{how}")
    assert found["status"] == "done" and state["note"] == "joined"
    assert "".join(name for name in "abc" if state[name]) == wrote
    frames = server.frames(found["run_id"])
    begun = [frame["target"] for frame in frames if frame["type"] == "branch_started"]
    assert begun == ["left", "right", "late"]
    ended = [frame for frame in frames if frame["type"] in ("branch_completed", "branch_cancelled")]
    assert len(ended) == 3 and {frame["step"] for frame in ended} == {1}


def test_20_branches_that_clash(server: Server) -> None:
    found = server.ended(server.start("clash"))
    assert found["status"] == "error" and found["error_class"] == "merge_conflict"


def test_21_subgraphs_and_the_most_steps(server: Server) -> None:
    found, state = server.did("outer")
    assert found["status"] == "done" and state["n"] == 3 and state["note"] == "end"
    endless = server.ended(server.start("forever"))
    assert (endless["status"], endless["error_class"]) == ("failed", "max_steps")
    assert server.frames(endless["run_id"])[-2]["scope"] == "runtime"


def test_22_a_tool_needs_its_permission(server: Server) -> None:
    _, state = server.did("calc", {"expression": "2*21"})
    assert "42" in state["note"]
    refused = server.ended(server.start("shell"))
    assert refused["status"] == "failed" and refused["error_class"] == "capability_denied"
    frames = server.frames(refused["run_id"])
    facts = [frame["fact"] for frame in frames if frame["type"] == "bosun_audit"]
    told = {"kind": "capability_denied", "subject_kind": "tool", "subject": "std.shell@1", "permissions": ["tools:std:shell"]}
    assert told in facts and "tool_call" not in [frame["type"] for frame in frames], "it was never called"
    assert "error" in [frame["type"] for frame in frames] and frames[-1]["type"] == "result"


def test_23_packs_act(server: Server) -> None:
    retried, state = server.did("retries")
    assert retried["status"] == "done" and state["note"] == "try 3"
    exhausted = server.ended(server.start("exhausted"))
    assert (exhausted["status"], exhausted["error_class"]) == ("failed", "retry_exhausted")
    audited = server.ended(server.start("audited"))["run_id"]
    facts = [frame["fact"]["kind"] for frame in server.frames(audited) if frame.get("pack_id") == "stargraph.bosun.audit"]
    assert facts == ["node_run", "transition"]
    for graph, said in (("budget", "11 of 10 tokens are used"), ("spending", "1.01 of 1.00 cost are used")):
        budget = server.ended(server.start(graph))
        assert (budget["status"], budget["error_class"]) == ("failed", "budget_exhausted")
        assert budget["error_cause"] == f"stargraph.bosun.budgets: {said}"


@pytest.mark.parametrize(("who", "status"), [("anna", "done"), ("anna@example.org", "done"), ("078-05-1120", "failed")])
def test_23_packs_watch_what_people_say(server: Server, who: str, status: str) -> None:
    """Packs of one's own, and whose signatures count: `test_packs`."""
    run = server.start("private")
    server.status(run, "awaiting-input")
    server.post(run, "respond", {"response": {"who": who}})
    assert server.ended(run)["status"] == status
    frames = server.frames(run)
    kinds = [frame["fact"]["severity"] for frame in frames if frame.get("pack_id") == "stargraph.bosun.safety_pii"]
    assert kinds == {"anna": [], "anna@example.org": ["warn"], "078-05-1120": ["halt"]}[who]
    assert not any(who in str(frame.get("fact")) for frame in frames if who != "anna")


@pytest.mark.all
def test_23_a_pack_whose_signature_does_not_hold(start_server: Start, tmp_path: Path) -> None:
    pack = "stargraph.bosun.retries"
    graph = DOCUMENTS["echo.yaml"] + f"governance: [{{id: {pack}}}]\n"
    offered = {"echo.yaml": graph, f"packs/{pack}/manifest.yaml": f'id: {pack}\nversion: "1.0"\n', f"packs/{pack}/rules.clp": ""}
    server = start_server(offered=offered)
    assert [one["graph_id"] for one in server.get("/v1/graphs")] == ["graph:echo"], "a warning where signatures are not demanded"
    server.signal()
    strict = start_server(
        "strict", offered=offered, auth="builtin", admin_password=PASSWORD, server_profile="cleared", trusted_proxies="127.0.0.1",
        graphs=str(tmp_path / "strict" / "graphs" / "echo.yaml"),
    )  # fmt: skip
    assert strict.client is None and strict.process.stdout is not None
    assert "sidecar-unreadable" in strict.process.stdout.read()


@pytest.mark.all
def test_24_the_audit_chain_tells_of_tampering(start_server: Start) -> None:
    server = start_server(offered={name: DOCUMENTS[name] for name in ("ask.yaml", "bakery.py")})
    run = server.start("ask")
    server.status(run, "awaiting-input")
    server.post(run, "respond", {"response": {"decision": "yes"}})
    server.ended(run)
    server.signal()
    assert command(server.folder, "audit", "verify").returncode == 0
    told = command(server.folder, "audit", "list", "--act", "run.respond").stdout
    assert "body_hash" in told or "run.respond" in told
    with sqlite3.connect(server.folder / "astrarium.db") as store:
        store.execute("UPDATE audit SET detail = replace(detail, 'body_hash', 'body_hush') WHERE act = 'run.respond'")
    assert command(server.folder, "audit", "verify").returncode != 0


def test_25_artifacts(start_server: Start) -> None:
    server = start_server(offered={name: DOCUMENTS[name] for name in ("artifact.yaml", "bakery.py")})
    found, state = server.did("artifact", {"text": "# Rye\n"})
    run = found["run_id"]
    assert server.call("GET", "/v1/runs/nobody/artifacts").status_code == 404
    (artifact,) = server.get(f"/v1/runs/{run}/artifacts")
    assert artifact["name"] == "report.md" and artifact["run_id"] == run and artifact["step"] == 0
    assert artifact["artifact_id"] == artifact["content_hash"][:32] == state["artifact_ref"]["artifact_id"]
    path = f"/v1/artifacts/{artifact['artifact_id']}"
    got = server.call("GET", path)
    assert got.content == b"# Rye\n" and got.headers["content-type"].startswith("text/markdown")
    assert got.headers["etag"] == f'"{artifact["content_hash"]}"' and got.headers["x-content-type-options"] == "nosniff"
    assert "report.md" in got.headers["content-disposition"] and got.headers["content-length"] == "6"
    assert server.call("GET", path, headers={"If-None-Match": got.headers["etag"]}).status_code == 304
    part = server.call("GET", path, headers={"Range": "bytes=2-4"})
    assert part.status_code == 206 and part.content == b"Rye"
    assert server.call("GET", "/v1/artifacts/none").json() == {"detail": "artifact 'none' not found"}
    server.signal()
    again = start_server(offered={})
    assert again.call("GET", path).content == b"# Rye\n"


PLUGIN = """
from astrarium.runs.ports import ToolSpec
class Weigh:
    spec = ToolSpec(name="weigh", namespace="shop", version="1", description="Weighs.", input_schema={"type": "object"})
    async def call(self, args, ctx):
        return {"grams": 7}
TOOL = Weigh()
SKILL = {"name": "knead", "namespace": "shop", "description": "Kneads.", "tools": ["shop.weigh@1"]}
STORE = {"name": "pantry", "provider": "memory", "protocol": "doc"}
"""
ENTRY_POINTS = (
    "[astrarium.tools]\nweigh = shop_plugin:TOOL\n[astrarium.skills]\nknead = shop_plugin:SKILL\n"
    "[astrarium.stores]\npantry = shop_plugin:STORE\n"
)
TOOL_KEYS = {
    "name", "namespace", "version", "description", "input_schema", "output_schema", "side_effects", "replay_policy", "permissions",
    "idempotency_key", "cost_estimate", "examples", "tags", "deprecated",
}  # fmt: skip


def test_26_the_registry_and_a_plugin_in_it(start_server: Start, tmp_path: Path) -> None:
    site = tmp_path / "site"
    info = site / "shop_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "shop_plugin.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    server = start_server(offered={}, env={"PYTHONPATH": str(site)})
    tools = {f"{one['namespace']}.{one['name']}@{one['version']}": one for one in server.get("/v1/registry/tools")}
    assert {"shop.weigh@1", "std.calculator@1"} <= set(tools) and all(set(one) == TOOL_KEYS for one in tools.values())
    assert [one["name"] for one in server.get("/v1/registry/skills")] == ["knead"]
    (store,) = server.get("/v1/registry/stores")
    assert store["capabilities"] == ["db.pantry:read", "db.pantry:write"]
    odd = server.call("GET", "/v1/registry/spoons")
    assert odd.status_code == 404 and odd.json()["detail"] == "unknown registry kind: 'spoons'"


@pytest.mark.parametrize(("before", "after"), [
    ("kind: passthrough}\n  - {id: second", "kind: echo}\n  - {id: second"),
    ("id: second, kind: passthrough", 'id: second, kind: "bakery:give", config: {message: x}'),
    ("id: first", "id: premier"), ("state_schema: {message: str}", "state_schema: {message: str, more: {type: int, default: 1}}"),
])  # fmt: skip
def test_27_the_hash_covers_behaviour(start_server: Start, before: str, after: str) -> None:
    text = DOCUMENTS["echo.yaml"]
    assert before in text
    other = text.replace(before, after).replace("graph:echo", "graph:other")
    same = text.replace("graph:echo", "graph:other")
    server = start_server(offered={"a.yaml": other, "bakery.py": DOCUMENTS["bakery.py"]})
    changed = server.get("/v1/graphs")[0]
    server.graphs.joinpath("a.yaml").write_text(same + "# a remark changes nothing\n")
    end = time.monotonic() + DEADLINE_S
    while (now := server.get("/v1/graphs")[0])["graph_hash"] == changed["graph_hash"]:
        assert time.monotonic() < end, "the changed file was not read"
        time.sleep(0.05)
    assert re.fullmatch(r"[0-9a-f]{64}", now["graph_hash"]) and now["node_count"] == 2
    server.graphs.joinpath("a.yaml").write_text("id: [\n")
    while not (wrong := server.get("/v1/graphs/problems")):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert wrong[0]["file"] == "a.yaml" and server.get("/v1/graphs") == [now], "what was offered stays"


TRIGGERS = """
version: 1
webhook:
  - {id: orders, path: /hooks/orders, graph_id: "graph:echo", current_secret_env: NEW_SECRET, previous_secret_env: OLD_SECRET}
cron:
  - {id: nightly, expr: "* * * * *", tz: Europe/Paris, graph_id: "graph:echo", params: {message: tick}}
"""


def signed(secret: str, body: bytes, at: int) -> dict[str, str]:
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Stargraph-Signature": digest, "X-Stargraph-Timestamp": str(at)}


def hooked(start_server: Start) -> Server:
    offered = {"echo.yaml": DOCUMENTS["echo.yaml"], "../triggers.yaml": TRIGGERS}
    return start_server(offered=offered, env={"NEW_SECRET": "new", "OLD_SECRET": "old"})


def test_28_the_webhook_gauntlet(start_server: Start) -> None:
    server = hooked(start_server)
    body, now = b'{"message": "an order"}', int(time.time())

    def call(headers: dict[str, str], data: bytes = body) -> tuple[int, Any]:
        assert server.client is not None
        answer = server.client.post("/hooks/orders", content=data, headers=headers)
        return answer.status_code, answer.json().get("detail", answer.json())

    good = signed("new", body, now)
    assert call({}) == (401, "missing_headers")
    assert call({**good, "X-Stargraph-Timestamp": "soon"}) == (401, "invalid_timestamp")
    assert call(signed("new", body, now - 400)) == (401, "timestamp_out_of_window")
    assert call(signed("guess", body, now)) == (401, "invalid_signature")
    assert call(signed("new", b"[1]", now), b"[1]") == (400, "body_not_json_object")
    assert call(signed("new", b"{", now), b"{")[1].startswith("invalid_body_json")
    status, accepted = call(good)
    assert status == 200 and accepted["accepted"] is True and len(accepted["idempotency_key"]) == 64
    assert call(good) == (409, "duplicate_nonce")
    assert call(signed("old", body, now + 1))[0] == 200, "the secret before it; the same order begins nothing new"
    (run,) = server.get("/v1/runs", trigger_source="webhook")["items"]
    assert server.ended(run["run_id"])["trigger_source"] == "webhook" and server.state(run["run_id"]) == {"message": "an order"}
    server.signal()
    assert "webhook_signature_invalid" in command(server.folder, "audit", "list", "--act", "webhook_signature_invalid").stdout


@pytest.mark.all
def test_28_cron_catches_up_once(start_server: Start) -> None:
    server = hooked(start_server)
    server.signal()
    slot = (
        sqlite3.connect(server.folder / "astrarium.db")
        .execute("SELECT not_before FROM jobs WHERE kind = 'fire_graph'")
        .fetchone()[0]
    )
    time.sleep(max(0.0, slot / 1e6 - time.time()) + 1)
    again = hooked(start_server)
    end = time.monotonic() + DEADLINE_S
    while not (found := again.get("/v1/runs", trigger_source="cron")["items"]):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert len(found) == 1 and again.ended(found[0]["run_id"])["graph_id"] == "graph:echo"


@pytest.mark.crash
def test_29_a_killed_server_loses_and_repeats_nothing(start_server: Start) -> None:
    server = start_server()
    running, asking, paused, done = (
        server.start("journal"),
        server.start("ask"),
        server.start("slow"),
        server.start("loop", {"n": 0}),
    )
    server.post(paused, "pause")
    server.status(asking, "awaiting-input")
    server.status(paused, "paused")
    server.ended(done)
    fork = server.fork(done, 0)
    refork = server.fork(fork, 0)
    server.ended(refork)
    server.until(running, lambda found: (found["step"] or 0) >= 1)
    server.kill()
    again = start_server()
    assert again.ended(running)["status"] == "done"
    steps = [(step["step"], step["last_node"]) for step in again.get(f"/v1/runs/{running}/steps")]
    assert steps == [(0, "a"), (1, "b"), (2, "c"), (3, "d")] and again.state(running) == {"n": 4}
    lines = (again.folder / "journal.txt").read_text().split("\n")
    assert lines.count(f"{lines[0]}") == 1 and len(lines) <= 6, "at most the step under way ran again"
    assert again.run(paused)["status"] == "paused" and again.run(asking)["status"] == "awaiting-input"
    again.post(asking, "respond", {"response": {"decision": "no"}})
    assert again.ended(asking)["status"] == "done"
    again.post(paused, "resume", status=202)
    assert again.ended(paused)["status"] == "done"
    assert again.run(refork)["parent_run_id"] == fork and again.run(fork)["parent_run_id"] == done
    assert again.state(refork) == again.state(done)


@pytest.mark.all
def test_30_a_stop_is_bounded_and_what_ran_goes_on(start_server: Start) -> None:
    server = start_server(drain_timeout_s=0.2)
    asking, running = server.start("ask"), server.start("fan-quorum")
    server.status(asking, "awaiting-input")
    with server.connect(asking) as socket:
        socket.recv(timeout=DEADLINE_S)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert closing(socket) == (1001, "server draining")
    assert server.process.wait(DEADLINE_S) == 0 and time.monotonic() - began < 15
    again = start_server()
    assert again.run(asking)["status"] == "awaiting-input"
    assert again.run(running)["status"] in ("running", "done")


def test_31_health_and_metrics(server: Server) -> None:
    told = server.get("/health")
    assert (
        told["status"] == "healthy"
        and told["components"]["store"] == "healthy"
        and told["components"]["artifact_store"] == "healthy"
    )
    server.ended(server.start("echo", {"message": "x"}))
    assert server.client is not None
    text = server.client.get("/metrics").text
    assert re.search(r'^astrarium_graph_runs_total\{status="done"\} [1-9]', text, re.MULTILINE)
    assert 'astrarium_graph_runs{status="awaiting-input"}' in text
