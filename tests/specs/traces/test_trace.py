"""Runs as OpenTelemetry spans, as a collector gets them: what they say, where they lie, and that they delay nothing."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from astrarium.errors import Invalid
from astrarium.spec.dag import compile_dag
from astrarium.surfaces.dags.work.trace import check
from tests.served import Server
from tests.specs.cli.room import Room, until
from tests.specs.http.conftest import server, start_server
from tests.specs.traces.receiver import GrpcReceiver, Receiver, attributes

__all__ = ["server", "start_server"]
pytestmark = pytest.mark.net

OK, ERROR = 1, 2
"""Status codes of OTLP."""
PLACE = 'echo "$TRACEPARENT"'
NOBODY = "http://127.0.0.1:1"
"""A collector that is not there."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def otel(endpoint: str, **more: Any) -> str:
    """The block as a line of YAML; JSON is YAML."""
    return f"otel: {json.dumps({'enabled': True, 'endpoint': endpoint, **more})}\n"


def log(server: Server, name: str, run: str, step: str) -> str:
    return str(server.get(f"/dag-runs/{name}/{run}/steps/{step}/log")["content"]).strip()


def place(span: Any) -> str:
    """A span in the form of `TRACEPARENT`."""
    return f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"


def notes(span: Any) -> list[tuple[str, dict[str, str]]]:
    return [(event.name, attributes(event.attributes)) for event in span.events]


def links(span: Any) -> list[tuple[bytes, bytes]]:
    return [(link.trace_id, link.span_id) for link in span.links]


def milliseconds(span: Any) -> tuple[int, int]:
    return span.start_time_unix_nano // 1_000_000, span.end_time_unix_nano // 1_000_000


def told(shown: dict[str, Any]) -> tuple[int, int]:
    """When a run or step began and ended by the API, in milliseconds since 1970."""
    began, ended = (datetime.fromisoformat(shown[name]) for name in ("startedAt", "finishedAt"))
    return round(began.timestamp() * 1000), round(ended.timestamp() * 1000)


def test_a_run_with_its_steps_below(server: Server, receiver: Receiver) -> None:
    steps = f"steps:\n  - name: plain-one\n    command: {PLACE}\n  - name: plain-two\n    type: noop\n"
    server.add("plain.yaml", otel(receiver.url, resource={"service.name": "nightly", "team": 7}) + steps)
    run = server.start("plain")
    shown = server.ended("plain", run)
    top = receiver.run("plain", run)
    one, two = receiver.spans["plain-one"], receiver.spans["plain-two"]
    assert top.trace_id.hex() == run.replace("-", ""), "a trace is found by its run's id"
    assert {one.trace_id, two.trace_id} == {top.trace_id}
    assert top.parent_span_id == b"" and one.parent_span_id == two.parent_span_id == top.span_id
    assert len({top.span_id, one.span_id, two.span_id}) == 3
    assert attributes(top.attributes) == {
        "dag.name": "plain", "dag.run.id": run, "dag.run.attempt": "1", "dag.run.trigger": "manual", "dag.run.outcome": "succeeded",
    }  # fmt: skip
    shared = {"dag.name": "plain", "dag.run.id": run, "dag.step.outcome": "succeeded"}
    assert attributes(one.attributes) == {
        **shared, "dag.step.name": "plain-one", "dag.step.type": "shell", "process.exit.code": "0",
    }  # fmt: skip
    assert attributes(two.attributes) == {**shared, "dag.step.name": "plain-two", "dag.step.type": "noop"}
    assert [(span.status.code, span.status.message) for span in (top, one, two)] == [(OK, "")] * 3
    assert milliseconds(top) == told(shown)
    assert [milliseconds(span) for span in (one, two)] == [told(node) for node in shown["nodes"]]
    assert one.start_time_unix_nano < one.end_time_unix_nano <= two.start_time_unix_nano
    resource = receiver.resources[-1]
    assert (resource["service.name"], resource["team"]) == ("nightly", "7")
    assert log(server, "plain", run, "plain-one") == place(one), "what the process starts falls below its step"


