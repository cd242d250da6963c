"""The text Prometheus reads: what is counted, in which buckets, and how many series there can be at most."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from astrarium.config import Settings
from astrarium.kernel.machine import Registry
from astrarium.kernel.ports import COUNTERS
from astrarium.kernel.types import Command, Scope
from astrarium.runs.message import StartRun, StopRun
from astrarium.spec.graph import Graph, Node, encode_graph, graph_hash
from astrarium.spec.ids import uuid7
from astrarium.surfaces.dags.work import count
from astrarium.surfaces.dags.work.count import RUNS, Meter
from astrarium.web.metric import Family, Histogram, Histograms, exposition
from astrarium.worker import Worker

SCOPE = Scope("personal", "local")


def values(text: str, name: str) -> dict[tuple[str, ...], float]:
    """Label values → value, of the samples called `name` (the parser calls every counter `…_total`)."""
    samples = [
        one for family in text_string_to_metric_families(text) for one in family.samples if one.name in (name, f"{name}_total")
    ]
    return {tuple(one.labels.values()): one.value for one in samples}


def test_a_value_on_a_bound_is_within_it() -> None:
    histogram = Histogram((1, 5))
    for value in (0.5, 1, 1.5, 5, 6):
        histogram.observe(value)
    text = Family("a_seconds", "histogram", "A.").add_histograms([histogram]).text()
    assert values(text, "a_seconds_bucket") == {("1.0",): 2, ("5.0",): 4, ("+Inf",): 5}
    assert values(text, "a_seconds_sum") == {(): 14} and values(text, "a_seconds_count") == {(): 5}
    histogram.observe(2)
    assert values(Family("a_seconds", "histogram", "A.").add_histograms([histogram]).text(), "a_seconds_count") == {(): 6}


def test_labels_are_escaped() -> None:
    odd = 'a"b\\c\nd'
    text = Family("a", "gauge", "A.").add(1, {"dag": odd}).text()
    assert values(text, "a") == {(odd,): 1}


def test_labels_beyond_the_limit_share_a_series() -> None:
    histograms = Histograms("dag", (1,), 2)
    for name in ("a", "b", "c", "d", "a"):
        histograms.observe(name, 0.5)
    text = Family("x_seconds", "histogram", "X.").add_histograms(histograms.all()).text()
    assert values(text, "x_seconds_count") == {("a",): 2, ("b",): 1, ("_other",): 2}


def test_the_process_is_told() -> None:
    text = exposition([Family("a", "gauge", "A.").add(1)]).decode()
    assert values(text, "a") == {(): 1} and values(text, "process_cpu_seconds_total")[()] > 0


async def open_worker(folder: Path) -> Worker:
    return await Worker.open(Settings(data_dir=folder), registry=Registry())


async def start(worker: Worker, name: str, kind: str = "noop") -> str:
    """Start a run of one step; a run of kind `wait` never ends by itself."""
    graph = Graph(name, nodes=(Node("one", kind),), shell=("sh",))
    data, run = encode_graph(graph), uuid7()
    order = StartRun(graph_hash(data), name, "dags", run)
    await worker.engine.submit(Command(f"run:{run}", order, SCOPE), things=[("graph", data)])
    return run


async def ended(worker: Worker, run: str) -> None:
    while (await worker.engine.state(f"run:{run}", SCOPE)).status != "ended":
        await worker.engine.tail.changed()
    await worker.engine.settle()  # what was decided is also committed


async def scraped(meter: Meter) -> str:
    return exposition(await meter.families(SCOPE.workspace)).decode()


async def test_counts_outlive_the_process_and_the_runs(tmp_path: Path) -> None:
    worker = await open_worker(tmp_path)
    meter = Meter(worker.engine)
    for _ in range(3):
        await ended(worker, await start(worker, "good"))
    waits = await start(worker, "stopped", "wait")
    await worker.engine.submit(Command(f"run:{waits}", StopRun(grace_s=0.0), SCOPE))
    await ended(worker, waits)
    text = await scraped(meter)
    assert values(text, "dagu_dag_run_duration_seconds_count") == {("good",): 3, ("stopped",): 1}
    assert values(text, "astrarium_commit_seconds_count")[()] > 0
    meter.close()
    await worker.close(0)

    worker = await open_worker(tmp_path)
    meter = Meter(worker.engine)
    await ended(worker, await start(worker, "good"))
    told = {("success",): 4, ("error",): 0, ("partial_success",): 0, ("aborted",): 1, ("rejected",): 0}
    assert values(await scraped(meter), "dagu_dag_runs_total") == told
    await worker.engine.prune(f"run:{waits}", SCOPE)
    text = await scraped(meter)
    assert values(text, "dagu_dag_runs_total") == told
    assert values(text, "dagu_dag_runs_total_by_dag") == {("good", "success"): 4, ("stopped", "aborted"): 1}
    meter.close()
    await worker.close(0)


async def test_dags_beyond_the_limit_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count, "MOST_DAGS", 2)
    worker = await open_worker(tmp_path)
    meter = Meter(worker.engine)
    rows = [(SCOPE.workspace, RUNS, f"dag-{no}", "succeeded", no, 10 + no) for no in range(5)]

    def put() -> None:
        for row in rows:
            worker.engine.filling.batch.put(COUNTERS, row)

    await worker.engine.change(put)
    text = await scraped(meter)
    by_dag = {("dag-0", "success"): 10, ("dag-1", "success"): 11, ("_other", "success"): 12 + 13 + 14}
    assert values(text, "dagu_dag_runs_total_by_dag") == by_dag
    assert values(text, "dagu_dag_runs_total")[("success",)] == 60
    meter.close()
    await worker.close(0)
