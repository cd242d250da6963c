"""What runs in an engine for a step: a container of its own, or a further process in one that is there."""

from __future__ import annotations

import asyncio
import contextlib
import signal as signals
from collections.abc import AsyncIterator
from typing import Any

from ...runs.ports import Exit, StepFailed, TryContext
from .ending import Ending
from .engine_api import Engine, EngineSays
from .stream import LogStreams

MARK = "ASTRARIUM_MARK"
_KILL_MARKED = (
    'for d in /proc/[0-9]*; do if tr "\\0" "\\n" <"$d/environ" | grep -qx "$1"; then kill -s "$2" "${d#/proc/}"; fi; done '
    "2>/dev/null"
)
"""Signals every process with the mark in its environment; an engine has no word for that."""
_SIGNAL_WITHIN_S = 5.0
_LOOKS = 250
_LOOK_AGAIN_S = 0.02
_KILLED = 128 + signals.SIGKILL


class _Watched:
    """The output of something goes to the log until it ends, or is let go."""

    def __init__(self, ctx: TryContext, engine: Engine) -> None:
        self._ctx = ctx
        self._engine = engine
        self._ending = Ending(self._send, self._let_go)
        self._task: asyncio.Task[Exit] | None = None
        self._let_gone = False

    async def stop(self, signal: int, grace_s: float) -> None:
        self._ending.begin(signal, grace_s)

    async def wait(self) -> Exit:
        self._task = asyncio.create_task(self._follow())
        try:
            return await self._task
        except asyncio.CancelledError:
            if self._let_gone:
                return Exit(_KILLED, signals.SIGKILL)
            raise
        finally:
            self._task.cancel()
            self._ending.close()

    def _exit(self, code: int) -> Exit:
        """A code above 128 means a signal only when we sent one: programs have such codes of their own."""
        return Exit(code, code - 128 if self._ending.begun and code > 128 else 0)

    def _let_go(self) -> None:
        self._let_gone = True
        if self._task is not None:
            self._task.cancel()

    async def _follow(self) -> Exit:
        raise NotImplementedError

    async def _send(self, signal: int) -> None:
        raise NotImplementedError

    async def _log(self, pieces: AsyncIterator[tuple[int, bytes]]) -> None:
        with LogStreams(self._ctx) as logs:
            async for stream, data in pieces:
                (logs.out if stream == 1 else logs.err).write(data)


class ContainerRun(_Watched):
    """A container that was created and is not started yet: its first process is the step."""

    def __init__(self, ctx: TryContext, engine: Engine, container: str) -> None:
        super().__init__(ctx, engine)
        self._container = container

    async def _follow(self) -> Exit:
        try:
            async with self._engine.attach(self._container) as pieces:
                if self._ending.begun:
                    return Exit(128 + signals.SIGTERM, signals.SIGTERM)
                await self._engine.start(self._container)
                await self._log(pieces)
            code = await self._engine.wait(self._container)
        except EngineSays as error:
            # 127 as a shell says it: engines tell of a missing program in their runtime's words.
            raise StepFailed(str(error), 127 if "executable file not found" in str(error) else 126) from None
        return self._exit(code)

    async def _send(self, signal: int) -> None:
        with contextlib.suppress(StepFailed, TimeoutError):
            async with asyncio.timeout(_SIGNAL_WITHIN_S):
                await self._engine.kill(self._container, signals.Signals(signal).name)


class ProcessRun(_Watched):
    """A further process in a container that runs. `mark` is unique to it and in its environment."""

    def __init__(self, ctx: TryContext, engine: Engine, container: str, body: dict[str, Any], mark: str) -> None:
        super().__init__(ctx, engine)
        self._container = container
        self._body = body
        self._mark = f"{MARK}={mark}"

    async def _follow(self) -> Exit:
        body = {**self._body, "Env": [*self._body.get("Env", ()), self._mark], "AttachStdout": True, "AttachStderr": True}
        process = await self._engine.new_process(self._container, body)
        async with self._engine.start_process(process) as pieces:
            await self._log(pieces)
        code = await self._code(process)
        return self._exit(code)

    async def _code(self, process: str) -> int:
        """The engine may tell of the end a moment after the output has ended, and has no call that waits for it."""
        for _ in range(_LOOKS):
            code = await self._engine.exit_code(process)
            if code is not None:
                return code
            await asyncio.sleep(_LOOK_AGAIN_S)
        raise StepFailed("the container engine does not tell how the process ended, though its output has")

    async def _send(self, signal: int) -> None:
        name = signals.Signals(signal).name.removeprefix("SIG")
        command = ["sh", "-c", _KILL_MARKED, "sh", self._mark, name]
        body: dict[str, Any] = {"Cmd": command, "AttachStdout": True, "AttachStderr": True}
        body |= {"User": self._body["User"]} if self._body.get("User") else {}
        with contextlib.suppress(StepFailed, TimeoutError):
            async with asyncio.timeout(_SIGNAL_WITHIN_S):
                process = await self._engine.new_process(self._container, body)
                async with self._engine.start_process(process) as pieces:
                    async for _ in pieces:
                        pass
