"""Builders that race, servers that share a database, and a server that is killed in the middle of a build."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.served import DEADLINE_S, Server
from tests.specs.builds.test_client import Api, installed

RACES = 50
SLOW = """
import sys, time
import stardag as sd
from stardag.build import build_sequential
from stardag.registry import APIRegistry

class Piece(sd.AutoTask[int]):
    i: int
    def requires(self):
        return [Piece(i=self.i - 1)] if self.i else []
    def run(self):
        time.sleep(0.02)
        self.output().save(self.i)

summary = build_sequential([Piece(i=40)], registry=APIRegistry())
print(summary.status.value)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    opened = Server(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def pair(tmp_path: Path, postgres_database: str) -> Iterator[tuple[Server, Server]]:
    """Two servers on one database."""
    one = Server(tmp_path / "one", database_url=postgres_database)
    two = Server(tmp_path / "two", database_url=postgres_database)
    yield one, two
    one.close()
    two.close()


def api_of(server: Server) -> httpx2.Client:
    return httpx2.Client(base_url=f"{server.said}/api/v1", timeout=DEADLINE_S)


def call(client: httpx2.Client, method: str, path: str, body: Any = None, status: int | None = None) -> httpx2.Response:
    answer = client.request(method, path, json=body) if body is not None else client.request(method, path)
    assert answer.status_code < 500 and status in (None, answer.status_code), (method, path, answer.text)
    return answer


def new_build(client: httpx2.Client) -> str:
    return f"/builds/{call(client, 'POST', '/builds', {}, 201).json()['id']}"


def task(name: str) -> dict[str, Any]:
    return {"task_id": name, "task_name": "Work", "task_data": {"of": name}}


class Builder:
    """Does tasks under their locks, as Stardag's client with its global lock does."""

    def __init__(self, server: Server, start: threading.Barrier) -> None:
        self.client = api_of(server)
        self.build = new_build(self.client)
        self.start = start
        self.worked: list[str] = []

    def run(self, names: list[str]) -> None:
        for name in names:
            self.start.wait(DEADLINE_S)
            self.do(name)
        call(self.client, "POST", self.build + "/complete")

    def do(self, name: str) -> None:
        owner = {"owner_id": str(uuid4())}
        end = time.monotonic() + DEADLINE_S
        while (answer := call(self.client, "POST", f"/locks/{name}/acquire", owner)).status_code == 423:
            assert time.monotonic() < end
        call(self.client, "POST", self.build + "/tasks", task(name), 201)
        if answer.json()["status"] == "already_completed":
            return
        call(self.client, "POST", f"{self.build}/tasks/{name}/start", status=200)
        self.worked.append(name)
        done = owner | {"task_completed": True, "build_id": self.build.rpartition("/")[2]}
        call(self.client, "POST", f"/locks/{name}/release", done, 200)


def race(servers: tuple[Server, Server]) -> None:
    """Each of 50 tasks is wanted by two builders at the same moment, and done by one."""
    names = [f"race-{number}" for number in range(RACES)]
    start = threading.Barrier(2)
    builders = [Builder(server, start) for server in servers]
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(builder.run, names) for builder in builders]:
            done.result()
    assert sorted(builders[0].worked + builders[1].worked) == sorted(names)
    for builder in builders:
        tasks = call(builder.client, "GET", builder.build + "/tasks").json()
        assert {one["task_id"]: one["status"] for one in tasks} == dict.fromkeys(names, "completed")
    for name in names:
        events = call(builders[0].client, "GET", f"/tasks/{name}/events").json()
        assert [one["event_type"] for one in events].count("task_completed") == 1
    assert call(builders[1].client, "GET", "/locks").json()["count"] == 0


def test_two_builders_never_do_one_task_twice(server: Server) -> None:
    race((server, server))


@pytest.mark.all
@pytest.mark.postgres
@pytest.mark.slow
def test_two_builders_on_two_servers_never_do_one_task_twice(pair: tuple[Server, Server]) -> None:
    race(pair)


@pytest.mark.all
@pytest.mark.postgres
@pytest.mark.slow
def test_registrations_race_on_two_servers(pair: tuple[Server, Server]) -> None:
    clients = [api_of(server) for server in pair]
    builds = [new_build(client) for client in clients]
    start = threading.Barrier(2)

    def register(place: int) -> list[str]:
        made = []
        for number in range(RACES):
            start.wait(DEADLINE_S)
            made.append(call(clients[place], "POST", builds[place] + "/tasks", task(f"same-{number}"), 201).json()["id"])
            bulk = {"tasks": [task(f"bulk-{number}-{part}") for part in range(5)]}
            made += [one["id"] for one in call(clients[place], "POST", builds[place] + "/tasks/bulk", bulk, 201).json()["tasks"]]
        return made

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(register, range(2))
    assert one == two and len(set(one)) == RACES * 6
    for client, build in zip(clients, reversed(builds), strict=True):
        assert len(call(client, "GET", build + "/tasks").json()) == RACES * 6
        assert call(client, "GET", "/tasks").json()["total"] == RACES * 6


