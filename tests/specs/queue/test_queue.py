"""Queues over HTTP: enqueue, list, dequeue, priorities, limits, why a run waits."""

from __future__ import annotations

from typing import Any

import pytest

from tests.specs.queue.conftest import GATE

pytestmark = pytest.mark.net

ASK = "steps:\n  - name: sign\n    type: hitl\n    config: {prompt: 'Ship it?'}\n"
QUICK = "steps:\n  - name: one\n    type: noop\n"


@pytest.fixture(scope="module", autouse=True)
def _files(server: Any) -> None:
    for name in ("first", "second", "third", "fourth", "fifth"):
        server.add(name, GATE)
    for name in ("big", "small"):
        server.add(name, f"queue: heavy\n{GATE}")
    server.add("lamp", f"queue: light\n{GATE}")
    server.add("wide", f"maxActiveRuns: 3\n{GATE}")
    server.add("free", f"maxActiveRuns: -1\n{GATE}")
    server.add("quick", QUICK)


def test_a_queue_of_its_own_runs_one_after_the_other(server: Any) -> None:
    a, b, c = (server.enqueue("first", dagRunId=f"first-{no}") for no in range(3))
    server.running("first", a)
    assert server.in_queue("first") == ([a], [b, c])
    assert server.queue("first")["type"] == "dag-based"
    assert server.queue("first")["maxConcurrency"] == 1
    queued = server.run("first", b)
    assert (queued["status"], queued["statusLabel"], queued["startedAt"]) == (5, "queued", "")
    assert queued["queuedAt"]
    server.open(a)
    server.running("first", b)
    assert server.in_queue("first") == ([b], [c])
    for run in (b, c):
        server.running("first", run)
        server.open(run)
        assert server.ended("first", run)["status"] == 4
    assert server.in_queue("first") == ([], [])


def test_a_global_queue_is_shared_and_does_not_hold_up_others(server: Any) -> None:
    a, b, c = server.enqueue("big"), server.enqueue("small"), server.enqueue("big")
    for name, run in (("big", a), ("small", b)):
        server.running(name, run)
    assert server.in_queue("heavy") == ([a, b], [c])
    found = server.queue("heavy")
    assert (found["type"], found["maxConcurrency"], found["runningCount"], found["queuedCount"]) == ("global", 2, 2, 1)
    other = server.enqueue("lamp")
    server.running("lamp", other)
    server.open(b)
    server.running("big", c)
    for name, run in (("big", a), ("big", c), ("lamp", other)):
        server.open(run)
        server.ended(name, run)


def test_the_sum_of_all_queues(server: Any) -> None:
    a, b = server.enqueue("lamp"), server.enqueue("lamp")
    server.running("lamp", a)
    told = server.get("/queues")
    names = [queue["name"] for queue in told["queues"]]
    assert names == sorted(names) and {"heavy", "light"} <= set(names)
    capacity = sum(queue.get("maxConcurrency", 0) for queue in told["queues"])
    summary = told["summary"]
    assert (summary["totalQueues"], summary["totalRunning"], summary["totalQueued"]) == (len(names), 1, 1)
    assert summary["totalCapacity"] == capacity
    assert summary["utilizationPercentage"] == pytest.approx(100 / capacity, abs=0.01)
    server.post("/dags/lamp/stop-all")
    for run in (a, b):
        assert server.ended("lamp", run)["status"] == 3


def test_higher_priorities_go_first(server: Any) -> None:
    head = server.enqueue("second")
    low, plain, high, number = (server.enqueue("second", priority=one) for one in ("low", "normal", "high", 11))
    assert server.in_queue("second") == ([head], [number, high, plain, low])
    server.post("/dags/second/stop-all")
    for run in (head, low, plain, high, number):
        assert server.ended("second", run)["status"] == 3
    steps = [server.run("second", run)["nodes"][0]["startedAt"] for run in (low, plain, high, number)]
    assert steps == ["-"] * 4, "stop-all let one of those in line begin"


@pytest.mark.parametrize("body", [{"priority": "urgent"}, {"priority": 1001}, {"priority": 1.5}, {"queue": "a b"}, {"queue": 7}])
def test_what_is_no_priority_and_no_queue(server: Any, body: dict[str, Any]) -> None:
    refused = server.call("POST", "/dags/quick/enqueue", body)
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")


