"""A driver of builds as the newest client is one, without a socket: the same calls in the same order, on an engine in this process."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from astrarium.errors import AstrariumError, Refused
from astrarium.kernel.clock import HandClock
from astrarium.kernel.engine import Engine
from astrarium.kernel.machine import Registry
from astrarium.kernel.types import Actor, Scope
from astrarium.spec.ids import uuid7
from astrarium.store.sqlite import SqliteStore
from astrarium.surfaces.builds import life
from astrarium.surfaces.builds.machines.plan.order import RetryTask
from astrarium.surfaces.builds.plan import wire, wire_task
from astrarium.surfaces.builds.plan.desk import Plans
from astrarium.web.caller import EVERYTHING, Caller

SCOPE = Scope("ws", "local")
TTL_S = 120
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ABOVE = {"task_already_running", "upstream_incomplete", "concurrency_limit_reached"}
"""Refusals after which a driver looks again later."""

Graph = Mapping[str, tuple[str, ...]]
"""Task → what it needs, in an order that works; the last one is the root."""


@asynccontextmanager
async def opened(folder: Path, clock: HandClock) -> AsyncIterator[Plans]:
    registry = Registry()
    life.register(registry)
    store = SqliteStore(folder / "plans.db", tables=registry.tables, synchronous="normal")
    await store.open()
    await store.enlist("w1", "host", 1, "boot", 30.0)
    engine = Engine(store, registry, clock, "w1")
    await engine.start()
    life.bind(engine)
    await engine.jobs.start_working({})
    try:
        yield Plans(engine)
    finally:
        await engine.jobs.drain(0.0)
        await engine.close()
        await store.close()


class Died(Exception):
    """The driver is no more."""


class Driver:
    """One client. `outputs` is where results lie, shared by all, and `seen` what was there when it looked; `ran` tells what was made. It
    dies before its call number `lives` or, if `unheard`, after that call was carried out. `twice`: every call is sent again, as a client
    does that heard no answer."""

    def __init__(
        self, plans: Plans, name: str, graph: Graph, outputs: set[str], ran: list[str], *, lives: int = 10**9,
        unheard: bool = False, twice: bool = False,
    ) -> None:  # fmt: skip
        self.plans = plans
        self.graph = graph
        self.outputs = outputs
        self.ran = ran
        self.lives = lives
        self.unheard = unheard
        self.twice = twice
        self.calls = 0
        self.caller = Caller(Actor("key", name), SCOPE, "member", EVERYTHING)
        self.root = list(graph)[-1]
        self.build = uuid7()
        self.seen: set[str] = set()

    async def call(self, act: Any, *args: Any) -> Any:
        if self.calls == self.lives and not self.unheard:
            raise Died
        self.calls += 1
        said = await act(self.caller, *args)
        if self.twice:
            try:
                await act(self.caller, *args)
            except Refused as refused:
                assert refused.code == "execution_already_ended", refused.code
        if self.calls > self.lives:
            raise Died
        return said

    def now(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.plans.engine.clock.now())

    def item(self, task: str, expanded: bool = True) -> wire.PlanItem:
        needs = [f"i-{one}" for one in self.graph[task]]
        body = msgspec.Raw(msgspec.json.encode({"name": task}))
        return wire.PlanItem(
            task, task.title(), f"i-{task}", body, self.now(), declared_upstreams=needs if expanded else None,
            observed_complete=task in self.seen,
        )  # fmt: skip

    async def prepare(self, resume: str = "") -> str:
        """Up to the first start; the plan."""
        kind = wire.NewDeployment("local", "code", uuid.UUID(uuid7()))
        deployment = uuid.UUID((await self.call(self.plans.register_deployment, kind)).id)
        if resume:
            self.build = resume
            await self.call(self.plans.resume_build, resume, wire.BuildResumption(deployment))
        else:
            await self.call(self.plans.create_build, wire.NewPlannedBuild([self.root], uuid.UUID(self.build)))
        self.seen = set(self.outputs)
        new = wire.NewPlan(uuid.UUID(uuid7()), deployment, [self.item(self.root, expanded=False)])
        plan: str = (await self.call(self.plans.create_plan, self.build, new)).id
        await self.call(self.plans.register_members, plan, wire.NewPlanMembers([self.item(task) for task in self.graph]))
        if resume:
            for task in self.graph:
                try:
                    await self.call(self.plans.claims.change, plan, task, RetryTask)
                except Refused as refused:
                    assert refused.code in ("task_already_completed", "task_already_running"), refused.code
        await self.call(self.plans.seal, plan)
        return plan

    async def run(self, resume: str = "") -> Any:
        plan = await self.prepare(resume)
        open_ = [task for task in self.graph if task not in self.seen]
        for _ in range(200):
            if not open_:
                break
            for task in list(open_):
                if await self.work(plan, task):
                    open_.remove(task)
            await asyncio.sleep(0)
        for _ in range(200):  # another may have made a result it has not told of yet
            try:
                return await self.call(self.plans.complete_build, self.build, False)
            except Refused as refused:
                assert refused.details["reason"] == "members_incomplete"
                await asyncio.sleep(0)
        raise AssertionError("the build is never complete")

    async def work(self, plan: str, task: str) -> bool:
        """Whether it is done by now, by whomever."""
        execution = uuid.UUID(uuid7())
        try:
            await self.call(self.plans.claims.start, plan, task, wire_task.TaskClaim(execution, claim_ttl_seconds=TTL_S))
        except Refused as refused:
            if refused.code == "task_already_completed":
                return True
            assert refused.code in ABOVE, refused.code
            return False
        await asyncio.sleep(0)
        if task not in self.outputs:
            self.ran.append(task)
            self.outputs.add(task)
        await self.call(self.plans.claims.report, plan, task, str(execution), "completed")
        return True


async def refused(code: str, act: Any, *args: Any) -> AstrariumError:
    """The refusal of a call, which must have this code."""
    try:
        said = await act(*args)
    except AstrariumError as error:
        assert error.code == code, f"{error.code}: {error.message}"
        return error
    raise AssertionError(f"it was not refused, but answered {said}")
