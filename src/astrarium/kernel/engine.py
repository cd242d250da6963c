"""The write path, the only one.

A *unit* is one call of `submit`, `submit_all` or `post`: its commands happen together or not at all. Units are decided in the loop's
thread, one after the other, into the batch that is filling; one batch is being committed at any time. What is decided on top
of an uncommitted batch is decided again if that batch fails.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..errors import AstrariumError, Bug, Conflict, NotFound, Refused, Unavailable
from .audit import act
from .clock import Clock
from .filling import Effects, Filling, NewThing, Unit
from .jobs import Jobs
from .machine import Registry
from .memory import Hot, Memory, fingerprint, key_head, not_found
from .ports import JOBS, LEASES, RECEIPTS, SNAPSHOTS, Fenced, NewEvent, StaleHeads, Store
from .record.grave import Grave, find_graves
from .record.things import Things
from .tail import Tail
from .types import (
    ENGINE,
    NOTHING_NEEDED,
    Command,
    Done,
    Facts,
    Job,
    Receipt,
    Scope,
    SlotFree,
    Table,
    Tombstone,
)

log = logging.getLogger("astrarium.kernel")
_encode = msgspec.json.Encoder().encode
ENGINE_NAME = str(ENGINE)
RETRY_S = 0.5
"""How long after a failed commit the engine's own changes are tried again."""
GATHERINGS = 3
"""Turns of the loop a batch waits at most for others to join."""


