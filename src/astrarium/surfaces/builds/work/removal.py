"""Builds that are to leave the store. Tasks stay, with their assets, files and events: they belong to their environment, whichever builds
wanted them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from ....errors import Refused
from ....kernel.audit import act
from ....kernel.engine import Engine
from ....kernel.ports import Store
from ....kernel.types import Command, Table
from ....web.caller import Caller
from ..machines.build import ENDS, BuildState, build_stream
from ..machines.plan.member import RetirePlan, plan_stream
from ..machines.plan.row import BUILD_ACTIVITY, BUILD_DRIVES, BUILD_WAKES, PLAN_MEMBERS, PLANS, TICK_SUMMARIES
from ..machines.row import BUILD_EVENTS, BUILD_TASK_STATES, BUILD_TASKS, BUILDS

WAITS, WAIT_S = 20, 0.5
ONE_BY_ONE: tuple[Table, ...] = (BUILD_DRIVES, BUILD_ACTIVITY, BUILD_WAKES)
"""Tables with one row for each build, keyed by it."""
MANY: tuple[Table, ...] = (BUILD_TASKS, BUILD_TASK_STATES, BUILD_EVENTS, TICK_SUMMARIES)
"""Tables with many rows of a build, which stands first in their key."""


async def remove_build(engine: Engine, caller: Caller, state: BuildState) -> None:
    """Take an ended build out of the store, with what is told of it there. Raises `Refused` while it runs, `Conflict` when it moved
    meanwhile."""
    if state.kept.status not in ENDS:
        raise Refused("the build is running", code="build_running", hint="complete, fail or cancel it first")
    if not await _is_settled(engine, build_stream(state.id)):
        raise Refused("the build's end is still being carried out", code="build_busy", hint="delete it a little later")
    id_, gone = state.id, dict[Table, Sequence[Any]]()
    for of in ONE_BY_ONE:
        gone[of] = (id_,)
    for of in MANY:
        gone[of] = await _keys(engine.store, of, "build", id_)
    plans = [row[0] for row in await engine.store.read("SELECT id FROM plans WHERE build = ?", (id_,))]
    gone[PLANS] = plans
    gone[PLAN_MEMBERS] = [key for plan in plans for key in await _keys(engine.store, PLAN_MEMBERS, "plan", plan)]
    for plan in plans:
        await engine.submit(Command(plan_stream(plan), RetirePlan(), caller.scope, caller.actor))
    told = act(
        caller.scope, caller.actor, "build.deleted", build_stream(id_), name=state.kept.name, events=len(gone[BUILD_EVENTS])
    )
    await engine.remove((build_stream(id_), *map(plan_stream, plans)), caller.scope, gone | {BUILDS: (id_,)}, (told,))


async def _is_settled(engine: Engine, stream: str) -> bool:
    """Whether nothing is owed by a life; what is being carried out is waited for a while."""
    for _ in range(WAITS):
        if not await engine.store.read("SELECT 1 FROM jobs WHERE stream = ? LIMIT 1", (stream,)):
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(engine.tail.changed(), WAIT_S)
    return False


async def _keys(store: Store, of: Table, column: str, value: str) -> list[tuple[Any, ...]]:
    return await store.read(f"SELECT {', '.join(of.key)} FROM {of.name} WHERE {column} = ?", (value,))
