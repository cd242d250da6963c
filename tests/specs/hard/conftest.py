"""A real `astrarium server` in a room of its own, its settings given as variables, and a client that counts nothing as normal."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.served import announced
from tests.specs.cli.room import ASTRARIUM, Room, until

ENDED = {2, 3, 4, 6, 8}
DEADLINE_S = 60.0
PLANTED = {"PLANTED_SECRET": "planted-5e3c7a91", "ASTRARIUM_HOT_RUNS": "20001", "AWS_SECRET_ACCESS_KEY": "planted-key-77"}
"""What the server's own environment holds beside its settings and no child may see."""


class Served:
    """A live server and the calls tests make to it."""

    def __init__(self, room: Room, process: subprocess.Popen[bytes], told: dict[str, Any]) -> None:
        self.room = room
        self.process = process
        self.pid = int(told["pid"])
        self.url = str(told["url"])
        self.token = str(told["token"])
        self.client = httpx2.Client(base_url=f"{self.url}/api/v2", timeout=DEADLINE_S)

    def add(self, name: str, text: str) -> None:
        (self.room.dags / name).write_text(text, encoding="utf-8")

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> httpx2.Response:
        given = {} if body is None else {"json": body}
        return self.client.request(method, path, params=params, **given)

    def get(self, path: str, **params: Any) -> Any:
        answer = self.call("GET", path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def begin(self, spec: str, name: str = "adhoc", **more: Any) -> str:
        """Start a run of a text and give its id."""
        answer = self.call("POST", "/dag-runs", {"spec": spec, "name": name, **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["dagRunId"])

    def run(self, run: str, name: str = "adhoc") -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/dag-runs/{name}/{run}")["dagRunDetails"]
        return found

    def ended(self, run: str, name: str = "adhoc", seconds: float = DEADLINE_S) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.run(run, name)
            return found if found["status"] in ENDED else None

        found: dict[str, Any] = until(look, f"the end of {name}/{run}", seconds)
        return found

    def done(self, spec: str, **more: Any) -> dict[str, Any]:
        """The ended run of a text."""
        return self.ended(self.begin(spec, **more))

    def log(self, run: str, step: str, name: str = "adhoc", **params: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/dag-runs/{name}/{run}/steps/{step}/log", **params)
        return found

    def memory_mib(self) -> float:
        return float(psutil.Process(self.pid).memory_info().rss) / 2**20

    def refused(self, answer: httpx2.Response, *statuses: int) -> dict[str, Any]:
        """The body of a refusal in this surface's shape."""
        assert answer.status_code in statuses, (answer.status_code, answer.text[:500])
        told: dict[str, Any] = answer.json()
        assert set(told) <= {"code", "message", "details"}, told
        assert told["message"]
        assert "Traceback" not in answer.text
        return told


@contextlib.contextmanager
def serving(room: Room, *words: str) -> Iterator[Served]:
    """A server on the room's folder; it must end clean, unless the test has ended it."""
    errors = room.folder / "server.err"  # a file: nobody would read a pipe, and a server waits for a full one
    with errors.open("a+") as err:
        process = subprocess.Popen(
            [*ASTRARIUM, "server", "--port", "0", *words], cwd=room.folder, env=room.env, stdout=err, stderr=err
        )
        try:
            server = Served(room, process, announced(process, room.data, errors.read_text))
            with server.client:
                yield server
            process.terminate()
            process.wait(DEADLINE_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        said = errors.read_text()
        assert "Traceback" not in said, said[-4000:]


def make_room(folder: Path, **env: str) -> Room:
    room = Room(folder)
    room.env |= {"ASTRARIUM_DRAIN_TIMEOUT_S": "1", **env}
    return room


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return make_room(tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server of this module, with things in its environment that are nobody's business."""
    with serving(make_room(tmp_path_factory.mktemp("room"), **PLANTED)) as made:
        yield made


@pytest.fixture
def serve(room: Room) -> Callable[..., contextlib.AbstractContextManager[Served]]:
    """Starts servers on this test's own room, one after the other."""
    return lambda *words: serving(room, *words)


def wait_gone(pids: list[int]) -> None:
    until(lambda: not any(psutil.pid_exists(pid) and alive(pid) for pid in pids), f"the end of {pids}", 15)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def written(path: Path) -> str:
    """What a step wrote, once it did."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if path.exists() and path.read_text().strip():
            return path.read_text().strip()
        time.sleep(0.02)
    raise AssertionError(f"{path} was not written")
