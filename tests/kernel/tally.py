"""A small machine for the kernel's own tests, a kind of job whose work a test holds in its hand, and an engine with both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from astrarium.errors import Refused
from astrarium.kernel.audit import AuditLog
from astrarium.kernel.clock import Clock, HandClock
from astrarium.kernel.engine import Engine
from astrarium.kernel.machine import Machine, Move, Registry
from astrarium.kernel.ports import Store
from astrarium.kernel.slots import PlainJob
from astrarium.kernel.types import (
    ENGINE,
    Actor,
    Command,
    Effect,
    Facts,
    Job,
    JobDone,
    Needs,
    Row,
    Scope,
    SlotAsk,
    SlotFree,
    SlotGranted,
    Then,
)
from astrarium.runs.row import RUNS, STEPS
from astrarium.store.sqlite import SqliteStore

WS = Scope("ws", "local")


class Add(msgspec.Struct, frozen=True, tag=True):
    """`most` refuses when the sum would be larger. `beside` names another tally whose sum counts too. `then` is added by an order that
    follows, as long as the sum is at most 10."""

    n: int
    most: int = 1_000_000
    beside: str = ""
    then: int = 0


class Owe(msgspec.Struct, frozen=True, tag=True):
    """Owe a job."""

    id: str
    after_s: float = 0.0
    place: str = "desk"
    priority: int = 0


class Forgo(msgspec.Struct, frozen=True, tag=True):
    id: str


class Begin(msgspec.Struct, frozen=True, tag=True):
    id: str


class Done(msgspec.Struct, frozen=True, tag=True):
    id: str
    said: str = ""


class Take(msgspec.Struct, frozen=True, tag=True):
    name: str
    limit: int = 1
    priority: int = 0
    hold_s: float = 0.0
    over: bool = False


class Free(msgspec.Struct, frozen=True, tag=True):
    name: str


class Finish(msgspec.Struct, frozen=True, tag=True):
    pass


class Break(msgspec.Struct, frozen=True, tag=True):
    """Makes the machine give an event its table has no row for."""


class Added(msgspec.Struct, frozen=True, tag=True):
    n: int
    then: int = 0


class Owed(msgspec.Struct, frozen=True, tag=True):
    order: Owe
    at: int


class Forgone(msgspec.Struct, frozen=True, tag=True):
    id: str


class Begun(msgspec.Struct, frozen=True, tag=True):
    id: str


class Ended(msgspec.Struct, frozen=True, tag=True):
    id: str
    said: str


class Took(msgspec.Struct, frozen=True, tag=True):
    order: Take
    until: int


class Held(msgspec.Struct, frozen=True, tag=True):
    name: str
    fence: int


class Freed(msgspec.Struct, frozen=True, tag=True):
    name: str


class Finished(msgspec.Struct, frozen=True, tag=True):
    pass


class Sum(msgspec.Struct):
    stream: str = ""
    n: int = 0
    jobs: dict[str, str] = {}
    said: list[str] = []
    asked: list[str] = []
    held: dict[str, int] = {}
    finished: bool = False


class Tally(Machine[Sum]):
    name = "tally"
    events = (Added, Owed, Forgone, Begun, Ended, Took, Held, Freed, Finished)
    table = (
        Move("tally", ("open",), (Add,), Added, ("open",)),
        Move("tally", ("open",), (Owe,), Owed, ("open",)),
        Move("tally", ("open",), (Forgo,), Forgone, ("open",)),
        Move("tally", ("open",), (Begin,), Begun, ("open",)),
        Move("tally", ("open",), (Done,), Ended, ("open",)),
        Move("tally", ("open",), (Take,), Took, ("open",)),
        Move("tally", ("open",), (SlotGranted,), Held, ("open",)),
        Move("tally", ("open",), (Free,), Freed, ("open",)),
        Move("tally", ("open",), (Finish,), Finished, ("finished",)),
    )

    def new(self, stream: str, scope: Scope) -> Sum:
        return Sum(stream)

    def needs(self, state: Sum, command: Any) -> Needs:
        if isinstance(command, Add) and command.beside:
            return Needs(streams=(f"tally:{command.beside}",))
        if isinstance(command, Take | Free):
            return Needs(slots=(command.name,))
        return Needs()

    def decide(self, state: Sum, command: Any, facts: Facts) -> list[Any]:
        if state.finished:
            raise Refused(f"{state.stream} is finished")
        match command:
            case Add(n, most, beside, then):
                other = facts.streams.get(f"tally:{beside}")
                if state.n + n + (other.n if other else 0) > most:
                    raise Refused(f"more than {most}")
                return [Added(n, then)]
            case Owe(_, after_s):
                return [Owed(command, facts.now + int(after_s * 1_000_000) if after_s else 0)]
            case Forgo(id):
                return [Forgone(id)]
            case Begin(id):
                if state.jobs.get(id) != "owed":
                    raise Refused(f"{id} is not owed")
                return [Begun(id)]
            case Done(id, said):
                return [Ended(id, said)] if state.jobs.get(id) == "begun" else []
            case Take(_, _, _, hold_s):
                return [Took(command, facts.now + int(hold_s * 1_000_000) if hold_s else 0)]
            case SlotGranted(name, fence):
                return [Held(name, fence)]
            case Free(name):
                return [Freed(name)]
            case Finish():
                return [Finished()]
            case _:
                return [Added(1)]

    def status(self, state: Sum, event: Any) -> str:
        return "finished" if state.finished else "open"

    def evolve(self, state: Sum, event: Any, at: int) -> None:
        match event:
            case Added(n):
                state.n += n
            case Owed(order):
                state.jobs[order.id] = "owed"
            case Begun(id):
                state.jobs[id] = "begun"
            case Ended(id, said):
                del state.jobs[id]
                state.said.append(f"{id}:{said}")
            case Forgone(id):
                state.jobs.pop(id, None)
            case Took(order):
                state.asked.append(order.name)
            case Held(name, fence):
                state.held[name] = fence
            case Freed(name):
                state.held.pop(name, None)
            case Finished():
                state.finished = True

    def react(self, state: Sum, event: Any, at: int) -> Iterable[Effect]:
        match event:
            case Added(_, then) if then:
                yield Then(Add(then, most=10))
            case Owed(order, due):
                yield Job(
                    f"{state.stream}/{order.id}", f"work_{order.place}", state.stream, {"id": order.id}, due, order.priority
                )
            case Forgone(id):
                yield JobDone(f"{state.stream}/{id}")
            case Took(order, until):
                yield SlotAsk(order.name, order.limit, order.priority, until, order.over)
            case Freed(name):
                yield SlotFree(name)

    def rows(self, state: Sum) -> Iterable[Row]:
        return ()

    def dump(self, state: Sum) -> bytes:
        return msgspec.json.encode(state)

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> Sum:
        return msgspec.json.decode(data, type=Sum)

    def ended(self, state: Sum) -> bool:
        return state.finished


class Desk:
    """The work of a kind of job, held in the test's hand: `begun` in order, each ended by `end`."""

    leased = False

    def __init__(self, name: str, lost: str = "done") -> None:
        self.name = f"work_{name}"
        self._place = name
        self.begun: list[str] = []
        self.work: dict[str, asyncio.Future[Any]] = {}
        self.lost = lost

    def place(self, job: Job) -> str:
        return self._place

    def claim(self, job: Job) -> Any:
        return Begin(job.body["id"])

    def lose(self, job: Job, begun: bool) -> Any:
        return Done(job.body["id"], "lost")

    def broke(self, job: Job, error: Exception) -> Any:
        return Done(job.body["id"], f"broke {error}")

    def carry_out(self, job: Job) -> Any:
        self.begun.append(job.body["id"])
        self.work[job.body["id"]] = asyncio.get_running_loop().create_future()
        return self._carry(job.body["id"])

    async def _carry(self, id_: str) -> Any:
        return Done(id_, await self.work[id_])


