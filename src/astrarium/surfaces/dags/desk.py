"""What the routes of this surface work with, and its orders: words of clients into commands to runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import AstrariumError, Forbidden, Invalid, NotFound, Problem, Refused
from ...kernel.engine import Engine
from ...kernel.types import Command, Scope
from ...runs import message as m
from ...runs.birth import queue_slot
from ...runs.fork import Changes, fork_run
from ...runs.ports import Step
from ...runs.work.prepare import prepared_start
from ...runs.work.workshop import check_graph
from ...spec.graph import Graph
from ...spec.ids import RUN_ID_PATTERN, is_run_id, uuid7
from ...spec.params import missing_programs, override, parse_overrides, parse_params
from ...web.caller import Caller
from . import wire
from .catalog import Catalog, Compiled, Entry, NewThing, check_name, has_program
from .views import query
from .views.log import RunFiles
from .views.query import LATEST, SURFACE, RunRow, StepRow
from .views.run import RunViews
from .views.status import mark_of

log = logging.getLogger("astrarium.dags")
WAITING_QUEUES = (
    "SELECT workspace, environment, queue, name FROM runs WHERE status = 'queued' AND status <> 'ended' AND surface = ? AND queue <> ''"
    " GROUP BY workspace, environment, queue, name ORDER BY max(queued_at)"
)
"""Of several DAGs in one queue, the one that came last decides."""
LIVE_RUNS = (
    "SELECT id, alias FROM runs WHERE workspace = ? AND status <> 'ended' AND surface = ? AND name = ? AND parent_run = ''"
    " ORDER BY CASE WHEN status = 'queued' THEN 0 ELSE 1 END, queued_at DESC, id DESC"
)
STOPPED_AT_ONCE = 500
"""Orders to stop sent together."""


class Place(NamedTuple):
    """Where a run queues: at most `limit` runs of that queue (0 = any number) run at once; `at_once`: it never waits."""

    queue: str
    limit: int
    at_once: bool = False


class Desk:
    """One server's DAG surface. `steps` are the installed step types, `folder` the data folder, `queues` the global queues with
    their limits; `follows_schedules` says whether this process does."""

    def __init__(
        self, engine: Engine, catalog: Catalog, steps: Mapping[str, Step], folder: Path, version: str,
        queues: Mapping[str, int], follows_schedules: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self.engine = engine
        self.catalog = catalog
        self.steps = steps
        self.version = version
        self.queues = queues
        self.follows_schedules = follows_schedules
        self.files = RunFiles(folder / "logs")
        self.views = RunViews(engine, self.files)
        self._opened = time.monotonic()
        self._checked: set[str] = set()

    @property
    def uptime_s(self) -> int:
        return int(time.monotonic() - self._opened)

    # -- definitions --------------------------------------------------------------------------------------------------

    async def find(self, name: str) -> Entry:
        """The DAG file a client means. Raises `NotFound`."""
        entry = self.catalog.at_hand(name)
        return entry if entry is not None else await asyncio.to_thread(self.catalog.find, name)

    def check(self, key: str, graph: Graph) -> None:
        """Refuse a graph this server cannot execute; asked once per graph. Raises `Invalid`."""
        if key not in self._checked:
            check_graph(graph, self.steps)
            self._checked.add(key)

    # -- starting -----------------------------------------------------------------------------------------------------

    async def start_dag(self, caller: Caller, name: str, ask: wire.run.StartDag, *, edited: bool = True) -> str:
        """Start a run of a file; returns its id once it is durable and running. An `EnqueueDag` goes through the DAG's queue; any other
        start takes a place there at once. Raises `NotFound`, `Invalid`, `Refused` (`already_exists`, `already_running`), `Forbidden`
        where the DAG's `runConfig` says so: parameters that nobody `edited` are no concern of it."""
        entry = await self.find(name)
        if entry.dag is None:
            raise Invalid(f"{entry.file_name} does not load: {entry.problems[0]}", entry.problems)
        config = entry.dag.meta.get("runConfig", {})
        if ask.params and edited and config.get("disableParamEdit"):
            raise Forbidden(f"{entry.name} does not let its parameters be changed (runConfig.disableParamEdit)")
        if ask.dag_run_id and config.get("disableRunIdEdit"):
            raise Forbidden(f"{entry.name} does not let its run ids be chosen (runConfig.disableRunIdEdit)")
        made = Compiled(entry.dag, entry.graph, entry.things, entry.active_limit)
        name = check_name(ask.dag_name, "DAG name") if ask.dag_name else entry.dag.name
        return await self._start(caller, made, name, ask)

    async def start_spec(self, caller: Caller, ask: wire.run.StartSpec) -> str:
        """Start a run of a text that is no file, or with an `EnqueueSpec` put one into its queue. Raises as `start_dag`."""
        if ask.name:
            check_name(ask.name, "DAG name")
        folder = Path(ask.base_dir) if ask.base_dir else None
        made = await asyncio.to_thread(self.catalog.compile, ask.spec, ask.name or "", base_dir=folder)
        name = ask.name or made.dag.name
        if not name:
            problem = Problem("a name is required", path="name")
            raise Invalid("the DAG has no name", [problem], hint="give `name` here or in the spec")
        return await self._start(caller, made, name, ask)

    async def _start(self, caller: Caller, made: Compiled, name: str, ask: wire.run.StartDag | wire.run.StartSpec) -> str:
        self.check(made.graph, made.dag.graph)
        check_params(ask.params or "")
        check_programs(made.dag.graph, ask.params or "")
        run = uuid7()
        if isinstance(ask, (wire.queue.EnqueueDag, wire.queue.EnqueueSpec)):
            place = self.place_of(name, made.dag.graph, ask.queue or "")
            most, priority = 0, wire.queue.priority_number(ask.priority)
        else:
            place = self.place_of(name, made.dag.graph)._replace(at_once=True)
            most, priority = made.active_limit, 0
        start = m.StartRun(
            made.graph, name, SURFACE, ask.dag_run_id or run, ask.params or "", chosen=bool(ask.dag_run_id), exclusive=ask.singleton,
            max_active=most, queue=place.queue, queue_limit=place.limit, at_once=place.at_once, priority=priority,
        )  # fmt: skip
        await self._begin(caller, run, await prepared_start(start, made.dag.graph), made.things)
        return start.alias

    def place_of(self, name: str, graph: Graph, asked: str = "") -> Place:
        """Where a run of that DAG name queues: in the queue `asked` for, else the DAG's, else the one of its own. The queue alone
        decides how many run at once: a global one by its setting, any other by the DAG's `maxActiveRuns` (1; negative = never
        queued). Raises `Invalid`."""
        if asked and asked not in self.queues:
            check_name(asked, "queue")
        queue = asked or graph.queue or name
        if queue in self.queues:
            return Place(queue, max(self.queues[queue], 0))
        return Place(queue, max(graph.max_active_runs, 0), graph.max_active_runs < 0)

    async def apply_limits(self) -> None:
        """Let runs in line, of before a restart, obey the limits of the settings and the DAG files as they are now."""
        for workspace, environment, queue, name in await self.engine.store.read(WAITING_QUEUES, [SURFACE]):
            try:
                limit = self.queues[queue] if queue in self.queues else await self._limit_of(name)
                if limit is not None:
                    await self.engine.limit_slot(Scope(workspace, environment), queue_slot(queue), max(limit, 0))
            except AstrariumError as error:
                log.warning("queue %s keeps the limit it had: %s", queue, error)

    async def _limit_of(self, name: str) -> int | None:
        """What the file of that DAG allows now; None = there is none, or it does not load."""
        try:
            entry = await self.find(name)
        except NotFound:
            return None
        return entry.dag.graph.max_active_runs if entry.dag is not None else None

    async def _begin(self, caller: Caller, run: str, start: m.StartRun, things: tuple[NewThing, ...] = ()) -> None:
        if start.chosen:
            await self._check_free(caller, start)
        await self.engine.submit(Command(f"run:{run}", start, caller.scope, caller.actor), things)

    async def _check_free(self, caller: Caller, start: m.StartRun) -> None:
        """Ids the server made are not claimed, so a client's choice is compared with what is there, too."""
        if not is_run_id(start.alias) or start.alias == LATEST:
            problem = Problem(f"must match {RUN_ID_PATTERN} and not be `latest`", path="dagRunId")
            raise Invalid(f"{start.alias[:140]!r} cannot be a run id: it {problem.message}", [problem])
        try:
            await query.find_run(self.engine.store, caller.scope, start.name, start.alias)
        except NotFound:
            return
        told = f"a run {start.alias!r} of {start.name} exists already"
        raise Refused(told, code="already_exists", hint="choose another run id")

    # -- orders to runs -----------------------------------------------------------------------------------------------

    async def order(self, caller: Caller, row: RunRow, body: Any) -> None:
        await self.engine.submit(Command(f"run:{row.id}", body, caller.scope, caller.actor))

    async def stop(self, caller: Caller, row: RunRow, ask: wire.run.StopRun) -> None:
        """Begin to stop a run. Raises `Refused` (`not_running`)."""
        await self.order(caller, row, m.StopRun(grace_s=ask.grace_sec))

    async def retry(self, caller: Caller, row: RunRow, ask: wire.run.RetryRun) -> str:
        """The same id, or none: the run's next round. Another id: a new run of the old one's definition and parameters."""
        if ask.dag_run_id and ask.dag_run_id != row.alias and ask.dag_run_id != LATEST:
            if ask.step_name:
                raise Invalid("a new run has no step to retry", [Problem("only for a retry under the same id", path="stepName")])
            await self._rerun(caller, row, row.name, ask.dag_run_id, "retry", at_once=True)
            return ask.dag_run_id
        graph = await self.views.graph(row)
        step = self.node_of(graph, row, ask.step_name) if ask.step_name else None
        if row.parent_run:  # a child run is in no queue: its parent, which waits for it, is
            await self.order(caller, row, m.ReopenRun(step))
        else:
            place = self.place_of(row.name, graph)
            await self.order(caller, row, m.ReopenRun(step, row.queue or place.queue, place.limit, at_once=True))
        return row.alias

    async def fork(self, caller: Caller, row: RunRow, ask: wire.run.ForkRun) -> str:
        """A new run with this one's past up to a step, and something different from there; this one stays as it is. Raises `NotFound`,
        `Invalid`, `Refused` (`already_exists`)."""
        alias = ask.dag_run_id or ""
        if alias:
            await self._check_free(caller, m.StartRun(row.graph, row.name, SURFACE, alias))
        if ask.params is not None:
            parse_overrides(ask.params)
        changes = Changes(params=ask.params, outputs=ask.outputs)
        run = await fork_run(
            self.engine, row.id, caller.scope, step=ask.step_name, changes=changes, actor=caller.actor, alias=alias
        )
        return alias or run

    async def reschedule(self, caller: Caller, row: RunRow, ask: wire.queue.Reschedule) -> wire.queue.Rescheduled:
        """A new run of the old one's definition and parameters, through its queue."""
        name = check_name(ask.dag_name, "DAG name") if ask.dag_name else row.name
        run, alias = await self._rerun(caller, row, name, ask.dag_run_id or "", "reschedule", at_once=False)
        state = await self.engine.state(run, caller.scope)
        return wire.queue.Rescheduled(alias, state is not None and state.status == "queued")

    async def _rerun(self, caller: Caller, row: RunRow, name: str, alias: str, why: str, *, at_once: bool) -> tuple[str, str]:
        """A new run of an old one's definition and parameters → its stream and its id."""
        graph, run = await self.views.graph(row), uuid7()
        place = self.place_of(name, graph)
        now = await self._limit_of(row.name) if place.queue not in self.queues else None
        limit, never_waits = (place.limit, place.at_once) if now is None else (max(now, 0), now < 0)
        start = m.StartRun(
            row.graph, name, SURFACE, alias or run, row.params, why, chosen=bool(alias), rerun_of=row.id, queue=place.queue,
            queue_limit=limit, at_once=at_once or never_waits,
        )  # fmt: skip
        await self._begin(caller, run, await prepared_start(start, graph))
        return f"run:{run}", start.alias

    async def dequeue(self, caller: Caller, row: RunRow) -> None:
        """Take a waiting run out of its queue; it is aborted. Raises `Invalid` for one that does not wait, as Dagu 1.30 answers 400."""
        try:
            await self.order(caller, row, m.StopRun(reason="dequeued", if_queued=True))
        except Refused as error:
            raise Invalid(error.message, hint="a run that has begun is stopped, not dequeued") from error

    async def stop_all(self, caller: Caller, name: str) -> list[str]:
        """Stop every run of a DAG that has not ended; returns what could not be stopped. Those in line go first, the last one
        ahead, so that none of them begins meanwhile. Raises `NotFound` for a DAG that is no file."""
        entry = await self.find(name)
        live = await self.engine.store.read(LIVE_RUNS, [caller.scope.workspace, SURFACE, entry.name])
        errors: list[str] = []
        for at in range(0, len(live), STOPPED_AT_ONCE):
            some = live[at : at + STOPPED_AT_ONCE]
            orders = [self.engine.submit(Command(f"run:{run}", m.StopRun(), caller.scope, caller.actor)) for run, _ in some]
            for (_, alias), done in zip(some, await asyncio.gather(*orders, return_exceptions=True), strict=True):
                if isinstance(done, AstrariumError) and done.code != "not_running":
                    errors.append(f"{alias}: {done.message}")
                elif isinstance(done, BaseException) and not isinstance(done, AstrariumError):
                    raise done
        return errors

    def node_of(self, graph: Graph, row: RunRow, name: str) -> int:
        """The number of a step by its name. Raises `NotFound`."""
        for number, node in enumerate(graph.nodes):
            if node.name == name:
                return number
        raise NotFound(f"run {row.alias!r} of {row.name} has no step {name[:80]!r}")

    async def step(self, row: RunRow, name: str) -> tuple[Graph, int, StepRow | None]:
        """A step of a run: the graph, its number, and its row once it was visited. Raises `NotFound`."""
        graph = await self.views.graph(row)
        number = self.node_of(graph, row, name)
        return graph, number, (await query.step_rows(self.engine.store, row.id)).get(number)

    async def mark(self, caller: Caller, row: RunRow, name: str, ask: wire.run.MarkStatus) -> None:
        """Edit a step of a run that does not run. Raises `Invalid` while it does, as Dagu 1.30 answers 400."""
        outcome = mark_of(ask.status)
        number = self.node_of(await self.views.graph(row), row, name)
        try:
            await self.order(caller, row, m.MarkStep(number, outcome))
        except Refused as error:
            raise Invalid(error.message, hint="stop the run, or wait until it has ended") from error

    async def approve(self, caller: Caller, row: RunRow, name: str, ask: wire.run.ApproveStep) -> wire.run.Approved:
        await self._answer(caller, row, name, approve=True, answer=dict(ask.inputs))
        state = await self.engine.state(f"run:{row.id}", caller.scope)
        return wire.run.Approved(row.alias, name, state is not None and not state.asking)

    async def reject(self, caller: Caller, row: RunRow, name: str, ask: wire.run.RejectStep) -> wire.run.Rejected:
        await self._answer(caller, row, name, approve=False, reason=ask.reason)
        return wire.run.Rejected(row.alias, name)

    async def _answer(self, caller: Caller, row: RunRow, name: str, **given: Any) -> None:
        number = self.node_of(await self.views.graph(row), row, name)
        try:
            await self.order(caller, row, m.AnswerAsk(number, caller.shown, **given))
        except Refused as error:
            raise Invalid(f"step {name!r} is not waiting for an answer", hint="see the run's nodes for what waits") from error


def check_params(text: str) -> None:
    """Refuse parameters that could never be given to a step. Raises `Invalid`."""
    if "\0" in text:
        problem = Problem("must not hold NUL characters", path="params")
        raise Invalid(f"the parameters {problem.message}", [problem])
    parse_overrides(text)


def check_programs(graph: Graph, given: str) -> None:
    """Refuse a start whose parameters certainly cannot be resolved (Dagu 1.30 refuses to load such a DAG). Raises `Invalid`."""
    prepare = graph.prepare
    if prepare is None or prepare.params is None or Path(graph.base_dir, ".env").exists():
        return
    problems = missing_programs(override(parse_params(prepare.params), parse_overrides(given)), prepare, has_program)
    if problems:
        raise Invalid(problems[0].message, problems, hint=problems[0].hint)