def test_tries_are_events_of_their_step(server: Server, receiver: Receiver, tmp_path: Path) -> None:
    command = f"if [ -e {tmp_path}/second ]; then exit 0; fi; touch {tmp_path}/second; exit 7"
    steps = f"steps:\n  - name: twice\n    command: {command}\n    retryPolicy: {{limit: 2, intervalSec: 0}}\n"
    server.add("tries.yaml", otel(receiver.url) + steps)
    run = server.start("tries")
    assert receiver.run("tries", run).status.code == OK
    span = receiver.spans["twice"]
    assert notes(span) == [("try", {"number": "1"}), ("retry", {"error": "exit code 7"}), ("try", {"number": "2"})]
    times = [span.start_time_unix_nano, *(event.time_unix_nano for event in span.events), span.end_time_unix_nano]
    assert times == sorted(times) and times[0] == times[1]
    assert (span.status.code, attributes(span.attributes)["process.exit.code"]) == (OK, "0")


def test_a_question_and_its_answer_are_events(server: Server, receiver: Receiver) -> None:
    server.add("asks.yaml", otel(receiver.url) + "steps:\n  - name: gate\n    type: hitl\n    config: {prompt: go on?}\n")
    run = server.start("asks")
    server.until("asks", run, lambda found: found["nodes"][0]["status"] == 7)
    assert server.call("POST", f"/dag-runs/asks/{run}/steps/gate/approve", {}).status_code == 200
    receiver.run("asks", run)
    found = notes(receiver.spans["gate"])
    assert [name for name, _ in found] == ["try", "waiting", "approved"]
    assert [attributes for _, attributes in found[1:]] == [{"prompt": "go on?"}, {"by": "local"}]


def test_a_run_that_fails(server: Server, receiver: Receiver) -> None:
    steps = """steps:
  - {name: bad-tolerated, command: exit 4, continueOn: {failure: true}}
  - {name: bad, command: exit 3}
  - {name: never, command: echo never}
"""
    server.add("fails.yaml", otel(receiver.url) + steps)
    run = server.start("fails")
    top = receiver.run("fails", run)
    assert (top.status.code, attributes(top.attributes)["dag.run.outcome"]) == (ERROR, "failed")
    for name, code in (("bad-tolerated", 4), ("bad", 3)):
        span = receiver.spans[name]
        assert (span.status.code, span.status.message) == (ERROR, f"exit code {code}")
        known = attributes(span.attributes)
        assert (known["dag.step.outcome"], known["process.exit.code"]) == ("failed", str(code))
    assert "never" not in receiver.spans, "what never began has no span"


def test_a_run_that_is_stopped(server: Server, receiver: Receiver) -> None:
    server.add("stops.yaml", otel(receiver.url) + "steps:\n  - {name: long, command: sleep 60}\n")
    run = server.start("stops")
    server.until("stops", run, lambda found: found["nodes"][0]["status"] == 1)
    assert server.call("POST", f"/dag-runs/stops/{run}/stop", {}).status_code == 200
    top = receiver.run("stops", run)
    assert (top.status.code, attributes(top.attributes)["dag.run.outcome"]) == (ERROR, "cancelled")
    assert (receiver.spans["long"].status.code, receiver.spans["long"].parent_span_id) == (ERROR, top.span_id)


def test_a_sub_run_lies_below_the_step_that_called_it(server: Server, receiver: Receiver, tmp_path: Path) -> None:
    block = otel(receiver.url)
    inner = f"  - name: inner\n    command: {PLACE}; [ -e {tmp_path}/go ]\n"
    server.add("above.yaml", f"{block}steps:\n  - {{name: calls, call: below}}\n---\nname: below\n{block}steps:\n{inner}")
    run = server.start("above")
    top = receiver.run("above", run)
    calls, below, inside = (receiver.spans[name] for name in ("calls", "below", "inner"))
    assert {span.trace_id.hex() for span in (top, calls, below, inside)} == {run.replace("-", "")}
    assert [span.parent_span_id for span in (top, calls, below, inside)] == [b"", top.span_id, calls.span_id, below.span_id]
    sub = server.get(f"/dag-runs/above/{run}/sub-dag-runs")["subRuns"][0]["dagRunId"]
    known = attributes(below.attributes)
    assert (known["dag.name"], known["dag.run.id"], known["dag.run.trigger"]) == ("below", sub, "child")
    assert calls.start_time_unix_nano <= below.start_time_unix_nano <= below.end_time_unix_nano <= calls.end_time_unix_nano
    assert {span.status.code for span in (top, calls, below, inside)} == {ERROR}
    # A retry of the upper run is one of the lower, below the new span of the step.
    (tmp_path / "go").touch()
    assert server.call("POST", f"/dag-runs/above/{run}/retry", {"dagRunId": run}).status_code == 200
    again = receiver.run("above", run, attempt=2)
    calls2, below2, inside2 = (receiver.spans[name] for name in ("calls", "below", "inner"))
    assert [span.parent_span_id for span in (calls2, below2, inside2)] == [again.span_id, calls2.span_id, below2.span_id]
    assert (links(again), links(below2)) == ([(top.trace_id, top.span_id)], [(below.trace_id, below.span_id)])
    assert {span.status.code for span in (again, calls2, below2, inside2)} == {OK}


