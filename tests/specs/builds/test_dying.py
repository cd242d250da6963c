"""A builder that dies at any call leaves, on a real server, a build that another can go on with; calls that are made twice change nothing
twice. (`tests/sdk/builds/test_crash.py` is the same against a registry in memory, whose clock a test can turn.)"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

import astrarium as ar
from astrarium.config import load_config
from astrarium.errors import Unavailable
from astrarium.sdk.session import Session
from astrarium.spec.graph import Retry
from tests.served import Server

ar.auto_namespace(__name__)
pytestmark = [pytest.mark.all, pytest.mark.slow]

RUNS: Counter[str] = Counter()
QUICK = ar.Claim(ttl_s=1, first_wait_s=0.05, most_wait_s=0.2, give_up_s=20)


class Wire(httpx2.BaseTransport):
    """The way to the server. From call number `last` on nobody hears an answer (`arrives`: that one still has its effect); `lose` may say
    of a call that its answer does not arrive."""

    def __init__(self, last: int | None = None, arrives: bool = True) -> None:
        self._inner = httpx2.HTTPTransport()
        self._last = last
        self._arrives = arrives
        self.calls = 0
        self.lose: Callable[[httpx2.Request], bool] = lambda request: False

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._last is not None and self.calls > self._last - (0 if self._arrives else 1):
            raise httpx2.ConnectError("nobody is there", request=request)
        self.calls += 1
        response = self._inner.handle_request(request)
        response.read()
        if (self._last is not None and self.calls > self._last) or self.lose(request):
            raise httpx2.ReadError("the answer was lost", request=request)
        return response

    def close(self) -> None:
        self._inner.close()


@ar.task
def numbers(limit: int, case: str) -> list[int]:
    RUNS[f"numbers-{limit}"] += 1
    return list(range(limit))


@ar.task
def total(values: ar.Depends[list[int]]) -> int:
    RUNS["total"] += 1
    return sum(values)


class Sums(ar.Task[int]):
    case: str

    def requires(self) -> Any:
        return total(values=numbers(limit=3, case=self.case))

    def run(self) -> Any:
        more = [total(values=numbers(limit=number, case=self.case)) for number in (1, 2)]
        yield more
        self._save(sum(one.load() for one in more))

    def artifacts(self) -> Any:
        return [ar.MarkdownArtifact(name="note", body="# sums"), ar.FileArtifact(name="raw.txt", body=b"raw")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    opened = Server(tmp_path_factory.mktemp("dying") / "data")
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HOME", str(tmp_path))
    with ar.use_target_roots({"default": f"in-memory://{tmp_path}"}):
        yield


def make(server: Server, wire: Wire, case: str, **more: Any) -> ar.BuildSummary:
    session = Session(load_config(registry_url=server.said), retry=Retry(limit=3), transport=wire)
    registry = ar.APIRegistry(session=session, code_id="code-1")
    try:
        return ar.build(Sums(case=case), registry=registry, mode="sequential", claim=QUICK, **more)
    finally:
        registry.close()


def check(server: Server, told: ar.BuildSummary, case: str) -> None:
    """The build is complete there, with all its tasks, each of which ran once."""
    found = server.get(f"/builds/{told.build_id}")
    assert found["status"] == "completed"
    plan = next(one for one in server.get(f"/builds/{told.build_id}/plans")["plans"] if one["is_active"])
    for member in server.get(f"/plans/{plan['id']}/graph")["members"]:
        assert member["status"] == "completed", (case, member)
    assert Counter({"numbers-1": 1, "numbers-2": 1, "numbers-3": 1, "total": 3}) == RUNS, case


def whole(server: Server) -> int:
    wire = Wire()
    RUNS.clear()
    check(server, make(server, wire, "whole"), "whole")
    return wire.calls


EVERY = pytest.param(1, marks=pytest.mark.all)


@pytest.mark.parametrize("step", [7, EVERY])
@pytest.mark.parametrize("arrives", [True, False], ids=["carried-out", "never-arrived"])
@pytest.mark.parametrize("resumed", [True, False], ids=["resumed", "built-anew"])
@pytest.mark.timeout(300)
def test_dying_at_a_call_leaves_what_another_goes_on_with(server: Server, resumed: bool, arrives: bool, step: int) -> None:
    calls = whole(server) if not RUNS else 25
    assert calls >= 20
    for number in range(step - 1, calls - 2, step):
        case = f"{step}-{resumed}-{arrives}-{number}"
        RUNS.clear()
        before = {one["id"] for one in server.get("/builds", limit=500)["builds"]}
        with pytest.raises(Unavailable):
            make(server, Wire(number, arrives), case)
        begun = [one["id"] for one in server.get("/builds", limit=500)["builds"] if one["id"] not in before]
        known = begun[0] if resumed and begun and server.get(f"/builds/{begun[0]}/plans")["plans"] else None
        check(server, make(server, Wire(), case, resume_build_id=known), case)


def test_every_call_made_twice_changes_nothing_twice(server: Server) -> None:
    lost: set[tuple[str, str, bytes]] = set()
    wire = Wire()

    def lose(request: httpx2.Request) -> bool:
        call = (request.method, request.url.path, request.content)
        seen = call in lost
        lost.add(call)
        return not seen

    wire.lose = lose
    RUNS.clear()
    before = len(server.get("/builds", limit=500)["builds"])
    check(server, make(server, wire, "twice"), "twice")
    assert wire.calls >= 40
    assert len(server.get("/builds", limit=500)["builds"]) == before + 1
    task = str(Sums(case="twice").id)
    kinds = Counter(one["event_type"] for one in server.get(f"/tasks/{task}/events", limit=500)["events"])
    assert [one["name"] for one in server.get(f"/tasks/{task}/artifacts")["artifacts"]] == ["note"]
    files = httpx2.get(f"{server.said}/api/v1/tasks/{task}/files").json()["files"]
    assert [(one["name"], one["content_type"], one["size"]) for one in files] == [("raw.txt", "text/plain", 3)]
    assert kinds == Counter({"task_pending": 1, "task_started": 1, "task_yielded": 1, "task_completed": 1}), json.dumps(kinds)
