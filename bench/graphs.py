"""Graphs through the API of a real server: runs a second, steps, runs side by side, how soon a socket is told, and many that wait for
people."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import uvloop
from websockets.asyncio.client import connect

from .report import Figure, commit_ms, figure, rounded
from .server import Server

SUBMITTERS = 16
WAITING = 10_000
EVENTS = 100
LOOK_S = 0.2
"""How often it is asked whether a long run has ended. The run itself says how long it took; asking takes from it."""
NODES = "".join(f"  - {{id: n{number}, kind: passthrough}}\n" for number in range(5))
FIVE = f'ir_version: "1.1.0"\nid: "graph:five"\nstate_schema: {{message: str}}\nnodes:\n{NODES}'
LOOP = """ir_version: "1.1.0"
id: "graph:loop"
max_steps: 1000000
state_schema: {n: {type: int, default: 0}, most: int}
nodes: [{id: add, kind: "bench_nodes:add"}]
rules: [{id: again, when: "cel: state.n < state.most", then: [{kind: goto, target: add}]}]
"""
SECOND = 'ir_version: "1.1.0"\nid: "graph:second"\nnodes: [{id: wait, kind: "bench_nodes:second"}]\n'
ASK = 'ir_version: "1.1.0"\nid: "graph:ask"\nnodes: [{id: ask, kind: interrupt, config: {prompt: "well?"}}]\n'
MODULE = """import asyncio
async def add(state, ctx):
    return {"n": state["n"] + 1}
async def second(state, ctx):
    await asyncio.sleep(1)