def test_a_retry_is_linked_to_the_attempt_before(server: Server, receiver: Receiver, tmp_path: Path) -> None:
    steps = f"steps:\n  - {{name: kept, type: noop}}\n  - name: mended\n    command: {PLACE}; [ -e {tmp_path}/go ]\n"
    server.add("again.yaml", otel(receiver.url) + steps)
    run = server.start("again")
    first = receiver.run("again", run)
    kept, mended = receiver.spans["kept"], receiver.spans["mended"]
    assert links(first) == []
    (tmp_path / "go").touch()
    assert server.call("POST", f"/dag-runs/again/{run}/retry", {"dagRunId": run}).status_code == 200
    second = receiver.run("again", run, attempt=2)
    assert second.trace_id == first.trace_id and second.span_id != first.span_id
    assert links(second) == [(first.trace_id, first.span_id)]
    assert (first.status.code, second.status.code) == (ERROR, OK)
    assert second.start_time_unix_nano >= first.end_time_unix_nano
    new = receiver.spans["mended"]
    assert new.span_id != mended.span_id and new.parent_span_id == second.span_id
    assert log(server, "again", run, "mended") == place(new)
    assert receiver.seen[kept.span_id] == 1, "a step that is not run again is not told again"
    # A run of its own that repeats this one has its own trace, linked to what it repeats.
    answer = server.call("POST", f"/dag-runs/again/{run}/reschedule", {"dagRunId": "mine"})
    assert answer.status_code == 200, answer.text
    third = receiver.run("again", "mine")
    assert third.trace_id != second.trace_id and links(third) == [(second.trace_id, second.span_id)]


def test_headers_name_variables_of_the_run(server: Server, receiver: Receiver) -> None:
    asked = {"Authorization": "Bearer ${TOKEN}", "X-Who": "${WHO} in ${DAG_NAME}", "X-Run": "${DAG_RUN_ID}"}
    block = otel("${COLLECTOR}/v1/traces", headers=asked, resource={"service.name": "for-${WHO}"})
    own = f"env: [TOKEN: abc, COLLECTOR: '{receiver.url}']\nparams: WHO=nobody\nsteps: [echo a]\n"
    server.add("headers.yaml", block + own)
    run = server.start("headers", params="WHO=ann")
    receiver.run("headers", run)
    sent = receiver.headers[-1]
    assert (sent["authorization"], sent["x-who"], sent["x-run"]) == ("Bearer abc", "ann in headers", run)
    assert receiver.resources[-1]["service.name"] == "for-ann"


