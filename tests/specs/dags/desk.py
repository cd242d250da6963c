"""A worker of its own folder, and what a test asks of runs: DAG texts in, rows, logs and files out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from astrarium.config import Settings
from astrarium.kernel.machine import Registry
from astrarium.kernel.types import Actor, Command, Scope
from astrarium.runs.message import StartRun
from astrarium.spec.dag import DagFile, compile_dag
from astrarium.spec.graph import Graph, encode_graph, graph_hash
from astrarium.spec.ids import uuid7
from astrarium.store.log import run_folder
from astrarium.surfaces.dags.catalog import Catalog
from astrarium.surfaces.dags.definition import DagDefinitions
from astrarium.surfaces.dags.machines.sweeper import SweeperMachine
from astrarium.surfaces.dags.work.notice import SendNotices
from astrarium.surfaces.dags.work.retention import Retention
from astrarium.worker import Worker, load_steps

SCOPE = Scope("personal", "local")
ANNA = Actor("user", "anna")


class RunRow(NamedTuple):
    id: str
    name: str
    status: str
    outcome: str
    reason: str
    round: int
    outputs: dict[str, str]
    forked_from: str
    created_at: int
    resolved: dict[str, Any]


class StepRow(NamedTuple):
    node: str
    no: int
    round: int
    status: str
    outcome: str
    tries: int
    retries: int
    passes: int
    exit_code: int | None
    error: str
    output: str | None
    tolerated: int
    inherited: int


class Desk:
    def __init__(self, worker: Worker, folder: Path, retention: Retention) -> None:
        self.worker = worker
        self.retention = retention
        self.engine = worker.engine
        self.folder = folder
        """Where the DAGs lie and their steps run."""

    # -- orders -------------------------------------------------------------------------------------------------------

    def compile(self, text: str, name: str = "case") -> DagFile:
        return compile_dag(text, name=name, file=f"{name}.yaml", base_dir=str(self.folder))

    def compile_file(self, path: Path) -> DagFile:
        return compile_dag(path.read_text(), name=path.stem, file=str(path), base_dir=str(path.parent))

    async def start(self, text: str, params: str = "", *, name: str = "case", **more: Any) -> str:
        dag = self.compile(text, name)
        return await self.start_graph(dag.graph, params, locals_=tuple(dag.locals.values()), **more)

    async def start_graph(self, graph: Graph, params: str = "", *, locals_: Sequence[Graph] = (), **more: Any) -> str:
        parts = [encode_graph(one) for one in (graph, *locals_)]
        run = uuid7()
        body = StartRun(graph_hash(parts[0]), graph.name, "dags", more.pop("alias", run), params, **more)
        await self.order(run, body, things=[("graph", part) for part in parts])
        return run

    async def order(self, run: str, body: Any, **more: Any) -> Any:
        things = more.pop("things", ())
        return await self.engine.submit(Command(f"run:{run}", body, SCOPE, ANNA, **more), things=things)

    # -- waiting ------------------------------------------------------------------------------------------------------

    async def until(self, what: Callable[[], Awaitable[Any]], timeout: float = 20.0) -> Any:
        """What `what` gives once that is true; asked again after each commit, and now and then for what is no commit."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            changed = asyncio.ensure_future(self.engine.tail.changed())
            try:
                found = await what()
                if found:
                    return found
                if loop.time() > deadline:
                    raise AssertionError(f"not within {timeout} s: {what}")
                await asyncio.wait([changed], timeout=0.05)
            finally:
                changed.cancel()

    async def ended(self, run: str, timeout: float = 20.0) -> RunRow:
        async def over() -> RunRow | None:
            row = await self.row(run)
            return row if row.status == "ended" else None

        row: RunRow = await self.until(over, timeout)
        return row

    async def status(self, run: str, *wanted: str) -> RunRow:
        async def there() -> RunRow | None:
            row = await self.row(run)
            return row if row.status in wanted else None

        row: RunRow = await self.until(there)
        return row

    async def step_is(self, run: str, node: str, *wanted: str) -> StepRow:
        """A step once its status or outcome is one of these."""

        async def there() -> StepRow | None:
            step = (await self.steps(run)).get(node)
            return step if step is not None and (step.status in wanted or step.outcome in wanted) else None

        step: StepRow = await self.until(there)
        return step

    async def file(self, name: str, wanted: Callable[[str], bool] = bool) -> str:
        """A file's text once it is as wanted."""
        path = self.folder / name

        async def there() -> str | None:
            text = path.read_text() if path.exists() else ""
            return text if wanted(text) else None

        text: str = await self.until(there)
        return text

    # -- reading ------------------------------------------------------------------------------------------------------

    async def row(self, run: str) -> RunRow:
        rows = await self.worker.store.read(
            "SELECT id, name, status, outcome, reason, round, outputs, forked_from, created_at, resolved FROM runs WHERE id = ?",
            (run,),
        )
        found = list(rows[0])
        found[6], found[9] = json.loads(found[6]), json.loads(found[9])
        return RunRow(*found)

    async def steps(self, run: str) -> dict[str, StepRow]:
        """The newest row of each step, by name."""
        rows = await self.worker.store.read(
            f"SELECT {', '.join(StepRow._fields)} FROM steps WHERE run = ? ORDER BY round, no", (run,)
        )
        return {row[0]: StepRow(*row) for row in rows}

    async def outcomes(self, run: str) -> dict[str, str]:
        return {name: step.outcome for name, step in (await self.steps(run)).items()}

    async def no(self, run: str, node: str) -> int:
        return (await self.steps(run))[node].no

    async def log(self, run: str, node: str, stream: str = "out") -> str:
        """All a step printed, over all its tries."""
        row = await self.row(run)
        folder = run_folder(self.worker.settings.data_dir / "logs", run, row.created_at)
        found = sorted(folder.glob(f"{node}*.{stream}"))
        return "".join(path.read_bytes().decode("utf-8", "replace") for path in found)

    async def events(self, run: str) -> list[Any]:
        return [event.body for event in await self.engine.tail.read_stream(f"run:{run}", limit=10_000)]

    async def children(self, run: str) -> list[RunRow]:
        rows = await self.worker.store.read("SELECT id FROM runs WHERE parent_run = ?", (run,))
        return [await self.row(row[0]) for row in rows]

    async def left(self) -> dict[str, int]:
        """What the engine still owes: rows of jobs and leases, and held slots."""
        found = {}
        for name in ("jobs", "leases"):
            found[name] = (await self.worker.store.read(f"SELECT count(*) FROM {name}"))[0][0]
        return found


@asynccontextmanager
async def open_desk(folder: Path, **settings: Any) -> AsyncIterator[Desk]:
    home = folder / "dags"
    home.mkdir(parents=True, exist_ok=True)
    made = Settings(data_dir=folder / "data", dags_dir=home, **{"max_processes": 16, "synchronous": "normal", **settings})
    definitions = DagDefinitions(Catalog(home, max_bytes=1 << 20))
    registry = Registry()
    registry.add_thing("text", bytes)
    notices, retention = SendNotices(made, load_steps()), Retention(made, "")
    notices.register(registry)
    registry.add_machine(SweeperMachine())
    for kind in retention.kinds:
        registry.add_kind(kind)
    worker = await Worker.open(made, definitions=definitions, registry=registry)
    for part in (definitions, notices, retention):
        part.bind(worker.engine)
    try:
        yield Desk(worker, home, retention)
    finally:
        await worker.close(0.0)