def test_why_a_run_waits(server: Any) -> None:
    a, b, c = (server.enqueue("third", dagRunId=f"third-{no}") for no in range(3))
    server.running("third", a)
    listed = {run["dagRunId"]: run.get("waitingFor", "") for run in server.get("/dag-runs/third")["dagRuns"]}
    assert listed == {
        a: "",
        b: "waits in queue third: 1 of 1 place taken by third/third-0; it is next",
        c: "waits in queue third: 1 of 1 place taken by third/third-0; 1 run is before it",
    }
    assert server.run("third", c)["waitingFor"] == listed[c]
    newest = {file["fileName"]: file["latestDAGRun"] for file in server.get("/dags")["dags"]}["third.yaml"]
    assert (newest["dagRunId"], newest["waitingFor"], newest["trigger"]) == (c, listed[c], "manual")
    assert [run["waitingFor"] for run in server.queue("third")["queued"]] == [listed[b], listed[c]]
    server.post("/dags/third/stop-all")
    assert "waitingFor" not in server.ended("third", a)


def test_who_waits_for_a_person_has_no_place(server: Any) -> None:
    server.add("asked", ASK)
    a, b = (server.enqueue("asked", dagRunId=f"asked-{no}") for no in range(2))
    for run in (a, b):
        server.until("asked", run, lambda found: found["status"] == 7)
        assert server.run("asked", run)["waitingFor"] == "waits for a person: step sign asks 'Ship it?'"
    assert server.in_queue("asked") == ([], [])
    for run in (a, b):
        assert server.call("POST", f"/dag-runs/asked/{run}/steps/sign/approve", {}).status_code == 200
        assert server.ended("asked", run)["status"] == 4


def test_a_dequeued_run_is_aborted_and_leaves_the_line(server: Any) -> None:
    a, b, c = (server.enqueue("fourth") for _ in range(3))
    server.running("fourth", a)
    assert server.call("GET", f"/dag-runs/fourth/{b}/dequeue").status_code == 200
    assert server.run("fourth", b)["status"] == 3
    assert server.in_queue("fourth") == ([a], [c])
    assert server.call("POST", f"/dag-runs/fourth/{c}/dequeue").status_code == 200
    for run in (a, b):
        refused = server.call("GET", f"/dag-runs/fourth/{run}/dequeue")
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
    assert server.call("GET", "/dag-runs/fourth/none/dequeue").status_code == 404
    assert server.run("fourth", a)["status"] == 1
    server.open(a)
    assert server.ended("fourth", a)["status"] == 4


def test_a_start_does_not_wait_but_counts(server: Any) -> None:
    a = server.enqueue("fifth")
    b = server.start("fifth")
    c = server.enqueue("fifth")
    server.running("fifth", b)
    assert server.in_queue("fifth") == ([a, b], [c])
    server.open(a)
    server.ended("fifth", a)
    assert server.in_queue("fifth") == ([b], [c])
    server.open(b)
    server.running("fifth", c)
    server.open(c)
    server.ended("fifth", c)


def test_a_negative_limit_is_never_queued_and_a_wide_one_waits_late(server: Any) -> None:
    runs = [server.enqueue("free") for _ in range(4)]
    assert server.in_queue("free") == (runs, [])
    assert "maxConcurrency" not in server.queue("free")
    wide = [server.enqueue("wide") for _ in range(5)]
    assert server.in_queue("wide") == (wide[:3], wide[3:])
    for name in ("free", "wide"):
        assert server.post(f"/dags/{name}/stop-all") == {"errors": []}
    for name, run in [("free", runs[0]), ("wide", wide[4])]:
        assert server.ended(name, run)["status"] == 3


def test_a_changed_limit_holds_for_those_in_line_from_the_next_ask(server: Any) -> None:
    server.add("grows", GATE)
    runs = [server.enqueue("grows") for _ in range(3)]
    server.add("grows", f"maxActiveRuns: 2\n{GATE}")
    runs.append(server.enqueue("grows"))
    server.running("grows", runs[1])
    assert server.in_queue("grows") == (runs[:2], runs[2:])
    assert server.queue("grows")["maxConcurrency"] == 2
    server.add("grows", f"maxActiveRuns: 1\n{GATE}")
    runs.append(server.enqueue("grows"))
    server.open(runs[0])
    server.ended("grows", runs[0])
    assert server.in_queue("grows") == ([runs[1]], runs[2:])
    server.post("/dags/grows/stop-all")


