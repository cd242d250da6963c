"""A server of a simulated world: the real engine, jobs and workshop over a faulty link; it can die at any moment."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from astrarium.errors import NotFound, Unavailable
from astrarium.kernel.audit import AuditLog
from astrarium.kernel.clock import Timer
from astrarium.kernel.engine import Engine
from astrarium.kernel.machine import Registry
from astrarium.kernel.ports import Fenced
from astrarium.runs.run import RunMachine
from astrarium.runs.state import decode_definition
from astrarium.runs.work.job import run_jobs
from astrarium.runs.work.workshop import Workshop
from astrarium.spec.graph import Graph
from tests.sim.disk import Link
from tests.sim.step import hash_of, step_types

if TYPE_CHECKING:
    from tests.sim.world import World

LEASE_S = 15.0
CURRENT: contextvars.ContextVar[Server | None] = contextvars.ContextVar("server", default=None)


def make_registry() -> Registry:
    registry = Registry()
    registry.add_machine(RunMachine())
    registry.add_machine(AuditLog())
    registry.add_thing("graph", decode_definition)
    return registry


class ServerClock:
    """The world's clock; timers of a dead server never ring."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def now(self) -> int:
        return self.server.world.clock.now()

    def call_at(self, at: int, call: Callable[[], None]) -> Timer:
        def ring() -> None:
            if self.server.alive:
                self.server.context.copy().run(call)

        return self.server.world.clock.call_at(at, ring)


class Server:
    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.ready = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.context = contextvars.copy_context()
        self.context.run(CURRENT.set, self)
        self.link = Link(world.disk)
        registry = make_registry()
        limit = world.random.choice((3, 20, 20_000))
        self.engine = Engine(self.link, registry, ServerClock(self), name, hot_limit=limit)
        self.shop = Workshop(self.engine, step_types(self), None, None, world.folder, self.definitions)  # type: ignore[arg-type]
        for kind in run_jobs(self.shop):
            registry.add_kind(kind)

    async def definitions(self, name: str, calling: Graph) -> tuple[str, Graph]:
        graph = self.world.graphs.get(name)
        if graph is None:
            raise NotFound(f"there is no {name}")
        return hash_of(graph), graph

    def run(self, work: Any) -> asyncio.Task[Any]:
        """Start something as a part of this server: it dies with it."""
        return asyncio.get_running_loop().create_task(work, context=self.context.copy())

    async def start(self) -> None:
        """What `Worker.open` does."""
        await self.link.enlist(self.name, "host", 1, "boot", LEASE_S)
        await self.engine.start()
        await self.engine.jobs.start_working({"process": 4})
        self.ready = True
        self.run(self.recover())
        self.run(self.beat())
        self.run(self.watch())

    async def recover(self) -> None:
        while True:
            try:
                await self.engine.jobs.take_over()
                return
            except Unavailable:
                await asyncio.sleep(1.0)

    async def beat(self) -> None:
        while self.link.shared:
            await asyncio.sleep(LEASE_S / 3)
            try:
                await self.link.renew(self.name, LEASE_S)
                await self.engine.jobs.take_over()
                self.engine.jobs.look()
            except Fenced:
                self.engine.fenced.set()
                return
            except Unavailable:
                continue

    async def watch(self) -> None:
        """A fenced server ends itself."""
        await self.engine.fenced.wait()
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(self.world.kill, self)

    def kill(self) -> None:
        """As SIGKILL: nothing of it happens any more."""
        self.alive = self.ready = self.link.alive = False
        for task in list(self.tasks):
            task.cancel()
        if not self.gone.done():
            self.gone.set_result(None)

    async def close(self) -> None:
        """What `Worker.close` does."""
        jobs = self.engine.jobs
        self.ready = False
        if not await jobs.drain(self.world.random.choice((0.0, 1.0))):
            self.shop.stop_all("server_stop", 5.0)
            await jobs.drain(7.0)
        await self.engine.close()
        await self.link.retire(self.name)
