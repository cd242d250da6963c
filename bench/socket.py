"""Sockets: how soon after its commit an event is at a client. `python -m bench.socket FOLDER` is the server that is measured: an engine
with one kind of life, told by the toolkit all surfaces use, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect

from astrarium.kernel.audit import AuditLog
from astrarium.kernel.clock import SystemClock
from astrarium.kernel.engine import Engine
from astrarium.kernel.machine import Registry
from astrarium.kernel.record.entry import EntryMachine, PutEntry
from astrarium.kernel.types import Command, Event, Scope
from astrarium.store.sqlite import SqliteStore
from astrarium.surfaces.feed import Feed
from astrarium.surfaces.operation import Operation, Socket, answer, mount, mount_sockets
from astrarium.web import app as web
from astrarium.web.problems import Shapes
from astrarium.web.stream import Frame, Frames, Streams

from .report import Figure, commit_ms, figure, rounded

HERE = Scope("bench", "local")
EVENTS = 300
SOCKETS = 100
MOST_MS = 2.0


async def translate(events: Sequence[Event]) -> list[Frame]:
    return [Frame(json.dumps({"n": event.body.body["n"]}).encode(), "told", str(event.position)) for event in events]


async def serve(folder: Path) -> None:
    registry = Registry()
    registry.add_machine(EntryMachine())
    registry.add_machine(AuditLog())
    store = SqliteStore(folder / "astrarium.db", tables=registry.tables)
    await store.open()
    await store.enlist("bench", "host", 1, "boot", 3600.0)
    engine = Engine(store, registry, SystemClock(), "bench")
    await engine.start()
    feed = Feed(engine)

    async def frames(asked: WebSocket) -> Frames:
        return feed.frames(HERE.workspace, "entry:note/1", 0, lambda event: event.stream == "entry:note/1", translate)

    async def put(request: Request) -> Response:
        order = PutEntry("", {"n": int(request.path_params["n"])}, "bench")
        await engine.submit(Command("entry:note/1", order, HERE))
        return answer(time.time())

    app = web.create_app(version="0", shapes=Shapes(), body_max_bytes=1000)
    app.state.streams = Streams()
    mount_sockets(app, "", [Socket("/stream", "stream", "", frames, "any")])
    mount(app, "", [Operation("POST", "/put/{n}", "put", "", put)])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, access_log=False, ws="websockets-sansio", ws_per_message_deflate=False
        )
        await uvicorn.Server(config).serve(sockets=[listener])


async def told(client: ClientConnection, number: int) -> dict[int, float]:
    """When each of the next events came."""
    came: dict[int, float] = {}
    while len(came) < number:
        data: dict[str, Any] = json.loads(await client.recv())
        came[data["n"]] = time.time()
    return came


async def latencies(port: int, sockets: int, first: int) -> list[float]:
    """Milliseconds from each commit to the last of these clients having it."""
    clients = [await connect(f"ws://127.0.0.1:{port}/stream", proxy=None, max_queue=None) for _ in range(sockets)]
    await asyncio.gather(*(told(client, first) for client in clients))  # the past
    reading = [asyncio.create_task(told(client, EVENTS)) for client in clients]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    committed: dict[int, float] = {}
    for n in range(first, first + EVENTS):
        writer.write(f"POST /put/{n} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        committed[n] = float(await reader.readexactly(int(length.partition(b":")[2])))
        await asyncio.sleep(0.002)
    writer.close()
    came = await asyncio.gather(*reading)
    await asyncio.gather(*(client.close() for client in clients))
    return [(max(one[n] for one in came) - committed[n]) * 1000 for n in committed]


def measure(folder: Path, quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        process = subprocess.Popen([sys.executable, "-m", "bench.socket", own], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                alone = runner.run(latencies(port, 1, 0))
                many = runner.run(latencies(port, SOCKETS, EVENTS))
        finally:
            process.terminate()
            process.wait(30)
        commits = [commit_ms(Path(own), 1) for _ in range(20)]
    return [
        latency("event, committed to seen by a socket", alone, MOST_MS, commits),
        latency(f"the same, by the last of {SOCKETS} sockets", many, 50.0, commits),
    ]


def latency(title: str, taken: list[float], most: float, commits: list[float]) -> Figure:
    p95 = sorted(taken)[int(len(taken) * 0.95)]
    notes = {"p95_ms": rounded(p95), "most_ms": rounded(max(taken)), "commit_ms": rounded(statistics.median(commits))}
    return figure(title, "ms", taken, most=most, notes=notes)


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
