"""The servers that work on this store, and how loaded this one's machine is."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from ....errors import Invalid, Problem
from ....kernel.ports import Store
from ....kernel.types import Scope
from .. import wire
from ..work.sample import KEPT_S, Sample
from .run import shown_time

UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:h|ms|m|s|us|µs|ns))+")
PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s|us|µs|ns)")
MOST_TASKS = 1000
"""Runs shown of one server."""
WARNING_SHARE = 0.5
"""A server whose lease has run down to this share, or less, has missed renewals."""

_LIVE = "SELECT id, host, pid, started_at, lease_until FROM workers WHERE ended = 0 ORDER BY started_at, id"
_TASKS = (
    "SELECT r.name, r.alias, r.began_at, top.name, top.alias, up.name, up.alias FROM leases l"
    " JOIN runs r ON r.id = substr(l.stream, 5)"
    " LEFT JOIN runs top ON top.id = r.root LEFT JOIN runs up ON up.id = r.parent_run AND r.parent_run <> ''"
    " WHERE l.worker = ? AND l.workspace = ? AND r.status <> 'ended' ORDER BY r.began_at, r.id LIMIT ?"
)


def parse_duration(text: str) -> float:
    """A Go duration (`1h`, `30m`, `1h30m`, `90s`) in seconds, at most a day. Raises `Invalid`."""
    if not DURATION.fullmatch(text):
        problem = Problem("must be a duration such as 30m, 1h or 1h30m", path="duration")
        raise Invalid(f"duration {text[:40]!r} {problem.message}", [problem])
    return min(sum(float(number) * UNITS_S[unit] for number, unit in PART.findall(text)), float(KEPT_S))


def resource_history(samples: Iterable[Sample]) -> wire.system.ResourceHistory:
    made = wire.system.ResourceHistory([], [], [], [])
    for one in samples:
        made.cpu.append(wire.system.MetricPoint(one.at, round(one.cpu, 2)))
        made.memory.append(wire.system.MetricPoint(one.at, round(one.memory, 2)))
        made.disk.append(wire.system.MetricPoint(one.at, round(one.disk, 2)))
        made.load.append(wire.system.MetricPoint(one.at, round(one.load, 2)))
    return made


async def list_workers(reader: Store, scope: Scope, *, places: int, lease_s: float) -> wire.system.WorkerList:
    """The live servers with the runs they carry out. A server alone on its store needs no lease: it answers, so it is well."""
    made = wire.system.WorkerList([], [])
    now = time.time_ns() // 1000
    for worker, host, pid, _, lease_until in await reader.read(_LIVE):
        rows = await reader.read(_TASKS, [worker, scope.workspace, MOST_TASKS])
        beat, health = now, "healthy"
        if reader.shared:
            beat = min(now, lease_until - int(lease_s * 1_000_000))
            left = (lease_until - now) / (lease_s * 1_000_000)
            health = "unhealthy" if left <= 0 else "warning" if left < WARNING_SHARE else "healthy"
        made.workers.append(
            wire.system.WorkerInfo(
                worker, {"host": host, "pid": str(pid)}, places, len(rows), [task(row) for row in rows], shown_time(beat), health
            )
        )
    return made


def task(row: tuple[object, ...]) -> wire.system.RunningTask:
    name, alias, began, root_name, root_alias, parent_name, parent_alias = row
    shown = wire.system.RunningTask(str(alias), str(name), shown_time(int(str(began))))
    shown.root_dag_run_name, shown.root_dag_run_id = str(root_name or ""), str(root_alias or "")
    shown.parent_dag_run_name, shown.parent_dag_run_id = str(parent_name or ""), str(parent_alias or "")
    return shown
