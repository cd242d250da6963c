"""How slots of schedules are carried out: what the world looks like is asked, and the decision is committed with the run it starts.

A slot's job belongs to one server at a time; should two decide all the same, or one decide twice, the schedule's version lets one
commit happen and refuses the other whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ....errors import AstrariumError, Invalid, Refused, Unavailable
from ....kernel.engine import Engine
from ....kernel.slots import PlainJob
from ....kernel.types import Actor, Command, Job, Scope
from ....runs.birth import active_slot
from ....runs.message import RunEnded, StartRun, StopRun
from ....runs.ports import Step
from ....runs.work.workshop import check_graph
from ....spec.dag import DagFile
from ....spec.ids import uuid7
from ..catalog import Catalog, Entry
from ..machines import schedule as s
from ..machines import slot as m
from ..machines.plan import ON_TIME_S, SECOND, Found, Plan, judge, last_slot
from ..views.query import SLOT_LABEL, SURFACE
from .bound import Bound

TRIES = 50
"""How often a slot is looked at again because something moved meanwhile, before it is left for a moment."""
ACT_LABEL = "schedule"
BEGUN = "r.status <> 'queued' OR (r.began_at > 0 AND (r.round = 1 OR r.began_at > r.queued_at))"
"""A run that comes back to its queue has begun, a reopened one that waits there has not."""
ACTIVE = (
    f"SELECT s.name, r.id, CASE WHEN {BEGUN} THEN 1 ELSE 0 END FROM slots s JOIN runs r ON r.id = substr(s.holder, 5)"
    " WHERE s.workspace = ? AND s.name IN ({}) AND r.parent_run = '' AND r.status <> 'ended' ORDER BY r.id"
)
SINCE = (
    "SELECT name, created_at, status, outcome FROM runs"
    " WHERE workspace = ? AND surface = ? AND parent_run = '' AND name IN ({}) AND created_at >= ?"
)
NEWEST = (
    "SELECT id, params FROM runs WHERE workspace = ? AND surface = ? AND name = ? AND parent_run = ''"
    " ORDER BY created_at DESC, id DESC LIMIT 1"
)


def plan_of(entry: Entry, catalog: Catalog, zone: str) -> Plan | None:
    """The schedule of a file; None without one."""
    dag = entry.dag
    if dag is None:
        return None
    kept, when = dag.meta, dag.schedule
    plan = Plan(
        dag.name, entry.path.relative_to(catalog.folder).as_posix(), zone, when.start, when.stop, when.restart,
        bool(kept.get("skipIfSuccessful")), kept.get("catchup", ""), kept.get("catchupWindow", 0),
        kept.get("overlapPolicy", "skip"), kept.get("restartWaitSec", 0), bool(kept.get("workerSelector")),
    )  # fmt: skip
    return None if plan.empty else plan


def saying_of(entry: Entry | None, catalog: Catalog, zone: str) -> m.SetSchedule:
    """What a file tells its schedule."""
    if entry is None:
        return m.SetSchedule(gone=True)
    if entry.problems:
        return m.SetSchedule(trouble=str(entry.problems[0]))
    return m.SetSchedule(plan_of(entry, catalog, zone))


def queue_of(dag: DagFile, queues: Mapping[str, int]) -> tuple[str, int, bool]:
    """The queue of a DAG, its limit (0 = none), and whether its runs never wait: a global queue of the settings, else its own by
    `maxActiveRuns` (Dagu 1.30)."""
    name = dag.queue or dag.name
    if name in queues:
        return name, max(queues[name], 0), False
    return name, max(dag.max_active_runs, 0), dag.max_active_runs < 0


def shown(at: int) -> str:
    """A slot as clients see it: RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(at // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def marks(values: list[str]) -> str:
    return ",".join("?" * len(values))


class Asked:
    """One slot's question to the store, answered together with the others of the same moment."""

    __slots__ = ("answer", "dag", "scope", "since", "slot")

    def __init__(self, scope: Scope, dag: str, slot: int, since: int) -> None:
        self.scope = scope
        self.dag = dag
        self.slot = slot
        self.since = since
        self.answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()


class Lookout:
    """Looks at runs for slots. Hundreds come due in the same moment: one read serves all that ask before it begins."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asked: list[Asked] = []
        self._reading: asyncio.Task[None] | None = None

    async def found(self, scope: Scope, plan: Plan, slot: int) -> Found:
        """The runs of a DAG as a slot's decision needs them."""
        since = slot
        if plan.skip_if_successful:
            since = last_slot(plan.start, plan.zone, slot) or slot
        asked = Asked(scope, plan.dag, slot, since)
        self._asked.append(asked)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        return await asked.answer

    async def _read_all(self) -> None:
        await asyncio.sleep(0)  # let the others of this moment ask
        while self._asked:
            taken, self._asked = self._asked, []
            try:
                await self._answer(taken)
            finally:
                for one in taken:
                    if not one.answer.done():
                        one.answer.set_exception(Unavailable("runs could not be looked at", hint="the slot is tried again"))

    async def _answer(self, taken: list[Asked]) -> None:
        groups: dict[tuple[Scope, int], list[Asked]] = {}
        for one in taken:
            groups.setdefault((one.scope, one.since), []).append(one)
        for (scope, since), group in groups.items():
            await self._read(scope, since, group)

    async def _read(self, scope: Scope, since: int, group: list[Asked]) -> None:
        try:
            names = sorted({one.dag for one in group})
            slots = {active_slot(SURFACE, name): name for name in names}
            live = await self._engine.store.read(ACTIVE.format(marks(names)), [scope.workspace, *slots])
            new = await self._engine.store.read(SINCE.format(marks(names)), [scope.workspace, SURFACE, *names, since])
        except AstrariumError as error:
            for one in group:
                one.answer.set_exception(error)
            return
        active: dict[str, list[tuple[str, int]]] = {}
        for slot, run, begun in live:
            active.setdefault(slots[slot], []).append((run, begun))
        made: dict[str, list[tuple[int, str, str]]] = {}
        for name, at, status, outcome in new:
            made.setdefault(name, []).append((at, status, outcome))
        for one in group:
            mine, since_then = active.get(one.dag, ()), made.get(one.dag, ())
            found = Found(
                tuple(run for run, _ in mine),
                tuple(run for run, begun in mine if begun),
                any(at >= one.slot for at, _, _ in since_then),
                any(status == "ended" and outcome == "succeeded" for _, status, outcome in since_then),
            )
            if not one.answer.done():
                one.answer.set_result(found)


class Clockwork(Bound):
    """The jobs of schedules in one process. `zone`: where expressions count that name none."""

    def __init__(self, catalog: Catalog, steps: Mapping[str, Step], queues: Mapping[str, int], zone: str) -> None:
        self.catalog = catalog
        self.steps = steps
        self.queues = queues
        self.zone = zone
        super().__init__()
        self._lookout: Lookout | None = None
        self._closing = asyncio.Event()
        self._awaited: dict[str, set[asyncio.Event]] = {}
        self._checked: dict[str, str] = {}

    def bind(self, engine: Engine) -> None:
        self._lookout = Lookout(engine)
        super().bind(engine)

    @property
    def well(self) -> bool:
        """Whether slots that come due are decided here."""
        return self._engine is not None and not self._closing.is_set() and not self._engine.fenced.is_set()

    def close(self) -> None:
        """Let go of what waits for runs to stop; it goes on when a server is there again."""
        self._closing.set()
        for events in self._awaited.values():
            for event in events:
                event.set()

    def run_ended(self, stream: str, event: RunEnded) -> None:
        """A listener: a run is over, here or on another server."""
        for waiting in self._awaited.pop(stream, ()):
            waiting.set()

    async def _ready(self) -> tuple[Engine, Lookout]:
        engine = await self.engine()
        if self._lookout is None:
            raise Unavailable("the schedules are not open yet", hint="try again in a moment")
        return engine, self._lookout

    # -- a slot -------------------------------------------------------------------------------------------------------

    async def carry_slot(self, job: Job) -> None:
        """Decide a slot, unless the schedule moved on."""
        engine, _ = await self._ready()
        scope = await engine.scope_of(job)
        for _ in range(TRIES):
            state: s.ScheduleState | None = await engine.state(job.stream, scope)
            if state is None or job.id not in state.owed() or state.kept.plan is None:
                return
            try:
                if await self._settle_slot(engine, scope, state, job):
                    return
            except Refused:
                await engine.refresh(job.stream)
        raise Unavailable(f"the schedule of {job.stream} keeps moving", hint="the slot is tried again")

    async def _settle_slot(self, engine: Engine, scope: Scope, state: s.ScheduleState, job: Job) -> bool:
        """One look at a slot; False when something was settled first and it must be looked at again."""
        slot, act, late = job.body["slot"], job.body["act"], bool(job.body.get("late"))
        actor = Actor("schedule", state.name)
        if not late and engine.clock.now() - slot >= ON_TIME_S * SECOND:
            await engine.submit(Command(job.stream, m.MissSlots(), scope, actor))
            return True
        plan, version, waiting = state.kept.plan, state.kept.version, state.kept.pending is not None
        assert plan is not None
        entry = await self._entry(plan, state.name)
        saying = saying_of(entry, self.catalog, self.zone)
        if entry is None or saying != m.SetSchedule(plan):  # the file changed, and nobody told yet
            await engine.submit(Command(job.stream, saying, scope, actor))
            return False
        found = await self._look(scope, plan, slot, entry)
        verdict = judge(plan, act, late, waiting, found)
        run, params, rerun_of = "", "", ""
        if act == "restart":
            params, rerun_of = await self._newest(engine, scope, plan.dag, found)
        if act != "stop" and verdict.does == "fire":
            run = uuid7()
        decision = m.DecideSlot(slot, act, version, found, late, run, params, rerun_of)
        orders: list[Command] = [Command(job.stream, decision, scope, actor, job=job.id)]
        if run:
            start = self._start(entry, run, act, slot, params, rerun_of, verdict.queued)
            orders.append(Command(f"run:{run}", start, scope, actor))
        elif verdict.does != "skip":
            orders += [Command(f"run:{one}", StopRun(reason="scheduled"), scope, actor) for one in found.running]
        await engine.submit_all(orders, entry.things if run else ())
        return True

    async def _entry(self, plan: Plan, name: str) -> Entry | None:
        """The file of a plan as it is now, wherever it lies; one that did not change costs one look at it."""
        kept = self.catalog.at_hand(plan.file)
        if kept is not None:
            return kept
        return await asyncio.to_thread(self._find, plan.file, name)

    def _find(self, file: str, name: str) -> Entry | None:
        entry = self.catalog.entry(self.catalog.folder / file)
        return entry if entry is not None else next((one for one in self.catalog.entries() if one.stem == name), None)

    async def _look(self, scope: Scope, plan: Plan, slot: int, entry: Entry) -> Found:
        problem = self._problem(entry)
        if problem:
            return Found(problem=problem)
        _, lookout = await self._ready()
        return await lookout.found(scope, plan, slot)

    def _problem(self, entry: Entry) -> str:
        """Why this server cannot execute a graph; asked once per graph."""
        if entry.dag is None:
            return entry.errors[0]
        if entry.graph not in self._checked:
            try:
                check_graph(entry.dag.graph, self.steps)
                self._checked[entry.graph] = ""
            except Invalid as error:
                self._checked[entry.graph] = error.message
        return self._checked[entry.graph]

    async def _newest(self, engine: Engine, scope: Scope, dag: str, found: Found) -> tuple[str, str]:
        """(parameters, id) of the run a restart repeats: the newest that runs, else the newest."""
        if found.running:
            rows = await engine.store.read("SELECT id, params FROM runs WHERE id = ?", (found.running[-1],))
        else:
            rows = await engine.store.read(NEWEST, (scope.workspace, SURFACE, dag))
        return (rows[0][1], rows[0][0]) if rows else ("", "")

    def _start(self, entry: Entry, run: str, act: str, slot: int, params: str, rerun_of: str, queued: bool) -> StartRun:
        """A start that waits for nothing counts in the DAG's queue all the same, like one by hand."""
        assert entry.dag is not None
        queue, limit, never_waits = queue_of(entry.dag, self.queues)
        return StartRun(
            entry.graph, entry.dag.name, SURFACE, run, params, "schedule", queue=queue, queue_limit=limit,
            at_once=never_waits or not queued, rerun_of=rerun_of, labels={SLOT_LABEL: shown(slot), ACT_LABEL: act},
        )  # fmt: skip

    # -- what an act puts off -----------------------------------------------------------------------------------------

    async def carry_stopping(self, job: Job) -> Any:
        """Wait until the runs an act stopped are over."""
        engine, _ = await self._ready()
        state: s.ScheduleState | None = await engine.state(job.stream, await engine.scope_of(job))
        if state is None or job.id not in state.owed() or state.kept.pending is None:
            return None
        runs = state.kept.pending.stopped
        over = asyncio.Event()
        for run in runs:
            self._awaited.setdefault(f"run:{run}", set()).add(over)
        try:
            sql = f"SELECT count(*) FROM runs WHERE id IN ({marks(list(runs))}) AND status <> 'ended'"
            while True:
                over.clear()
                if not (await engine.store.read(sql, runs))[0][0]:
                    break
                if self._closing.is_set():
                    raise Unavailable("the server is stopping", hint="the schedule goes on when it is back")
                await over.wait()
        finally:
            for run in runs:
                self._awaited.get(f"run:{run}", set()).discard(over)
        return m.EndStopping(job.body["slot"])

    async def carry_after(self, job: Job) -> None:
        """Start what an act put off."""
        engine, _ = await self._ready()
        scope = await engine.scope_of(job)
        for _ in range(TRIES):
            state: s.ScheduleState | None = await engine.state(job.stream, scope)
            pending = state.kept.pending if state is not None and job.id in state.owed() else None
            if state is None or pending is None or state.kept.plan is None:
                return
            version, actor = state.kept.version, Actor("schedule", state.name)
            entry = await self._entry(state.kept.plan, state.name)
            problem = self._problem(entry) if entry is not None else "the file is gone"
            run = "" if problem else uuid7()
            orders: list[Command] = []
            if entry is not None and run:
                queued = state.kept.plan.queued
                start = self._start(entry, run, pending.act, pending.slot, pending.params, pending.rerun_of, queued)
                orders.append(Command(f"run:{run}", start, scope, actor))
            things = entry.things if entry is not None and run else ()
            decision = m.DecideAfter(pending.slot, version, run, problem)
            try:
                await engine.submit_all([Command(job.stream, decision, scope, actor, job=job.id), *orders], things)
                return
            except Refused:
                await engine.refresh(job.stream)
        raise Unavailable(f"the schedule of {job.stream} keeps moving", hint="it is tried again")


class ClockJob(PlainJob):
    """A job of schedules: it has one of the clock's places, which only servers have."""

    def __init__(self, name: str, place: str, carry: Any) -> None:
        self.name = name
        self._place = place
        self._carry = carry

    def place(self, job: Job) -> str:
        return self._place

    def carry_out(self, job: Job) -> Any:
        return self._carry(job)

    def broke(self, job: Job, error: Exception) -> Any:
        """What cannot be carried out is skipped: the slots after it are not to suffer."""
        why, slot = getattr(error, "message", "") or f"{type(error).__name__}: {error}", job.body["slot"]
        if self.name == s.STOPPING_JOB:
            return m.EndStopping(slot)
        if self.name == s.AFTER_JOB:
            return m.DecideAfter(slot, m.ANY_VERSION, problem=why)
        return m.DecideSlot(slot, job.body["act"], m.ANY_VERSION, Found(problem=why), bool(job.body.get("late")))


def schedule_jobs(work: Clockwork, place: str) -> list[ClockJob]:
    """The kinds of jobs schedules ask for."""
    return [
        ClockJob(s.SLOT_JOB, place, work.carry_slot),
        ClockJob(s.STOPPING_JOB, place, work.carry_stopping),
        ClockJob(s.AFTER_JOB, place, work.carry_after),
    ]