@pytest.mark.all
@pytest.mark.postgres
@pytest.mark.slow
def test_a_build_is_followed_on_the_other_server(pair: tuple[Server, Server]) -> None:
    here, there = (api_of(server) for server in pair)
    build = new_build(here)
    told: list[str] = []
    first = threading.Event()

    def follow() -> None:
        with there.stream("GET", build + "/stream") as answer:
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    told.append(line.removeprefix("event: "))
                    first.set()

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow)
        assert first.wait(DEADLINE_S)
        call(here, "POST", build + "/tasks", task("a"), 201)
        for word in ("start", "complete"):
            call(here, "POST", f"{build}/tasks/a/{word}", status=200)
        call(here, "POST", build + "/complete", status=200)
        following.result(DEADLINE_S)
    assert told == ["build_started", "task_pending", "task_started", "task_completed", "build_completed", "end"]


# -- a server that is killed ---------------------------------------------------------------------------------------------


def port_of(server: Server) -> int:
    return int(server.said.rpartition(":")[2])


def until(good: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not good():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.all
@pytest.mark.slow
def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    """A driver notes what it was told; after the kill all of it is there."""
    server = Server(tmp_path / "data")
    client, noted = api_of(server), []
    build = new_build(client)

    def drive() -> None:
        try:
            for number in range(100_000):
                name = f"k{number}"
                for word, path, body in (
                    ("pending", "", task(name)),
                    ("running", f"/{name}/start", None),
                    ("completed", f"/{name}/complete", None),
                ):
                    call(client, "POST", f"{build}/tasks{path}", body)
                    noted.append((name, word))
        except httpx2.TransportError:
            return

    with ThreadPoolExecutor(1) as pool:
        driving = pool.submit(drive)
        until(lambda: len(noted) > 300)
        server.signal(signal.SIGKILL)
        driving.result(DEADLINE_S)
    last = dict(noted)
    again = Server(tmp_path / "data", port=port_of(server))
    try:
        client = api_of(again)
        kept = {one["task_id"]: one["status"] for one in call(client, "GET", build + "/tasks").json()}
        order = ("pending", "running", "completed")
        assert all(order.index(kept[name]) >= order.index(status) for name, status in last.items())
        assert len(kept) - len(last) in (0, 1)  # the call that was under way
        for name in kept:
            call(client, "POST", f"{build}/tasks/{name}/complete", status=200)
        assert call(client, "POST", build + "/complete").json()["status"] == "completed"
    finally:
        again.close()


@pytest.mark.all
@pytest.mark.slow
def test_a_real_client_goes_on_after_the_server_was_killed(tmp_path: Path, require: Any) -> None:
    python = installed(tmp_path / "client", "0.1.0", require)
    server = Server(tmp_path / "data")
    api = Api(server)
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "COMMIT_HASH": "abc123", "STARDAG_API_KEY": api.key(),
        "STARDAG_REGISTRY_URL": server.said, "STARDAG_API_URL": server.said,
        "STARDAG_TARGET_ROOTS": json.dumps({"default": str(tmp_path / "roots")}),
    }  # fmt: skip
    program = tmp_path / "program.py"
    program.write_text(SLOW)
    first = subprocess.Popen([python, program], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def completed() -> list[str]:
        return [one["task_id"] for one in api.get("/tasks/search?filter=status:completed&page_size=100")["tasks"]]

    until(lambda: len(completed()) >= 5)
    before = completed()
    server.signal(signal.SIGKILL)
    first.communicate(timeout=DEADLINE_S)
    again = Server(tmp_path / "data", port=port_of(server))
    try:
        api = Api(again)
        assert set(before) <= set(completed())
        assert api.get("/builds")["builds"][0]["status"] == "running"  # a silent driver is never failed by us
        done = subprocess.run([python, program], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.stdout.split() == ["success"], done.stdout + done.stderr[-2000:]
        builds = api.get("/builds")["builds"]
        assert [build["status"] for build in builds] == ["completed", "running"]
        open_ = [one["task_id"] for one in api.get(f"/builds/{builds[0]['id']}/tasks") if one["status"] != "completed"]
        assert len(open_) <= 1  # its output was there already, and this client does not report what it finds
    finally:
        again.close()
