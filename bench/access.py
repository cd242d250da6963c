"""What it costs to be somebody: requests with an API key, a session token and an exchanged token next to the same requests without a
credential, in turn, on one open server. What counts is the server's processor time: it serves on one thread, so that is what bounds
it, and other programs do not add to it. The clock's figures are in the notes."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from .report import Figure, figure, rounded
from .server import PREFIX, Server

CONNECTIONS = 32
LIST, HOT = "/dags?perPage=50", "/services/coordinator"
"""A list of 25 DAG files with their latest runs; a route that answers from memory and asks for a capability."""
DAG = "steps:\n  - name: one\n    type: noop\n"
PASSWORD = "correct-horse"
OPEN, KEY, TOKEN, EXCHANGED = "open", "API key", "session JWT", "RS256 JWT"


class Caller(asyncio.Protocol):
    """One connection that asks the same again and again until `left` is used up."""

    def __init__(self, request: bytes, left: list[int], over: asyncio.Future[None]) -> None:
        self.request = request
        self.left = left
        self.over = over
        self.held = b""
        self.wanted = -1
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        if self.left[0] <= 0:
            self.transport.close()
            self.over.set_result(None)
            return
        self.left[0] -= 1
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.held += data
        if self.wanted < 0:
            head, found, _ = self.held.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self.over.set_exception(RuntimeError(head.decode("latin-1")[:300]))
                self.transport.close()
                return
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self.wanted = len(head) + 4 + int(length)
        if len(self.held) >= self.wanted:
            self.held, self.wanted = b"", -1
            self.ask()


async def ask_many(address: tuple[str, int], request: bytes, times: int, connections: int) -> float:
    """Seconds that `times` requests over these connections take."""
    loop, left = asyncio.get_running_loop(), [times]
    began = time.perf_counter()
    over: list[asyncio.Future[None]] = [loop.create_future() for _ in range(connections)]
    for one in over:
        await loop.create_connection(lambda one=one: Caller(request, left, one), *address)  # type: ignore[misc]
    await asyncio.gather(*over)
    return time.perf_counter() - began


class Measured:
    """A server and what its requests cost: wall time over all connections, and its own processor time."""

    def __init__(self, server: Server, credentials: dict[str, str]) -> None:
        self.address = (server.client.host, server.client.port)
        self.pid = server.process.pid
        self.credentials = credentials

    def sample(self, path: str, kind: str, times: int, connections: int) -> tuple[float, float]:
        """Requests a second, and processor microseconds for each."""
        head = f"GET {PREFIX}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        credential = self.credentials[kind]
        head += f"Authorization: Bearer {credential}\r\n" if credential else ""
        before = self.busy_ns()
        took = asyncio.run(ask_many(self.address, (head + "\r\n").encode(), times, connections))
        return times / took, (self.busy_ns() - before) / times / 1000

    def busy_ns(self) -> int:
        """Processor time of the thread that serves, so far."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0])


def credentials_of(server: Server) -> dict[str, str]:
    server.call("POST", "/users", {"username": "anna", "password": PASSWORD, "role": "operator"})
    token = server.call("POST", "/auth/login", {"username": "anna", "password": PASSWORD})["token"]
    key = server.call("POST", "/api-keys", {"name": "bench", "role": "operator"})["key"]
    return {OPEN: "", KEY: key, TOKEN: token, EXCHANGED: exchanged(server, token)}


def exchanged(server: Server, token: str) -> str:
    """The signed token of a workspace that is given for a session."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(method: str, path: str, body: str | None = None) -> Any:
        server.client.request(method, path, body, headers)
        return json.loads(server.client.getresponse().read())

    workspace = ask("GET", "/api/v1/me")["workspaces"][0]["id"]
    return str(ask("POST", "/api/v1/auth/exchange", json.dumps({"workspace_id": workspace}))["access_token"])


def measure(folder: Path, quick: bool) -> list[Figure]:
    rounds, times = (5, 1_000) if quick else (15, 2_000)
    with tempfile.TemporaryDirectory(dir=folder) as own, Server(Path(own)) as server:
        for number in range(25):
            (server.dags / f"dag{number}.yaml").write_text(DAG)
        measured = Measured(server, credentials_of(server))
        while server.call("GET", LIST)["pagination"]["totalRecords"] < 25:
            time.sleep(0.05)
        taken: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for number in range(rounds + 1):
            for path in (LIST, HOT):
                for kind in measured.credentials if number % 2 else reversed(measured.credentials):
                    found = measured.sample(path, kind, times if path is HOT else times // 3, CONNECTIONS)
                    if number:  # the first round warms up
                        taken.setdefault((path, kind), []).append(found)
    return [made for kind in (KEY, TOKEN, EXCHANGED) for made in (list_figure(taken, kind), hot_figure(taken, kind))]


Taken = dict[tuple[str, str], list[tuple[float, float]]]


def list_figure(taken: Taken, kind: str) -> Figure:
    """How much more of the server's processor a list takes, in per cent, round by round."""
    mine, bare = taken[LIST, kind], taken[LIST, OPEN]
    more = [(one[1] / other[1] - 1) * 100 for one, other in zip(mine, bare, strict=True)]
    notes = {"connections": CONNECTIONS, "open_requests_per_s": middle(bare, 0)} | wall(mine, bare)
    return figure(
        f"list route, {kind} over open", "%", more, bare={"open_cpu_us": [one[1] for one in bare]}, most=10.0, notes=notes
    )


def hot_figure(taken: Taken, kind: str) -> Figure:
    """How much more of the server's processor a request takes that answers from memory, in microseconds, round by round."""
    mine, bare = taken[HOT, kind], taken[HOT, OPEN]
    more = [one[1] - other[1] for one, other in zip(mine, bare, strict=True)]
    notes = {"open_requests_per_s": middle(bare, 0)} | wall(mine, bare)
    return figure(
        f"hot route, {kind} more than open", "µs", more, bare={"open_cpu_us": [one[1] for one in bare]}, most=25.0, notes=notes
    )


def wall(mine: list[tuple[float, float]], bare: list[tuple[float, float]]) -> dict[str, float]:
    """The same by the clock, which another program on this machine can make longer."""
    slower = [other[0] / one[0] - 1 for one, other in zip(mine, bare, strict=True)]
    longer = [1 / one[0] - 1 / other[0] for one, other in zip(mine, bare, strict=True)]
    return {
        "requests_per_s": middle(mine, 0), "wall_percent": rounded(statistics.median(slower) * 100),
        "wall_us": rounded(statistics.median(longer) * 1e6),
    }  # fmt: skip


def middle(samples: list[tuple[float, float]], which: int) -> float:
    return rounded(statistics.median(one[which] for one in samples))
