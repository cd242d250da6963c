"""What a decision entails, and where it gathers until the commit.

A `Unit` is one call of the engine. `Filling` is the batch that is filling, with its units and what happens after its commit.
`Effects` carries the reactions of machines into it: jobs to be owed, claimed or let go, slots taken and given back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from ..errors import Unavailable
from .clock import Clock
from .jobs import Carried, Jobs
from .machine import Registry
from .memory import Hot, Memory
from .ports import COUNTERS, JOBS, LEASES, SNAPSHOTS, Batch, NewEvent
from .slots import ExpireJob, GrantJob, Place, Slot
from .types import (
    ENGINE,
    Command,
    Count,
    Done,
    Drop,
    Facts,
    Job,
    JobDone,
    Receipt,
    Scope,
    SlotAsk,
    SlotFree,
    SlotGranted,
    Then,
    Tombstone,
)

_encode = msgspec.json.Encoder().encode

NewThing = tuple[str, bytes]
"""(kind, bytes) of a thing to be stored with the commands that refer to it."""


class Unit:
    """Commands that happen together, and who wants to know; or a `change` of the engine's own to the batch. `stored`: its `things` and
    their hashes; `refused`: the error it is answered with once the batch it rests on is durable."""

    __slots__ = ("change", "commands", "done", "receipts", "rechecked", "refused", "stored", "things")

    def __init__(
        self,
        commands: Sequence[Command],
        done: Done | None,
        things: Sequence[NewThing] = (),
        change: Callable[[], None] | None = None,
    ) -> None:
        self.commands = commands
        self.done = done
        self.things = things
        self.change = change
        self.stored: Sequence[tuple[str, str, bytes]] = ()
        self.receipts: list[Receipt] = []
        self.rechecked = False
        self.refused: Exception | None = None

    def answer(self, error: Exception | None) -> None:
        if self.done is not None:
            self.done(self.receipts[0] if error is None and self.receipts else None, error)


class Filling:
    """The batch that is filling, with the units in it and what happens after its commit: jobs `born` in it start, `lined` ones
    wait in line; `forgotten` ones were in line and are not owed any more."""

    __slots__ = ("batch", "born", "changed", "forgotten", "lined", "notes", "streams", "units")

    def __init__(self) -> None:
        self.batch = Batch()
        self.changed: dict[str, Hot] = {}
        self.units: list[Unit] = []
        self.born: list[Job] = []
        self.lined: list[str] = []
        self.forgotten: list[Carried] = []
        self.notes: list[tuple[str, Any]] = []
        self.streams: set[str] = set()

    def merge(self, aside: Filling) -> None:
        """Add what was decided aside."""
        into, part = self.batch, aside.batch
        for stream, seq in part.heads.items():
            into.heads.setdefault(stream, seq)
        into.moved.update(part.moved)
        into.events.extend(part.events)
        for made, rows in part.rows.items():
            for row in rows.values():
                into.put(made, row)
        for made, keys in part.gone.items():
            for key in keys:
                into.drop(made, key)
        into.prune.extend(part.prune)
        self.born.extend(aside.born)
        self.lined.extend(aside.lined)
        self.forgotten.extend(aside.forgotten)
        self.notes.extend(aside.notes)
        self.streams |= aside.streams
        self.changed.update(aside.changed)

    def bury(self, hot: Hot, snapshot: tuple[Any, ...] | None, stone: Tombstone, now: int) -> None:
        """Put a tombstone in place of a life's events; without a `snapshot` nothing else of it stays."""
        stream, batch = hot.stream, self.batch
        batch.heads.setdefault(stream, hot.seq)
        if snapshot is not None:
            batch.put(SNAPSHOTS, snapshot)
        else:
            batch.drop(SNAPSHOTS, stream)
        batch.prune.append((stream, hot.seq))
        hot.seq += 1
        batch.moved[stream] = hot.seq
        body, name = _encode(stone), Tombstone.__name__
        batch.events.append(NewEvent(hot.scope.workspace, stream, hot.seq, now, name, 1, str(ENGINE), body))
        self.streams.add(stream)


class Deciding(Protocol):
    """What effects ask of the engine."""

    registry: Registry
    clock: Clock
    worker: str
    memory: Memory
    jobs: Jobs
    filling: Filling

    def follow(self, hot: Hot, body: Any, facts: Facts) -> bool: ...
    def settled(self, stream: str) -> Awaitable[None]: ...
    def change(self, change: Callable[[], None]) -> Awaitable[None]: ...


