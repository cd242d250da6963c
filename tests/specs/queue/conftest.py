"""The server of the HTTP tests, for queues: a process of its own, that takes settings and may be killed and started anew."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

PROGRAM = """
import json, sys
from pathlib import Path
from astrarium.config import Settings
from astrarium.server import serve

more = json.loads(sys.argv[2])
serve(Settings(data_dir=Path(sys.argv[1]), port=0, drain_timeout_s=1.0, **more), lambda url: print(url, flush=True))
"""
DEADLINE_S = 30.0
ENDED = {2, 3, 4, 6, 8}


class Server:
    """One server process over one data folder; `settings` beside the folder's."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.dags = folder / "dags"
        self.dags.mkdir(parents=True, exist_ok=True)
        self.errors = (folder.parent / f"{folder.name}.err").open("a+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), json.dumps(settings)],
            stdout=subprocess.PIPE, stderr=self.errors, text=True, env={**os.environ, "TZ": "UTC"},
        )  # fmt: skip
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        self.client = httpx2.Client(base_url=f"{said}/api/v2", timeout=DEADLINE_S)

    def add(self, name: str, text: str) -> None:
        (self.dags / f"{name}.yaml").write_text(text)

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> httpx2.Response:
        if body is None:
            return self.client.request(method, path, params=params)
        return self.client.request(method, path, params=params, json=body)

    def get(self, path: str, **params: Any) -> Any:
        return self.told(self.call("GET", path, **params))

    def told(self, answer: httpx2.Response) -> Any:
        assert answer.status_code == 200, answer.text
        return answer.json()

    def enqueue(self, dag: str, **body: Any) -> str:
        return str(self.told(self.call("POST", f"/dags/{dag}/enqueue", body))["dagRunId"])

    def start(self, dag: str, **body: Any) -> str:
        return str(self.told(self.call("POST", f"/dags/{dag}/start", body))["dagRunId"])

    def run(self, name: str, run: str = "latest") -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/dag-runs/{name}/{run}")["dagRunDetails"]
        return found

    def until(self, name: str, run: str, good: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The run as soon as `good` holds for it."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            found = self.run(name, run)
            if good(found):
                return found
            time.sleep(0.01)
        raise AssertionError(f"{name}/{run} is still {found}")

    def ended(self, name: str, run: str) -> dict[str, Any]:
        return self.until(name, run, lambda found: found["status"] in ENDED)

    def running(self, name: str, run: str) -> dict[str, Any]:
        return self.until(name, run, lambda found: found["status"] == 1)

    def queue(self, name: str) -> dict[str, Any]:
        """A queue of the list; an empty one that is not listed has no runs."""
        for found in self.get("/queues")["queues"]:
            if found["name"] == name:
                return dict(found)
        return {"name": name, "running": [], "queued": []}

    def in_queue(self, name: str) -> tuple[list[str], list[str]]:
        """Ids of who runs, and of who waits, in order."""
        found = self.queue(name)
        return [run["dagRunId"] for run in found["running"]], [run["dagRunId"] for run in found["queued"]]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers over one folder of this test, one after the other; the last one ends with it."""
    made: list[Server] = []

    def start(**settings: Any) -> Server:
        made.append(Server(tmp_path / "data", **settings))
        return made[-1]

    yield start
    for server in made:
        if not server.errors.closed:
            server.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of a module, with the global queues `heavy` (2) and `light` (1)."""
    made = Server(tmp_path_factory.mktemp("data"), queues={"heavy": 2, "light": 1})
    try:
        yield made
    finally:
        made.close()
