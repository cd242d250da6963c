"""Our side of a sample: a real worker over a new database, driven in one process. `python -m bench.drive '{"runs": …}'`;
its data stays in a folder below `folder`."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from astrarium.config import Settings
from astrarium.kernel.types import Command, Scope
from astrarium.runs.message import RunEnded, StartRun
from astrarium.spec.graph import Edge, Graph, Node, encode_graph, graph_hash
from astrarium.spec.ids import uuid7
from astrarium.worker import Worker

SCOPE = Scope("personal", "local")
COUNT = "SELECT count(*) FROM steps WHERE outcome = 'succeeded' AND started_at > 0 AND ended_at > 0"


class Load(msgspec.Struct):
    """`runs` runs of `steps` steps each, `flight` of them at a time. `surface` as of runs started over HTTP: each then holds a
    place in its DAG's slot."""

    runs: int
    steps: int
    flight: int
    folder: str
    shape: str = "chain"
    kind: str = "noop"
    surface: str = "dags"
    database_url: str = ""


def graph_of(load: Load) -> Graph:
    params: dict[str, Any] = {"commands": ["true"]} if load.kind == "shell" else {}
    nodes = tuple(Node(f"s{no}", load.kind, params=params) for no in range(load.steps))
    edges = tuple(Edge(no, no + 1) for no in range(load.steps - 1)) if load.shape == "chain" else ()
    return Graph("bench", nodes=nodes, edges=edges, shell=("sh",))


def starter(worker: Worker, graph: Graph, surface: str) -> Callable[[], None]:
    """Starts one more run with each call; the graph is handed over with the first."""
    data = encode_graph(graph)
    key = graph_hash(data)
    things = [("graph", data)]

    def start() -> None:
        run = uuid7()
        order = StartRun(key, graph.name, surface, run)
        worker.engine.post(Command(f"run:{run}", order, SCOPE), things=tuple(things))
        things.clear()

    return start


async def drive(load: Load) -> dict[str, Any]:
    folder = Path(load.folder)
    worker = await Worker.open(Settings(data_dir=folder, dags_dir=folder / "dags", database_url=load.database_url))
    start, over = starter(worker, graph_of(load), load.surface), asyncio.Event()
    begun, ended = min(load.flight, load.runs), 0

    def on_end(stream: str, event: RunEnded) -> None:
        nonlocal ended, begun
        ended += 1
        if begun < load.runs:
            begun += 1
            start()
        if ended == load.runs:
            over.set()

    worker.registry.listen(RunEnded, on_end)
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(begun):
        start()
    await over.wait()
    await worker.engine.settle()
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    counted = await worker.store.read(COUNT)
    steps = int(counted[0][0])
    if steps != load.runs * load.steps:
        raise RuntimeError(f"{steps} of {load.runs * load.steps} steps are in the store")
    await worker.close(1.0)
    return {"steps_per_s": steps / took, "runs_per_s": load.runs / took, "us_per_step": took / steps * 1e6,
            "cpu_us_per_step": cpu / steps * 1e6, "steps": steps}  # fmt: skip


def main() -> None:
    load = msgspec.json.decode(sys.argv[1], type=Load)
    # Left to whoever gave the folder: a file system without a journal makes new files slowly beside many just deleted ones.
    load.folder = tempfile.mkdtemp(dir=load.folder)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(drive(load))))


if __name__ == "__main__":
    main()
