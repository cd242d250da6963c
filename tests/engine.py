"""A container engine for tests: the part of the Docker Engine API the docker step speaks, on a unix socket, with containers that are
plain processes of this machine. `ASTRARIUM_TEST_ENGINE=unix://…` names a real one (with an image `localhost/tiny:1` that has a
busybox) to run the same tests against.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn

IMAGE = "localhost/tiny:1"


class Missing(Exception):
    """Answered as 404 (or the given status) with a message."""

    def __init__(self, message: str, status: int = 404) -> None:
        super().__init__(message)
        self.status = status


class Process:
    """A process whose output comes in frames."""

    def __init__(self, words: list[str], env: list[str], cwd: Path) -> None:
        self.words = words
        self.env = {"PATH": os.environ["PATH"], **dict(word.split("=", 1) for word in env)}
        self.cwd = cwd
        self.code: int | None = None
        self.frames: list[bytes] = []
        self.changed = asyncio.Condition()
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        try:
            self.process = await asyncio.create_subprocess_exec(
                *self.words, env=self.env, cwd=self.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        except OSError:
            raise Missing(f'exec: "{self.words[0]}": executable file not found in $PATH', 400) from None
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        assert self.process
        await asyncio.gather(self._pump(1, self.process.stdout), self._pump(2, self.process.stderr))
        code = await self.process.wait()
        await self._tell(lambda: setattr(self, "code", code if code >= 0 else 128 - code))

    async def _pump(self, stream: int, reader: asyncio.StreamReader | None) -> None:
        assert reader
        while data := await reader.read(4096):
            head = bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big")
            await self._tell(lambda frame=head + data: self.frames.append(frame))  # type: ignore[misc]

    async def _tell(self, change: Callable[[], Any]) -> None:
        async with self.changed:
            change()
            self.changed.notify_all()

    async def output(self) -> AsyncIterator[bytes]:
        place = 0
        while True:
            async with self.changed:
                while len(self.frames) == place and self.code is None:
                    await self.changed.wait()
                new, place = self.frames[place:], len(self.frames)
            for frame in new:
                yield frame
            if self.code is not None and place == len(self.frames):
                return

    async def ended(self) -> int:
        async with self.changed:
            await self.changed.wait_for(lambda: self.code is not None)
        assert self.code is not None
        return self.code

    def kill(self, number: int) -> None:
        if self.process is None or self.code is not None:
            raise Missing("container is not running", 409)
        os.killpg(self.process.pid, number)


class Box:
    """A container: its body as it was asked for, its first process, and a folder for files put into it."""

    def __init__(self, name: str, body: dict[str, Any], folder: Path) -> None:
        self.name = name
        self.body = body
        self.folder = folder
        self.health = body.get("Labels", {}).get("test.health", "")
        words = [*(body.get("Entrypoint") or []), *(body.get("Cmd") or ["true"])]
        self.process = Process(self.inside(words), body.get("Env", []), folder)
        self.running = False

    def inside(self, words: list[str]) -> list[str]:
        return [re.sub(r"^/(\.astrarium)", rf"{self.folder}/\1", word) for word in words]

    def state(self) -> dict[str, Any]:
        live = self.running and self.process.code is None
        state = {"Running": live, "Status": "running" if live else "exited" if self.running else "created"}
        state["ExitCode"] = self.process.code or 0
        return state | ({"Health": {"Status": self.health}} if self.health else {})


class FakeEngine:
    """`images` are there, `registry` can be pulled; `asked` are method and path of all calls, `auths` what came for pulls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = {IMAGE}
        self.registry: set[str] = set()
        self.boxes: dict[str, Box] = {}
        self.processes: dict[str, Process] = {}
        self.asked: list[str] = []
        self.auths: list[str] = []
        self.made: list[dict[str, Any]] = []
        self.happened = asyncio.Condition()
        self.count = 0

    def find(self, name: str) -> Box:
        for number, box in self.boxes.items():
            if name in (number, box.name):
                return box
        raise Missing(f"No such container: {name}")

    async def tell(self) -> None:
        async with self.happened:
            self.happened.notify_all()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        method, path = scope["method"], scope["path"]
        self.asked.append(f"{method} {path}")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        try:
            status, answer = await self.answer(method, path, query, body, headers)
        except Missing as error:
            status, answer = error.status, {"message": str(error)}
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
        if hasattr(answer, "__aiter__"):
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            async for chunk in answer:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": b"" if answer is None else json.dumps(answer).encode()})

    async def answer(
        self, method: str, path: str, query: dict[str, str], body: bytes, headers: dict[str, str]
    ) -> tuple[int, Any]:
        if match := re.fullmatch(r"/images/(.+)/json", path):
            if match[1] not in self.images:
                raise Missing(f"no such image: {match[1]}")
            return 200, {"Id": match[1]}
        if path == "/images/create":
            return 200, self._pull(query, headers)
        if path == "/containers/json":
            wanted = json.loads(query["filters"])["label"]
            found = [{"Id": number} for number, box in self.boxes.items() if all(self._has(box, label) for label in wanted)]
            return 200, found
        if path == "/containers/create":
            return 201, self._create(query, json.loads(body))
        if path == "/events":
            return 200, self._events()
        if match := re.fullmatch(r"/containers/([^/]+)(?:/(\w+))?", path):
            return await self._container(method, match[1], match[2] or "", query, body)
        if match := re.fullmatch(r"/exec/([^/]+)/(\w+)", path):
            process = self.processes[match[1]]
            if match[2] == "json":
                return 200, {"Running": process.code is None, "ExitCode": process.code}
            await process.start()
            return 200, process.output()
        raise Missing(f"page not found: {path}")

    def _has(self, box: Box, label: str) -> bool:
        name, _, value = label.partition("=")
        return bool(box.body.get("Labels", {}).get(name) == value)

    async def _pull(self, query: dict[str, str], headers: dict[str, str]) -> AsyncIterator[bytes]:
        self.auths.append(headers.get("x-registry-auth", ""))
        image = f"{query['fromImage']}:{query['tag']}"
        yield json.dumps({"status": f"Pulling {image}"}).encode() + b"\n"
        if image in self.registry:
            self.images.add(image)
            yield b'{"status": "Download complete", "id": "abc"}\n'
        else:
            yield b'{"error": "manifest unknown"}\n'

    def _create(self, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        if body["Image"] not in self.images:
            raise Missing(f"no such image: {body['Image']}")
        name = query.get("name", "")
        if name and any(box.name == name for box in self.boxes.values()):
            raise Missing(f"the name {name} is in use", 409)
        self.count += 1
        number = f"box{self.count}"
        folder = self.folder / number
        folder.mkdir()
        self.made.append(body)
        self.boxes[number] = Box(name, body, folder)
        return {"Id": number}

    async def _events(self) -> AsyncIterator[bytes]:
        while True:
            async with self.happened:
                await self.happened.wait()
            yield b'{"Action": "something"}\n'

    async def _container(self, method: str, name: str, verb: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        box = self.find(name)
        if method == "DELETE":
            if box.running and box.process.code is None:
                box.process.kill(signal.SIGKILL)
                await box.process.ended()
            self.boxes = {number: other for number, other in self.boxes.items() if other is not box}
            await self.tell()
        elif verb == "json":
            return 200, {"Id": name, "State": box.state()}
        elif verb == "start":
            await box.process.start()
            box.running = True
            await self.tell()
        elif verb in ("attach", "logs"):
            return 200, box.process.output()
        elif verb == "wait":
            return 200, {"StatusCode": await box.process.ended()}
        elif verb == "kill":
            box.process.kill(getattr(signal, query["signal"]))
        elif verb == "archive":
            with tarfile.open(fileobj=io.BytesIO(body)) as archive:
                archive.extractall(box.folder, filter="data")
        elif verb == "exec":
            told = json.loads(body)
            if not box.running or box.process.code is not None:
                raise Missing("container is not running", 409)
            self.processes[key := f"exec{len(self.processes)}"] = Process(
                box.inside(told["Cmd"]), told.get("Env", []), box.folder
            )
            return 201, {"Id": key}
        return 204, None

    async def close(self) -> None:
        for box in self.boxes.values():
            if box.running and box.process.code is None:
                box.process.kill(signal.SIGKILL)
                await box.process.ended()


@asynccontextmanager
async def fake_engine(folder: Path) -> AsyncIterator[tuple[str, FakeEngine]]:
    """Address and engine."""
    app = FakeEngine(folder / "boxes")
    app.folder.mkdir()
    socket = folder / "engine.sock"
    config = uvicorn.Config(app, uds=str(socket), log_level="critical", lifespan="off", timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        while not server.started:
            await asyncio.sleep(0.005)
    try:
        yield f"unix://{socket}", app
    finally:
        await app.close()
        server.should_exit = True
        await serving
