"""One seed, one world: servers, people with commands, faults, and a clock turned by hand."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from astrarium.errors import AstrariumError, Bug, Unavailable
from astrarium.kernel.clock import HandClock
from astrarium.kernel.ports import Fenced
from astrarium.kernel.types import Command, Receipt
from astrarium.runs import fork
from astrarium.runs.message import AnswerAsk, ResumeRun
from astrarium.runs.work import child
from astrarium.spec.graph import encode_graph
from tests.sim import check
from tests.sim.disk import Disk
from tests.sim.graph import some_graphs
from tests.sim.loop import SimLoop
from tests.sim.server import CURRENT, Server, make_registry
from tests.sim.step import Broken, Effect
from tests.sim.wish import COMMANDS, SCOPE, Wish, order, some_wish

FAULTS = ("refused", "doubtful", "death", "lease", "duplicate", "restart")
LEAST_RUNS = 50
LEAST_FAULTS = 3
QUIET_TURNS = 300
"""After this many turns of the clock without an event, what has not ended is stuck."""


class WorldError(AssertionError):
    """A promise of the house does not hold in this world."""


class Complaints(logging.Handler):
    """Errors the engine logs, other than the bodies' own."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self.world = world

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, (Broken, Unavailable)):
            self.world.wrong.append(f"{record.getMessage()}: {error!r}")


