"""Builds that ticks drive: who wants one, who is at it, who waits for one in vain."""

from __future__ import annotations

from typing import Any

import msgspec

from ....kernel.types import Command, Receipt
from ....web.caller import Caller
from .. import field
from ..machines.build import build_stream
from ..machines.plan.generation import SetReactive
from ..machines.plan.wake import (
    AcquireLease,
    AskForTick,
    HandOut,
    ReleaseLease,
    RenewLease,
    TakeFlag,
    TellTick,
    WakeState,
    wake_stream,
)
from ..views.text import event_id, moment
from . import wire, wire_task
from .desk import Plans
from .views.build import read_build

SECOND = 1_000_000
_WAITING = (
    "SELECT w.build, d.reactive_app FROM build_wakes w JOIN builds b ON b.id = w.build JOIN build_drives d ON d.build = w.build"
    " WHERE w.environment = ? AND b.status = 'running' AND d.reactive_app <> '' AND w.flagged_at > 0 AND w.lease_until <= ?"
    " AND w.handed_at <= ? ORDER BY w.flagged_at, w.build LIMIT ?"
)
_STALLED = (
    "SELECT w.build, d.reactive_app, w.flagged_at, w.owner, w.lease_until FROM build_wakes w JOIN builds b ON b.id = w.build"
    " JOIN build_drives d ON d.build = w.build WHERE w.environment = ? AND b.status = 'running' AND d.reactive_app <> ''"
    " AND w.lease_until <= ? AND ((w.flagged_at > 0 AND w.flagged_at <= ?) OR (w.owner <> '' AND w.lease_until <= ?))"
    " ORDER BY w.build LIMIT ?"
)
_TOLD = "SELECT seq, at, outcome, summary FROM tick_summaries WHERE build = ? ORDER BY seq DESC LIMIT ?"
_ANY = "SELECT 1 FROM build_drives WHERE reactive_app <> '' LIMIT 1"
_HOLDERS = (
    "SELECT DISTINCT m.task_id, p.build FROM plan_members m JOIN plans p ON p.id = m.plan JOIN builds b ON b.id = p.build"
    " JOIN build_drives d ON d.build = p.build WHERE m.environment = ? AND m.task_id = ? AND m.excluded_reason = ''"
    " AND p.activated_at > 0 AND p.superseded_at = 0 AND b.status = 'running' AND d.reactive_app <> '' AND p.build <> ?"
)


class Wakes:
    def __init__(self, plans: Plans) -> None:
        self.plans = plans
        self.engine = plans.engine
        self.store = plans.store

    async def set_reactive(self, caller: Caller, build: str, body: wire_task.ReactiveMeta) -> wire.PlannedBuild:
        """Raises `NotFound`, `Invalid`."""
        app = field.check_id(body.app_name, "app_name", field.NAME_MAX)
        await self.plans.build(caller, build)
        await self.engine.submit(Command(build_stream(build), SetReactive(app, body.tick_kwargs), caller.scope, caller.actor))
        return await read_build(self.store, caller.scope, build)

    async def _order(self, caller: Caller, build: str, order: Any) -> Receipt:
        await self.plans.build(caller, build)
        return await self.engine.submit(Command(wake_stream(build), order, caller.scope, caller.actor))

    async def _state(self, caller: Caller, build: str) -> WakeState | None:
        state: WakeState | None = await self.engine.state(wake_stream(build), caller.scope)
        return state

    async def notice(self, caller: Caller, build: str, live: bool = False) -> wire_task.BuildNotice:
        """Raises `NotFound`."""
        await self.plans.build(caller, build)
        state = await self._state(caller, build)
        served = state is not None and state.served(self.engine.clock.now())
        return wire_task.BuildNotice(build, state is not None and state.kept.flagged_at > 0, served if live else None)

    async def notify(self, caller: Caller, build: str) -> wire_task.BuildNotice:
        """Raises `NotFound`."""
        await self._order(caller, build, AskForTick())
        return await self.notice(caller, build, live=True)

    async def take(self, caller: Caller, build: str) -> wire_task.BuildNotice:
        """Raises `NotFound`."""
        await self._order(caller, build, TakeFlag())
        return await self.notice(caller, build)

    async def flag_holders(self, caller: Caller, task: str, besides: str) -> None:
        """A task is otherwise than it was: other builds that want it may go on."""
        if self.plans.reactive is None:
            known = bool(await self.store.read(_ANY))
            self.plans.reactive = self.plans.reactive or known
        if not self.plans.reactive:
            return
        for _, build in await self.store.read(_HOLDERS, (caller.scope.environment, task, besides)):
            await self.engine.submit(Command(wake_stream(build), AskForTick(), caller.scope, caller.actor))

    async def candidates(self, caller: Caller, limit: int) -> wire_task.WakeCandidates:
        """Builds that want a tick and have nobody for it; each is told once in a while."""
        now, found = self.engine.clock.now(), []
        handed = now - 120 * SECOND
        for build, app in await self.store.read(_WAITING, (caller.scope.environment, now, handed, limit)):
            receipt = await self.engine.submit(Command(wake_stream(build), HandOut(), caller.scope, caller.actor))
            if receipt.events:
                found.append(wire_task.WakeCandidate(build, app))
        return wire_task.WakeCandidates(found)

    async def lease(
        self, caller: Caller, build: str, order: AcquireLease | RenewLease | ReleaseLease
    ) -> wire_task.SchedulerLease:
        """Who cannot have it is told so. Raises `NotFound`, `Invalid`."""
        field.check_id(order.owner, "query.owner_id", field.NAME_MAX)
        await self._order(caller, build, order)
        state = await self._state(caller, build)
        mine = state is not None and state.served(self.engine.clock.now()) and state.kept.owner == order.owner
        return wire_task.SchedulerLease(build, mine, moment(state.kept.until) if mine and state is not None else None)

    async def tell(self, caller: Caller, build: str, summary: dict[str, Any]) -> wire_task.TickSummary:
        """Raises `NotFound`, `Invalid`."""
        outcome = summary.pop("outcome", None)
        if not isinstance(outcome, str):
            raise field.wrong(
                "missing required field `outcome`" if outcome is None else "Input should be a valid string", "outcome"
            )
        field.check_text(outcome, "outcome", field.NAME_MAX, 1)
        await self._order(caller, build, TellTick(outcome, summary))
        return (await self.told(caller, build, 1)).summaries[0]

    async def told(self, caller: Caller, build: str, limit: int) -> wire_task.TickSummaries:
        """The newest first. Raises `NotFound`."""
        await self.plans.build(caller, build)
        stream = wake_stream(build)
        return wire_task.TickSummaries(
            build,
            [
                wire_task.TickSummary(event_id(stream, seq, at), build, outcome, msgspec.json.decode(summary), moment(at))
                for seq, at, outcome, summary in await self.store.read(_TOLD, (build, limit))
            ],
        )

    async def stalled(self, caller: Caller, older_than_s: int, limit: int) -> wire_task.StalledBuilds:
        now = self.engine.clock.now()
        since = now - older_than_s * SECOND
        rows = await self.store.read(_STALLED, (caller.scope.environment, now, since, since, limit))
        made = []
        for build, app, flagged, owner, until in rows:
            lapsed = bool(owner) and until <= since
            made.append(
                wire_task.StalledBuild(
                    build, app, "lease_lapsed" if lapsed else "flagged_unserved", moment(until if lapsed else flagged)
                )
            )
        return wire_task.StalledBuilds(older_than_s, made)
