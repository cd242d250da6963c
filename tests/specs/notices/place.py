"""A real server over a folder of its own, as `astrarium server` starts it; it can be killed and started again."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2

from tests.served import announced

DEADLINE_S = 30.0


class Place:
    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.dags = folder / "dags"
        self.dags.mkdir(parents=True)
        self.env = {
            **os.environ, "ASTRARIUM_DATA_DIR": str(self.data), "ASTRARIUM_DAGS_DIR": str(self.dags), "TZ": "UTC",
            "ASTRARIUM_NOTICE_RETRY_S": "0.1", "ASTRARIUM_EGRESS_ALLOW": "127.0.0.1", "ASTRARIUM_CONFIG": str(folder / "own.toml"), **env,
        }  # fmt: skip
        (folder / "own.toml").touch()
        self.process: subprocess.Popen[bytes] | None = None
        self.client: httpx2.Client | None = None

    def add(self, name: str, text: str) -> None:
        (self.dags / f"{name}.yaml").write_text(text)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "astrarium", *words], env=self.env, capture_output=True, text=True, stdin=subprocess.DEVNULL,
            timeout=DEADLINE_S, check=False,
        )  # fmt: skip

    def command_later(self, *words: str) -> subprocess.Popen[bytes]:
        """The same, without waiting for its end."""
        return subprocess.Popen(
            [sys.executable, "-m", "astrarium", *words], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self) -> None:
        log = self.folder / "server.err"
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "astrarium", "server", "--port", "0"], env=self.env, stderr=errors, start_new_session=True
            )
        told = announced(self.process, self.data, lambda: log.read_text()[-2000:])
        self.client = httpx2.Client(base_url=told["url"] + "/api/v2", timeout=DEADLINE_S)

    def kill(self) -> None:
        """As a power cut would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        if self.client is not None:
            self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> httpx2.Response:
        assert self.client is not None
        return self.client.request(method, path, params=params, json=body if body is not None or method == "GET" else {})

    def get(self, path: str, **params: Any) -> Any:
        answer = self.call("GET", path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def run(self, dag: str) -> str:
        """Start a run and wait for its end; its id."""
        answer = self.call("POST", f"/dags/{dag}/start")
        assert answer.status_code == 200, answer.text
        run = str(answer.json()["dagRunId"])
        until(lambda: self.get(f"/dag-runs/{dag}/{run}")["dagRunDetails"]["status"] in (2, 3, 4, 6, 8))
        return run

    def deliveries(self, **wanted: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/notifications", **wanted)["notifications"]
        return found

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        """What the database holds; it is only read."""
        with closing(sqlite3.connect(f"file:{self.data}/astrarium.db?mode=ro", uri=True, timeout=10)) as db:
            return db.execute(sql).fetchall()


def until(good: Callable[[], Any], told: Callable[[], Any] = lambda: "") -> Any:
    """What `good` gives as soon as it is true."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        found = good()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {DEADLINE_S} s: {told()}")