class Engine:
    """See the room's story. `worker` is this process's id in the store."""

    def __init__(self, store: Store, registry: Registry, clock: Clock, worker: str, *, hot_limit: int = 20_000) -> None:
        self.store = store
        self.registry = registry
        self.clock = clock
        self.worker = worker
        self.things = Things(store, registry)
        self.tail = Tail(store, registry)
        self.memory = Memory(store, registry, self.things, hot_limit)
        self.jobs = Jobs(self)
        self.effects = Effects(self)
        self.filling = Filling()
        self._writing: Filling | None = None
        self._backlog: list[Unit] | None = None
        self._loads: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None
        self._closed = False
        self.fenced: asyncio.Event = asyncio.Event()
        self.on_commit: Callable[[float], None] | None = None
        """Told how many seconds each batch took to write."""

    # -- what callers use ---------------------------------------------------------------------------------------------

    async def submit(self, command: Command, things: Sequence[NewThing] = ()) -> Receipt:
        """Decide a command and wait until its events are durable. Raises the error of the tree it was refused with."""
        unit = Unit((command,), None, things)
        await self._durable(unit)
        return unit.receipts[0]

    async def submit_all(self, commands: Sequence[Command], things: Sequence[NewThing] = ()) -> list[Receipt]:
        """Commands that happen together in one transaction, or not at all; `things` they refer to are stored with them."""
        unit = Unit(commands, None, things)
        await self._durable(unit)
        return unit.receipts

    async def _durable(self, unit: Unit) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(receipt: Receipt | None, error: Exception | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        unit.done = done
        self._admit(unit)
        await future

    async def change(self, change: Callable[[], None]) -> None:
        """A change to the batch that no life decides; made again if the batch is decided again."""
        await self._durable(Unit((), None, (), change))

    def post(self, command: Command, done: Done | None = None, things: Sequence[NewThing] = ()) -> None:
        """`submit` without waiting: `done` is called after the commit (the hot path: no future, no task)."""
        self._admit(Unit((command,), done, things))

    async def state(self, stream: str, scope: Scope) -> Any | None:
        """The present state of a life; None if it never began. To be looked at, never changed."""
        hot = await self.memory.load(stream, scope)
        return hot.state if hot.seq else None

    async def scope_of(self, job: Job) -> Scope:
        """Where a job's life lives. `NotFound` for a job nobody owes any more."""
        hot = self.memory.hot.get(job.stream)
        if hot is not None:
            return hot.scope
        rows = await self.store.read(
            "SELECT workspace, environment FROM jobs WHERE id = ?"
            " UNION SELECT workspace, environment FROM leases WHERE stream = ?",
            (job.id, job.stream),
        )
        if not rows:
            raise NotFound(f"job {job.id} is not owed any more")
        return Scope(*rows[0])

    async def refresh(self, stream: str) -> None:
        """What we hold of a life may be old when several servers write: it is read anew when it is wanted next."""
        if self.store.shared:
            await self.settled(stream)
            self.memory.evict(stream)

    def end_lease(self, stream: str, worker: str) -> None:
        """A dead worker's lease on a life is settled."""
        self._admit(Unit((), None, (), lambda: self.filling.batch.drop(LEASES, (stream, worker))))

    def discard(self, job_id: str) -> None:
        """A job nobody owes any more (its life moved on)."""

        def done(receipt: Receipt | None, error: Exception | None) -> None:
            if isinstance(error, Unavailable) and not self._closed:
                asyncio.get_running_loop().call_later(RETRY_S, self.discard, job_id)

        self._admit(Unit((), done, (), lambda: self.filling.batch.drop(JOBS, job_id)))

    async def prune(self, stream: str, scope: Scope) -> int:
        """Take an ended life's events out of the log; a snapshot and a tombstone with the digest of what was there remain.
        Returns how many events left."""
        await self.settled(stream)
        hot = await self.memory.load(stream, scope)
        stone, snapshot = await self.memory.tombstone(hot)
        await self.change(lambda: self._bury(hot, snapshot, stone))
        await self.submit(act(scope, ENGINE, "log.pruned", stream, events=stone.count, digest=stone.digest))
        return stone.count

    def _bury(self, hot: Hot, snapshot: tuple[Any, ...], stone: Tombstone) -> None:
        if self.memory.hot.get(hot.stream) is not hot or hot.seq != snapshot[1]:
            raise Conflict(f"{hot.stream} moved while it was being pruned", hint="prune it again")
        self.filling.bury(hot, snapshot, stone, self.clock.now())

    async def remove(
        self, streams: Sequence[str], scope: Scope, gone: Mapping[Table, Sequence[Any]], commands: Sequence[Command]
    ) -> None:
        """Take ended lives out of the store, in one transaction with `commands`: their events (a tombstone each remains), states, slots,
        and the rows `gone`, by key. Raises `Refused` when one has not ended, `Conflict` when one moved meanwhile; nothing has changed
        then. From the decision on a removed life is not found."""
        for stream in streams:
            await self.settled(stream)
        graves = await find_graves(self.memory, self.store, streams, scope)
        for grave in graves:
            for name in grave.slots:
                await self.memory.fetch_slot(scope.workspace, name, self.settled)
        await self._durable(Unit(commands, None, (), lambda: self._remove(graves, gone)))

    def _remove(self, graves: Sequence[Grave], gone: Mapping[Table, Sequence[Any]]) -> None:
        slots = self.memory.slots
        for grave in graves:
            hot = grave.hot
            still = all((hot.scope.workspace, name) in slots for name in grave.slots)
            if not still or self.memory.hot.get(hot.stream) is not hot or hot.seq != grave.seq:
                raise Conflict(f"{hot.stream} moved while it was being removed", hint="remove it again")
        facts = Facts(self.clock.now())
        for grave in graves:
            for name in grave.slots:
                self.effects.apply(grave.hot, SlotFree(name), facts)
            self.filling.bury(grave.hot, None, grave.stone, facts.now)
            grave.hot.gone = True
        for of, keys in gone.items():
            for key in keys:
                self.filling.batch.drop(of, key)

    async def limit_slot(self, scope: Scope, name: str, limit: int) -> None:
        """Set how many may hold a slot (0 = no limit), those in line included. Raises `Unavailable`: it moved meanwhile, or the
        store cannot be written."""
        await self.effects.limit_slot(scope, name, limit)

    async def start(self) -> None:
        self._flusher = asyncio.create_task(self._flush_loop(), name="astrarium-flush")
        if self.store.shared:
            await self.memory.start_watching()
        self.store.on_wake(self._woken)

    async def settle_writes(self) -> None:
        """Wait until no batch holds jobs that a read of the store would not see."""
        waited = [one for one in (self._writing, self.filling) if one is not None]
        while self._writing in waited or (self.filling in waited and self.filling.batch):
            self._work.set()
            await self.tail.changed()

    async def settle(self) -> None:
        """Wait until everything posted so far is durable (or refused)."""
        while self.filling.batch or self.filling.units or self._writing is not None or self._loads:
            self._work.set()
            self._idle.clear()
            await self._idle.wait()

    async def close(self) -> None:
        """Commit what was posted and stop. Later commands are `Unavailable`."""
        await self.settle()
        self._closed = True
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.gather(self._flusher, return_exceptions=True)

    # -- deciding -----------------------------------------------------------------------------------------------------

    def _admit(self, unit: Unit) -> None:
        if self._closed:
            unit.answer(Unavailable("the engine is stopping", hint="send the command again once the server is back"))
        elif self._backlog is not None:
            self._backlog.append(unit)
        elif (at_hand := self._ready(unit)) is None:
            return
        elif at_hand:
            self._decide(unit)
        else:
            task = asyncio.get_running_loop().create_task(self._load_and_decide(unit))
            self._loads.add(task)
            task.add_done_callback(self._loaded)

    def _ready(self, unit: Unit) -> bool | None:
        """Whether a unit can be decided at once; None = it was refused."""
        try:
            unit.stored = [(self.things.know(kind, data), kind, data) for kind, data in unit.things]
            return self._at_hand(unit)
        except AstrariumError as error:
            unit.answer(error)
            return None

    def _loaded(self, task: asyncio.Task[None]) -> None:
        self._loads.discard(task)
        self._idle.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("deciding failed", exc_info=task.exception())

    def _at_hand(self, unit: Unit) -> bool:
        """Whether all a unit's decisions need is in memory."""
        memory = self.memory
        for command in unit.commands:
            hot = memory.peek(command.stream, command)
            if hot is None or (command.key and not memory.knows_key(command)):
                return False
            needs = hot.machine.needs(hot.state, command.body)
            if needs is not NOTHING_NEEDED and memory.missing(needs, command.scope.workspace):
                return False
        return True

    async def _load_and_decide(self, unit: Unit) -> None:
        try:
            while True:
                for command in unit.commands:
                    await self.memory.fetch_for(command, self.settled)
                if self._backlog is not None:
                    self._backlog.append(unit)
                    return
                if self._at_hand(unit):
                    break
        except AstrariumError as error:
            unit.answer(error)
            return
        self._decide(unit)

    async def settled(self, stream: str) -> None:
        """Wait until no uncommitted batch holds changes of this stream."""
        while stream in self.filling.streams or (self._writing is not None and stream in self._writing.streams):
            self._work.set()
            await self.tail.changed()

    def _decide(self, unit: Unit) -> None:
        unit.receipts, unit.refused = [], None
        for key, kind, data in unit.stored:
            self.things.put(key, kind, data, self.clock.now(), self.filling.batch)
        if len(unit.commands) > 1:
            self._note_rows(unit.commands)
        undo = self.memory.remember(unit.commands) if len(unit.commands) > 1 else None
        filling = self.filling
        if undo is not None:
            self.filling = Filling()  # decided aside, so that a refusal leaves the batch as it was
        try:
            if unit.change is not None:
                unit.change()
            for command in unit.commands:
                unit.receipts.append(self._apply(command))
        except AstrariumError as error:
            if undo is not None:
                aside, self.filling = self.filling, filling
                self._unwind(aside, aside.batch.moved)
                self.memory.restore(undo)
            if self.store.shared and not unit.rechecked:
                task = asyncio.get_running_loop().create_task(self._recheck(unit, error))
                self._loads.add(task)
                task.add_done_callback(self._loaded)
            else:
                self._refuse(unit, error)
            return
        if undo is not None:
            aside, self.filling = self.filling, filling
            filling.merge(aside)
        self.filling.units.append(unit)
        self._work.set()

    def _refuse(self, unit: Unit, error: AstrariumError) -> None:
        """Answer with the error: at once, or when what it rests on is durable. Should that fail, the unit is decided again."""
        moving = self.filling.streams | (self._writing.streams if self._writing is not None else set())
        heads = {key_head(one) for one in unit.commands if one.key}.union(*map(self.memory.rests_on, unit.commands))
        if heads.isdisjoint(moving):
            unit.answer(error)
            return
        unit.refused = error
        self.filling.units.append(unit)
        self._work.set()

    def _note_rows(self, commands: Iterable[Command]) -> None:
        """What readers are to be told of earlier changes in this batch is written down: a state that is put back has forgotten its
        notes of what changed."""
        for command in commands:
            hot = self.filling.changed.get(command.stream)
            if hot is not None:
                for of, row in hot.machine.rows(hot.state):
                    self.filling.batch.put(of, row)

    async def _recheck(self, unit: Unit, error: AstrariumError) -> None:
        """A refusal rests on what we hold, and no commit verifies it: if another server moved it meanwhile, decide again."""
        unit.rechecked = True
        try:
            for command in unit.commands:
                await self.settled(command.stream)
                held = self.memory.rests_on(command)
                marks = ",".join("?" * len(held))
                rows = await self.store.read(f"SELECT stream, seq FROM heads WHERE stream IN ({marks})", list(held)) if held else ()
                moved = [head for head, seq in rows if seq > held[head]]
                if moved:
                    self.memory.evict_all(moved)
                    self.memory.existing.update(moved)
                    unit.rechecked = False
        except AstrariumError as failed:
            unit.answer(failed)
            return
        if unit.rechecked:
            self._refuse(unit, error)
        else:
            self._admit(unit)

    def _unwind(self, undone: Filling, heads: Iterable[str]) -> None:
        """A batch will not be committed as it is: jobs born in it are not owed, those ended in it still are, and what was known of
        `heads` is forgotten."""
        for job in undone.born:
            self.jobs.withdraw(job)
        for job_id in undone.lined:
            self.jobs.forget(job_id)
        for carried in undone.forgotten:
            self.jobs.put_back(carried)
        self.memory.evict_all(heads)

    def _apply(self, command: Command) -> Receipt:
        memory = self.memory
        if command.key:
            known = memory.receipt(command)
            if known is not None:
                return known
        hot = memory.peek(command.stream, command)
        if hot is None:
            raise Bug(f"{command.stream} is not in memory")
        if hot.gone:
            raise not_found(command.stream)
        if command.expect is not None and command.expect != hot.seq:
            raise Conflict(f"{command.stream} is at {hot.seq}, not at {command.expect}", hint="read it again and repeat")
        machine = hot.machine
        needs = machine.needs(hot.state, command.body)
        facts = Facts(self.clock.now())
        if needs.slots or needs.streams or needs.things:
            facts = Facts(facts.now, *memory.facts(needs, command.scope.workspace, self.filling.batch.heads))
        bodies = machine.decide(hot.state, command.body, facts)
        if command.job:
            self.filling.batch.drop(JOBS, command.job)
        if command.lease and bodies:
            self.effects.lease(hot)
        if bodies:
            self._take(hot, type(command.body), str(command.actor), bodies, facts)
        elif self.store.shared:
            self.filling.batch.heads.setdefault(command.stream, hot.seq)  # that nothing is to be done rests on it too
        receipt = Receipt(command.stream, hot.seq, tuple(bodies))
        if command.key:
            self._keep_receipt(command, receipt, facts.now)
        return receipt

    def _take(self, hot: Hot, asked: type, actor: str, bodies: list[Any], facts: Facts) -> None:
        """Fold decided events into the state and everything they entail into the batch."""
        machine, state, known, now = hot.machine, hot.state, hot.known, facts.now
        filling = self.filling
        batch = filling.batch
        stream = hot.stream
        batch.heads.setdefault(stream, hot.seq)
        filling.streams.add(stream)
        filling.changed[stream] = hot
        workspace = hot.scope.workspace
        status, moves, versions, listened = machine.status, known.moves, known.versions, self.registry.listeners
        effects: list[Any] = []
        made: list[NewEvent] = []
        for body in bodies:
            event = type(body)
            name = event.__name__
            becomes = moves.get((status(state, body), asked, event))
            if becomes is None:
                raise self._broken(hot, f"no row: while {status(state, body)}, {asked.__name__} gives {name}")
            machine.evolve(state, body, now)
            if status(state, body) not in becomes:
                raise self._broken(hot, f"{name} became {status(state, body)}, not one of {sorted(becomes)}")
            hot.seq += 1
            data = _encode(body)
            hot.events_since += 1
            hot.bytes_since += len(data)
            made.append(NewEvent(workspace, stream, hot.seq, now, name, versions.get(name, 1), actor, data))
            effects += machine.react(state, body, now)
            if event in listened:
                filling.notes.append((stream, body))
        batch.events += made
        batch.moved[stream] = hot.seq
        for effect in effects:
            self.effects.apply(hot, effect, facts)

    def _broken(self, hot: Hot, what: str) -> Bug:
        """A machine broke its promise: its state in memory is not to be trusted any more."""
        self.memory.evict(hot.stream)
        return Bug(f"{hot.stream}: {what}")

    def follow(self, hot: Hot, body: Any, facts: Facts) -> bool:
        """An order that follows in the same transaction, to the same life; whether anything followed. A refused one leaves no trace."""
        try:
            bodies = hot.machine.decide(hot.state, body, facts)
        except Refused:
            return False
        if bodies:
            self._take(hot, type(body), ENGINE_NAME, bodies, facts)
        return bool(bodies)

    def _keep_receipt(self, command: Command, receipt: Receipt, now: int) -> None:
        batch = self.filling.batch
        digest = fingerprint(command)
        head = key_head(command)
        batch.heads.setdefault(head, 0)
        batch.moved[head] = 1
        self.filling.streams.add(head)
        batch.put(RECEIPTS, (command.scope.workspace, command.key, digest, receipt.stream, receipt.seq, now))
        self.memory.keep_receipt(command, digest, receipt)

    # -- committing ---------------------------------------------------------------------------------------------------

    async def _flush_loop(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self.filling.batch or self.filling.units:
                await self._gather()
                writing, self.filling = self.filling, Filling()
                self._writing = writing
                self._complete(writing)
                try:
                    began = time.perf_counter()
                    if writing.batch or (self.store.shared and writing.batch.heads):
                        await self.store.write(writing.batch, self.worker)
                        if self.on_commit is not None:
                            self.on_commit(time.perf_counter() - began)
                except StaleHeads as stale:
                    self.memory.existing.update(stale.moved)
                    await self._decide_again(writing, None)
                except Fenced:
                    self.fenced.set()
                    await self._decide_again(writing, Unavailable("this server's lease was taken over by another"))
                except AstrariumError as error:
                    log.error("commit failed: %s", error)
                    born = [(job, writing.changed[job.stream].scope) for job in writing.born if job.stream in writing.changed]
                    await self._decide_again(writing, error)
                    self.jobs.doubt(born)
                else:
                    self._writing = None
                    self._committed(writing)
            self._idle.set()

    async def _gather(self) -> None:
        """Give what is ready in the loop the time to join the batch, as long as anything does: a commit is dear and may block the loop."""
        for _ in range(GATHERINGS):
            before = len(self.filling.units)
            await asyncio.sleep(0)
            if len(self.filling.units) == before:
                return

    def _complete(self, filling: Filling) -> None:
        """Add what a batch says once of each life it changed: its rows, a snapshot that is due, the end of its lease."""
        batch = filling.batch
        for stream, hot in filling.changed.items():
            machine, state = hot.machine, hot.state
            for of, row in machine.rows(state):
                batch.put(of, row)
            if machine.snapshot_due(state, hot.events_since, hot.bytes_since, hot.last_size):
                data = machine.dump(state)
                hot.snapshot_taken(len(data))
                batch.put(SNAPSHOTS, (stream, hot.seq, hot.scope.workspace, hot.scope.environment, data))
            if hot.leased and (machine.ended(state) or machine.rests(state)):
                hot.leased = False
                batch.drop(LEASES, (stream, self.worker))

    def _committed(self, written: Filling) -> None:
        for unit in written.units:
            unit.answer(unit.refused)
        for job in written.born:
            self.jobs.start(job)
        for stream, body in written.notes:
            for listener in self.registry.listeners[type(body)]:
                listener(stream, body)
        self.memory.settle(written.streams, self.filling.streams, self.jobs.streams)
        if self.store.shared:
            self.memory.seen_own(written.batch.events)
        else:
            self.tail.keep(written.batch.events)
        self.tail.wake()

    async def _decide_again(self, failed: Filling, error: AstrariumError | None) -> None:
        """A batch was not committed: forget what was decided in it and on top of it; decide again, or answer with the error."""
        self._backlog = []
        pending, self.filling = self.filling, Filling()
        if failed.lined or pending.lined:
            self.jobs.doubt(())  # an earlier birth of the same job may have lost its place in line
        for filling in (failed, pending):
            self._unwind(filling, [*filling.streams, *filling.batch.heads])
        self.things.forget()
        self._writing = None
        self.tail.wake()
        units = [*failed.units, *pending.units]
        if error is not None:
            for unit in failed.units:
                unit.answer(error)
            units = pending.units
        units.extend(self._backlog)
        self._backlog = None
        for unit in units:
            self._admit(unit)

    # -- other servers ------------------------------------------------------------------------------------------------

    def _woken(self) -> None:
        """Another process committed: what we hold of the streams it moved is stale."""
        task = asyncio.get_running_loop().create_task(self._catch_up())
        self._loads.add(task)
        task.add_done_callback(self._loaded)

    async def _catch_up(self) -> None:
        for event in await self.memory.read_foreign(self.tail):
            hot = self.memory.hot.get(event.stream)
            writing = self._writing.streams if self._writing is not None else ()
            if hot is not None and event.seq > hot.seq and event.stream not in self.filling.streams and event.stream not in writing:
                self.memory.evict(event.stream)
            for listener in self.registry.listeners.get(type(event.body), ()):
                listener(event.stream, event.body)
        self.tail.wake()
        self.jobs.look()

