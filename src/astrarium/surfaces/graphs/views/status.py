"""The one table from our words to Stargraph's statuses, and back to conditions on rows."""

from __future__ import annotations

from typing import Any

from ....errors import Invalid, Problem
from ..wire import Status

PENDING, RUNNING, PAUSED, AWAITING, DONE, CANCELLED, ERROR, FAILED = STATUSES = (
    "pending", "running", "paused", "awaiting-input", "done", "cancelled", "error", "failed",
)  # fmt: skip
ENDS: dict[str, Status] = {
    "succeeded": "done", "partial": "done", "failed": "failed", "rejected": "failed", "broken": "error", "cancelled": "cancelled",
}  # fmt: skip
LIVE: dict[str, Status] = {
    "queued": "pending", "running": "running", "pausing": "running", "paused": "paused", "stopping": "cancelled", "waiting": "running",
}  # fmt: skip

Condition = tuple[str, list[Any]]
"""A part of a WHERE clause with its arguments."""


def status_of(status: str, outcome: str, waiting: str) -> Status:
    """What clients are told, from the columns of a row."""
    if status == "ended":
        return ENDS[outcome]
    if status == "waiting" and waiting == "person":
        return "awaiting-input"
    return LIVE[status]


def parse_statuses(text: str) -> list[str]:
    """The statuses of a query, separated by commas. Raises `Invalid`."""
    asked = [part.strip() for part in text.split(",") if part.strip()]
    for one in asked:
        if one not in STATUSES:
            problem = Problem(f"{one[:40]!r} is no status; they are {', '.join(STATUSES)}", path="query.status")
            raise Invalid(problem.message, [problem])
    return asked


def with_statuses(asked: list[str]) -> Condition:
    """Which rows are told with one of these."""
    parts: list[str] = []
    args: list[Any] = []
    outcomes = [outcome for outcome, told in ENDS.items() if told in asked]
    if outcomes:
        parts.append(f"(status = 'ended' AND outcome IN ({', '.join('?' * len(outcomes))}))")
        args += outcomes
    live = [status for status, told in LIVE.items() if told in asked and status != "waiting"]
    if live:
        parts.append(f"(status <> 'ended' AND status IN ({', '.join('?' * len(live))}))")
        args += live
    if RUNNING in asked or AWAITING in asked:
        sign = {(True, True): "", (True, False): " AND waiting <> 'person'", (False, True): " AND waiting = 'person'"}
        parts.append(f"(status <> 'ended' AND status = 'waiting'{sign[RUNNING in asked, AWAITING in asked]})")
    return f"({' OR '.join(parts)})", args


TRIGGERS = {"cron": ("cron", "schedule"), "webhook": ("webhook",)}
"""Source on the wire → triggers of ours; all others are `manual`."""


def source_of(trigger: str) -> Any:
    return next((source for source, triggers in TRIGGERS.items() if trigger in triggers), "manual")


def with_source(source: str) -> Condition:
    """Which rows have that source. Raises `Invalid`."""
    named = [trigger for triggers in TRIGGERS.values() for trigger in triggers]
    if source == "manual":
        return f"trigger NOT IN ({', '.join('?' * len(named))})", list(named)
    if source not in TRIGGERS:
        problem = Problem(f"{source[:40]!r} is no source; they are manual, cron, webhook", path="query.trigger_source")
        raise Invalid(problem.message, [problem])
    return f"trigger IN ({', '.join('?' * len(TRIGGERS[source]))})", list(TRIGGERS[source])
