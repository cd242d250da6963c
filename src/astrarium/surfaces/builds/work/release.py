"""What a build that ended still claims is let go, for others to take."""

from __future__ import annotations

import asyncio

from ....kernel.engine import Engine
from ....kernel.slots import PlainJob
from ....kernel.types import Command, Job, Scope
from ..machines.build import RELEASE_JOB
from ..machines.plan.order import ReleaseClaim
from ..machines.task import task_stream

_CLAIMED = (
    "SELECT e.task_id FROM executions e JOIN task_states s ON s.environment = e.environment AND s.task_id = e.task_id"
    " WHERE e.build = ? AND e.released_at = 0 AND s.execution = e.id"
)


async def release_claims(engine: Engine, scope: Scope, build: str) -> None:
    """A claim that was granted before the build ended is in the store by now, and none is granted after."""
    for (task,) in await engine.store.read(_CLAIMED, (build,)):
        await engine.submit(Command(task_stream(scope.environment, task), ReleaseClaim(build), scope))


class Release(PlainJob):
    """The order that ends a build lets go before it is answered; this is for a server that died in between. `bind` once the engine
    is open."""

    name = RELEASE_JOB

    def __init__(self) -> None:
        self._bound = asyncio.Event()
        self._engine: Engine

    def bind(self, engine: Engine) -> None:
        self._engine = engine
        self._bound.set()

    async def carry_out(self, job: Job) -> None:
        await self._bound.wait()
        state = await self._engine.state(job.stream, await self._engine.scope_of(job))
        if state is not None and state.kept.status != "running":
            await release_claims(self._engine, Scope(state.scope.workspace, state.kept.environment), state.id)