class World:
    def __init__(self, seed: int, folder: Path, loop: SimLoop, clock: HandClock) -> None:
        self.seed = seed
        self.folder = folder
        self.random = Random(seed)
        self.loop = loop
        self.clock = clock
        self.graphs = some_graphs(self.random)
        self.things = {name: ("graph", encode_graph(graph)) for name, graph in self.graphs.items()}
        self.shared = seed % 2 == 1
        self.disk = Disk(clock, make_registry().tables, self.random, shared=self.shared)
        self.servers: list[Server] = []
        self.born = 0
        self.effects: list[Effect] = []
        self.acked: list[tuple[Command, Receipt]] = []
        self.flying: dict[object, str] = {}
        self.people: set[asyncio.Task[Any]] = set()
        self.met: set[tuple[str, str]] = set()
        self.faults: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.seen: list[int] = []
        self.wrong: list[str] = []
        self.started = 0
        self.ids = 0

    # -- what bodies tell ---------------------------------------------------------------------------------------------

    def begin_effect(self, server: Server, ctx: Any) -> Effect:
        """A body begins: its try must be durable by now."""
        step = ctx._step
        effect = Effect(ctx.run_id, step.round, step.no, ctx.try_no, server.name)
        if not server.alive:
            self.wrong.append(f"{effect} runs on a dead server")
        row = self.disk.rows("SELECT tries FROM steps WHERE run = ? AND round = ? AND no = ?", (effect.run, effect.round, effect.no))
        if not row or row[0][0] < effect.try_no:
            self.wrong.append(f"{effect} runs before its try was recorded")
        self.effects.append(effect)
        return effect

    # -- servers ------------------------------------------------------------------------------------------------------

    def spawn(self) -> None:
        self.born += 1
        server = Server(self, f"w{self.born:03}")
        self.servers.append(server)
        server.run(server.start())

    def kill(self, server: Server) -> None:
        """End a server at once; another one comes up."""
        if server.alive:
            server.kill()
            self.servers.remove(server)
            self.disk.links.remove(server.link)
            self.spawn()

    def pick(self) -> Server | None:
        ready = [server for server in self.servers if server.ready]
        return self.random.choice(ready) if ready else None

    async def restart(self, server: Server) -> None:
        """End a server in good order; another one comes up."""
        closing = server.run(server.close())
        while not closing.done() and server.alive:
            await self.loop.rest()
            if not closing.done():
                await self.turn()
        if not closing.cancelled() and closing.done() and closing.exception() is not None:
            raise WorldError(f"closing failed: {closing.exception()!r}")
        self.kill(server)

    # -- people -------------------------------------------------------------------------------------------------------

    def next_id(self) -> str:
        """An id for a fork or a child, which has one made for it: the same in every life of this world."""
        self.ids += 1
        return f"{self.seed:08x}-x{self.ids:05}"

    def send(self, wish: Wish) -> asyncio.Task[Any]:
        task = self.loop.create_task(self._send(wish))
        self.people.add(task)
        task.add_done_callback(self.people.discard)
        return task

    async def _send(self, wish: Wish) -> None:
        """Send until there is an answer: over broken connections and dead servers, with the same key."""
        token = object()
        self.flying[token] = wish.kind
        try:
            while True:
                server = self.pick()
                if server is None:
                    await asyncio.sleep(0.2)
                    continue
                asked = server.run(wish.ask(server))
                await asyncio.wait({asked, server.gone}, return_when=asyncio.FIRST_COMPLETED)
                if not asked.done() or asked.cancelled():
                    continue
                error = asked.exception()
                if error is None:
                    if wish.command is not None:
                        self.acked.append((wish.command, asked.result()))
                    return
                if isinstance(error, Bug) or not isinstance(error, AstrariumError):
                    self.wrong.append(f"{wish.kind} {wish.command}: {error!r}")
                    return
                if not isinstance(error, Unavailable):
                    self.refusals[wish.kind] += 1
                    return
                await asyncio.sleep(0.1)
        finally:
            del self.flying[token]

    # -- faults -------------------------------------------------------------------------------------------------------

    def meet(self, fault: str) -> None:
        self.faults[fault] += 1
        self.met.update((fault, kind) for kind in self.flying.values())

    async def strike(self, fault: str, kind: str) -> None:
        """Let a fault happen to a command of this kind."""
        server = self.random.choice(self.servers)
        if fault in ("refused", "doubtful"):
            for each in self.servers:
                each.link.armed, each.link.failed = fault, self._failed
        if kind == "time":
            turning = self.loop.create_task(self.turn())
            self.people.add(turning)
            turning.add_done_callback(self.people.discard)
            await self.ticks(3)
        else:
            wish = some_wish(self, kind)
            self.send(wish)
            if fault == "duplicate":
                self.send(wish)
        if fault == "duplicate":
            await self.ticks(2)
            self.meet(fault)
            return
        await self.ticks(self.random.choice((1, 2, 4, 8, 16)))
        if fault == "death":
            self.meet(fault)
            self.kill(server)
        elif fault == "restart":
            self.meet(fault)
            if server.ready:
                await self.restart(server)
        elif fault == "lease":
            self.meet(fault)
            self.disk.writer.db.execute("UPDATE workers SET lease_until = 0 WHERE id = ?", (server.name,))
            for other in self.servers:
                if other is not server and other.ready:
                    other.run(self.take_over(other))

    def _failed(self, fault: str) -> None:
        self.meet(fault)
        for server in self.servers:
            server.link.armed = ""

    async def take_over(self, server: Server) -> None:
        try:
            await server.link.renew(server.name, 15.0)
            await server.engine.jobs.take_over()
        except (Unavailable, Fenced):
            return

    # -- time ---------------------------------------------------------------------------------------------------------

    async def ticks(self, most: int) -> None:
        for _ in range(self.random.randrange(most)):
            await asyncio.sleep(0)

    async def turn(self) -> None:
        """Turn the clock to the next timer."""
        at = self.loop.next_at()
        if at is None:
            return
        token = object()
        self.flying[token] = "time"
        self.clock.turn_to(at)
        await asyncio.sleep(0)
        for _ in range(6):
            await asyncio.sleep(0)
        del self.flying[token]

    async def turn_by(self, seconds: float) -> None:
        """Turn the clock, with everything that comes due on the way."""
        end = self.clock.now() + int(seconds * 1_000_000)
        while (at := self.loop.next_at()) is not None and at <= end:
            await self.turn()
            await self.loop.rest()
        self.clock.turn_to(end)
        await self.loop.rest()

    async def pass_some(self) -> None:
        dice = self.random.random()
        if dice < 0.55:
            await self.ticks(20)
        elif dice < 0.75:
            await self.loop.rest()
        elif dice < 0.95:
            await self.turn()
        else:
            await self.turn_by(self.random.uniform(0, 10))

    # -- the life of a world ------------------------------------------------------------------------------------------

    async def live(self) -> None:
        await self.disk.store.open()
        for _ in range(2 if self.shared else 1):
            self.spawn()
        reader = self.loop.create_task(check.read_on(self))
        for item in self.script():
            if isinstance(item, tuple):
                await self.strike(*item)
                if self.random.random() < 0.4:
                    await self.look(f"after {item[0]} met {item[1]}")
            elif item == "time":
                await self.turn()
            else:
                self.send(some_wish(self, item))
            await self.pass_some()
            self.complain()
        while self.faults.total() < LEAST_FAULTS:  # an armed store may never have been written to
            await self.strike("death", "start")
        await self.finish()
        await self.turn_by(1.0)
        self.complain()
        await check.everything(self)
        reader.cancel()

    def script(self) -> list[Any]:
        """Commands in a random order, most starts early, and faults between."""
        random = self.random
        others = random.choices(COMMANDS[1:], k=random.randint(40, 60))
        items: list[Any] = [*["start"] * (LEAST_RUNS // 2), *others]
        random.shuffle(items)
        items = ["start"] * (LEAST_RUNS - LEAST_RUNS // 2 + random.randrange(10)) + items
        kinds = [fault for fault in FAULTS if self.shared or fault != "lease"]
        for n in range(random.randint(LEAST_FAULTS + 1, 8)):
            fault = kinds[(self.seed // 2 + n) % len(kinds)]
            command = COMMANDS[(self.seed // 2 // len(kinds) + 3 * n) % len(COMMANDS)]
            items.insert(random.randrange(10, len(items)), (fault, command))
        return items

    def complain(self) -> None:
        if self.wrong:
            raise WorldError("; ".join(self.wrong[:5]))

    def disarm(self) -> None:
        for server in self.servers:
            server.link.armed = ""

    async def look(self, when: str) -> None:
        """Let the dust settle, then look whether everything unfinished waits for something."""
        self.disarm()
        await self.loop.rest()
        await self.turn_by(1.5)
        self.complain()
        await check.waits(self, when)

    async def finish(self) -> None:
        """Turn the clock on while people answer, until every run has ended."""
        self.disarm()
        quiet, head = 0, -1
        while quiet < QUIET_TURNS:
            await self.loop.rest()
            self.complain()
            now_at = self.disk.rows("SELECT coalesce(sum(position), 0) FROM log_heads")[0][0]
            quiet, head = (quiet + 1 if now_at == head else 0), now_at
            jobs = self.disk.rows("SELECT count(*) FROM jobs")[0][0]
            alive = self.disk.rows("SELECT count(*) FROM runs WHERE status <> 'ended'")[0][0]
            if not alive and not jobs and not self.flying:
                return
            if not self.flying and quiet % 10 == 1 and self.help_on():
                continue
            await self.turn()
        raise WorldError(check.stuck(self))

    def help_on(self) -> bool:
        """People answer, and resume what is paused."""
        sent = False
        for (run,) in self.disk.rows("SELECT id FROM runs WHERE status IN ('paused', 'pausing') ORDER BY id"):
            self.send(order("resume", Command(f"run:{run}", ResumeRun(), SCOPE)))
            sent = True
        for run, no in self.disk.rows(
            "SELECT s.run, s.no FROM steps s JOIN runs r ON r.id = s.run AND r.round = s.round"
            " WHERE s.status = 'asking' AND r.status <> 'paused' ORDER BY s.run, s.no"
        ):
            for person in ("p1", "p2"):
                self.send(order("answer", Command(f"run:{run}", AnswerAsk(no, person), SCOPE)))
            sent = True
        return sent


def make_task_factory() -> Any:
    """Every task belongs to the server in whose context it was made."""

    def make(loop: asyncio.AbstractEventLoop, work: Any, context: Any = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
        server = context.get(CURRENT) if context is not None else CURRENT.get()
        if server is not None:
            server.tasks.add(task)
            task.add_done_callback(server.tasks.discard)
            if not server.alive:
                task.cancel()
        return task

    return make


def run_world(seed: int, folder: Path) -> World:
    """Live through one world. Raises `WorldError` (or whatever broke)."""
    clock = HandClock()
    loop = SimLoop(clock)
    loop.set_task_factory(make_task_factory())
    world = World(seed, folder, loop, clock)
    complaints = Complaints(world)
    kernel = logging.getLogger("astrarium.kernel")
    kernel.addHandler(complaints)
    kernel.propagate, before = False, kernel.propagate
    asyncio.set_event_loop(loop)
    try:
        with patch.object(fork, "uuid7", world.next_id), patch.object(child, "uuid7", world.next_id):
            loop.run_until_complete(world.live())
        return world
    finally:
        kernel.propagate = before
        kernel.removeHandler(complaints)
        end_loop(loop)
        world.disk.writer.close()


def end_loop(loop: SimLoop) -> None:
    async def end() -> None:
        for _ in range(20):
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if not others:
                return
            for task in others:
                task.cancel()
            await asyncio.wait(others)

    loop.run_until_complete(end())
    asyncio.set_event_loop(None)
    loop.close()
