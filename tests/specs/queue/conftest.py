"""The server of the tests of queues, which may be killed and started anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import served

GATE = """steps:
  - name: gate
    script: until test -e "$DAG_RUN_ID"; do sleep 0.02; done
    retryPolicy: {limit: 100, intervalSec: 0}
"""
"""A run that holds its place until its gate is opened."""


class Server(served.Server):
    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder, **{"drain_timeout_s": 1.0, **settings})

    def enqueue(self, dag: str, **body: Any) -> str:
        return str(self.post(f"/dags/{dag}/enqueue", body)["dagRunId"])

    def open(self, run: str) -> None:
        """Let a run through its gate."""
        (self.dags / run).touch()

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


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers over one folder of this test, one after the other; the last one ends with it."""
    made: list[Server] = []

    def start(**settings: Any) -> Server:
        made.append(Server(tmp_path / "data", **settings))
        return made[-1]

    yield start
    for server in made:
        server.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of a module, with the global queues `heavy` (2) and `light` (1)."""
    made = Server(tmp_path_factory.mktemp("data"), queues={"heavy": 2, "light": 1})
    try:
        yield made
    finally:
        made.close()
