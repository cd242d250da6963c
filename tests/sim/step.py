"""Step types of a simulated world: they take virtual time, fail, ask and spawn as the seed says, and keep a ledger of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from astrarium.runs.ports import Ask, Child, Result, Spawn, StepFailed
from astrarium.spec.graph import encode_graph, graph_hash

if TYPE_CHECKING:
    from tests.sim.server import Server


class Broken(Exception):
    """A step's own exception, which no step type should let out."""


class Effect(msgspec.Struct):
    """One execution: which try it was, and whether its body came to its end."""

    run: str
    round: int
    no: int
    try_no: int
    server: str
    over: bool = False


class WorkParams(msgspec.Struct, frozen=True):
    """Chances in percent; `most_s` the longest it may take."""

    fail: int = 0
    breaks: int = 0
    skip: int = 0
    most_s: float = 0.0
    field: str = ""


class Work:
    """A body with effects: each execution is written into the ledger."""

    Params: ClassVar[type[msgspec.Struct]] = WorkParams
    captures: ClassVar[bool] = False

    def __init__(self, server: Server, kind: str, *, idempotent: bool, place: str) -> None:
        self.server = server
        self.kind = kind
        self.idempotent = idempotent
        self.place = place

    async def run(self, ctx: Any, params: WorkParams) -> Result:
        world = self.server.world
        effect = world.begin_effect(self.server, ctx)
        if params.most_s:
            await asyncio.sleep(world.random.uniform(0, params.most_s))
        effect.over = True
        chance = world.random.randrange(100)
        if chance < params.fail:
            raise StepFailed("as the seed says", exit_code=world.random.choice((1, 2)))
        if chance < params.fail + params.breaks:
            raise Broken("as the seed says")
        if chance < params.fail + params.breaks + params.skip:
            return Result("skipped")
        patch = {params.field: world.random.randrange(3)} if params.field else None
        return Result(output=f"{ctx.node.name}.{ctx.try_no}", patch=patch)


class Instant:
    """The plain path: no coroutine, nothing around the call."""

    kind: ClassVar[str] = "instant"
    Params: ClassVar[type[msgspec.Struct]] = WorkParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[str] = ""
    captures: ClassVar[bool] = False

    def __init__(self, server: Server) -> None:
        self.server = server

    def run(self, ctx: Any, params: WorkParams) -> Result:
        self.server.world.begin_effect(self.server, ctx).over = True
        failed = self.server.world.random.randrange(100) < params.fail
        return Result("failed" if failed else "succeeded", patch={params.field: 1} if params.field else None)


class AskParams(msgspec.Struct, frozen=True):
    needed: int = 1
    timeout_s: float = 0.0


class AskPerson:
    kind: ClassVar[str] = "ask"
    Params: ClassVar[type[msgspec.Struct]] = AskParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[str] = ""
    captures: ClassVar[bool] = False

    async def run(self, ctx: Any, params: AskParams) -> Result:
        return Result(ask=Ask("may it go on?", needed=params.needed, timeout_s=params.timeout_s))


class SpawnParams(msgspec.Struct, frozen=True):
    name: str
    count: int = 1
    most: int = 0


class SpawnChildren:
    kind: ClassVar[str] = "children"
    Params: ClassVar[type[msgspec.Struct]] = SpawnParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[str] = ""
    captures: ClassVar[bool] = False

    async def run(self, ctx: Any, params: SpawnParams) -> Result:
        key, graph = await ctx.resolve_graph(params.name)
        children = tuple(Child(f"{ctx._step.no}.{ctx.pass_no}.{n}", key, graph.name) for n in range(params.count))
        return Result(spawn=Spawn(children, max_active=params.most, parallel=params.count > 1))


def step_types(server: Server) -> dict[str, Any]:
    found = [
        Work(server, "work", idempotent=False, place="process"),
        Work(server, "safe", idempotent=True, place="process"),
        Work(server, "free", idempotent=False, place=""),
        Instant(server), AskPerson(), SpawnChildren(),
    ]  # fmt: skip
    return {kind.kind: kind for kind in found}


def hash_of(graph: Any) -> str:
    return graph_hash(encode_graph(graph))
