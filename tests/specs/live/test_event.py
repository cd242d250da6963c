"""What happens to runs, told as it happens: in order, each once, resumable anywhere."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.served import Server
from tests.specs.http.conftest import server, start_server
from tests.specs.live.stream import Frame, frames, take, text_of

__all__ = ["server", "start_server"]
pytestmark = pytest.mark.net

PLAIN = "steps:\n  - name: one\n    type: noop\n  - name: two\n    command: exit 3\n  - name: three\n    type: noop\n"
GATE = "steps:\n  - name: gate\n    type: hitl\n"
ABOVE = "steps:\n  - name: calls\n    call: below\n---\nname: below\nsteps:\n  - name: inner\n    command: echo hello\n"
HAPPENED = [
    ("run.created", "queued"), ("run.started", "running"), ("step.started", "running"), ("step.ended", "succeeded"),
    ("step.started", "running"), ("step.ended", "failed"), ("step.ended", "aborted"), ("run.ended", "failed"),
]  # fmt: skip


def told(found: list[Frame]) -> list[tuple[str, str]]:
    """Types and labels, without what not every run has."""
    kept = [frame.data for frame in found if frame.event != "end"]
    return [
        (data["type"], data["statusLabel"].replace("not_started", "queued")) for data in kept if data["type"] != "run.prepared"
    ]


def all_of(server: Server, path: str, last: str = "", **params: Any) -> list[Frame]:
    return list(frames(server, path, last, **params))


def test_a_run_from_its_beginning_to_its_end(server: Server) -> None:
    server.add("plain.yaml", PLAIN)
    run = server.start("plain")
    found = all_of(server, f"/dag-runs/plain/{run}/events")
    assert told(found) == HAPPENED
    assert found[-1].event == "end" and found[-1].data == {"status": 2, "statusLabel": "failed"}
    assert {frame.data["run"]["dagRunId"] for frame in found[:-1]} == {run}
    failed = next(frame.data for frame in found if frame.data.get("statusLabel") == "failed")
    assert failed["step"] == "two" and failed["exitCode"] == 3 and "exit code 3" in failed["error"]


def test_a_client_may_go_on_after_any_frame(server: Server) -> None:
    server.add("plain.yaml", PLAIN)
    run = server.start("plain")
    path = f"/dag-runs/plain/{run}/events"
    whole = all_of(server, path)[:-1]
    assert len({frame.id for frame in whole}) == len(whole)
    for number in range(1, len(whole)):
        rest = all_of(server, path, whole[number - 1].id)
        assert rest[:-1] == whole[number:], f"after {whole[number - 1].id}"
    assert all_of(server, path, after=whole[2].id)[:-1] == whole[3:]
    assert all_of(server, path, whole[-1].id) == [], "204: nothing more will come"


def test_all_runs_with_filters(server: Server) -> None:
    server.add("above.yaml", ABOVE)
    server.add("other.yaml", "steps: [echo a]\n")
    everything: list[Frame] = []
    ended = threading.Event()

    def watch() -> None:
        for frame in frames(server, "/events", type="run.ended,step"):
            everything.append(frame)
            if frame.data["type"] == "run.ended" and frame.data["run"]["name"] == "other":
                break
        ended.set()

    head = take(frames(server, "/events", **{"after": "0"}), 1)[0].id
    reader = threading.Thread(target=watch)
    reader.start()
    run = server.start("above")
    server.ended("above", run)
    while not ended.is_set():
        server.ended("other", server.start("other"))
    reader.join()
    types = {frame.data["type"].partition(".")[0] for frame in everything} | {"step"}
    assert types == {"run", "step"} and all(frame.data["type"] not in ("run.started", "run.created") for frame in everything)
    below = take(frames(server, "/events", head, dagRunId=run, type="run.ended"), 2)
    assert [frame.data["run"]["name"] for frame in below] == ["below", "above"]
    assert {frame.data["run"]["rootDAGRunId"] for frame in below} == {run}
    only = take(frames(server, "/events", head, name="below", type="step.ended"), 1)
    assert only[0].data["step"] == "inner"


def test_it_goes_on_after_the_end_when_asked(server: Server) -> None:
    server.add("plain.yaml", PLAIN)
    run = server.start("plain")
    server.ended("plain", run)
    found: list[Frame] = []
    for frame in frames(server, f"/dag-runs/plain/{run}/events", follow="true", type="run"):
        found.append(frame)
        if frame.data["type"] == "run.ended" and not any(one.data["type"] == "run.retried" for one in found):
            assert server.call("POST", f"/dag-runs/plain/{run}/retry", {"dagRunId": run}).status_code == 200
        elif frame.data["type"] == "run.ended":
            break
    retried = next(frame.data for frame in found if frame.data["type"] == "run.retried")
    assert retried["attempt"] == 2


def test_a_question_to_people(server: Server) -> None:
    server.add("gate.yaml", GATE)
    run = server.start("gate")
    seen = []
    for frame in frames(server, f"/dag-runs/gate/{run}/events", type="step"):
        if frame.event == "end":
            break
        seen.append((frame.data["type"], frame.data["status"]))
        if frame.data["type"] == "step.waiting":
            assert server.call("POST", f"/dag-runs/gate/{run}/steps/gate/approve", {}).status_code == 200
    assert seen == [("step.started", 1), ("step.waiting", 7), ("step.answered", 7), ("step.ended", 4)]


def test_the_runs_own_log(server: Server) -> None:
    server.add("plain.yaml", PLAIN)
    run = server.start("plain")
    path = f"/dag-runs/plain/{run}/log"
    whole = list(frames(server, path + "/stream"))
    assert text_of(whole).rstrip("\n") == server.get(path)["content"]
    assert text_of(list(frames(server, path + "/stream", whole[2].id))) == text_of(whole[3:])


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/events?after=nonsense", 400, "id of a frame"),
        ("/events?after=999999999", 400, "the log ends at"),
        ("/dag-runs/plain/none/events", 404, "no run"),
        ("/dag-runs/plain/latest/events?follow=perhaps", 400, "true or false"),
        ("/dag-runs/plain/latest/steps/none/log/stream", 404, "no step"),
        ("/dag-runs/plain/latest/steps/one/log/stream?after=x", 400, "byte offset"),
        ("/dag-runs/plain/latest/steps/one/log/stream?stream=both", 400, "stdout or stderr"),
    ],
)
def test_refusals(server: Server, path: str, status: int, word: str) -> None:
    server.add("plain.yaml", PLAIN)
    server.ended("plain", server.start("plain"))
    bare, _, asked = path.partition("?")
    answer = server.call("GET", bare, **dict([asked.split("=")] if asked else []))
    assert answer.status_code == status
    assert word in answer.json()["message"]


@pytest.mark.all
def test_streams_end_with_the_server_and_go_on_with_the_next(start_server: Callable[..., Server]) -> None:
    first = start_server()
    first.add("plain.yaml", PLAIN)
    source = frames(first, "/events", **{"after": "0"})
    first.ended("plain", first.start("plain"))
    found = [next(source)]
    assert first.signal() == 0
    found += list(source)
    second = start_server()
    rest = (
        take(frames(second, "/events", found[-1].id), len(HAPPENED) - len(told(found)))
        if len(told(found)) < len(HAPPENED)
        else []
    )
    assert told(found + rest) == HAPPENED
