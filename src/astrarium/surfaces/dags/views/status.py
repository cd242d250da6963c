"""The one table from our words to Dagu 1.30's numbers and labels, for runs and for nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....errors import Invalid, Problem
from ....runs.ports import StepOutcome

NOT_STARTED, RUNNING, FAILED, ABORTED, SUCCEEDED, QUEUED, PARTIAL, WAITING, REJECTED = range(9)
SKIPPED = QUEUED
"""5 is `queued` for a run and `skipped` for a node."""

RUN_LABELS = (
    "not_started", "running", "failed", "aborted", "succeeded", "queued", "partially_succeeded", "waiting", "rejected",
)  # fmt: skip
NODE_LABELS = tuple("skipped" if label == "queued" else label for label in RUN_LABELS)

RUN_OUTCOMES = {
    "succeeded": SUCCEEDED, "partial": PARTIAL, "failed": FAILED, "broken": FAILED, "cancelled": ABORTED, "rejected": REJECTED,
}  # fmt: skip
RUNNING_STATUSES = ("running", "pausing", "paused", "stopping")
NODE_STATUSES = {
    "idle": NOT_STARTED, "ready": NOT_STARTED, "offered": NOT_STARTED, "running": RUNNING, "delayed": RUNNING, "parent": RUNNING,
    "asking": WAITING,
}  # fmt: skip
NODE_OUTCOMES = {
    "succeeded": SUCCEEDED, "skipped": SKIPPED, "failed": FAILED, "timed_out": FAILED, "broken": FAILED, "lost": FAILED,
    "cancelled": ABORTED, "aborted": ABORTED, "rejected": REJECTED,
}  # fmt: skip
MARKS: dict[int, StepOutcome | None] = {
    NOT_STARTED: None, RUNNING: None, FAILED: "failed", ABORTED: "cancelled", SUCCEEDED: "succeeded", SKIPPED: "skipped",
    PARTIAL: None, WAITING: None, REJECTED: "rejected",
}  # fmt: skip
"""What a client's number makes of a step. Dagu 1.30 takes 6 as 0; 1 and 7 cannot be true of a step nobody executes."""


def run_status(status: str, outcome: str, waiting: str, queue: str) -> int:
    """The number of a run from the columns of its row."""
    if status == "ended":
        return RUN_OUTCOMES[outcome]
    if status == "queued":
        return QUEUED if queue else NOT_STARTED
    return WAITING if status == "waiting" and waiting == "person" else RUNNING


def node_status(status: str, outcome: str, *, partial: bool = False, marked: bool = False) -> int:
    """The number of a node. `marked`: its failure was tolerated and counts as success."""
    if status != "done":
        return NODE_STATUSES[status]
    if outcome == "succeeded" and partial:
        return PARTIAL
    return SUCCEEDED if marked and NODE_OUTCOMES[outcome] == FAILED else NODE_OUTCOMES[outcome]


def with_status(number: int) -> list[tuple[str, list[str]]]:
    """The conditions, with their arguments, of which one holds for the rows of `runs` to which `run_status` gives this number.
    Each can be answered from one index."""
    outcomes = [outcome for outcome, shown in RUN_OUTCOMES.items() if shown == number]
    if outcomes:
        return [("status = 'ended' AND outcome = ?", [outcome]) for outcome in outcomes]
    values: list[str] = []
    if number in (QUEUED, NOT_STARTED):
        live = f"status = 'queued' AND queue {'<>' if number == QUEUED else '='} ''"
    elif number == WAITING:
        live = "status = 'waiting' AND waiting = 'person'"
    else:
        live = f"(status IN ({marks(RUNNING_STATUSES)}) OR (status = 'waiting' AND waiting <> 'person'))"
        values = list(RUNNING_STATUSES)
    return [(f"status <> 'ended' AND {live}", values)]


def marks(values: Sequence[Any]) -> str:
    """As many placeholders as there are values."""
    return ", ".join("?" * len(values))


def parse_status(text: str) -> int:
    """A status number of a query. Raises `Invalid`."""
    if text.isascii() and text.isdigit() and len(text) < 3 and int(text) < len(RUN_LABELS):
        return int(text)
    problem = Problem(f"status must be a number from 0 to {len(RUN_LABELS) - 1}, not {text[:40]!r}", path="status")
    raise Invalid(problem.message, [problem])


def mark_of(number: int) -> StepOutcome | None:
    """What a client's number makes of a step. Raises `Invalid` for an unknown one."""
    if number not in MARKS:
        known: list[Any] = sorted(MARKS)
        problem = Problem(f"status must be one of {known}, not {number}", path="status")
        raise Invalid(problem.message, [problem])
    return MARKS[number]
