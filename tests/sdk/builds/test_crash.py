"""A builder that dies at any call leaves a build that another can go on with; calls that are made twice change nothing twice."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

import astrarium as ar
from astrarium.errors import Unavailable
from tests.conftest import ROOT, Require
from tests.sdk import pipeline
from tests.sdk.pipeline import Sums, breaks, numbers, report, total
from tests.sdk.plan_server import PlanServer

QUICK = ar.Claim(first_wait_s=0.001, most_wait_s=0.001, give_up_s=20)
RECORDED = ROOT.parent / "shared" / "contracts" / "stardag_client_session.jsonl"
IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


@pytest.fixture(autouse=True)
def _fresh(roots: Path) -> None:
    pipeline.RUNS.clear()


def wanted() -> list[ar.Task[Any]]:
    return [Sums(count=2), report(value=total(values=numbers(limit=3)))]


@pytest.mark.parametrize("arrives", [True, False], ids=["carried-out", "never-arrived"])
@pytest.mark.parametrize("resumed", [True, False], ids=["resumed", "built-anew"])
def test_dying_at_any_call_leaves_what_another_goes_on_with(resumed: bool, arrives: bool, tmp_path: Path) -> None:
    whole = _calls(tmp_path)
    assert whole > 20
    for number in range(whole):
        pipeline.RUNS.clear()
        server = PlanServer()
        with ar.use_target_roots({"default": f"in-memory://{resumed}-{arrives}-{number}"}):
            _die_at(server, number, arrives, tmp_path)
            server.now_s = 1000.0  # whatever the dead one had claimed has lapsed
            known = next(iter(server.builds), None) if resumed and server.plans else None
            told = ar.build(wanted(), registry=server.registry(tmp_path), mode="sequential", claim=QUICK, resume_build_id=known)
            assert all(task.complete() for task in wanted())
        assert server.builds[str(told.build_id)]["status"] == "completed"
        assert {task["status"] for task in server.tasks.values()} == {"completed"}
        assert pipeline.RUNS.count("total") == 4, "what was made is not made again"


def _calls(home: Path) -> int:
    server = PlanServer()
    with ar.use_target_roots({"default": "in-memory://whole"}):
        ar.build(wanted(), registry=server.registry(home), mode="sequential")
    return len(server.calls)


def _die_at(server: PlanServer, number: int, arrives: bool, home: Path) -> None:
    """From call `number` on the builder hears nothing more; `arrives`: that call still has its effect."""
    server.last = number if arrives else number - 1
    with pytest.raises(Unavailable):
        ar.build(wanted(), registry=server.registry(home), mode="sequential")
    server.last = None


def test_every_call_made_twice_changes_nothing_twice(server: PlanServer, tmp_path: Path) -> None:
    """Each call's first answer is lost: it was carried out, and is made again."""
    lost: set[tuple[str, str, str]] = set()

    def lose(method: str, path: str) -> bool:
        call = (method, path, json.dumps(server.calls[-1][2]))
        if call in lost:
            return False
        lost.add(call)
        return True

    server.lose = lose
    told = ar.build(wanted(), registry=server.registry(tmp_path), mode="sequential")
    assert str(told.status) == "success" and pipeline.RUNS.count("total") == 4
    assert len(server.builds) == len(server.plans) == 1
    assert {task["status"] for task in server.tasks.values()} == {"completed"}


def test_calls_have_the_shape_of_the_real_clients(server: PlanServer, tmp_path: Path, require: Require) -> None:
    """No field is sent that Stardag 0.28.0 does not send, none of another type."""
    require("shared", RECORDED.exists(), "the recorded session is not beside this checkout")
    theirs: dict[str, set[str]] = {}
    for line in RECORDED.read_text().splitlines():
        row = json.loads(line)
        if row["client"] == "stardag 0.28.0" and row["path"].startswith("/api/v2"):
            theirs.setdefault(_route(row["method"], row["path"]), set()).update(_shape(row["request_body"]))
    registry = server.registry(tmp_path)
    ar.build(wanted(), registry=registry, description="d", limit_keys=lambda task: ["gpu"], settings={"A": "b"})
    with pytest.raises(ar.BuildFailed):
        ar.build(breaks(message="boom"), registry=registry)
    ar.build(wanted(), registry=registry, resume_build_id=next(iter(server.builds)))
    ours: dict[str, set[str]] = {}
    for method, path, body in server.calls:
        ours.setdefault(_route(method, f"/api/v2{path}"), set()).update(_shape(body))
    ours["POST /api/v2/builds/{}/plans"].discard("settings.A")
    assert {route: fields - theirs[route] for route, fields in ours.items() if not fields <= theirs[route]} == {}