def test_a_singleton_refuses_while_one_is_active_or_queued(server: Any) -> None:
    server.add("only", GATE)
    first = server.enqueue("only", singleton=True)
    server.running("only", first)
    for path in ("/dags/only/enqueue", "/dags/only/start"):
        refused = server.call("POST", path, {"singleton": True})
        assert (refused.status_code, refused.json()["code"]) == (409, "already_running")
    second = server.enqueue("only")
    server.open(first)
    server.ended("only", first)
    server.running("only", second)
    server.post("/dags/only/stop-all")
    server.ended("only", second)
    third = server.enqueue("only", singleton=True, dagRunId="only-3")
    refused = server.call("POST", "/dags/only/enqueue", {"dagRunId": "only-3"})
    assert (refused.status_code, refused.json()["code"]) == (409, "already_exists")
    server.post("/dags/only/stop-all")
    server.ended("only", third)


def test_another_name_and_another_queue(server: Any) -> None:
    run = server.enqueue("quick", dagName="renamed", queue="light", params="A=1")
    found = server.ended("renamed", run)
    assert (found["name"], found["status"]) == ("renamed", 4)
    own = server.enqueue("first", queue="private")
    assert server.in_queue("private") == ([own], [])
    server.post("/dags/first/stop-all")


def test_a_text_goes_through_its_queue(server: Any) -> None:
    body = {"spec": f"name: text\n{QUICK}", "dagRunId": "text-1"}
    assert server.post("/dag-runs/enqueue", body) == {"dagRunId": "text-1"}
    assert server.ended("text", "text-1")["status"] == 4
    taken = server.call("POST", "/dag-runs/enqueue", body)
    assert (taken.status_code, taken.json()["code"]) == (409, "already_exists")
    wrong = server.call("POST", "/dag-runs/enqueue", {"spec": "steps: 7"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "bad_request")


def test_reschedule_makes_a_new_run_of_the_old_definition(server: Any) -> None:
    server.add("twice", "params: WHO=you\nsteps:\n  - name: say\n    command: echo old $WHO\n")
    old = server.start("twice", params="WHO=me")
    server.ended("twice", old)
    server.add("twice", "steps:\n  - name: other\n    command: echo new\n")
    told = server.post(f"/dag-runs/twice/{old}/reschedule", {"dagRunId": "again"})
    assert told == {"dagRunId": "again", "queued": False}
    found = server.ended("twice", "again")
    assert [node["step"]["name"] for node in found["nodes"]] == ["say"]
    assert server.get("/dag-runs/twice/again/steps/say/log")["content"] == "old me"
    taken = server.call("POST", f"/dag-runs/twice/{old}/reschedule", {"dagRunId": "again"})
    assert (taken.status_code, taken.json()["code"]) == (409, "already_exists")
    assert server.call("POST", "/dag-runs/twice/none/reschedule").status_code == 404


def test_reschedule_waits_behind_who_runs(server: Any) -> None:
    server.add("behind", GATE)
    first = server.enqueue("behind")
    server.running("behind", first)
    told = server.post(f"/dag-runs/behind/{first}/reschedule")
    assert told["queued"] is True
    assert server.in_queue("behind") == ([first], [told["dagRunId"]])
    server.post("/dags/behind/stop-all")


def test_stop_all_of_no_file_and_of_nothing(server: Any) -> None:
    assert server.call("POST", "/dags/nothing/stop-all").status_code == 404
    assert server.post("/dags/quick/stop-all") == {"errors": []}


def test_a_retry_takes_its_place_at_once(server: Any) -> None:
    server.add("gone", f"maxActiveRuns: 1\nsteps:\n  - name: bad\n    command: 'false'\n{GATE.removeprefix('steps:')}")
    failed = server.enqueue("gone")
    assert server.ended("gone", failed)["status"] == 2
    server.add("gone", GATE)
    head, queued = server.enqueue("gone"), server.enqueue("gone")
    server.running("gone", head)
    server.post(f"/dag-runs/gone/{failed}/retry", {"dagRunId": failed})
    assert server.ended("gone", failed)["status"] == 2
    assert server.in_queue("gone") == ([head], [queued])
    server.post("/dags/gone/stop-all")