def test_secrets_are_not_in_it(server: Server, receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("very-secret-4711")
    spec = f"""secrets: [{{name: KEY, provider: file, key: {tmp_path}/key}}]
steps:
  - name: leaks-error
    command: 'echo "$KEY" >&2; exit 1'
    retryPolicy: {{limit: 1, intervalSec: 0}}
    continueOn: {{failure: true}}
  - name: leaks-address
    type: http
    command: GET {NOBODY}/${{KEY}}
    continueOn: {{failure: true}}
  - name: leaks-prompt
    type: hitl
    config: {{prompt: "is it ${{KEY}}?"}}
"""
    block = otel(receiver.url, headers={"x-key": "<${KEY}>"}, resource={"key": "<${KEY}>"})
    server.add("secret.yaml", block + spec)
    run = server.start("secret")
    server.until("secret", run, lambda found: found["nodes"][2]["status"] == 7)
    assert server.call("POST", f"/dag-runs/secret/{run}/steps/leaks-prompt/approve", {}).status_code == 200
    receiver.run("secret", run)
    assert b"4711" not in receiver.raw and "4711" not in str(receiver.headers)
    error, address = (receiver.spans[name].status.message for name in ("leaks-error", "leaks-address"))
    assert error == "exit code 1\n*******" and address.startswith(f"GET {NOBODY}/*******: ")
    assert notes(receiver.spans["leaks-error"])[1] == ("retry", {"error": error})
    assert notes(receiver.spans["leaks-prompt"])[1] == ("waiting", {"prompt": "is it *******?"})


def test_a_dag_without_the_block_is_not_traced(server: Server, receiver: Receiver) -> None:
    server.add("quiet.yaml", f"steps:\n  - name: quiet-step\n    command: {PLACE}\n")
    run = server.start("quiet")
    server.ended("quiet", run)
    server.add("later.yaml", otel(receiver.url) + "steps: [echo a]\n")
    receiver.run("later", server.start("later"))
    assert not {"quiet", "quiet-step"} & set(receiver.spans)
    assert log(server, "quiet", run, "quiet-step") == ""


def test_a_collector_that_is_away_delays_nothing(server: Server, receiver: Receiver) -> None:
    server.add("lost.yaml", otel(NOBODY) + "steps: [echo a]\n")
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections, never answers
        server.add("deaf.yaml", otel(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout="500ms") + "steps: [echo a]\n")
        for name in ("lost", "deaf", "lost"):
            assert server.ended(name, server.start(name))["statusLabel"] == "succeeded"
        server.add("other.yaml", otel(receiver.url) + "steps: [echo a]\n")
        receiver.run("other", server.start("other"))  # nor does another collector wait for it


def test_what_may_not_be_sent_costs_only_itself(server: Server, receiver: Receiver) -> None:
    server.add("backtick.yaml", otel(receiver.url, headers={"x-key": "`echo 4711`"}) + "steps: [echo a]\n")
    server.add("beside.yaml", otel(receiver.url) + "steps: [echo a]\n")
    run = server.start("backtick")
    server.ended("backtick", run)
    receiver.run("beside", server.start("beside"))
    assert "backtick" not in receiver.spans, "no command is run for a trace"
    server.errors.seek(0)
    assert "cannot be traced: `echo 4711` is not run for a trace" in server.errors.read()


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("{enabled: true, endpoint: 'http://localhost:4318', timeout: 500ms, insecure: true}", ""),
        ("{enabled: true}", ""),
        ("{enabled: true, endpoint: '${COLLECTOR}'}", ""),
        ("{enabled: false, endpoint: 'localhost:4317'}", ""),
        ("{enabled: true, color: red}", "unknown key `color`"),
        ("{enabled: perhaps}", "`enabled` must be true or false"),
    ],
)
def test_the_block_is_checked(server: Server, block: str, problem: str) -> None:
    answer = server.call("POST", "/dags/validate", {"spec": f"otel: {block}\nsteps: [echo a]\n"}).json()
    assert answer["valid"] is not bool(problem), answer
    assert problem in "".join(answer["errors"])


def test_an_endpoint_for_grpc_is_valid_where_its_exporter_is(server: Server) -> None:
    answer = server.call("POST", "/dags/validate", {"spec": otel("localhost:4317", insecure=True) + "steps: [echo a]\n"}).json()
    if find_spec("opentelemetry.exporter.otlp.proto.grpc") is not None:
        assert (answer["valid"], answer["errors"]) == (True, [])
    else:
        assert not answer["valid"] and "extra otel" in answer["errors"][0]


@pytest.mark.parametrize(
    ("endpoint", "hidden", "path", "told"),
    [
        ("localhost:4317", {check.GRPC}, "otel.endpoint", "localhost:4317 is one for gRPC"),
        ("http://localhost:4318", {check.GRPC, check.HTTP}, "otel", "not installed"),
        ("http://localhost:4318", {check.GRPC}, "", ""),
        ("$COLLECTOR", {check.GRPC}, "", ""),
    ],
)
def test_what_is_not_installed_is_refused(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, hidden: set[str], path: str, told: str
) -> None:
    monkeypatch.setattr(check, "has_module", lambda name: name not in hidden)
    graph = compile_dag(otel(endpoint) + "steps: [echo a]\n", name="d", file="d.yaml", base_dir="").graph
    if not told:
        check.check_otel(graph)
        return
    with pytest.raises(Invalid, match=told) as caught:
        check.check_otel(graph)
    assert caught.value.problems[0].path == path
    assert "extra" in caught.value.hint and "otel" in caught.value.hint
    off = compile_dag(
        "otel: {enabled: false, endpoint: 'localhost:4317'}\nsteps: [echo a]\n", name="d", file="d.yaml", base_dir=""
    ).graph
    check.check_otel(off)