def _route(method: str, path: str) -> str:
    return f"{method} {re.sub('/settings/.*', '/settings/', IDS.sub('{}', path))}"


def _shape(body: Any) -> set[str]:
    if not isinstance(body, dict):
        return set()
    fields = {f"{name}: {type(value).__name__}" for name, value in body.items() if name != "resumed"}
    lists = (value for value in body.values() if isinstance(value, list))
    return fields | {field for value in lists for one in value if isinstance(one, dict) for field in _shape(one)}


def test_what_an_abandoned_execution_asked_for_is_made_by_the_next(server: PlanServer, tmp_path: Path) -> None:
    """The registry wants those made first, although the next execution would only ask for them later (or not at all)."""
    server.last = next(at for at, path in enumerate(_paths(tmp_path)) if path.endswith("/yield")) + 1
    with pytest.raises(Unavailable):
        ar.build(Sums(count=2), registry=server.registry(tmp_path), mode="sequential")
    server.last, server.now_s = None, 1000.0
    pipeline.RUNS.clear()
    told = ar.build(Sums(count=2), registry=server.registry(tmp_path), mode="sequential", claim=QUICK)
    assert str(told.status) == "success"
    assert pipeline.RUNS[0] != "Sums begins" and pipeline.RUNS.count("Sums begins") == 1
    assert {task["status"] for task in server.tasks.values()} == {"completed"}


def test_what_nobody_here_can_make_is_told(server: PlanServer, tmp_path: Path) -> None:
    server.last = next(at for at, path in enumerate(_paths(tmp_path)) if path.endswith("/yield")) + 1
    with pytest.raises(Unavailable):
        ar.build(Sums(count=2), registry=server.registry(tmp_path), mode="sequential")
    server.last, server.now_s = None, 1000.0
    for task in server.tasks.values():
        if task["task_name"] == "total":
            task["body"] = {**task["body"], "__name": "gone"}
    with pytest.raises(ar.BuildFailed, match="which an earlier execution of it asked for: no task class named"):
        ar.build(Sums(count=2), registry=server.registry(tmp_path), mode="sequential", claim=QUICK)


def _paths(home: Path) -> list[str]:
    server = PlanServer()
    with ar.use_target_roots({"default": "in-memory://paths"}):
        ar.build(Sums(count=2), registry=server.registry(home), mode="sequential")
    pipeline.RUNS.clear()
    return server.paths()


def test_a_task_made_by_one_who_died_before_telling_is_told_at_the_end(
    server: PlanServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("astrarium.sdk.builds.scheduler.END_WAITS_S", (0.0, 0.0))
    for lapses in (True, False):
        task = numbers(limit=9 + lapses)
        dead: list[str] = []

        def die(method: str, path: str, dead: list[str] = dead) -> None:
            if dead or path.endswith("/complete"):
                dead.append(path)
                raise httpx2.ConnectError("nobody is there")

        server.before = die
        with pytest.raises(Unavailable):
            ar.build(task, registry=server.registry(tmp_path), mode="sequential")
        assert task.complete() and server.status(task) == "running"

        def later(method: str, path: str, lapses: bool = lapses) -> None:
            server.now_s += 1000.0 if lapses and path.endswith("/complete") else 0.0

        server.before = later
        told = ar.build(task, registry=server.registry(tmp_path), mode="sequential")
        assert server.builds[str(told.build_id)]["status"] == "completed"
        assert server.status(task) == ("completed" if lapses else "running")
        assert ("lacks reports" in caplog.text) is not lapses