class AtOnce(PlainJob):
    """Work that is done where it begins."""

    name = "work_once"

    def claim(self, job: Job) -> Any:
        return Begin(job.body["id"])

    def carry_out(self, job: Job) -> Any:
        if job.body["id"] == "bad":
            raise ValueError("bad work")
        return Done(job.body["id"], "at once")

    def broke(self, job: Job, error: Exception) -> Any:
        return Done(job.body["id"], f"broke {error}")


class Room:
    """An engine over a store, with what a test looks at."""

    def __init__(self, engine: Engine, desk: Desk) -> None:
        self.engine = engine
        self.store = engine.store
        self.desk = desk

    async def tell(self, name: str, body: Any, key: str = "", expect: int | None = None, scope: Scope = WS) -> Any:
        return await self.engine.submit(self.command(name, body, key, expect, scope))

    def command(self, name: str, body: Any, key: str = "", expect: int | None = None, scope: Scope = WS) -> Command:
        return Command(f"tally:{name}", body, scope, Actor("user", "anna"), key, expect)

    async def sum(self, name: str) -> Sum:
        state = await self.engine.state(f"tally:{name}", WS)
        return state if state is not None else Sum()

    async def count(self, table: str, where: str = "1=1") -> int:
        return int((await self.store.read(f"SELECT count(*) FROM {table} WHERE {where}"))[0][0])

    @property
    def busy(self) -> bool:
        """Whether any job is being carried out."""
        return bool(self.engine.jobs.streams())

    async def until(self, what: Any) -> None:
        """Turn the loop until something holds."""
        for _ in range(2000):
            if what():
                return
            await asyncio.sleep(0.005)
        raise AssertionError("it never held")


def make_registry(desk: Desk) -> Registry:
    registry = Registry()
    registry.add_machine(Tally())
    registry.add_machine(AuditLog())
    registry.tables.extend((RUNS, STEPS))
    registry.add_kind(desk)
    registry.add_kind(AtOnce())
    registry.add_thing("text", lambda data: data.decode())
    return registry


@asynccontextmanager
async def open_room(
    store: Store | Path, *, worker: str = "w1", clock: Clock | None = None, places: int = 2, hot_limit: int = 20_000, work: bool = True,
    lease_s: float = 30.0, settle: bool = True,
) -> AsyncIterator[Room]:  # fmt: skip
    """`store` is opened here; a path means a SQLite file in that folder."""
    desk = Desk("desk")
    registry = make_registry(desk)
    if isinstance(store, Path):
        store = SqliteStore(store / "kernel.db", tables=registry.tables, synchronous="normal")
    await store.open()
    await store.enlist(worker, "host", 1, "boot", lease_s)
    engine = Engine(store, registry, clock or HandClock(), worker, hot_limit=hot_limit)
    await engine.start()
    if work:
        await engine.jobs.start_working({"desk": places})
        await engine.jobs.take_over()
    try:
        yield Room(engine, desk)
    finally:
        await engine.jobs.drain(0.0)
        if settle:
            await engine.close()
        await store.close()


__all__ = ["ENGINE", "WS", "Room", "open_room"]
