"""Schedules as the DAG API shows them, and what is asked of them."""

from __future__ import annotations

from .shape import Ask, Wire


class LastSlot(Wire):
    """The newest slot that was decided: `decision` is fired, skipped, deferred or missed, and `why`."""

    slot: str
    act: str
    decision: str
    why: str = ""
    dag_run_id: str = ""


class Suspend(Ask):
    suspend: bool


class Scheduler(Wire):
    instance_id: str
    host: str
    status: str
    started_at: str


class SchedulerList(Wire):
    schedulers: list[Scheduler]
