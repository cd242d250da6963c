"""A run without a server: this process is the worker, and holds the data folder's lock until the run has ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

from ..config import Settings
from ..errors import AstrariumError
from ..kernel.machine import Registry
from ..kernel.types import Actor, Command, Scope
from ..runs.message import ReopenRun, StartRun, StopRun
from ..runs.work.prepare import prepared_start
from ..spec.ids import uuid7
from ..surfaces.builds import life as builds_life
from ..surfaces.dags.catalog import Compiled
from ..surfaces.dags.room import CLOCK_PLACE, Room
from ..surfaces.graphs.catalog import Catalog as GraphCatalog
from ..surfaces.graphs.work.definition import GraphDefinitions
from ..surfaces.graphs.work.fire import register_triggers
from ..worker import Worker, load_steps
from .follow import follow
from .source import Source
from .tree import Show
from .view import RunView

HOME = Scope("personal", "local")
"""Where everything lives while there is no sign-in."""

ACTOR = Actor("user", "cli")


@asynccontextmanager
async def open_worker(settings: Settings, *, idle: bool = False, graphs: GraphCatalog | None = None) -> AsyncIterator[Worker]:
    """A worker of our own on the data folder; an `idle` one takes orders and carries none out. `graphs`: those that graphs run.
    Raises `Unavailable` when another process has the folder, or it cannot be written."""
    room, registry = Room(settings, load_steps()), Registry()
    room.register(registry)
    builds_life.register(registry)
    register_triggers(registry, CLOCK_PLACE)
    closed = ("process", "python", CLOCK_PLACE) if idle else (CLOCK_PLACE,)
    places = dict.fromkeys(closed, 0)
    definitions = GraphDefinitions(graphs, room.definitions) if graphs is not None else None
    worker = await Worker.open(settings, definitions=definitions or room.definitions, registry=registry, places=places)
    if definitions is not None:
        definitions.bind(worker.engine)
    builds_life.bind(worker.engine)
    await room.open(worker.engine)
    try:
        yield worker
        await room.finish()
    finally:
        await room.close()
        await worker.close()


async def start_alone(worker: Worker, compiled: Compiled, name: str, alias: str, params: str) -> str:
    """Begin a run and return its key."""
    key = uuid7()
    body = StartRun(compiled.graph, name or compiled.dag.name, "dags", alias or key, params=params, chosen=bool(alias), root=key)
    order = await prepared_start(body, compiled.dag.graph)
    await worker.engine.submit(Command(f"run:{key}", order, HOME, ACTOR), things=list(compiled.things))
    return key


async def reopen_alone(worker: Worker, key: str, step: int | None) -> None:
    """Begin the next round of an ended run."""
    await worker.engine.submit(Command(f"run:{key}", ReopenRun(step=step), HOME, ACTOR))


async def watch_alone(worker: Worker, run: RunView, show: Show) -> tuple[RunView, int]:
    """Follow a run this process drives to its end → (the run, the signal that asked to stop it or 0)."""

    async def wait(least_s: float, most_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(worker.engine.tail.changed(), most_s)
        await asyncio.sleep(max(0.02, least_s))  # what happens together is shown together

    async def stop(hurry: bool) -> None:
        await worker.engine.submit(Command(f"run:{run.key}", StopRun(grace_s=0.0 if hurry else None), HOME, ACTOR))

    with stopping(stop, show) as told:
        ended = await follow(Source(worker.store.read), run, worker.settings.data_dir / "logs", show, wait)
    return ended, told[0] if told else 0


@contextlib.contextmanager
def stopping(stop: Callable[[bool], Awaitable[None]], show: Show) -> Iterator[Sequence[int]]:
    """While this holds, the first Ctrl-C (or TERM) stops the run, a second one no longer waits. Yields the signals that came."""
    loop = asyncio.get_running_loop()
    told: list[int] = []
    tasks: set[asyncio.Task[None]] = set()

    async def obey(hurry: bool) -> None:
        try:
            await stop(hurry)
        except AstrariumError as error:
            show.say(error.message)

    def asked(number: int) -> None:
        told.append(number)
        hurry = len(told) > 1
        show.say("killing what still runs …" if hurry else "stopping the run … (again to kill it)")
        task = loop.create_task(obey(hurry))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, asked, number)
    try:
        yield told
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
