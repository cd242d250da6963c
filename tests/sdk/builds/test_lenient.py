"""Builds that go on without their registry, and what else a build may be told of one."""

from __future__ import annotations

from pathlib import Path

import pytest

import astrarium as ar
from astrarium.errors import Conflict, Invalid, Unavailable
from tests.sdk import pipeline
from tests.sdk.pipeline import Sums, numbers, report, total
from tests.sdk.plan_server import PlanServer


@pytest.fixture(autouse=True)
def _fresh(request: pytest.FixtureRequest) -> None:
    if "own_roots" not in request.fixturenames:
        request.getfixturevalue("roots")
    pipeline.RUNS.clear()


@pytest.fixture
def own_roots() -> None:
    """For tests in which the registry says where results lie."""


def wanted() -> list[ar.Task[str]]:
    return [Sums(count=2), report(value=total(values=numbers(limit=3)))]


def test_a_registry_that_goes_away_at_any_call_does_not_stop_the_build(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = PlanServer()
    with ar.use_target_roots({"default": "in-memory://whole"}):
        ar.build(wanted(), registry=server.registry(tmp_path), mode="sequential")
    for number in range(len(server.calls)):
        caplog.clear()
        gone = PlanServer()
        gone.last = number
        with ar.use_target_roots({"default": f"in-memory://{number}"}):
            told = ar.build(wanted(), registry=gone.registry(tmp_path), mode="sequential", on_registry_failure="warn")
            assert str(told.status) == "success" and all(task.complete() for task in wanted())
        assert caplog.text.count("the build goes on without the registry") == 1, number


def test_otherwise_it_stops_it(server: PlanServer, tmp_path: Path) -> None:
    server.last = 3
    with pytest.raises(Unavailable):
        ar.build(wanted(), registry=server.registry(tmp_path))
    with pytest.raises(Invalid, match="raise or warn"):
        ar.build(wanted(), on_registry_failure="ignore")


def test_what_concerns_the_work_is_still_heard(server: PlanServer, tmp_path: Path) -> None:
    def cancel(method: str, path: str) -> None:
        if path.endswith("/start"):
            for build in server.builds.values():
                build["status"] = "cancelled"

    server.before = cancel
    with pytest.raises(ar.BuildFailed, match="stopped"):
        ar.build(numbers(limit=1), registry=server.registry(tmp_path), on_registry_failure="warn")
    assert pipeline.RUNS == []


def test_a_mismatch_of_target_roots_is_no_absence(server: PlanServer, tmp_path: Path, own_roots: None) -> None:
    server.roots = [{"name": "default", "uri_prefix": str(tmp_path / "a")}]
    ar.build(numbers(limit=2), registry=server.registry(tmp_path), on_registry_failure="warn")
    server.roots = [{"name": "default", "uri_prefix": str(tmp_path / "b")}]
    with pytest.raises(Conflict, match="Target root mismatch"):
        ar.build(numbers(limit=3), registry=server.registry(tmp_path), on_registry_failure="warn")


@pytest.mark.parametrize("everything", [True, False])
def test_what_lies_below_made_tasks_is_told_when_asked(server: PlanServer, tmp_path: Path, everything: bool) -> None:
    task = report(value=total(values=numbers(limit=3)))
    ar.build(task)
    ar.build(task, registry=server.registry(tmp_path), register_all=everything)
    assert len(server.tasks) == (3 if everything else 1)
    assert {one["status"] for one in server.tasks.values()} == {"completed"}
    if everything:
        (members,) = [body["items"] for _, path, body in server.calls if path.endswith("/members")]
        assert [len(one["declared_upstreams"]) for one in members] == [0, 1, 1]
