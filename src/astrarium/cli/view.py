"""What the commands show of a run: its steps in the order of the graph, the runs under them, and one word for how each stands.

The words are those of docs/words.md: an ended life shows its outcome, a live one its status.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from ..spec.graph import Graph

GOOD = frozenset({"succeeded", "partial"})
OPEN_STEPS = {"ready": "queued", "offered": "queued", "parent": "running", "asking": "waiting"}
"""Statuses of an open step that readers know under another word."""

PHASES = {"on_success": "success", "on_failure": "failure", "on_cancel": "abort", "on_wait": "wait"}


class StepView(msgspec.Struct, omit_defaults=True):
    """One step. `status` is `pending` until the run comes to it; `no` counts the run's visits,
    `place` is its node's in the graph; `after` are the steps it depends on; `phase` is empty for the
    steps proper and names the occasion for handlers; `merged`: its stderr is in the files of its stdout."""

    name: str
    status: str = "pending"
    no: int | None = None
    place: int = 0
    round: int = 1
    kind: str = ""
    phase: str = ""
    tolerated: bool = False
    tries: int = 0
    passes: int = 0
    exit_code: int | None = None
    error: str = ""
    output: str | None = None
    started_at: int = 0
    ended_at: int = 0
    after: tuple[str, ...] = ()
    merged: bool = False
    children: list[RunView] = []


class RunView(msgspec.Struct, omit_defaults=True):
    """One run. `id` is what clients call it by, `key` what the store does. `waiting_for` is a sentence. Times are microseconds
    UTC, 0 = not yet."""

    id: str
    name: str
    status: str
    key: str = ""
    reason: str = ""
    waiting: str = ""
    round: int = 1
    params: str = ""
    trigger: str = ""
    graph: str = ""
    created_at: int = 0
    started_at: int = 0
    ended_at: int = 0
    outputs: dict[str, str] = {}
    steps: list[StepView] = []
    waiting_for: str = ""

    @property
    def ended(self) -> bool:
        return self.ended_at > 0

    @property
    def good(self) -> bool:
        return self.status in GOOD


def lay_out(graph: Graph, found: dict[str, StepView]) -> list[StepView]:
    """The steps of a run in the order of its graph: what was visited, and `pending` ones for what was not. Handlers nothing
    called for are left out; a node that was visited several times has its newest visit."""
    sources: dict[int, list[str]] = {}
    for edge in graph.edges:
        sources.setdefault(edge.target, []).append(graph.nodes[edge.source].name)
    steps = []
    for place, node in enumerate(graph.nodes):
        step = found.get(node.name)
        if step is None and node.phase != "main":
            continue
        step = step or StepView(node.name)
        step.kind, step.phase, step.place = node.kind, _phase(node.phase), place
        step.merged = graph.merges(node)
        step.after = tuple(sources.get(place, ()))
        steps.append(step)
    return steps


def _phase(phase: str) -> str:
    return "" if phase == "main" else PHASES.get(phase, phase)


def step_word(status: str, outcome: str, partial: bool) -> str:
    """The one word for how a step stands."""
    if status == "done":
        return "partial" if partial and outcome == "succeeded" else outcome
    return OPEN_STEPS.get(status, status)


def shown_time(at: int) -> str:
    """A time as JSON carries it: RFC 3339 in UTC, empty when there is none."""
    return datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else ""


def local_time(at: int) -> str:
    """A time as people read it: in their own zone, to the second."""
    return datetime.fromtimestamp(at / 1e6).astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""


def duration(started_at: int, ended_at: int, now: int = 0) -> str:
    """How long something took, or has taken until `now`; empty when it has not started."""
    end = ended_at or now
    if not started_at or not end:
        return ""
    seconds = max(0.0, (end - started_at) / 1e6)
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def as_document(run: RunView) -> dict[str, Any]:
    """A run as `--json` prints it."""
    document: dict[str, Any] = {
        "id": run.id,
        "name": run.name,
        "status": run.status,
        "reason": run.reason,
        "round": run.round,
        "params": run.params,
        "trigger": run.trigger,
        "created_at": shown_time(run.created_at),
        "started_at": shown_time(run.started_at),
        "ended_at": shown_time(run.ended_at),
    }
    if run.waiting_for:
        document["waiting_for"] = run.waiting_for
    if run.ended:
        document["outputs"] = run.outputs
    if run.steps:
        document["steps"] = [_step_document(step) for step in run.steps]
    return document


def _step_document(step: StepView) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": step.name,
        "status": step.status,
        "kind": step.kind,
        "phase": step.phase,
        "after": list(step.after),
        "tolerated": step.tolerated,
        "tries": step.tries,
        "exit_code": step.exit_code,
        "error": step.error,
        "output": step.output,
        "started_at": shown_time(step.started_at),
        "ended_at": shown_time(step.ended_at),
    }
    if step.children:
        document["children"] = [as_document(child) for child in step.children]
    return document
