"""What the routes of this surface work with, and its orders: words of clients into commands to runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import Forbidden, Invalid, NotFound, Problem, Refused
from ...kernel.engine import Engine
from ...kernel.types import Command
from ...runs import message as m
from ...runs.ports import Step
from ...runs.work.workshop import check_graph
from ...spec.graph import Graph
from ...spec.ids import RUN_ID_PATTERN, is_run_id, uuid7
from ...spec.params import parse_overrides
from ...web.caller import Caller
from . import wire
from .catalog import Catalog, Compiled, Entry, NewThing, check_name
from .views import query
from .views.log import RunFiles
from .views.query import LATEST, SURFACE, RunRow, StepRow
from .views.run import RunViews
from .views.status import mark_of


class Desk:
    """One server's DAG surface. `steps` are the installed step types, `folder` the data folder."""

    def __init__(self, engine: Engine, catalog: Catalog, steps: Mapping[str, Step], folder: Path, version: str) -> None:
        self.engine = engine
        self.catalog = catalog
        self.steps = steps
        self.version = version
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

    async def start_dag(self, caller: Caller, name: str, ask: wire.run.StartDag) -> str:
        """Start a run of a file; returns its id once it is durable and running. Raises `NotFound`, `Invalid`, `Refused`
        (`already_exists`, `already_running`), `Forbidden` where the DAG's `runConfig` says so."""
        entry = await self.find(name)
        if entry.dag is None:
            raise Invalid(f"{entry.file_name} does not load: {entry.problems[0]}", entry.problems)
        config = entry.dag.meta.get("runConfig", {})
        if ask.params and config.get("disableParamEdit"):
            raise Forbidden(f"{entry.name} does not let its parameters be changed (runConfig.disableParamEdit)")
        if ask.dag_run_id and config.get("disableRunIdEdit"):
            raise Forbidden(f"{entry.name} does not let its run ids be chosen (runConfig.disableRunIdEdit)")
        made = Compiled(entry.dag, entry.graph, entry.things, entry.active_limit)
        name = check_name(ask.dag_name, "DAG name") if ask.dag_name else entry.dag.name
        return await self._start(caller, made, name, ask.params, ask.dag_run_id, ask.singleton)

    async def start_spec(self, caller: Caller, ask: wire.run.StartSpec) -> str:
        """Start a run of a text that is no file. Raises as `start_dag`."""
        if ask.name:
            check_name(ask.name, "DAG name")
        folder = Path(ask.base_dir) if ask.base_dir else None
        made = await asyncio.to_thread(self.catalog.compile, ask.spec, ask.name or "", base_dir=folder)
        name = ask.name or made.dag.name
        if not name:
            problem = Problem("a name is required", path="name")
            raise Invalid("the DAG has no name", [problem], hint="give `name` here or in the spec")
        return await self._start(caller, made, name, ask.params, ask.dag_run_id, ask.singleton)

    async def _start(
        self, caller: Caller, made: Compiled, name: str, params: str | None, run_id: str | None, singleton: bool
    ) -> str:
        self.check(made.graph, made.dag.graph)
        check_params(params or "")
        run = uuid7()
        start = m.StartRun(
            made.graph, name, SURFACE, run_id or run, params or "", chosen=bool(run_id), exclusive=singleton,
            max_active=made.active_limit,
        )  # fmt: skip
        await self._begin(caller, run, start, made.things)
        return start.alias

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
            start = m.StartRun(
                row.graph, row.name, SURFACE, ask.dag_run_id, row.params, "retry", chosen=True, rerun_of=row.id
            )
            await self._begin(caller, uuid7(), start)
            return start.alias
        step = self.node_of(await self.views.graph(row), row, ask.step_name) if ask.step_name else None
        await self.order(caller, row, m.ReopenRun(step))
        return row.alias

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
            await self.order(caller, row, m.AnswerAsk(number, caller.actor.id, **given))
        except Refused as error:
            raise Invalid(f"step {name!r} is not waiting for an answer", hint="see the run's nodes for what waits") from error


def check_params(text: str) -> None:
    """Refuse parameters that could never be given to a step. Raises `Invalid`."""
    if "\0" in text:
        problem = Problem("must not hold NUL characters", path="params")
        raise Invalid(f"the parameters {problem.message}", [problem])
    parse_overrides(text)