"""


class Client:
    """One connection that asks as fast as it is answered."""

    def __init__(self, url: str) -> None:
        self.url = urlsplit(url)
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def open(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection(self.url.hostname, self.url.port)
        return self

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.url.netloc}\r\nContent-Length: {len(data)}\r\n\r\n"
        self.writer.write(head.encode() + data)
        told = await self.reader.readuntil(b"\r\n\r\n")
        length = next(line for line in told.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        answer = await self.reader.readexactly(int(length.partition(b":")[2]))
        if not told.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"{method} {path}: {answer[:300]!r}")
        return json.loads(answer)

    async def start(self, graph: str, **inputs: Any) -> str:
        answer = await self.call("POST", "/v1/runs", {"graph_id": f"graph:{graph}", "inputs": inputs})
        return str(answer["run_id"])

    async def total(self, graph: str, status: str) -> int:
        page = await self.call("GET", f"/v1/runs?graph_id=graph:{graph}&status={status}&limit=1")
        return int(page["total"])

    async def reached(self, graph: str, status: str, number: int) -> None:
        while await self.total(graph, status) < number:  # noqa: ASYNC110  # another process is waited for
            await asyncio.sleep(0.01)


async def throughput(url: str, number: int) -> tuple[float, float]:
    """(runs a second from the first order to the last end, p99 of a run's life in ms)"""
    clients = [await Client(url).open() for _ in range(SUBMITTERS)]
    before = await clients[0].total("five", "done")
    began = time.perf_counter()

    async def submit(client: Client) -> None:
        for _ in range(number // SUBMITTERS):
            await client.start("five", message="x")

    await asyncio.gather(*(submit(client) for client in clients))
    made = number // SUBMITTERS * SUBMITTERS
    await clients[0].reached("five", "done", before + made)
    rate = made / (time.perf_counter() - began)
    items = (await clients[0].call("GET", "/v1/runs?graph_id=graph:five&limit=1000"))["items"]
    lives = sorted(one["duration_ms"] for one in items)
    return rate, lives[int(len(lives) * 0.99)]


async def step_ms(url: str, steps: int) -> float:
    client = await Client(url).open()
    run = await client.start("loop", most=steps)
    while True:
        items = (await client.call("GET", "/v1/runs?graph_id=graph:loop&status=done&limit=1"))["items"]
        if items and items[0]["run_id"] == run:
            return float(items[0]["duration_ms"]) / steps
        await asyncio.sleep(LOOK_S)


async def together_s(url: str) -> float:
    client = await Client(url).open()
    before = await client.total("second", "done")
    began = time.perf_counter()
    for _ in range(8):
        await client.start("second")
    await client.reached("second", "done", before + 8)
    return time.perf_counter() - began


async def told_ms(url: str) -> list[float]:
    """From when an event was decided to when a socket has its frame."""
    client = await Client(url).open()
    taken: list[float] = []
    for _ in range(EVENTS):
        run = await client.start("ask")
        async with connect(f"ws{url.removeprefix('http')}/v1/runs/{run}/stream", proxy=None, compression=None) as socket:
            json.loads(await socket.recv())
            answered = asyncio.create_task(client.call("POST", f"/v1/runs/{run}/respond", {"response": {}}))
            frame = json.loads(await socket.recv())
            taken.append((time.time() - moment(frame["ts"])) * 1000)
            await answered
    return taken


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def waiting(url: str, pid: int, number: int) -> tuple[float, list[float]]:
    """(MiB that so many runs in wait add, how many ms an answer takes)"""
    clients = [await Client(url).open() for _ in range(SUBMITTERS)]
    process = psutil.Process(pid)
    known = await clients[0].total("ask", "awaiting-input")
    before = process.memory_info().rss
    runs: list[str] = []

    async def submit(client: Client) -> None:
        for _ in range(number // SUBMITTERS):
            runs.append(await client.start("ask"))

    await asyncio.gather(*(submit(client) for client in clients))
    await clients[0].reached("ask", "awaiting-input", known + len(runs))
    added = (process.memory_info().rss - before) / 2**20
    answers = []
    for run in runs[:: max(1, len(runs) // 100)][:100]:
        began = time.perf_counter()
        await clients[0].call("POST", f"/v1/runs/{run}/respond", {"response": {}})
        answers.append((time.perf_counter() - began) * 1000)
    return added, answers


async def figures(url: str, pid: int, folder: Path, quick: bool) -> list[Figure]:
    rounds, number = (1, 480) if quick else (5, 1600)
    await throughput(url, 160)
    await step_ms(url, 200)
    rates = [await throughput(url, number) for _ in range(rounds)]
    steps = [await step_ms(url, 500 if quick else 3000) for _ in range(rounds)]
    together = [await together_s(url) for _ in range(1 if quick else 3)]
    told = await told_ms(url)
    added, answers = await waiting(url, pid, 960 if quick else WAITING)
    commits = [commit_ms(folder, 1) for _ in range(20)]
    p99 = {"p99_ms": rounded(statistics.median(one for _, one in rates)), "commit_ms": rounded(statistics.median(commits))}
    late = {"p95_ms": rounded(sorted(told)[int(len(told) * 0.95)])}
    return [
        figure("5-node graph, 16 submitters, order to end", "runs/s", [rate for rate, _ in rates], least=300.0, notes=p99),
        figure("step of a graph, one run that loops", "ms", steps, most=0.5),
        figure("8 runs of a second each, side by side", "s", together, most=1.2),
        figure("event, decided to seen by a socket", "ms", told, most=2.0, notes=late),
        figure(f"{960 if quick else WAITING:,} runs that wait for people", "MiB", [added], most=50.0),
        figure("answer to one of them", "ms", answers, most=10.0),
    ]


def measure(folder: Path, quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        graphs = Path(own, "graphs")
        graphs.mkdir()
        for name, text in (("five", FIVE), ("loop", LOOP), ("second", SECOND), ("ask", ASK)):
            (graphs / f"{name}.yaml").write_text(text)
        (graphs / "bench_nodes.py").write_text(MODULE)
        with Server(Path(own)) as server:
            told = json.loads((Path(own) / "server.json").read_text())
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(figures(told["url"], server.process.pid, Path(own), quick))
