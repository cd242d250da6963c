"""Queues as the DAG API shows them, and what asks for a place in one."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from .run import RunSummary, StartDag, StartSpec
from .shape import Ask, Wire

MOST_PRIORITY = 1000
PRIORITIES = {"high": 10, "normal": 0, "low": -10}
"""Words for priorities; any whole number within ±`MOST_PRIORITY` may be given as well."""

Priority = Annotated[int, msgspec.Meta(ge=-MOST_PRIORITY, le=MOST_PRIORITY)] | Literal["high", "normal", "low"]


class Queue(Wire):
    """`runningCount` and `queuedCount` (our own) count all runs, the lists show the first thousand."""

    name: str
    type: str
    running: list[RunSummary]
    queued: list[RunSummary]
    running_count: int
    queued_count: int
    max_concurrency: int = 0


class QueuesSummary(Wire):
    total_queues: int
    total_running: int
    total_queued: int
    total_capacity: int
    utilization_percentage: float


class Queues(Wire):
    queues: list[Queue]
    summary: QueuesSummary


class EnqueueDag(StartDag):
    """`priority` (our own): a number, or `high`, `normal`, `low`; higher ones go first."""

    queue: str | None = None
    priority: Priority = 0


class EnqueueSpec(StartSpec):
    """`priority` as for a file."""

    queue: str | None = None
    priority: Priority = 0


class Reschedule(Ask):
    dag_run_id: str | None = None
    dag_name: str | None = None


class Rescheduled(Wire):
    dag_run_id: str
    queued: bool


def priority_number(given: int | str) -> int:
    return PRIORITIES[given] if isinstance(given, str) else given
