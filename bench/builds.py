"""The build registry over HTTP: registering and reporting tasks at 32 connections, and reading large builds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uvloop

from tests.postgres import PrivatePostgres, find_programs

from .report import Figure, commit_ms, figure
from .server import Server

PREFIX = "/api/v1"
CONNECTIONS = 32
LEAST = 1500.0
"""Registrations, and pairs of start and complete, a second."""
LEAST_POSTGRES = 1000.0
MOST_CLIENT_S = 1.0
CLIENT = "0.1.0"
PROGRAM = """
import sys, time
import stardag as sd
from stardag.build import build_sequential
from stardag.registry import APIRegistry

class Leaf(sd.AutoTask[int]):
    i: int
    n: int
    def run(self):
        self.output().save(self.i)

class Root(sd.AutoTask[int]):
    n: int
    def requires(self):
        return [Leaf(i=i, n=self.n) for i in range(200)]
    def run(self):
        self.output().save(sum(leaf.output().load() for leaf in self.requires()))

registry = APIRegistry()
began = time.perf_counter()
summary = build_sequential([Root(n=int(sys.argv[1]))], registry=registry)
assert summary.status.value == "success", summary
print(time.perf_counter() - began)
"""
YES = """
import asyncio, json
SAID = json.dumps({"id": "01a20307-4369-7378-ada2-62ef5cdfcb15", "task_id": "t", "status": "completed", "name": "calm-owl-10"}).encode()
HEAD = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(SAID)

