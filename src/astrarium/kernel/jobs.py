"""Carrying out: which jobs this process works on, within its places, and what becomes of their results.

A job has an owner (a worker id) or none. Born where there is room, it is claimed at birth; else it waits in this process's line
(owned) or in the store (not owned). A due date is a job nobody owns yet. A dead owner's jobs are taken over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from ..errors import AstrariumError, Unavailable
from .clock import Clock, Timer
from .machine import Registry
from .memory import Memory
from .ports import JOBS, Store
from .types import Command, Done, Job, Receipt, Scope

log = logging.getLogger("astrarium.kernel")
CLAIM_CHUNK = 500
JOB_COLUMNS = tuple(column.name for column in JOBS.columns)
DEAD_LEASES = (
    "SELECT stream, worker, workspace, environment FROM leases"
    " WHERE worker NOT IN (SELECT id FROM workers WHERE ended = 0) ORDER BY stream LIMIT ?"
)
SHARED_LINE = 2
"""With several servers, a line longer than this many times the places is left for the others."""
RETRY_REPORT_S = 0.5
CLAIM_AGAIN = 500_000
"""After how many microseconds to look again for what is due and was not given to us: it was born meanwhile, another server is claiming it,
or our lease is over and we do not know it yet."""


class WritePath(Protocol):
    """What carrying out asks of the engine."""

    store: Store
    registry: Registry
    clock: Clock
    worker: str
    memory: Memory

    async def submit(self, command: Command) -> Receipt: ...
    def post(self, command: Command, done: Done | None = None) -> None: ...
    def discard(self, job_id: str) -> None: ...
    def end_lease(self, stream: str, worker: str) -> None: ...
    async def refresh(self, stream: str) -> None: ...
    async def settle_writes(self) -> None: ...


class Carried:
    """A job this process works on."""

    __slots__ = ("job", "place", "row", "scope", "task")

    def __init__(self, job: Job, scope: Scope, place: str, leased: bool) -> None:
        self.job = job
        self.scope = scope
        self.place = place
        self.row = "" if leased else job.id
        self.task: asyncio.Task[Any] | None = None


class Jobs:
    def __init__(self, engine: WritePath) -> None:
        self._engine = engine
        self.places: dict[str, int] = {}
        self._used: dict[str, int] = {}
        self._line: dict[str, OrderedDict[str, Carried]] = {}
        self._starting: dict[str, Carried] = {}
        """Born in a batch that is not durable yet."""
        self._claiming: dict[str, Carried] = {}
        """Ours in the store; that they begin is not durable yet. The same job may be born anew meanwhile: a batch that is decided again
        takes back the birth, never the claim."""
        self._claimed: set[str] = set()
        self._running: dict[str, Carried] = {}
        self._accepting = False
        self._left = False
        self._doubtful = False
        self._doubted: list[tuple[Job, Scope]] = []
        self._due_at = 0
        self._due_timer: Timer | None = None
        self._look = asyncio.Event()
        self._looker: asyncio.Task[None] | None = None
        self._quiet = asyncio.Event()

    # -- birth (called by the engine while it decides) ----------------------------------------------------------------

    def offer(self, job: Job, scope: Scope, now: int) -> bool:
        """Whether this process takes a new-born job; it then starts after the commit, or waits in line for a place."""
        if job.not_before > now:
            self._expect(job.not_before)
            return False
        if not self._accepting:
            return False
        kind = self._engine.registry.kinds[job.kind]
        place = kind.place(job)
        carried = Carried(job, scope, place, kind.leased)
        if not place:
            self._starting[job.id] = carried
            return True
        line = self._line.setdefault(place, OrderedDict())
        if not line and self._free(place):
            self._used[place] = self._used.get(place, 0) + 1
            self._starting[job.id] = carried
            return True
        if self._engine.store.shared and len(line) >= SHARED_LINE * self.places.get(place, 1):
            self._left = True
            return False
        line[job.id] = carried
        return True

    def starts_now(self, job: Job) -> bool:
        carried = self._starting.get(job.id)
        if carried is None:
            return False
        line = self._line.get(carried.place)
        return not line or job.id not in line  # an earlier birth of the same job may be on its way

    def withdraw(self, job: Job) -> None:
        """The transaction the job was to be born in did not happen."""
        carried = self._starting.pop(job.id, None)
        if carried is not None:
            self._leave(carried)
        else:
            self.forget(job.id)

    def forget(self, job_id: str) -> Carried | None:
        """A waiting job is no longer owed."""
        for line in self._line.values():
            carried = line.pop(job_id, None)
            if carried is not None:
                return carried
        return None

    def put_back(self, carried: Carried) -> None:
        """The transaction in which a waiting job ended did not happen."""
        if self._accepting:
            self._line.setdefault(carried.place, OrderedDict())[carried.job.id] = carried
            asyncio.get_running_loop().call_soon(self._next, carried.place)

    def start(self, job: Job) -> None:
        """Begin a job whose birth is durable."""
        carried = self._starting.pop(job.id, None)
        if carried is not None:
            self._begin(carried)

    def _begin(self, carried: Carried) -> None:
        job = carried.job
        self._running[job.id] = carried
        kind = self._engine.registry.kinds[job.kind]
        try:
            result = kind.carry_out(job)
        except Exception as error:
            result = self._broke(carried, error)
        if isinstance(result, msgspec.Struct) or result is None:
            self._report(carried, result)
        else:
            carried.task = asyncio.get_running_loop().create_task(self._carry(carried, result))

    async def _carry(self, carried: Carried, result: Any) -> None:
        try:
            body = await result
        except Unavailable as error:
            log.warning("job %s is tried again: %s", carried.job.id, error)
            self._finish(carried)
            asyncio.get_running_loop().call_later(RETRY_REPORT_S, self._again, carried)
            return
        except Exception as error:
            body = self._broke(carried, error)
        self._report(carried, body)

    def _broke(self, carried: Carried, error: Exception) -> Any:
        if not isinstance(error, AstrariumError):
            log.error("job %s broke", carried.job.id, exc_info=error)
        return self._engine.registry.kinds[carried.job.kind].broke(carried.job, error)

    def _report(self, carried: Carried, body: Any) -> None:
        """The job's own work is over: its place is free, its result becomes a command."""
        self._finish(carried)
        if body is not None:
            self._send(carried, body)
        elif not self._engine.registry.kinds[carried.job.kind].leased:
            self._engine.discard(carried.job.id)

    def _finish(self, carried: Carried) -> None:
        if self._running.pop(carried.job.id, None) is not None and carried.place:
            self._leave(carried)
            self._next(carried.place)
        if not self._running:
            self._quiet.set()

    def _send(self, carried: Carried, body: Any) -> None:
        def done(receipt: Any, error: Exception | None) -> None:
            if error is None:
                return
            if isinstance(error, Unavailable) and self._accepting:
                # The result must not be lost because the disk is full for a while.
                asyncio.get_running_loop().call_later(RETRY_REPORT_S, self._send, carried, body)
            elif not isinstance(error, Unavailable):
                log.debug("result of job %s refused: %s", carried.job.id, error)
                self._engine.discard(carried.job.id)

        self._engine.post(Command(carried.job.stream, body, carried.scope, job=carried.row), done)

    # -- places -------------------------------------------------------------------------------------------------------

    def _free(self, place: str) -> bool:
        return self._used.get(place, 0) < self.places.get(place, 1)

    def _leave(self, carried: Carried) -> None:
        if carried.place:
            self._used[carried.place] -= 1

    def _next(self, place: str) -> None:
        """Give free places to those in line."""
        line = self._line.get(place)
        while line and self._free(place) and self._accepting:
            _, carried = line.popitem(last=False)
            self._used[place] = self._used.get(place, 0) + 1
            self._claim(carried)
        if self._left and not line:
            self._left = False
            self.look()

    def _claim(self, carried: Carried) -> None:
        """Tell the life that its job begins, and begin it after the commit."""
        job = carried.job
        body = self._engine.registry.kinds[job.kind].claim(job)
        if body is None:
            self._begin(carried)
            return
        self._claiming[job.id] = carried

        def done(receipt: Any, error: Exception | None) -> None:
            if self._claiming.get(job.id) is carried:  # and not a later claim of the same job
                del self._claiming[job.id]
            if receipt is not None and receipt.events:
                self._begin(carried)
                return
            # Its life moved on, and the job went with the answer; or it is not due yet; or nobody knows.
            self._leave(carried)
            if isinstance(error, Unavailable):
                self.doubt([(job, carried.scope)])
            elif error is not None and not leased:
                self._engine.discard(job.id)
            self._next(carried.place)

        leased = self._engine.registry.kinds[job.kind].leased
        self._engine.post(Command(job.stream, body, carried.scope, job=job.id if leased else "", lease=leased), done)

    def _again(self, carried: Carried) -> None:
        if self._accepting:
            self._admit(carried.job, carried.scope)

    def _admit(self, job: Job, scope: Scope) -> None:
        """Work on a job this process owns in the store."""
        if job.id in self._starting or job.id in self._claiming:
            self.doubt(())  # in a batch that may yet fail: then this row is ours, and nobody works on it
            return
        if job.id in self._running:
            return
        kind = self._engine.registry.kinds[job.kind]
        place = kind.place(job)
        carried = Carried(job, scope, place, kind.leased)
        if not place:
            self._claim(carried)
        else:
            self._line.setdefault(place, OrderedDict())[job.id] = carried
            self._next(place)

    # -- due dates, other servers' leavings, the dead -----------------------------------------------------------------

    def look(self) -> None:
        """There may be jobs in the store to claim."""
        self._look.set()

    def _expect(self, at: int) -> None:
        if self._due_at and self._due_at <= at:
            return
        if self._due_timer is not None:
            self._due_timer.cancel()
        self._due_at = at
        self._due_timer = self._engine.clock.call_at(at, self._came_due)

    def _came_due(self) -> None:
        self._due_at = 0
        self.look()

    async def start_working(self, places: dict[str, int]) -> None:
        """Begin to accept jobs: first what is due, and what dead workers left."""
        self.places = places
        self._accepting = True
        self._looker = asyncio.create_task(self._look_loop(), name="astrarium-jobs")
        self.look()

    async def _look_loop(self) -> None:
        while self._accepting:
            await self._look.wait()
            self._look.clear()
            try:
                while self._accepting and await self.claim_due():
                    pass
            except Unavailable as error:
                log.warning("cannot claim jobs: %s", error)
                self.doubt(())

    def doubt(self, born: Iterable[tuple[Job, Scope]]) -> None:
        """A write failed and may have happened all the same: what it made ours (`born` among it) is looked for a little later."""
        self._doubtful = True
        self._doubted.extend(born)
        asyncio.get_running_loop().call_later(RETRY_REPORT_S, self.look)

    async def _settle_doubts(self) -> None:
        """Find what the store says is ours and this process does not know of."""
        engine = self._engine
        doubted, before = self._doubted, self._known()
        self._doubtful, self._doubted = False, []
        try:
            rows = await engine.store.read(f"SELECT {', '.join(JOB_COLUMNS)} FROM jobs WHERE owner = ?", (engine.worker,))
            jobs = [job_of(row) for row in rows]
            await self._load_lives((job.stream, scope) for job, scope in (*jobs, *doubted))
            for job, scope in jobs:
                if job.id not in before and job.id not in self._known():
                    self._admit(job, scope)
            for job, scope in doubted:
                hot = await engine.memory.load(job.stream, scope)
                owed = {one.id for one in hot.machine.owed(hot.state, engine.worker)}
                if job.id in owed and job.id not in self._known():
                    self._begin_again(job, scope)
        except Unavailable:
            self._doubtful, self._doubted = True, [*doubted, *self._doubted]
            raise

    def _known(self) -> set[str]:
        """The jobs this process works on, waiting ones included."""
        return {*self._starting, *self._claiming, *self._running, *(id_ for line in self._line.values() for id_ in line)}

    async def claim_due(self) -> int:
        """Claim what is due and has no owner; returns how many."""
        engine = self._engine
        await engine.settle_writes()
        if self._doubtful:
            await self._settle_doubts()
        now = engine.clock.now()
        rows = await engine.store.claim(engine.worker, now, CLAIM_CHUNK)
        jobs = [job_of(row) for row in rows]
        self._claimed = {job.id for job, _ in jobs}
        try:
            await self._load_lives((job.stream, scope) for job, scope in jobs)
            for job, scope in jobs:
                self._admit(job, scope)
        finally:
            self._claimed = set()
        if len(rows) < CLAIM_CHUNK:
            due = await engine.store.read("SELECT min(not_before) FROM jobs WHERE owner = ''")
            if due and due[0][0] is not None:
                self._expect(due[0][0] if due[0][0] > now else now + CLAIM_AGAIN)
            return 0
        return len(rows)

    async def take_over(self) -> int:
        """Take over what dead workers owned, in chunks; returns how many jobs."""
        total = 0
        while rows := await self._claim_lost():
            jobs = [job_of(row) for row in rows]
            await self._load_lives((job.stream, scope) for job, scope in jobs)
            for job, scope in jobs:
                self._inherit(job, scope)
            total += len(rows)
            await asyncio.sleep(0)
        return total + await self._take_over_leases()

    async def _claim_lost(self) -> list[tuple[Any, ...]]:
        """Rows of dead workers that are ours now. A claim that fails may have happened all the same: it is looked for later."""
        try:
            return await self._engine.store.claim_lost(self._engine.worker, CLAIM_CHUNK)
        except Unavailable:
            self.doubt(())
            raise

    async def _take_over_leases(self) -> int:
        """What dead workers carried out under a lease is lost; the life says what becomes of it. The lease goes with that."""
        engine, total = self._engine, 0
        while self._accepting and (rows := await engine.store.read(DEAD_LEASES, (CLAIM_CHUNK,))):
            for stream, _, _, _ in rows:
                await engine.refresh(stream)
            await self._load_lives((stream, Scope(workspace, environment)) for stream, _, workspace, environment in rows)
            lost: list[Command] = []
            for stream, worker, workspace, environment in rows:
                scope = Scope(workspace, environment)
                hot = await engine.memory.load(stream, scope)
                for job in hot.machine.owed(hot.state, worker):
                    lost.append(Command(stream, engine.registry.kinds[job.kind].lose(job, True), scope))
            told = await asyncio.gather(*map(engine.submit, lost), return_exceptions=True)
            held = {command.stream for command, answer in zip(lost, told, strict=True) if isinstance(answer, Unavailable)}
            for stream, worker, _, _ in rows:
                if stream not in held:
                    engine.end_lease(stream, worker)
            total += len(rows) - len(held)
            await engine.settle_writes()
            if held:
                await asyncio.sleep(RETRY_REPORT_S)
        return total

    async def _load_lives(self, lives: Iterable[tuple[str, Scope]]) -> None:
        """Bring the lives of jobs that are ours now into memory. If that fails, each is read when its job begins."""
        by_scope: dict[Scope, list[str]] = {}
        for stream, scope in lives:
            by_scope.setdefault(scope, []).append(stream)
        try:
            for scope, streams in by_scope.items():
                await self._engine.memory.load_many(streams, scope)
        except AstrariumError as error:
            log.warning("cannot read lives ahead: %s", error)

    def _inherit(self, job: Job, scope: Scope) -> None:
        """A row that a dead worker owned: a job that had begun is lost, any other is still owed as it is."""
        kind = self._engine.registry.kinds[job.kind]
        body = None if kind.leased else kind.lose(job, True)  # a leased kind's row is one nobody began
        if body is None:
            self._admit(job, scope)
            return

        def done(receipt: Any, error: Exception | None) -> None:
            if error is None and receipt is not None and not receipt.events:
                self._admit(job, scope)  # nothing had begun: still owed as it is
            elif isinstance(error, Unavailable):
                self.doubt(())
            elif error is not None:
                self._engine.discard(job.id)

        self._engine.post(Command(job.stream, body, scope), done)

    def _begin_again(self, job: Job, scope: Scope) -> None:
        """A job under our own lease whose claim was recorded in a write that seemed to fail: nobody has begun it."""

        def done(receipt: Any, error: Exception | None) -> None:
            if isinstance(error, Unavailable):
                self.doubt([(job, scope)])

        self._engine.post(Command(job.stream, self._engine.registry.kinds[job.kind].lose(job, False), scope), done)

    # -- the end ------------------------------------------------------------------------------------------------------

    def waiting(self) -> dict[str, int]:
        """How many jobs wait here for each place."""
        return {place: len(line) for place, line in self._line.items()}

    def used(self) -> dict[str, int]:
        """How many of each place are taken."""
        return dict(self._used)

    def streams(self) -> set[str]:
        """The lives this process works on now."""
        carried = (*self._starting.values(), *self._claiming.values(), *self._running.values())
        return {one.job.stream for one in carried}

    async def drain(self, timeout_s: float) -> bool:
        """Accept nothing more, leave what waits in line to other servers, and wait for what runs; False if something still runs after
        the time."""
        self._accepting = False
        lined = [id_ for line in self._line.values() for id_ in line]
        for line in self._line.values():
            line.clear()
        if self._looker is not None:
            self._looker.cancel()
        if self._due_timer is not None:
            self._due_timer.cancel()
        if lined and self._engine.store.shared:
            try:
                await self._engine.store.release(lined, self._engine.worker)
            except Unavailable as error:  # then they are taken over when we have ended
                log.warning("cannot give jobs back: %s", error)
        self._quiet.clear()
        if self._running:
            try:
                await asyncio.wait_for(self._quiet.wait(), timeout_s)
            except TimeoutError:
                return False
        return True


def job_of(row: tuple[Any, ...]) -> tuple[Job, Scope]:
    """A job and its scope from a row of `jobs`."""
    id_, workspace, environment, kind, stream, not_before, priority, attempt, _, body = row
    job = Job(id_, kind, stream, msgspec.json.decode(body), not_before, priority, attempt)
    return job, Scope(workspace, environment)