def test_the_whole_server_by_its_environment(start_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=fleet,team=7")
    monkeypatch.setenv("SERVER_PASSWORD", "very-secret-4711")
    server = start_server()
    block = otel("", headers={"x-own": "<${SERVER_PASSWORD}>"}, resource={"team": "own"})
    server.add("out.yaml", f"otel: {{enabled: false}}\nsteps:\n  - name: out-step\n    command: {PLACE}\n")
    server.add("in.yaml", f"steps:\n  - name: in-step\n    command: {PLACE}\n")
    server.add("own.yaml", block + "steps: [echo a]\n")
    try:
        out = server.start("out")
        server.ended("out", out)
        run = server.start("in")
        assert collector.run("in", run).trace_id.hex() == run.replace("-", "")
        assert log(server, "in", run, "in-step") == place(collector.spans["in-step"])
        assert collector.headers[-1]["x-key"] == "abc"
        assert [collector.resources[-1][name] for name in ("service.name", "team")] == ["fleet", "7"]
        assert not {"out", "out-step"} & set(collector.spans)
        assert log(server, "out", out, "out-step") == ""
        collector.run("own", server.start("own"))
        assert collector.resources[-1]["team"] == "own" and collector.headers[-1]["x-own"].startswith("<")
        assert b"4711" not in collector.raw and "4711" not in str(collector.headers)
    finally:
        collector.close()


@pytest.mark.all
def test_a_run_without_a_server_is_told_before_its_process_ends(tmp_path: Path, receiver: Receiver) -> None:
    room = Room(tmp_path)
    file = room.write(
        "alone.yaml", otel(receiver.url) + f"steps:\n  - name: alone-step\n    command: {PLACE} > {tmp_path}/place\n"
    )
    room.ok("run", str(file))
    top, step = receiver.spans["alone"], receiver.spans["alone-step"]
    assert (step.parent_span_id, top.status.code) == (top.span_id, OK)
    assert (tmp_path / "place").read_text().strip() == place(step)


@pytest.mark.all
def test_what_no_collector_took_is_told_after_a_restart(start_server: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]  # nobody listens there after this
    first = start_server()
    steps = f"steps:\n  - name: late-step\n    command: {PLACE}\n"
    first.add("late.yaml", otel(f"http://127.0.0.1:{port}") + steps)
    runs = [first.start("late") for _ in range(3)]
    for run in runs:
        assert first.ended("late", run)["statusLabel"] == "succeeded"
    assert first.signal() == 0
    began = json.loads((first.folder / "traces.json").read_text())["personal"]
    collector = Receiver(port=port)
    try:
        second = start_server()
        collector.wait(lambda: len(collector.seen) == 6, "two spans of each run")
        assert log(second, "late", "latest", "late-step") in {place(span) for span in collector.spans.values()}
        assert {collector.spans["late"].trace_id.hex()} <= {run.replace("-", "") for run in runs}
        spans = dict(collector.seen)
        # A crash before the server wrote down how far it is: all is told again, and it is the same.
        file = second.folder / "traces.json"
        until(lambda: json.loads(file.read_text()).get("personal", 0) > began, "the place of the export is written down")
        assert second.signal(signal.SIGKILL) == -signal.SIGKILL
        file.write_text(json.dumps({"personal": began}))
        start_server()
        collector.wait(lambda: set(collector.seen.values()) == {2}, "each span a second time")
        assert collector.seen.keys() == spans.keys()
    finally:
        collector.close()


@pytest.mark.all
def test_a_collector_that_is_busy_is_tried_again(server: Server) -> None:
    collector = Receiver(refuse=2)
    server.add("busy.yaml", otel(collector.url) + "steps:\n  - {name: busy-step, type: noop}\n")
    try:
        collector.run("busy", server.start("busy"))
        assert collector.asked == 3 and list(collector.seen.values()) == [1, 1]
    finally:
        collector.close()


@pytest.mark.all
@pytest.mark.skipif(find_spec("opentelemetry.exporter.otlp.proto.grpc") is None, reason="the exporter for gRPC is not installed")
def test_a_collector_over_grpc(start_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    collector = GrpcReceiver()
    assert "://" not in collector.url
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{collector.url}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    server = start_server()
    server.add("bare.yaml", "steps: [echo a]\n")
    block = otel(collector.url, insecure=True, headers={"X-Who": "${WHO}"}, timeout="5s")
    server.add("remote.yaml", block + f"params: WHO=ann\nsteps:\n  - name: remote-step\n    command: {PLACE}\n")
    try:
        run = server.start("remote")
        top = collector.run("remote", run)
        assert top.trace_id.hex() == run.replace("-", "") and top.status.code == OK
        assert log(server, "remote", run, "remote-step") == place(collector.spans["remote-step"])
        assert collector.headers[-1]["x-who"] == "ann"
        collector.run("bare", server.start("bare"))
        assert "x-who" not in collector.headers[-1], "by the server's own variables"
    finally:
        collector.close()