class Yes(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.got = transport, b""

    def data_received(self, data):
        self.got += data
        while True:
            head, found, rest = self.got.partition(b"\\r\\n\\r\\n")
            length = [line[15:] for line in head.lower().split(b"\\r\\n") if line.startswith(b"content-length:")]
            size = int(length[0]) if length else 0
            if not found or len(rest) < size:
                return
            self.got = rest[size:]
            self.transport.write(HEAD + SAID)

async def main():
    server = await asyncio.get_running_loop().create_server(Yes, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""
"""Its address is printed."""
BATCH = 1000
HEAD = b"content-length: "
Call = tuple[str, str, bytes]
"""Method, path, body."""


class Connection:
    """One connection, kept open; a client that costs little."""

    prefix = PREFIX

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        head = f"{method} {self.prefix}{path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        place = answer.index(HEAD) + len(HEAD)
        said = await self._reader.readexactly(int(answer[place : answer.index(b"\r", place)]))
        if not 200 <= int(answer[9:12]) < 300:
            raise RuntimeError(f"{method} {path}: {answer[:12].decode()} {said[:200].decode()}")
        return said

    def close(self) -> None:
        self._writer.close()


async def connect(server: Server, kind: type[Connection] = Connection) -> Connection:
    return kind(*await asyncio.open_connection(server.client.host, server.client.port))


async def drive(server: Server, calls: Sequence[Sequence[Call]], kind: type[Connection] = Connection) -> float:
    """Make groups of calls, each group in its order, over all connections; seconds it took."""
    connections = [await connect(server, kind) for _ in range(CONNECTIONS)]
    waiting = iter(calls)

    async def work(connection: Connection) -> None:
        for group in waiting:
            for call in group:
                await connection.ask(*call)

    began = time.perf_counter()
    await asyncio.gather(*(work(connection) for connection in connections))
    took = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return took


def registration(build: str, task: str, upstreams: Sequence[str] = ()) -> Call:
    data = {"version": "", "limit": 4, "name": task, "values": {"__name": "numbers", "limit": 3, "tags": ["a", "b"]}}
    body: dict[str, Any] = {"task_id": task, "task_name": f"task-{task[-1]}", "task_namespace": "bench.tasks", "task_data": data}
    body |= {"output_uri": f"/data/roots/{task}.json", "dependency_task_ids": list(upstreams), "version": ""}
    return ("POST", f"/builds/{build}/tasks", json.dumps(body).encode())


async def new_build(server: Server) -> str:
    connection = await connect(server)
    made = json.loads(await connection.ask("POST", "/builds", b'{"root_task_ids": ["r"]}'))
    connection.close()
    return str(made["id"])


async def fill(server: Server, tasks: int) -> str:
    """A build of so many tasks in layers of 100, each with three upstreams."""
    build = await new_build(server)
    connection = await connect(server)
    for start in range(0, tasks, BATCH):
        part = []
        for number in range(start, min(start + BATCH, tasks)):
            upstreams = [f"{build[:8]}-{number - 100 + step}" for step in (0, 1, 2) if number >= 100]
            part.append(json.loads(registration(build, f"{build[:8]}-{number}", upstreams)[2]))
        await connection.ask("POST", f"/builds/{build}/tasks/bulk?id_only=true", json.dumps({"tasks": part}).encode())
    connection.close()
    return build


async def sample(server: Server, count: int) -> tuple[float, float]:
    """Registrations and pairs a second."""
    build = await new_build(server)
    names = [f"{build[-12:]}-{number}" for number in range(count)]
    registered = count / await drive(server, [[registration(build, name)] for name in names])
    pairs = [[("POST", f"/builds/{build}/tasks/{name}/{word}", b"") for word in ("start", "complete")] for name in names]
    return registered, count / await drive(server, pairs)


async def reading_ms(server: Server, path: str, times: int) -> tuple[list[float], int]:
    """How long each answer took, and its bytes."""
    connection = await connect(server)
    took, size = [], 0
    for _ in range(times):
        began = time.perf_counter()
        size = len(await connection.ask("GET", path))
        took.append((time.perf_counter() - began) * 1000)
    connection.close()
    return took, size


def measure(folder: Path, quick: bool) -> list[Figure]:
    count, rounds, times = (2000, 1, 5) if quick else (10_000, 3, 15)
    with tempfile.TemporaryDirectory(dir=folder, prefix="builds-") as place, Server(Path(place)) as server:
        made = uvloop.run(_measure(server, folder, count, rounds, times))
        made.append(published_client(server, Path(place), 2 if quick else 5))
    return made + on_postgres(folder, count, rounds)


def on_postgres(folder: Path, count: int, rounds: int) -> list[Figure]:
    """The same registrations and reports on a private PostgreSQL."""
    names = ("builds: tasks registered, PostgreSQL", "builds: start and complete, PostgreSQL")
    programs = find_programs()
    if programs is None:
        return [Figure(name, "per s", target=LEAST_POSTGRES, skipped="no PostgreSQL programs were found") for name in names]
    postgres = PrivatePostgres(programs)
    try:
        postgres.start()
        settings = {"ASTRARIUM_DATABASE_URL": postgres.new_database()}
        with tempfile.TemporaryDirectory(dir=folder, prefix="builds-") as place, Server(Path(place), settings=settings) as server:
            taken = [uvloop.run(sample(server, count)) for _ in range(rounds)]
    finally:
        postgres.stop()
    notes = {"connections": CONNECTIONS, "tasks a round": count}
    return [
        figure(name, "per s", list(runs), least=LEAST_POSTGRES, notes=notes)
        for name, runs in zip(names, zip(*taken, strict=True), strict=True)
    ]


def published_client(server: Server, place: Path, times: int) -> Figure:
    """A build of 200 tasks and one that needs them all, by Stardag's own client; its start is not counted."""
    name = f"builds: 201 tasks by stardag {CLIENT}"
    client = place / "client"
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    made = [
        subprocess.run(
            [str(word) for word in command], env={**os.environ, "VIRTUAL_ENV": str(client)}, capture_output=True, check=False
        ).returncode
        for command in (
            [uv, "venv", "--quiet", "--python", sys.executable, client],
            [uv, "pip", "install", "--quiet", f"stardag=={CLIENT}"],
        )
        if uv.exists()
    ]
    if made != [0, 0]:
        return Figure(name, "s", target=MOST_CLIENT_S, at_most=True, skipped="the client cannot be installed here")
    (place / "program.py").write_text(PROGRAM)
    ours, key = f"http://{server.client.host}:{server.client.port}", own_key(server)

    def build(address: str, number: int) -> float:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(place), "COMMIT_HASH": "abc", "STARDAG_API_URL": address,
            "STARDAG_REGISTRY_URL": address, "STARDAG_API_KEY": key, "STARDAG_TARGET_ROOTS": json.dumps({"default": str(place / "roots")}),
        }  # fmt: skip
        command = [str(client / "bin" / "python"), str(place / "program.py"), str(number)]
        done = subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise RuntimeError(f"the client ended {done.returncode}: {done.stderr[-500:]}")
        return float(done.stdout.split()[-1])

    taken: dict[str, list[float]] = {"ours": [], "bare": []}
    with answering_at_once() as bare:
        for number in range(times):
            taken["ours"].append(build(ours, 2 * number))
            taken["bare"].append(build(bare, 2 * number + 1))
    return figure(name, "s", taken["ours"], bare={"answers_at_once": taken["bare"]}, limit="answers_at_once", most=MOST_CLIENT_S)


@contextlib.contextmanager
def answering_at_once() -> Iterator[str]:
    """The address of a server, a process of its own, that says yes to everything and keeps nothing: what the client itself takes."""
    process = subprocess.Popen([sys.executable, "-c", YES], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


def own_key(server: Server) -> str:
    """A key of the first environment, as a client needs one."""

    async def ask() -> str:
        connection = await connect(server)
        workspace = json.loads(await connection.ask("GET", "/me"))["workspaces"][0]["id"]
        path = f"/workspaces/{workspace}/environments"
        path += f"/{json.loads(await connection.ask('GET', path))[0]['id']}/api-keys"
        key = json.loads(await connection.ask("POST", path, b'{"name": "bench"}'))["key"]
        connection.close()
        return str(key)

    return asyncio.run(ask())


async def _measure(server: Server, folder: Path, count: int, rounds: int, times: int) -> list[Figure]:
    registered, pairs = [], []
    for _ in range(rounds):
        one, two = await sample(server, count)
        registered.append(one)
        pairs.append(two)
    notes = {"connections": CONNECTIONS, "tasks a round": count, "commit_ms": commit_ms(folder)}
    made = [
        figure("builds: tasks registered", "per s", registered, least=LEAST, notes=notes),
        figure("builds: start and complete", "pairs per s", pairs, least=LEAST, notes=notes),
    ]
    for tasks in (1000, 10_000):
        began = time.perf_counter()
        build = await fill(server, tasks)
        took = time.perf_counter() - began
        made.append(figure(f"builds: bulk of {tasks}", "tasks per s", [tasks / took]))
        for word in ("graph", "tasks", "events"):
            read, size = await reading_ms(server, f"/builds/{build}/{word}", times)
            made.append(figure(f"builds: {word} of {tasks}", "ms", read, notes={"bytes": size, "worst": max(read)}))
    for path in ("/builds?page_size=100", "/tasks?page_size=100", "/tasks?page_size=100&page=50", "/tasks?task_name=task-1"):
        read, _ = await reading_ms(server, path, times)
        made.append(figure(f"builds: {path}", "ms", read, notes={"median": statistics.median(read)}))
    return made
