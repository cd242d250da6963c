"""A real server in a process of its own, on a free port, one for each module; tests speak HTTP to it."""

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
import sys
from pathlib import Path
from astrarium.config import Settings
from astrarium.errors import AstrariumError
from astrarium.server import serve

folder, port, drain_s, database_url = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
settings = Settings(data_dir=folder, port=port, drain_timeout_s=drain_s, database_url=database_url)
try:
    serve(settings, lambda url: print(url, flush=True))
except AstrariumError as error:
    print(f"{error.message} ({error.hint})", flush=True)
    sys.exit(3)
"""
DEADLINE_S = 30.0
ENDED = {2, 3, 4, 6, 8}


class Server:
    """One server process over one data folder."""

    def __init__(self, folder: Path, port: int = 0, drain_s: float = 5.0, database_url: str = "") -> None:
        self.folder = folder
        self.dags = folder / "dags"
        self.dags.mkdir(parents=True, exist_ok=True)
        self.errors = (folder.parent / f"{folder.name}.err").open("a+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), str(port), str(drain_s), database_url],
            stdout=subprocess.PIPE, stderr=self.errors, text=True, env={**os.environ, "TZ": "UTC"},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()
        self.client = httpx2.Client(base_url=f"{self.said}/api/v2", timeout=DEADLINE_S) if self.said.startswith("http") else None

    def add(self, name: str, text: str) -> None:
        (self.dags / name).write_text(text)

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> httpx2.Response:
        assert self.client is not None, self.said
        if body is None:
            return self.client.request(method, path, params=params)
        return self.client.request(method, path, params=params, json=body)

    def get(self, path: str, **params: Any) -> Any:
        answer = self.call("GET", path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def start(self, dag: str, **body: Any) -> str:
        answer = self.call("POST", f"/dags/{dag}/start", body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["dagRunId"])

    def run(self, name: str, run: str = "latest") -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/dag-runs/{name}/{run}")["dagRunDetails"]
        return found

    def until(self, name: str, run: str, good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
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

    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "server.json").read_text())
        return found

    def signal(self, number: int = signal.SIGTERM) -> int:
        """Stop it and give its exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.client is not None:
            self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(1.0)
            except subprocess.TimeoutExpired:  # runs a test left: a second signal ends them at once
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(DEADLINE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of this module."""
    made = Server(tmp_path_factory.mktemp("data"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers over folders of this test; all end with it."""
    made: list[Server] = []

    def start(name: str = "data", **more: Any) -> Server:
        made.append(Server(tmp_path / name, **more))
        return made[-1]

    yield start
    for server in made:
        server.close()
