"""Builds with a registry that speaks `/api/v2`: the order of calls, claims of several builders, lost answers, resume."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import pytest

import astrarium as ar
from astrarium.errors import Conflict, NotFound, Unavailable
from astrarium.sdk.task.alias import AliasTask
from tests.sdk import pipeline
from tests.sdk.pipeline import Held, Interrupts, Sums, breaks, gate, numbers, report, threaded, total
from tests.sdk.plan_server import PlanServer

QUICK = ar.Claim(first_wait_s=0.01, most_wait_s=0.02, give_up_s=20)


@pytest.fixture(autouse=True)
def _fresh(request: pytest.FixtureRequest) -> None:
    if "own_roots" not in request.fixturenames:
        request.getfixturevalue("roots")
    pipeline.RUNS.clear()


@pytest.fixture
def own_roots() -> None:
    """For tests in which the registry says where results lie."""


def chain(limit: int = 4) -> ar.Task[str]:
    return report(value=total(values=numbers(limit=limit)))


def test_a_build_of_three_tasks_makes_twelve_calls(server: PlanServer, tmp_path: Path) -> None:
    """As Stardag 0.28.0 makes them."""
    told = ar.build(chain(), registry=server.registry(tmp_path), mode="sequential", description="three")
    assert server.paths() == [
        "POST /deployments",
        "POST /builds",
        "POST /builds/{}/plans",
        "POST /plans/{}/members",
        "POST /plans/{}/seal",
        *["POST /plans/{}/members/{}/start", "POST /plans/{}/members/{}/complete"] * 3,
        "POST /builds/{}/complete",
    ]
    build = server.builds[str(told.build_id)]
    assert (build["status"], build["description"]) == ("completed", "three")
    start = next(body for _, path, body in server.calls if path.endswith("/start"))
    assert (start["claim"], start["claim_ttl_seconds"], start["executor"]) == (True, 120, "sequential")
    assert set(start["executor_metadata"]) == {"hostname", "pid", "python_version"}


def test_what_is_made_is_told_and_not_started(server: PlanServer, tmp_path: Path) -> None:
    ar.build(chain())
    ar.build(chain(), registry=server.registry(tmp_path))
    assert not [path for path in server.paths() if path.endswith("/start")]
    members = next(body for _, path, body in server.calls if path.endswith("/members"))["items"]
    assert [(one["task_name"], one["observed_complete"], one["declared_upstreams"]) for one in members] == [
        ("report", True, None)
    ]


def test_a_failure_is_reported_and_blocks_what_needs_it(server: PlanServer, tmp_path: Path) -> None:
    task = report(value=breaks(message="boom"))
    with pytest.raises(ar.BuildFailed):
        ar.build(task, registry=server.registry(tmp_path))
    failed = server.tasks[str(breaks(message="boom").id)]
    assert failed["status"] == "failed" and "RuntimeError: boom" in failed["error"] and "Traceback" in failed["error"]
    (build,) = server.builds.values()
    assert build["status"] == "failed" and "boom; 1 downstream blocked" in build["error"]
    assert "POST /builds/{}/skip-blocked" in server.paths()


def test_a_task_that_failed_before_is_tried_again_by_the_next_build(server: PlanServer, tmp_path: Path) -> None:
    registry = server.registry(tmp_path)
    task = numbers(limit=3)
    server.tasks[str(task.id)] = {"task_id": str(task.id), "status": "failed", "execution": None, "until": 0, "body": {}}
    ar.build(task, registry=registry)
    assert server.status(task) == "completed"


def test_tasks_a_body_yields_are_added_to_the_plan(server: PlanServer, tmp_path: Path) -> None:
    ar.build(total(values=numbers(limit=1)))
    ar.build(Sums(count=3), registry=server.registry(tmp_path))
    yields = [body for _, path, body in server.calls if path.endswith("/yield")]
    assert [(len(body["items"]), len(body["yielded"]), body["suspend"]) for body in yields] == [(5, 3, False), (3, 1, False)]
    assert {task["status"] for task in server.tasks.values()} == {"completed"}
    artifacts = server.tasks[str(Sums(count=3).id)]["artifacts"]
    assert [(one["type"], one["name"], one["body"]) for one in artifacts] == [
        ("markdown", "note", {"content": "# done"}),
        ("json", "facts", {"count": 3}),
    ]


def test_of_two_instances_of_a_task_the_plan_has_one(server: PlanServer, tmp_path: Path) -> None:
    """They differ in what does not count for the id: one is made, and what needs either needs that one."""
    tasks = [threaded(value=threaded(threads=threads), threads=1) for threads in (2, 3)]
    assert tasks[0].id == tasks[1].id
    other = total(values=numbers(limit=1))
    ar.build([*tasks, threaded(value=threaded(threads=4), limit=2), other], registry=server.registry(tmp_path))
    members = next(body for _, path, body in server.calls if path.endswith("/members"))["items"]
    named = [one for one in members if one["task_name"] == "threaded"]
    assert len(named) == 3 and [one["declared_upstreams"] for one in named[1:]] == [[named[0]["instance_hash"]]] * 2


def test_members_are_sent_packed_and_in_parts(server: PlanServer, tmp_path: Path) -> None:
    tasks = [numbers(limit=number) for number in range(1100)]
    with ar.use_target_roots({"default": "in-memory://parts"}):
        ar.build(tasks, registry=server.registry(tmp_path), mode="sequential", fail_mode="continue")
    sizes = [len(body["items"]) for _, path, body in server.calls if path.endswith("/members")]
    assert sizes == [1000, 100] and server.packed >= 2


def test_two_builders_share_the_work(server: PlanServer, tmp_path: Path) -> None:
    """The second comes while the first has a task: it waits, and uses what the first made."""
    began, may_end = gate("shared")
    task = Held(name="shared")
    told: list[Any] = []
    first = threading.Thread(target=lambda: told.append(_build(task, server, tmp_path / "one")))
    first.start()
    assert began.wait(10)
    refused = threading.Event()

    def watch(method: str, path: str) -> None:
        if path.endswith("/start"):
            refused.set()

    server.before = watch
    second = threading.Thread(target=lambda: told.append(_build(task, server, tmp_path / "two")))
    second.start()
    assert refused.wait(10)
    may_end.set()
    first.join(20)
    second.join(20)
    assert sorted((one.task_count.succeeded, one.task_count.previously_completed) for one in told) == [(0, 1), (1, 0)]
    assert task.load() == "shared"


def _build(task: ar.Task[Any], server: PlanServer, home: Path) -> ar.BuildSummary:
    home.mkdir()
    with ar.use_target_roots({"default": str(home.parent / "roots")}):
        return ar.build(task, registry=server.registry(home), claim=QUICK)


def test_a_dead_builders_task_is_taken_over_when_its_claim_ends(server: PlanServer, tmp_path: Path) -> None:
    task = numbers(limit=3)
    server.tasks[str(task.id)] = {"task_id": str(task.id), "status": "running", "execution": "gone", "until": 120.0, "body": {}}
    asked: list[str] = []

    def later(method: str, path: str) -> None:
        if path.endswith("/start"):
            asked.append(path)
            server.now_s = 200.0 if len(asked) > 2 else 0.0

    server.before = later
    assert ar.build(task, registry=server.registry(tmp_path), claim=QUICK).task_count.succeeded == 1
    assert len(asked) == 3


def test_a_task_that_stays_taken_is_given_up(server: PlanServer, tmp_path: Path) -> None:
    task = numbers(limit=3)
    server.tasks[str(task.id)] = {"task_id": str(task.id), "status": "running", "execution": "other", "until": 1e9, "body": {}}
    impatient = ar.Claim(first_wait_s=0.01, most_wait_s=0.01, give_up_s=0.03)
    with pytest.raises(ar.BuildFailed, match="was not free for"):
        ar.build(task, registry=server.registry(tmp_path), claim=impatient)
    assert server.status(task) == "running", "nothing of theirs is touched"


def test_others_are_made_while_a_task_is_waited_for(server: PlanServer, tmp_path: Path) -> None:
    """Also one at a time: the task that somebody else has comes first here, and is made last."""
    taken, free = numbers(limit=1), numbers(limit=2)
    server.tasks[str(taken.id)] = {"task_id": str(taken.id), "status": "running", "execution": "other", "until": 1.0, "body": {}}

    def later(method: str, path: str) -> None:
        if path.endswith(f"{free.id}/complete"):
            server.now_s = 2.0

    server.before = later
    ar.build([taken, free], registry=server.registry(tmp_path), mode="sequential", claim=QUICK)
    assert pipeline.RUNS == ["numbers 2", "numbers 1"]


def test_a_failure_ends_the_wait_for_others(server: PlanServer, tmp_path: Path) -> None:
    taken = numbers(limit=1)
    server.tasks[str(taken.id)] = {"task_id": str(taken.id), "status": "running", "execution": "other", "until": 1e9, "body": {}}
    slow = ar.Claim(first_wait_s=600, most_wait_s=600)
    with pytest.raises(ar.BuildFailed, match="boom") as told:
        ar.build([taken, breaks(message="boom")], registry=server.registry(tmp_path), mode="sequential", claim=slow)
    assert told.value.summary.task_count.cancelled == 1


def test_a_global_lock_is_taken_before_the_claim_and_given_back(server: PlanServer, tmp_path: Path) -> None:
    server.locks[str(total(values=numbers(limit=4)).id)] = "a builder of long ago"

    def free(method: str, path: str) -> None:
        if path.endswith("/acquire") and server.paths().count("POST /api/v1/locks/{}/acquire") > 2:
            server.locks.clear()

    server.before = free
    registry = server.registry(tmp_path)
    ar.build(chain(), registry=registry, mode="sequential", claim=QUICK, global_lock=lambda task: task.get_name() == "total")
    locks = [path for path in server.paths() if "/locks/" in path]
    assert (
        locks[-1] == "POST /api/v1/locks/{}/release" and set(locks[:-1]) == {"POST /api/v1/locks/{}/acquire"} and len(locks) > 2
    )
    assert server.locks == {} and pipeline.RUNS == ["numbers 4", "total", "report"]


def test_claims_are_renewed_while_a_body_runs(server: PlanServer, tmp_path: Path) -> None:
    began, may_end = gate("long")
    renewed = threading.Event()

    def watch(method: str, path: str) -> None:
        if path.endswith("/claim/renew"):
            renewed.set()
            may_end.set()

    server.before = watch
    registry = server.registry(tmp_path)
    ar.build(Held(name="long"), registry=registry, mode="sequential", claim=ar.Claim(ttl_s=1))
    assert began.is_set() and renewed.is_set()


def test_a_registry_that_is_gone_ends_the_build_and_a_resume_goes_on(server: PlanServer, tmp_path: Path) -> None:
    home = tmp_path
    server.lose = lambda method, path: path.endswith(str(total(values=numbers(limit=4)).id) + "/complete")
    with pytest.raises(Unavailable):
        ar.build(chain(), registry=server.registry(home), mode="sequential")
    (build,) = server.builds
    assert server.builds[build]["status"] == "exit_early"
    server.lose = lambda method, path: False
    told = ar.build(chain(), registry=server.registry(home), mode="sequential", resume_build_id=build)
    assert (told.build_id, told.task_count.succeeded, server.builds[build]["status"]) == (build, 1, "completed")
    assert pipeline.RUNS == ["numbers 4", "total", "report"]


def test_a_build_that_is_cancelled_there_stops_here(server: PlanServer, tmp_path: Path) -> None:
    def cancel(method: str, path: str) -> None:
        if path.endswith("/start") and pipeline.RUNS:
            for build in server.builds.values():
                build["status"] = "cancelled"

    server.before = cancel
    told = ar.build(chain(), registry=server.registry(tmp_path), mode="sequential", raise_on_failure=False)
    assert (str(told.status), told.task_count.succeeded, told.task_count.cancelled) == ("stopped", 1, 2)
    assert not [path for path in server.paths() if path.endswith(("/builds/{}/complete", "/builds/{}/fail"))]


@pytest.mark.parametrize("mode", ["sequential", "threads"])
def test_ctrl_c_gives_the_claims_back(server: PlanServer, tmp_path: Path, mode: str, caplog: pytest.LogCaptureFixture) -> None:
    task = Interrupts(marker=tmp_path / "marker")
    registry = server.registry(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ar.build([total(values=numbers(limit=1)), task], registry=registry, mode=mode)
    assert server.status(task) == "interrupted"
    (build,) = server.builds
    assert server.builds[build]["status"] == "exit_early"
    told = ar.build(task, registry=registry, mode=mode)
    assert told.task_count.succeeded == 1
    gc.collect()
    assert caplog.text == ""


def test_a_late_report_is_no_error(server: PlanServer, tmp_path: Path) -> None:
    def take_over(method: str, path: str) -> None:
        if path.endswith("/complete") and "/members/" in path:
            server.tasks[path.split("/")[4]]["execution"] = "somebody else's"

    server.before = take_over
    assert str(ar.build(numbers(limit=1), registry=server.registry(tmp_path)).status) == "success"


def test_settings_and_limits_are_passed_on(server: PlanServer, tmp_path: Path) -> None:
    ar.build(
        chain(),
        registry=server.registry(tmp_path),
        settings={"REGION": "eu"},
        limit_keys=lambda task: ["heavy"] if task.get_name() == "total" else [],
    )
    plans = next(body for _, path, body in server.calls if path.endswith("/plans"))
    assert plans["settings"] == {"REGION": "eu"}
    assert [body.get("limit_keys") for _, path, body in server.calls if path.endswith("/start")] == [None, ["heavy"], None]


def test_target_roots_that_differ_stop_the_build_before_it_begins(server: PlanServer, tmp_path: Path, own_roots: None) -> None:
    server.roots = [{"name": "default", "uri_prefix": str(tmp_path / "server")}]
    task = numbers(limit=2)
    ar.build(task, registry=server.registry(tmp_path))
    assert task.target().uri.startswith(str(tmp_path / "server")), "the server's roots are used, and remembered"
    server.roots = [{"name": "default", "uri_prefix": str(tmp_path / "elsewhere")}]
    before = len(server.builds)
    with pytest.raises(Conflict, match="Target root mismatch"):
        ar.build(numbers(limit=3), registry=server.registry(tmp_path))
    assert len(server.builds) == before


def test_a_task_is_read_from_the_registry(server: PlanServer, tmp_path: Path) -> None:
    registry = server.registry(tmp_path)
    task = chain()
    ar.build(task, registry=registry)
    read = ar.Task.from_registry(task.id, registry)
    assert read == task and read.load() == "sum: 6"
    alias = AliasTask[int].from_registry(total(values=numbers(limit=4)).id, registry)
    assert (alias.id, alias.complete(), alias.load()) == (total(values=numbers(limit=4)).id, True, 6)
    assert report(value=alias).id == task.id, "what needs it has the id it would have with the original"
    with pytest.raises(NotFound):
        ar.Task.from_registry(numbers(limit=99).id, registry)


def test_a_stored_task_whose_class_has_changed_is_not_passed_off_as_it(server: PlanServer, tmp_path: Path) -> None:
    registry = server.registry(tmp_path)
    task = numbers(limit=4)
    ar.build(task, registry=registry)
    server.tasks[str(task.id)]["body"] = {**task.body, "limit": 5}
    with pytest.raises(NotFound, match="gives the stored fields"):
        ar.Task.from_registry(task.id, registry)
