"""Schedules as clients see them, over a real server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.served import DEADLINE_S, Server

STEPS = "steps: ['true']\n"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers over one folder; all end with the test."""
    made: list[Server] = []

    def start(**more: Any) -> Server:
        made.append(Server(tmp_path / "data", **more))
        return made[-1]

    yield start
    for server in made:
        server.close()


def files(server: Server, **params: Any) -> dict[str, dict[str, Any]]:
    return {one["fileName"]: one for one in server.get("/dags", **params)["dags"]}


def until(good: Callable[[], Any]) -> Any:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        found = good()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE_S} s: {good}")


def test_the_list_of_files(serve: Callable[..., Server]) -> None:
    server = serve()
    server.add("weekly.yaml", "schedule: '0 4 * * 0'\n" + STEPS)
    server.add("yearly.yaml", "schedule: {start: '0 4 1 1 *', stop: '* * * * *'}\n" + STEPS)
    server.add("broken.yaml", "schedule: '61 * * * *'\n" + STEPS)
    server.add("by_hand.yaml", STEPS)
    until(lambda: sum("nextRun" in one for one in files(server).values()) == 2)
    assert list(files(server, sort="nextRun")) == ["weekly.yaml", "yearly.yaml", "broken.yaml", "by_hand.yaml"]
    assert list(files(server, sort="nextRun", order="desc")) == ["yearly.yaml", "weekly.yaml", "broken.yaml", "by_hand.yaml"]
    shown = files(server)
    assert shown["broken.yaml"]["errors"][0].startswith("broken.yaml:1:11: bad schedule `61 * * * *`")
    assert [one["suspended"] for one in shown.values()] == [False] * 4
    assert shown["yearly.yaml"]["nextRun"] == f"{datetime.now(UTC).year + 1}-01-01T04:00:00Z"
    assert timedelta(0) < datetime.fromisoformat(shown["weekly.yaml"]["nextRun"]) - datetime.now(UTC) <= timedelta(days=7)
    server.add("broken.yaml", "schedule: '59 * * * *'\n" + STEPS)
    until(lambda: "nextRun" in files(server)["broken.yaml"])
    assert all("lastSlot" not in one for one in files(server).values())


def test_suspended_also_after_a_restart(serve: Callable[..., Server]) -> None:
    server = serve()
    server.add("a.yaml", "schedule: '0 4 * * *'\n" + STEPS)
    server.add("b.yaml", STEPS)
    until(lambda: "nextRun" in files(server)["a.yaml"])
    for name in ("a", "b.yaml"):
        answer = server.call("POST", f"/dags/{name}/suspend", {"suspend": True})
        assert (answer.status_code, answer.json()) == (200, {})
    assert server.get("/dags/a")["suspended"] is True
    assert "nextRun" not in server.get("/dags/a")
    assert server.signal() == 0
    server = serve()
    assert {name: one["suspended"] for name, one in files(server).items()} == {"a.yaml": True, "b.yaml": True}
    assert "nextRun" not in files(server)["a.yaml"]
    assert server.ended("a", server.start("a"))["status"] == 4, "a start by hand still works"
    for suspend in (False, False):
        assert server.call("POST", "/dags/a/suspend", {"suspend": suspend}).status_code == 200
    assert files(server)["a.yaml"]["suspended"] is False
    assert server.get("/dags/a")["nextRun"] == files(server)["a.yaml"]["nextRun"]
    assert files(server)["a.yaml"]["nextRun"].endswith("T04:00:00Z")


@pytest.mark.parametrize("body", [{}, {"suspend": "yes"}, {"suspend": None}, [], None])
def test_what_cannot_be_meant(server: Server, body: Any) -> None:
    server.add("a.yaml", STEPS)
    answer = server.call("POST", "/dags/a/suspend", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_no_such_file(server: Server) -> None:
    answer = server.call("POST", "/dags/nowhere/suspend", {"suspend": True})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_who_follows_the_schedules(serve: Callable[..., Server]) -> None:
    for _ in range(2):
        server = serve()
        (one,) = server.get("/services/scheduler")["schedulers"]
        assert one["status"] == "active"
        assert one["host"] and one["instanceId"]
        assert abs(datetime.now(UTC) - datetime.fromisoformat(one["startedAt"])) < timedelta(minutes=1)
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("data"))
    yield made
    made.close()
