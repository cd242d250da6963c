"""A real server in a process of its own, offering the graphs of this folder; tests speak HTTP and WebSocket to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.served import DEADLINE_S, ServerProcess, wait

SABOTAGE = """
from astrarium.surfaces.graphs.desk import Desk

row = Desk.row

async def sabotaged(self, caller, alias):
    if alias == "explode":
        raise RuntimeError("the password is hunter2hunter2")
    return await row(self, caller, alias)

Desk.row = sabotaged
"""
ENDED = frozenset(("done", "failed", "error", "cancelled"))
HERE = Path(__file__).parent


class Server(ServerProcess):
    """A server that offers graphs. `offered` are the names of files in `documents/`, or texts by file name."""

    before = SABOTAGE

    def __init__(
        self, folder: Path, offered: dict[str, str] | None = None, env: dict[str, str] | None = None, **settings: Any
    ) -> None:
        self.graphs = folder / "graphs"
        self.graphs.mkdir(parents=True, exist_ok=True)
        for name, text in (offered or {}).items():
            (self.graphs / name).parent.mkdir(parents=True, exist_ok=True)
            (self.graphs / name).write_text(text)
        super().__init__(folder, env, **settings)

    def start(self, graph: str, inputs: dict[str, Any] | None = None, **body: Any) -> str:
        answer = self.call("POST", "/v1/runs", {"graph_id": f"graph:{graph}", "inputs": inputs or {}, **body})
        assert answer.status_code == 202, answer.text
        assert answer.json()["status"] == "pending"
        return str(answer.json()["run_id"])

    def run(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/v1/runs/{run}")
        return found

    def post(self, run: str, what: str, body: Any = None, status: int = 200) -> Any:
        answer = self.call("POST", f"/v1/runs/{run}/{what}", body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def fork(self, run: str, step: int, **mutation: Any) -> str:
        return str(self.post(run, "counterfactual", {"step": step, "mutation": mutation})["run_id"])

    def until(self, run: str, good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The run as soon as `good` holds for it."""
        return wait(lambda: self.run(run), good)

    def status(self, run: str, *wanted: str) -> dict[str, Any]:
        return self.until(run, lambda found: found["status"] in wanted)

    def ended(self, run: str) -> dict[str, Any]:
        return self.until(run, lambda found: found["status"] in ENDED)

    def did(self, graph: str, inputs: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """A run to its end: (summary, last state)."""
        run = self.start(graph, inputs)
        found = self.ended(run)
        return found, self.state(run)

    def state(self, run: str) -> dict[str, Any]:
        """The last state of a run that has ended."""
        found: dict[str, Any] = self.frames(run)[-1]["final_state"]
        return found

    def route(self, run: str) -> list[str]:
        """The nodes a run visited, branches by name."""
        return [step["last_node"] for step in self.get(f"/v1/runs/{run}/steps")]

    # -- streams --------------------------------------------------------------------------------------------------------

    def connect(self, run: str, headers: dict[str, str] | None = None, **params: str) -> ClientConnection:
        query = "&".join(f"{name}={value}" for name, value in params.items())
        url = f"ws{self.said.removeprefix('http')}/v1/runs/{run}/stream?{query}"
        return connect(url, additional_headers=headers, open_timeout=DEADLINE_S, compression=None)

    def frames(self, run: str, headers: dict[str, str] | None = None, **params: str) -> list[dict[str, Any]]:
        """All frames of a run that has ended, or ends now."""
        with self.connect(run, headers, **params) as socket:
            return [json.loads(text) for text in socket]

    def events(self, run: str, **headers: str) -> list[dict[str, Any]]:
        """The same by Server-Sent Events."""
        assert self.client is not None
        with self.client.stream("GET", f"/v1/runs/{run}/events", headers=headers) as answer:
            return [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data: ")]


DOCUMENTS = {path.name: path.read_text() for path in sorted((HERE / "documents").iterdir()) if path.is_file()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of this module; it offers all of `documents/`."""
    made = Server(tmp_path_factory.mktemp("graphs") / "data", DOCUMENTS, forks_per_min=100_000)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers over folders of this test; all end with it."""
    made: list[Server] = []

    def start(name: str = "data", offered: dict[str, str] | None = None, **more: Any) -> Server:
        made.append(Server(tmp_path / name, DOCUMENTS if offered is None else offered, **more))
        return made[-1]

    yield start
    for server in made:
        server.close()
