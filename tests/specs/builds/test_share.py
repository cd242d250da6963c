"""Builders in processes of their own that share work by a real server: what one makes the other uses, nothing is made twice, and what a
killed one had begun another finishes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import httpx2
import pytest

import astrarium as ar
from tests.served import Server
from tests.specs.builds import racing
from tests.specs.cli.room import until

pytestmark = [pytest.mark.all, pytest.mark.slow]
SPAWN = multiprocessing.get_context("spawn")
DEADLINE_S = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    opened = Server(tmp_path / "data")
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where results and notes go; builders have a home of their own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in [name for name in os.environ if name.startswith("STARDAG_")]:
        monkeypatch.delenv(variable)
    (tmp_path / "notes").touch()
    with ar.use_target_roots({"default": str(tmp_path / "results")}):
        yield tmp_path


def ran(folder: Path) -> Counter[str]:
    return Counter((folder / "notes").read_text().split())


def begin(target: Callable[..., None], *args: Any) -> SpawnProcess:
    process = SPAWN.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def ended(process: SpawnProcess) -> int | None:
    process.join(DEADLINE_S)
    return process.exitcode


def test_two_builders_share_a_build_of_many_tasks(server: Server, folder: Path) -> None:
    gate: Barrier = SPAWN.Barrier(2)
    both = [begin(racing.build_wide, server.said, str(folder), gate, 40) for _ in range(2)]
    assert [ended(one) for one in both] == [0, 0]
    assert ran(folder) == Counter({f"part-{number}": 1 for number in range(40)} | {"sum": 1})
    by_whom = Counter((folder / "whom").read_text().split())
    assert len(by_whom) == 2 and sum(by_whom.values()) == 41, "both worked"
    builds = server.get("/builds")["builds"]
    assert [one["status"] for one in builds] == ["completed", "completed"]


@pytest.mark.parametrize("races", [5, pytest.param(50, marks=pytest.mark.all)])
def test_of_two_that_start_a_task_at_once_one_makes_it(server: Server, folder: Path, races: int) -> None:
    gate: Barrier = SPAWN.Barrier(2)
    both = [begin(racing.race, server.said, str(folder), gate, races) for _ in range(2)]
    assert [ended(one) for one in both] == [0, 0]
    assert ran(folder) == Counter({f"race-{number}": 1 for number in range(races)})


def test_what_a_killed_builder_had_begun_another_finishes(server: Server, folder: Path) -> None:
    first = begin(racing.build_slowly, server.said, str(folder), "stuck")
    until(lambda: ran(folder)["begun"], "the first builder's start")
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    assert ended(first) == -signal.SIGKILL
    second = begin(racing.build_slowly, server.said, str(folder), "quick")
    assert ended(second) == 0
    assert ran(folder) == Counter({"begun": 2, "below": 1, "made": 1}), "what was made before the kill is not made again"
    tasks = server.get("/tasks")["tasks"]
    assert {one["status"] for one in tasks} == {"completed"}
    (slow,) = [one["task_id"] for one in tasks if one["task_name"] == "Slow"]
    outcomes = [one["claim_outcome"] for one in server.get(f"/tasks/{slow}/executions", include_ended="true")["executions"]]
    assert outcomes == ["completed", "taken_over"]


def test_a_killed_builders_build_can_be_gone_on_with(server: Server, folder: Path) -> None:
    first = begin(racing.build_slowly, server.said, str(folder), "stuck")
    until(lambda: ran(folder)["begun"], "the first builder's start")
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    ended(first)
    (build,) = server.get("/builds")["builds"]
    assert build["status"] == "running"
    os.environ["ASTRARIUM_TEST_MODE"] = "quick"
    try:
        registry = ar.APIRegistry(api_url=server.said, code_id="code-1")
        told = ar.build(racing.slow(folder), registry=registry, claim=racing.QUICK, resume_build_id=build["id"])
        registry.close()
    finally:
        del os.environ["ASTRARIUM_TEST_MODE"]
    assert (told.build_id, str(told.status)) == (build["id"], "success")
    found = server.get(f"/builds/{build['id']}")
    assert found["status"] == "completed"


def test_a_build_that_people_cancel_stops_its_builder(server: Server, folder: Path) -> None:
    first = begin(racing.build_in_steps, server.said, str(folder))
    until(lambda: ran(folder)["step-1"], "the first task's start")
    (build,) = server.get("/builds", status="running")["builds"]
    assert server.call("POST", f"/builds/{build['id']}/cancel").status_code == 200
    (folder / "go").touch()
    assert ended(first) == 3, "it says that it was stopped"
    assert ran(folder) == Counter({"step-1": 1})
    assert httpx2.get(f"{server.said}/api/v2/builds/{build['id']}").json()["status"] == "cancelled"


def test_a_limit_of_the_server_holds_for_all_builders(server: Server, folder: Path) -> None:
    assert server.call("PUT", "/concurrency-limits/heavy", {"max_concurrent": 1}).status_code == 200
    gate: Barrier = SPAWN.Barrier(2)
    both = [begin(racing.build_heavy, server.said, str(folder), gate, name) for name in ("a", "b")]
    assert [ended(one) for one in both] == [0, 0]
    lines = (folder / "notes").read_text().split()
    assert len(lines) == 12 and lines[::2] == ["in"] * 6 and lines[1::2] == ["out"] * 6