class Effects:
    """What machines asked for, written into the batch that is filling."""

    def __init__(self, engine: Deciding) -> None:
        self._engine = engine
        engine.registry.add_kind(GrantJob())
        engine.registry.add_kind(ExpireJob(self.expire_slot))

    def apply(self, hot: Hot, effect: Any, facts: Facts) -> None:
        kind, now = type(effect), facts.now
        if kind is Job:
            self._put_job(effect, hot, facts)
        elif kind is JobDone:
            self._engine.filling.batch.drop(JOBS, effect.id)
            carried = self._engine.jobs.forget(effect.id)
            if carried is not None:
                self._engine.filling.forgotten.append(carried)
        elif kind is Count:
            row = (hot.scope.workspace, effect.name, effect.subject, effect.mark, now, effect.amount)
            self._engine.filling.batch.put(COUNTERS, row)
        elif kind is Drop:
            self._engine.filling.batch.drop(effect.of, effect.key)
        elif kind is Then:
            self._engine.follow(hot, effect.body, facts)
        elif kind is SlotAsk:
            slot = self._slot(hot.scope, effect.name)
            granted = [] if effect.over or effect.since else slot.allow(effect.limit, self._engine.filling.batch)
            fence = slot.ask(hot.stream, effect, now, self._engine.filling.batch)
            if fence:
                self._engine.follow(hot, SlotGranted(effect.name, fence), facts)
                self._expect_expiry(slot, hot.scope, now)
            self._slot_moved(slot)
            if granted:
                self._grant(slot, granted, hot.scope, now)
        elif kind is SlotFree:
            slot = self._slot(hot.scope, effect.name)
            granted = slot.free(hot.stream, self._engine.filling.batch)
            self._slot_moved(slot)
            self._grant(slot, granted, hot.scope, now)

    async def expire_slot(self, scope: Scope, name: str) -> None:
        """End the holds of a slot whose time is over, and give the places on."""
        await self._engine.memory.fetch_slot(scope.workspace, name, self._engine.settled)
        await self._engine.change(lambda: self._expire(scope, name))

    def _expire(self, scope: Scope, name: str) -> None:
        if (scope.workspace, name) not in self._engine.memory.slots:
            raise Unavailable(f"slot {name} moved meanwhile", hint="expire it again")
        slot, now = self._slot(scope, name), self._engine.clock.now()
        granted = slot.expire(now, self._engine.filling.batch)
        self._slot_moved(slot)
        self._grant(slot, granted, scope, now)

    async def limit_slot(self, scope: Scope, name: str, limit: int) -> None:
        """Set the limit of a slot, for those in line too."""
        await self._engine.memory.fetch_slot(scope.workspace, name, self._engine.settled)
        await self._engine.change(lambda: self._limit(scope, name, limit))

    def _limit(self, scope: Scope, name: str, limit: int) -> None:
        if (scope.workspace, name) not in self._engine.memory.slots:
            raise Unavailable(f"slot {name} moved meanwhile", hint="set its limit again")
        slot = self._slot(scope, name)
        granted = slot.allow(limit, self._engine.filling.batch)
        self._slot_moved(slot)
        self._grant(slot, granted, scope, self._engine.clock.now())

    def _slot(self, scope: Scope, name: str) -> Slot:
        slot = self._engine.memory.slots[(scope.workspace, name)]
        self._engine.filling.batch.heads.setdefault(slot.head, slot.fence)
        return slot

    def _slot_moved(self, slot: Slot) -> None:
        self._engine.filling.batch.moved[slot.head] = slot.fence
        self._engine.filling.streams.add(slot.head)

    def _grant(self, slot: Slot, granted: list[Place], scope: Scope, now: int) -> None:
        for place in granted:
            body = {"name": slot.name, "fence": place.fence}
            self._owe(Job(f"{place.holder}:{slot.name}", GrantJob.name, place.holder, body), scope, now)
        self._expect_expiry(slot, scope, now)

    def _expect_expiry(self, slot: Slot, scope: Scope, now: int) -> None:
        """A job for the next hold of a slot that ends by itself."""
        if slot.ending:
            place = min(slot.ending.values(), key=lambda place: place.until)
            body = {"name": slot.name, "workspace": scope.workspace, "environment": scope.environment}
            self._owe(Job(f"{slot.head}:expire:{place.until}", ExpireJob.name, place.holder, body, place.until), scope, now)

    def _owe(self, job: Job, scope: Scope, now: int) -> None:
        """Record a job of the engine's own, of a kind nobody is told the beginning of."""
        owner = self._engine.worker if self._engine.jobs.offer(job, scope, now) else ""
        self._job_row(job, scope, owner)
        if owner and self._engine.jobs.starts_now(job):
            self._engine.filling.born.append(job)

    def _put_job(self, job: Job, hot: Hot, facts: Facts) -> None:
        """Record a job; claim it at birth if there is a free place for it here."""
        if not self._engine.jobs.offer(job, hot.scope, facts.now):
            self._job_row(job, hot.scope, "")
            return
        if not self._engine.jobs.starts_now(job):
            self._job_row(job, hot.scope, self._engine.worker)
            self._engine.filling.lined.append(job.id)
            return
        kind = self._engine.registry.kinds[job.kind]
        claim = kind.claim(job)
        if claim is not None and not self._engine.follow(hot, claim, facts):
            self._engine.jobs.withdraw(job)
            self._engine.filling.batch.drop(JOBS, job.id)
            return
        if kind.leased:
            self.lease(hot)
        else:
            self._job_row(job, hot.scope, self._engine.worker)
        self._engine.filling.born.append(job)

    def _job_row(self, job: Job, scope: Scope, owner: str) -> None:
        row = (
            job.id, scope.workspace, scope.environment, job.kind, job.stream, job.not_before, job.priority, job.attempt, owner,
            _encode(job.body).decode(),
        )  # fmt: skip
        self._engine.filling.batch.put(JOBS, row)

    def lease(self, hot: Hot) -> None:
        """This worker carries out jobs of the life that have no rows of their own."""
        if not hot.leased:
            hot.leased = True
            self._engine.filling.batch.put(LEASES, (hot.stream, self._engine.worker, hot.scope.workspace, hot.scope.environment))
