"""What is measured of runs, and the numbers a scrape is answered with.

How many runs ended, and how, is counted by the engine in the transaction of each end, so it is true over restarts and the same on
every server of a database. How long things took is observed here, of what this process did since it began: Prometheus adds that up
over servers and restarts. While nobody scrapes, an end costs a few additions.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator
from typing import Any

from ....kernel.engine import Engine
from ....runs import message as m
from ....runs.state import RunState
from ....web.metric import OTHERS, Family, Histogram, Histograms
from ..catalog import Catalog
from ..views.query import SURFACE
from ..views.status import marks

STATUSES = {
    "succeeded": "success",
    "failed": "error",
    "broken": "error",
    "partial": "partial_success",
    "cancelled": "aborted",
    "rejected": "rejected",
}
"""Outcome of a run → value of the label `status`; each run that ends is counted under one."""
SHOWN = tuple(dict.fromkeys(STATUSES.values()))
MOST_DAGS = 1000
"""DAGs that have series of their own: those that ended a run first. The others are added up under `_other`."""
DURATIONS_S = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600)
WAITS_S = (1, 5, 10, 30, 60, 120, 300, 600)
"""Buckets of Dagu 1.30."""
LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
STEPS_S = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 3600)
LAG_EVERY_S = 1.0
SECOND = 1_000_000

TOTALS = "SELECT name, mark, sum(amount) FROM counters WHERE workspace = ? AND name IN (?, ?) GROUP BY name, mark"
FIRST = "SELECT subject FROM counters WHERE workspace = ? AND name = ? GROUP BY subject ORDER BY min(since), subject LIMIT ?"
BY_DAG = "SELECT subject, mark, amount FROM counters WHERE workspace = ? AND name = ? AND subject IN ({})"
LIVE = (
    "SELECT name, queue, status, sum(CASE parent_run WHEN '' THEN 1 ELSE 0 END) FROM runs"
    " WHERE workspace = ? AND surface = ? AND created_at > 0 AND status <> 'ended' GROUP BY name, queue, status"
)
"""Asked so that the index of live runs is the best there is, however many runs are past."""
RUNS, CHILD_RUNS = f"{SURFACE}.runs", f"{SURFACE}.child_runs"


class Meter:
    """Of one open engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._durations: dict[str, Histograms] = {}
        self._waits: dict[str, Histograms] = {}
        self._steps = Histograms("type", STEPS_S, MOST_DAGS)
        self._starts = Histogram(LATENCIES_S)
        self._commits = Histogram(LATENCIES_S)
        self._lag = Histogram(LATENCIES_S)
        self._sampler: asyncio.TimerHandle | None = None
        self._labelled: dict[str, dict[str, None]] = {}
        for event, listener in ((m.RunBegan, self._began), (m.StepEnded, self._step_ended), (m.RunEnded, self._ended)):
            engine.registry.listen(event, listener)
        engine.on_commit = self._commits.observe

    def close(self) -> None:
        if self._sampler is not None:
            self._sampler.cancel()

    # -- observing (after the commit; another server's events find no state here and are its own to observe) ------------

    def _state(self, stream: str) -> RunState | None:
        hot = self._engine.memory.hot.get(stream)
        state = hot.state if hot is not None else None
        return state if isinstance(state, RunState) and state.surface == SURFACE else None

    def _of(self, series: dict[str, Histograms], state: RunState, bounds: tuple[float, ...]) -> Histograms:
        """The series of the run's workspace, whose names are nobody else's business."""
        workspace = state.scope.workspace
        return series.get(workspace) or series.setdefault(workspace, Histograms("dag", bounds, MOST_DAGS))

    def _began(self, stream: str, event: Any) -> None:
        state = self._state(stream)
        if state is not None and state.queued_at and state.parent is None:
            self._of(self._waits, state, WAITS_S).observe(state.name, max(0, state.began_at - state.queued_at) / SECOND)

    def _step_ended(self, stream: str, event: Any) -> None:
        state = self._state(stream)
        step = state.steps.get(event.no) if state is not None else None
        if state is not None and step is not None and step.started_at and step.ended_at:
            self._steps.observe(state.known.nodes[step.node].kind, (step.ended_at - step.started_at) / SECOND)

    def _ended(self, stream: str, event: Any) -> None:
        state = self._state(stream)
        if state is None or not state.began_at or state.parent is not None or state.status != "ended":
            return
        self._of(self._durations, state, DURATIONS_S).observe(state.name, max(0, state.ended_at - state.began_at) / SECOND)
        if state.round == 1:
            first = next((step.started_at for step in state.steps.values() if step.started_at), 0)
            if first:
                self._starts.observe((first - (state.began_at if state.queued_at else state.created_at)) / SECOND)

    def _sample(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        self._lag.observe(max(0.0, loop.time() - due))
        self._sampler = loop.call_at(loop.time() + LAG_EVERY_S, self._sample, loop.time() + LAG_EVERY_S)

    # -- telling ------------------------------------------------------------------------------------------------------

    async def families(self, workspace: str) -> list[Family]:
        """What is known of a workspace's runs, and of this process's work for all."""
        if self._sampler is None:
            self._sample(asyncio.get_running_loop().time())
        return [*await self._counted(workspace), *await self._live(workspace), *self._observed(workspace), *self._engine_now()]

    async def _counted(self, workspace: str) -> Iterator[Family]:
        read = self._engine.store.read
        totals: dict[str, dict[str, int]] = {name: dict.fromkeys(SHOWN, 0) for name in (RUNS, CHILD_RUNS)}
        for name, outcome, amount in await read(TOTALS, (workspace, RUNS, CHILD_RUNS)):
            totals[name][STATUSES[outcome]] += int(amount)
        labelled = self._labelled.setdefault(workspace, {})
        if len(labelled) < MOST_DAGS:
            labelled.update(dict.fromkeys(row[0] for row in await read(FIRST, (workspace, RUNS, MOST_DAGS))))
        by_dag: dict[tuple[str, str], int] = {}
        if labelled:
            for dag, outcome, amount in await read(BY_DAG.format(marks(list(labelled))), (workspace, RUNS, *labelled)):
                key = (dag, STATUSES[outcome])
                by_dag[key] = by_dag.get(key, 0) + int(amount)
        return self._count_families(totals, by_dag)

    def _count_families(self, totals: dict[str, dict[str, int]], by_dag: dict[tuple[str, str], int]) -> Iterator[Family]:
        family = Family("dagu_dag_runs_total", "counter", "Runs that ended, by how they ended.")
        for status, amount in totals[RUNS].items():
            family.add(amount, {"status": status})
        yield family
        family = Family("dagu_dag_runs_total_by_dag", "counter", "Runs that ended, by DAG and how they ended.")
        left = dict(totals[RUNS])
        for (dag, status), amount in by_dag.items():
            family.add(amount, {"dag": dag, "status": status})
            left[status] -= amount
        for status, amount in left.items():
            if amount > 0:
                family.add(amount, {"dag": OTHERS, "status": status})
        yield family
        family = Family(
            "astrarium_child_runs_total", "counter", "Runs under a step of another run that ended, by how they ended."
        )
        for status, amount in totals[CHILD_RUNS].items():
            family.add(amount, {"status": status})
        yield family

    async def _live(self, workspace: str) -> Iterator[Family]:
        rows = await self._engine.store.read(LIVE, (workspace, SURFACE))
        return self._live_families(rows)

    def _live_families(self, rows: list[tuple[Any, ...]]) -> Iterator[Family]:
        running: dict[str, int] = {}
        queued: dict[str, int] = {}
        depth: dict[str, int] = {}
        for dag, queue, status, amount in rows:
            into = queued if status == "queued" else running
            into[dag] = into.get(dag, 0) + int(amount)
            if status == "queued" and queue:
                depth[queue] = depth.get(queue, 0) + int(amount)
        yield Family("dagu_dag_runs_currently_running", "gauge", "Runs that are going on.").add(sum(running.values()))
        yield Family("dagu_dag_runs_queued_total", "gauge", "Runs that wait to begin.").add(sum(queued.values()))
        yield by_label("dagu_dag_runs_currently_running_by_dag", "Runs that are going on, by DAG.", "dag", running)
        yield by_label("dagu_dag_runs_queued_by_dag", "Runs that wait to begin, by DAG.", "dag", queued)
        yield by_label("astrarium_queue_depth", "Runs that wait in a queue, by queue.", "queue", depth)

    def _observed(self, workspace: str) -> Iterator[Family]:
        durations, waits = self._durations.get(workspace), self._waits.get(workspace)
        for name, meaning, found in (
            ("dagu_dag_run_duration_seconds", "From a run's beginning to its end, by DAG.", durations.all() if durations else ()),
            ("dagu_queue_wait_seconds", "From a run's entry into its queue to its beginning, by DAG.", waits.all() if waits else ()),
            ("astrarium_step_duration_seconds", "From a step's first try to its end, by type of step.", self._steps.all()),
            ("astrarium_start_latency_seconds", "From when a run could begin to its first step's start.", [self._starts]),
            ("astrarium_commit_seconds", "Writing one batch of events to the store.", [self._commits]),
            ("astrarium_event_loop_lag_seconds", "How late a timer of the server's loop was.", [self._lag]),
        ):
            yield Family(name, "histogram", meaning).add_histograms(found)

    def _engine_now(self) -> Iterator[Family]:
        waiting = self._engine.jobs.waiting()
        yield by_label("astrarium_jobs_waiting", "Jobs of this server that wait for a place, by place.", "place", waiting)
        used = self._engine.jobs.used()
        yield by_label("astrarium_jobs_running", "Places of this server that are taken, by place.", "place", used)


def by_label(name: str, meaning: str, label: str, amounts: dict[str, int]) -> Family:
    """A gauge with one series for each value of a label, the largest when there are too many."""
    family = Family(name, "gauge", meaning)
    kept = sorted(amounts.items(), key=lambda one: (-one[1], one[0]))
    for value, amount in kept[:MOST_DAGS]:
        family.add(amount, {label: value})
    if kept[MOST_DAGS:]:
        family.add(sum(amount for _, amount in kept[MOST_DAGS:]), {label: OTHERS})
    return family


def server_families(
    version: str, uptime_s: int, schedules: bool, catalog: Catalog, engine: Engine, streams: int
) -> Iterator[Family]:
    """What this server tells of itself. `schedules`: it fires them."""
    info = {"version": version, "go_version": f"python{platform.python_version()}", "build_date": ""}
    yield Family("dagu_info", "gauge", "The server's version; always 1.").add(1, info)
    yield Family("dagu_uptime_seconds", "gauge", "How long the server has been up.").add(uptime_s)
    yield Family("dagu_scheduler_running", "gauge", "Whether this server fires schedules.").add(int(schedules))
    yield Family("dagu_dags_total", "gauge", "DAG files.").add(catalog.count())
    caches = {"dag": catalog.kept, "dag_run": len(engine.memory.hot)}
    yield by_label("dagu_cache_entries_total", "What is kept in memory, by kind.", "cache", caches)
    yield Family("astrarium_streams", "gauge", "Live streams that are open.").add(streams)
