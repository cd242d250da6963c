"""A process of the crash tests: opens a worker on a folder, starts its runs once, and works until all have ended.

`python -m tests.crash.driver FOLDER COUNT [DATABASE_URL]` prints `ready` once it works, `started` once every run is durable,
and `done` when all have ended. Started again after a kill it goes on: the same runs have the same ids and keys.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from astrarium.config import Settings
from astrarium.errors import AstrariumError, Refused
from astrarium.kernel.types import Actor, Command, Scope
from astrarium.runs.message import AnswerAsk, StartRun
from astrarium.spec.dag import DagFile, compile_dag
from astrarium.spec.graph import Graph, encode_graph, graph_hash
from astrarium.worker import Worker

SCOPE = Scope("personal", "local")
DAGS = ("plain", "retry", "parent", "behind", "python")


def read_dags(folder: Path) -> dict[str, DagFile]:
    return {
        name: compile_dag((folder / f"{name}.yaml").read_text(), name=name, file=f"{name}.yaml", base_dir=str(folder))
        for name in DAGS
    }


async def start_runs(worker: Worker, dags: dict[str, DagFile], count: int) -> None:
    orders = []
    for number in range(count):
        name = DAGS[number % len(DAGS)]
        dag = dags[name]
        data = encode_graph(dag.graph)
        things = [("graph", data), *(("graph", encode_graph(local)) for local in dag.locals.values())]
        alias = f"{name}-{number}"
        order = StartRun(graph_hash(data), name, "dags", alias)
        key = f"0190aaaa-0000-7000-8000-{number:012}"
        command = Command(f"run:{key}", order, SCOPE, Actor("user", "test"), key=f"start-{alias}")
        orders.append(worker.engine.submit(command, things))
    await asyncio.gather(*orders)


async def answer(worker: Worker) -> None:
    """The person the runs wait for, who needs a moment."""
    rows = await worker.store.read("SELECT run, no FROM steps WHERE status = 'asking'")
    for run, no in rows:
        try:
            await worker.engine.submit(Command(f"run:{run}", AnswerAsk(no, "somebody"), SCOPE))
        except Refused:
            continue



async def work(folder: Path, count: int, url: str) -> None:
    settings = Settings(data_dir=folder / "data", dags_dir=folder, database_url=url, lease_s=1.0)
    dags = read_dags(folder)
    graphs = {graph_hash(encode_graph(graph)): graph for dag in dags.values() for graph in dag.locals.values()}

    async def definitions(name: str, calling: Graph) -> tuple[str, Graph]:
        key = calling.locals[name]
        return key, graphs[key]

    worker = await Worker.open(settings, definitions=definitions)
    print("ready", flush=True)
    await start_runs(worker, dags, count)
    print("started", flush=True)
    while True:
        rows = await worker.store.read("SELECT count(*) FROM runs WHERE status <> 'ended'")
        if rows[0][0] == 0:
            break
        await answer(worker)
        await asyncio.sleep(0.05)
    print("done", flush=True)
    await worker.close(1.0)


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    try:
        asyncio.run(work(folder, count, sys.argv[3] if len(sys.argv) > 3 else ""))
    except AstrariumError as error:
        print(f"refused: {error.message} {error.hint}", flush=True)
        sys.exit(3)


if __name__ == "__main__":
    main()
