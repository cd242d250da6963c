"""A real server process over a folder of its own, and a client that costs it little."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

PREFIX = "/api/v2"
DEADLINE_S = 60.0
ENDED = frozenset((2, 3, 4, 6, 8))
"""Statuses of this surface from which a run does not go on by itself."""


def plain_environment(folder: Path) -> dict[str, str]:
    """Ours without settings of whoever measures; modules stay compiled, as they are for users."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASTRARIUM_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "XDG_CONFIG_HOME": str(folder / "no-settings")}


class Server:
    """`ready_s`: from the start of the process to the first answer of the health route. `settings` are variables it is given."""

    def __init__(self, folder: Path, wait: bool = True, settings: Mapping[str, str] = {}) -> None:
        self.folder = folder
        self.dags = folder / "dags"
        self.dags.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "astrarium", "server", "--port", "0"]
        command += ["--data-dir", str(folder), "--dags-dir", str(self.dags), "--log-level", "error"]
        environment = plain_environment(folder) | dict(settings)
        self.began = time.time()
        started = time.perf_counter()
        with open(folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        self.client: http.client.HTTPConnection
        self.ready_s = 0.0
        if wait:
            self.connect()
            self.ready_s = time.perf_counter() - started

    def connect(self) -> None:
        """Wait until the health route answers."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            address = self._address()
            if address:
                self.client = http.client.HTTPConnection(address[0], address[1], timeout=DEADLINE_S)
                try:
                    self.call("GET", "/health")
                    return
                except ConnectionRefusedError:
                    pass
            time.sleep(0.002)
        raise RuntimeError(f"the server did not start:\n{(self.folder / 'server.log').read_text()[-2000:]}")

    def _address(self) -> tuple[str, int] | None:
        try:
            told = json.loads((self.folder / "server.json").read_text())
        except (OSError, ValueError):
            return None
        if told["pid"] != self.process.pid:
            return None  # a killed server's
        url = urlsplit(told["url"])
        return (url.hostname or "127.0.0.1", url.port or 80)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        self.client.request(method, PREFIX + path, data, {"Content-Type": "application/json"})
        answer = self.client.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]!r}")
        return json.loads(text) if text else None

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
