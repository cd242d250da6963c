"""Warm Python workers (`runs.ports.Caller`): a function call costs a message instead of a new interpreter.

One call at a time per worker, at most `size` workers. A worker serves one import folder, and is replaced after many calls,
when its memory has grown, when a call left threads or processes behind, and after a cancelled call.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from ...runs.ports import Exit, ProcessSpec, PythonCall, StepFailed
from .group import ProcessGroup
from .local import LocalExecutor
from .python_worker import LENGTH, MAX_FRAME_BYTES
from .sink import SizeWatch, open_sinks

_KEPT = ("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
"""What a worker inherits when it starts; each call then brings its whole environment."""


class PythonWorker:
    """One worker process and the wire to it."""

    def __init__(self, executor: LocalExecutor, folder: str, startup_log: Path) -> None:
        self.folder = folder
        self.calls = 0
        self.first_rss_bytes = 0
        self.retire_timer: asyncio.TimerHandle | None = None
        self._wire, theirs = socket.socketpair()
        self._wire.setblocking(False)
        with theirs:
            argv = (sys.executable, "-P", "-m", "astrarium.plugins.executors.python_worker", str(theirs.fileno()), folder)
            env = {name: os.environ[name] for name in _KEPT if name in os.environ}
            tag = f"python-{secrets.token_hex(8)}"
            spec = ProcessSpec(argv, env, Path("/"), Path(os.devnull), startup_log, tag=tag)
            try:
                self.group: ProcessGroup = executor.spawn(spec, pass_fds=(theirs.fileno(),))
            except OSError:
                self._wire.close()
                raise

    async def ask(self, request: bytes, out: int, err: int) -> dict[str, Any] | Exit:
        """The answer, or how the process ended before it gave one."""
        answering = asyncio.ensure_future(self._exchange(request, out, err))
        ending = asyncio.ensure_future(self.group.wait())
        try:
            await asyncio.wait({answering, ending}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done() and (answer := answering.result()) is not None:
                return answer
            return await self.group.wait()
        finally:
            answering.cancel()
            ending.cancel()

    async def _exchange(self, request: bytes, out: int, err: int) -> dict[str, Any] | None:
        loop = asyncio.get_running_loop()
        try:
            socket.send_fds(self._wire, [b"c"], [out, err])
            await loop.sock_sendall(self._wire, LENGTH.pack(len(request)) + request)
            (length,) = LENGTH.unpack(await self._exactly(LENGTH.size))
            answer: dict[str, Any] = json.loads(await self._exactly(length))
        except (EOFError, ConnectionError):
            return None
        return answer

    async def _exactly(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        data = bytearray()
        while len(data) < size:
            part = await loop.sock_recv(self._wire, min(size - len(data), 1 << 20))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    async def end(self, grace_s: float) -> None:
        if self.retire_timer is not None:
            self.retire_timer.cancel()
        await self.group.stop(signal.SIGTERM, grace_s)
        await self.group.wait()
        self._wire.close()


class PythonPool:
    """`size` = most workers; `max_calls` and `max_growth_bytes` bound a worker's life, `idle_s` its idleness."""

    def __init__(
        self,
        executor: LocalExecutor,
        size: int,
        *,
        max_calls: int = 1000,
        max_growth_bytes: int = 256 * 1024 * 1024,
        idle_s: float = 60.0,
    ) -> None:
        self._executor = executor
        self._size = size
        self._max_calls = max_calls
        self._max_growth_bytes = max_growth_bytes
        self._idle_s = idle_s
        self._places = asyncio.Semaphore(size)
        self._idle: list[PythonWorker] = []
        self._workers: set[PythonWorker] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._sizes = SizeWatch()
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """Of the workers that live now."""
        return sorted(worker.group.pid for worker in self._workers)

    async def call(self, call: PythonCall) -> Any:
        """What the function returned. `StepFailed` with type and message of what it raised (the traceback is in the try's log),
        or saying how its process died. Cancelling ends the worker's whole group before the cancel goes on."""
        async with self._places:
            if self._closed:
                raise StepFailed(f"{call.target} was not called: the server is stopping")
            worker = await self._worker_for(call)
            try:
                answer = await self._ask(worker, call)
            except BaseException:
                await asyncio.shield(self._retire(worker, call.grace_s, call.tag))
                raise
            if isinstance(answer, Exit):
                await self._retire(worker, 0.0, call.tag)
                raise StepFailed(_death(call.target, answer), answer.code)
            await self._give_back(worker, answer, call.tag)
            if "error" in answer:
                raise StepFailed(answer["error"], answer.get("exit_code"))
            return answer.get("value")

    async def _ask(self, worker: PythonWorker, call: PythonCall) -> dict[str, Any] | Exit:
        env = {**call.env, **self._executor.cookies(call.tag)}
        request = msgspec.json.encode({"target": call.target, "args": call.args, "cwd": str(call.cwd), "env": env})
        if len(request) > MAX_FRAME_BYTES:
            raise StepFailed(f"the arguments of {call.target} are longer than {MAX_FRAME_BYTES} bytes; pass the path of a file")
        out, err = open_sinks(call.stdout, call.stderr, call.max_log_bytes, call.redact)
        sinks = (out,) if err is None else (out, err)
        fds = [os.dup(sink.fd) for sink in sinks]
        for sink in sinks:
            sink.started()
        self._sizes.add(sinks)
        try:
            return await worker.ask(request, fds[0], fds[-1])
        finally:
            for fd in fds:
                os.close(fd)
            self._sizes.remove(sinks)

    async def _worker_for(self, call: PythonCall) -> PythonWorker:
        folder = str(call.folder)
        for worker in reversed(self._idle):
            if worker.folder == folder and worker.group.alive:
                self._take(worker)
                return worker
        if len(self._workers) >= self._size and self._idle:
            stranger = self._idle[0]
            self._take(stranger)
            await self._retire(stranger, 0.0, "")
        try:
            worker = PythonWorker(self._executor, folder, call.stderr or call.stdout)
        except OSError as error:
            raise StepFailed(f"cannot start a Python worker for {call.target}: {error}") from None
        self._workers.add(worker)
        return worker

    def _take(self, worker: PythonWorker) -> None:
        self._idle.remove(worker)
        if worker.retire_timer is not None:
            worker.retire_timer.cancel()
            worker.retire_timer = None

    async def _give_back(self, worker: PythonWorker, answer: dict[str, Any], tag: str) -> None:
        worker.calls += 1
        rss_bytes = answer["rss_bytes"]
        worker.first_rss_bytes = worker.first_rss_bytes or rss_bytes
        grown = rss_bytes - worker.first_rss_bytes > self._max_growth_bytes
        if answer["left_over"] or grown or worker.calls >= self._max_calls:
            await self._retire(worker, 0.0, tag if answer["left_over"] else "")
            return
        self._idle.append(worker)
        worker.retire_timer = asyncio.get_running_loop().call_later(self._idle_s, self._idle_for_long, worker)

    def _idle_for_long(self, worker: PythonWorker) -> None:
        self._take(worker)
        task = asyncio.create_task(self._retire(worker, 0.0, ""))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _retire(self, worker: PythonWorker, grace_s: float, tag: str) -> None:
        """End a worker and what its last call started elsewhere."""
        try:
            await worker.end(grace_s)
            await self._executor.sweep(tag)
        finally:
            self._workers.discard(worker)

    async def close(self, grace_s: float) -> None:
        """End all workers; calls that still run fail as if their worker had died, those that wait fail at once."""
        self._closed = True
        self._idle.clear()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*(self._retire(worker, grace_s, "") for worker in list(self._workers)), *self._ending)


def _death(target: str, ended: Exit) -> str:
    if ended.signal == signal.SIGKILL:
        return f"the Python worker that called {target} was killed (signal 9; perhaps the system ran out of memory)"
    if ended.signal:
        return f"the Python worker that called {target} died of signal {ended.signal} ({signal.strsignal(ended.signal)})"
    return f"the Python worker that called {target} ended with exit code {ended.code} before the function returned"
