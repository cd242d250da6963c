"""Where bodies of tasks run: in this thread, in others, in other processes; async ones in the loop of the build."""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
import os
import platform
import socket
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from inspect import isasyncgen, isgenerator
from typing import Any, Literal, Protocol

from ...errors import Invalid, Unavailable
from ..registry.item import Place
from ..target.root import target_roots, use_target_roots
from ..target.store import MEMORY
from ..task.task import Task, has_async_body, tasks_in

Mode = Literal["sequential", "threads", "processes", "async"]
Body = Generator[Any, None, Any] | AsyncGenerator[Any, None]
"""A body that stands at a `yield`."""


class Executor(Protocol):
    """Runs bodies. A body that yields tasks is left where it is and taken up again by the next `go_on`."""

    @property
    def kind(self) -> str: ...

    async def go_on(self, task: Task[Any]) -> list[Task[Any]]:
        """Begin the body, or go on with it. The tasks it waits for now; none when it is through and its result is kept."""
        ...

    async def drop(self, task: Task[Any]) -> None:
        """The body will not be taken up again."""
        ...

    def close(self) -> None:
        """Nothing more will run. What runs in a thread cannot be stopped, and is not waited for."""
        ...


class LocalExecutor:
    """In this process: plain bodies inline, or in a pool of threads; async bodies in the loop."""

    def __init__(self, kind: Mode, threads: int = 0) -> None:
        self.kind = kind
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="astrarium-build") if threads else None
        self._open: dict[str, Body] = {}

    async def go_on(self, task: Task[Any]) -> list[Task[Any]]:
        body = self._open.pop(str(task.id), None)
        if has_async_body(task):
            return await self._go_on_aio(task, body)
        return await self._call(lambda: self._step(task, body))

    async def _call(self, work: Callable[[], list[Task[Any]]]) -> list[Task[Any]]:
        if self._pool is None:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._pool, contextvars.copy_context().run, work)

    def _step(self, task: Task[Any], body: Any) -> list[Task[Any]]:
        if body is None:
            body = task.run()
            if not isgenerator(body):
                task._finish()
                return []
        for yielded in body:
            needed = list(tasks_in(yielded))
            if needed:
                self._open[str(task.id)] = body
                return needed
        task._finish()
        return []

    async def _go_on_aio(self, task: Task[Any], body: Any) -> list[Task[Any]]:
        if body is None:
            body = task.run_aio()
            if not isasyncgen(body):
                await body
                await asyncio.to_thread(task._finish)
                return []
        async for yielded in body:
            needed = list(tasks_in(yielded))
            if needed:
                self._open[str(task.id)] = body
                return needed
        await asyncio.to_thread(task._finish)
        return []

    async def drop(self, task: Task[Any]) -> None:
        body = self._open.pop(str(task.id), None)
        if isasyncgen(body):
            await body.aclose()
        elif isgenerator(body):
            body.close()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


class ProcessExecutor:
    """Plain bodies in a pool of processes; async ones in the loop. A body that yields tasks begins anew once they are made, since a
    half-run one cannot be moved: what comes before the last `yield` runs again."""

    kind = "processes"

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool = self._new()
        self._loop_side = LocalExecutor("async")

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._processes, mp_context=multiprocessing.get_context("spawn"))

    async def go_on(self, task: Task[Any]) -> list[Task[Any]]:
        if has_async_body(task):
            return await self._loop_side.go_on(task)
        if task.target().uri.startswith(MEMORY):
            raise Invalid(
                f"{task.target().uri} lies in the memory of one process", hint='use another target root, or mode="threads"'
            )
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, run_here, task, dict(target_roots()))
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = self._new()
            raise Unavailable(
                f"the process that ran {task.get_name()} died",
                hint="was it killed, out of memory? Classes of tasks must be importable there: defined in a file, builds started below "
                "`if __name__ == '__main__':`",
            ) from None

    async def drop(self, task: Task[Any]) -> None:
        await self._loop_side.drop(task)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def run_here(task: Task[Any], roots: Mapping[str, str]) -> list[Task[Any]]:
    """In a process of the pool: run the body as far as it goes. The tasks it waits for, if it does."""
    with use_target_roots(roots):
        body = task.run()
        if isgenerator(body):
            yielded: Any
            for yielded in body:
                needed = list(tasks_in(yielded))
                if not all(one.complete() for one in needed):
                    body.close()
                    return needed
        task._finish()
        return []


def executor_of(mode: Mode, at_once: int) -> Executor:
    """The executor of a mode, for `at_once` bodies at a time. Raises `Invalid` for an unknown mode."""
    match mode:
        case "sequential" | "async":
            return LocalExecutor(mode)
        case "threads":
            return LocalExecutor(mode, at_once)
        case "processes":
            return ProcessExecutor(at_once)
        case _:
            raise Invalid(f"there is no build mode {mode!r}", hint="sequential, threads, processes or async")


def place_of(executor: Executor) -> Place:
    """What a registry is told about where bodies run."""
    host = socket.gethostname()
    return Place(
        executor=executor.kind,
        executor_ref=f"{host}:{os.getpid()}",
        executor_metadata={"hostname": host, "pid": os.getpid(), "python_version": platform.python_version()},
    )
