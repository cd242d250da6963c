"""A real server in a process of its own, on a free port; tests speak HTTP to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx2

PROGRAM = """
import sys
from pathlib import PosixPath
from astrarium.config import Settings
from astrarium.errors import AstrariumError
from astrarium.server import serve

try:
    serve(Settings(**eval(sys.argv[1])), lambda url: print(url, flush=True))
except AstrariumError as error:
    print(f"{error.message} ({error.hint})", *getattr(error, "problems", ()), sep="\\n", flush=True)
    sys.exit(3)
"""
DEADLINE_S = 30.0
LEAVE_S = 2.0
ENDED = {2, 3, 4, 6, 8}
Found = TypeVar("Found")


class ServerProcess:
    """One server process over one data folder, with `settings` beside it. `said` is its address, or why it did not start. `under` is
    what paths are taken from, `before` is code its process begins with."""

    under = ""
    before = ""

    def __init__(self, folder: Path, env: dict[str, str] | None = None, **settings: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.errors = (folder.parent / f"{folder.name}.err").open("a+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.before + PROGRAM, repr({"data_dir": folder, "port": 0, **settings})],
            stdout=subprocess.PIPE, stderr=self.errors, text=True, env={**os.environ, "TZ": "UTC", **(env or {})}, cwd=folder,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()
        live = self.said.startswith("http")
        self.client = httpx2.Client(base_url=self.said + self.under, timeout=DEADLINE_S) if live else None

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **params: Any
    ) -> httpx2.Response:
        assert self.client is not None, self.said
        more = {} if body is None else {"json": body}
        return self.client.request(method, path, params=params, headers=headers, **more)

    def get(self, path: str, **params: Any) -> Any:
        answer = self.call("GET", path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def told(self) -> dict[str, Any]:
        """What its `server.json` says."""
        found: dict[str, Any] = json.loads((self.folder / "server.json").read_text())
        return found

    def signal(self, number: int = signal.SIGTERM) -> int:
        """Stop it and give its exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        if self.errors.closed:
            return
        if self.client is not None:
            self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(LEAVE_S)
            except subprocess.TimeoutExpired:  # runs a test left: a second signal ends them at once
                self.signal()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()


class Server(ServerProcess):
    """A server as users of `/api/v2` see it."""

    under = "/api/v2"

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.dags = folder / "dags"
        self.dags.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, **{"drain_timeout_s": 5.0, **settings})

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.call("POST", path, body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def add(self, name: str, text: str) -> None:
        (self.dags / (name if "." in name else f"{name}.yaml")).write_text(text)

    def start(self, dag: str, **body: Any) -> str:
        return str(self.post(f"/dags/{dag}/start", body)["dagRunId"])

    def run(self, name: str, run: str = "latest") -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/dag-runs/{name}/{run}")["dagRunDetails"]
        return found

    def until(self, name: str, run: str, good: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The run as soon as `good` holds for it."""
        return wait(lambda: self.run(name, run), good)

    def ended(self, name: str, run: str) -> dict[str, Any]:
        return self.until(name, run, lambda found: found["status"] in ENDED)


def announced(process: subprocess.Popen[Any], data: Path, said: Callable[[], str]) -> dict[str, Any]:
    """What `server.json` in the data folder says once this process has written it; one that was killed may have left another. `said` is
    told when the process ends instead."""

    def look() -> dict[str, Any]:
        assert process.poll() is None, said()
        try:
            found: dict[str, Any] = json.loads((data / "server.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if found["pid"] == process.pid else {}

    return wait(look, bool)


def wait(look: Callable[[], Found], good: Callable[[Found], Any]) -> Found:
    """What is found as soon as `good` holds for it."""
    end = time.monotonic() + DEADLINE_S
    while not good(found := look()):
        assert time.monotonic() < end, f"it is still {found}"
        time.sleep(0.01)
    return found
