"""What is told of a run, and when: which notices of a graph are due, and the texts they carry.

Source: Dagu 1.30, mail of a run: subject `prefix name (status)`, an HTML table of the steps. The webhook's document is ours.
What is told are facts, never templates: it travels in the variables `NOTICE_…` of the delivery, and what is inserted is not
expanded again, so an error's text can neither run a command nor read a variable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import msgspec

from .graph import Doors, Graph, Node, Notice, NoticeOn, Retry

OUTCOMES: dict[str, NoticeOn] = {
    "succeeded": "success", "partial": "success", "failed": "failure", "broken": "failure", "rejected": "failure",
    "cancelled": "abort",
}  # fmt: skip
"""How a run ended → what that is to a notice."""
BAD_STEPS = frozenset(("failed", "timed_out", "broken", "lost", "rejected"))
STEPS_SHOWN = 200
ERROR_CHARS = 2000
TRY_TIMEOUT_S = 60.0
_REFERENCE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)|([A-Za-z_][A-Za-z0-9_]*))")


class ToldStep(msgspec.Struct, frozen=True):
    """One step; times as text, empty where there is none."""

    name: str
    status: str
    started: str = ""
    finished: str = ""
    error: str = ""
    exit_code: int | None = None


class Told(msgspec.Struct, frozen=True):
    """What happened to a run. `event` is one of `run.success`, `run.failure`, `run.abort`, `run.wait`, `step.failure`; `status`
    and `label` are the number and the word clients of the DAG surface know; `step` is the one that failed or waits."""

    event: str
    name: str
    run: str
    status: int
    label: str
    steps: Sequence[ToldStep]
    reason: str = ""
    round: int = 1
    params: str = ""
    queued: str = ""
    started: str = ""
    finished: str = ""
    url: str = ""
    step: str = ""
    more: str = ""


def due(graph: Graph, on: NoticeOn, step: str = "") -> tuple[int, ...]:
    """Places of the notices that are due when a run of the graph ends (or waits) so; with `step`, when that step has failed."""
    if step and on == "failure":
        return tuple(place for place, notice in enumerate(graph.notices) if step in notice.steps)
    return tuple(place for place, notice in enumerate(graph.notices) if on in notice.on)


def delivery(source: Graph, notice: Notice, files: int, *, tries: int, retry_s: float) -> Graph:
    """The graph that delivers a notice: one step, tried `tries` times, each wait twice as long as the one before."""
    params = dict(notice.params)
    if files:
        params["attachments"] = [f"${{NOTICE_FILE_{number}}}" for number in range(files)]
    node = Node(
        name="deliver", kind=notice.kind, params=params, timeout_s=TRY_TIMEOUT_S,
        retry=Retry(max(0, tries - 1), retry_s, 2.0) if tries > 1 else None,
    )  # fmt: skip
    doors = Doors(reopen_from=("failed", "broken", "cancelled"), mark_step=False, pause=False)
    return Graph(name=source.name, dialect="notice", nodes=(node,), doors=doors, base_dir=source.base_dir)


def mentioned(value: Any) -> set[str]:
    """The names of variables the texts of a notice refer to."""
    if isinstance(value, str):
        return {match[1] or match[2] for match in _REFERENCE.finditer(value)}
    if isinstance(value, Mapping):
        return {name for part in value.values() for name in mentioned(part)}
    if isinstance(value, (list, tuple)):
        return {name for part in value for name in mentioned(part)}
    return set()


def variables(told: Told, files: Iterable[str] = ()) -> tuple[tuple[str, str], ...]:
    """What the templates of a notice may say of the run."""
    failed = [step for step in told.steps if step.status in BAD_STEPS]
    made = {
        "NOTICE_EVENT": told.event,
        "NOTICE_NAME": told.name,
        "NOTICE_RUN": told.run,
        "NOTICE_STATUS": told.label,
        "NOTICE_STEP": told.step,
        "NOTICE_REASON": told.reason,
        "NOTICE_URL": told.url,
        "NOTICE_ERROR": cut("; ".join(f"{step.name}: {step.error}" for step in failed if step.error)),
        "NOTICE_SUBJECT": subject(told),
        "NOTICE_TEXT": as_text(told),
        "NOTICE_HTML": as_html(told),
        "NOTICE_BODY": as_document(told),
    }
    made |= {f"NOTICE_FILE_{number}": path for number, path in enumerate(files)}
    return tuple(made.items())


def cut(text: str) -> str:
    """Long texts are told in part: their log has the rest."""
    return text if len(text) <= ERROR_CHARS else text[:ERROR_CHARS] + " …"


def subject(told: Told) -> str:
    """A mail's subject without its prefix (Dagu 1.30: `name (status)`); one line, whatever the names hold."""
    what = f"{told.name}: {told.step}" if told.step else told.name
    return " ".join(f"{what} ({'failed' if told.event == 'step.failure' else told.label})".split())


def shown_steps(told: Told) -> list[ToldStep]:
    """The steps that are told: all, or of very many the ones that went wrong first."""
    if len(told.steps) <= STEPS_SHOWN:
        return list(told.steps)
    ranked = sorted(told.steps, key=lambda step: step.status not in BAD_STEPS)
    return ranked[:STEPS_SHOWN]


def facts(told: Told) -> list[tuple[str, str]]:
    rows = [
        ("DAG", told.name), ("Run", told.run), ("Status", told.label), ("Step", told.step), ("Reason", told.reason),
        ("Parameters", told.params), ("Started", told.started), ("Finished", told.finished), ("Link", told.url),
    ]  # fmt: skip
    return [(name, cut(value)) for name, value in rows if value]


def as_text(told: Told) -> str:
    """The plain text of a mail."""
    lines = [f"{name}: {value}" for name, value in facts(told)]
    lines.append("")
    for step in shown_steps(told):
        lines.append(f"- {step.name}: {step.status}" + (f" ({cut(step.error)})" if step.error else ""))
    if len(told.steps) > STEPS_SHOWN:
        lines.append(f"… and {len(told.steps) - STEPS_SHOWN} more steps")
    if told.more:
        lines += ["", told.more]
    return "\n".join(lines) + "\n"


def as_html(told: Told) -> str:
    """The table of steps (Dagu 1.30: number, step, started at, finished at, status, error)."""
    head = "".join(f"<th>{title}</th>" for title in ("#", "Step", "Started", "Finished", "Status", "Error"))
    rows = [
        "<tr>"
        + "".join(
            f"<td>{escape(cell)}</td>"
            for cell in (str(number), step.name, step.started, step.finished, step.status, cut(step.error))
        )
        + "</tr>"
        for number, step in enumerate(shown_steps(told), 1)
    ]
    hidden = len(told.steps) - STEPS_SHOWN
    more = [f"<p>… and {hidden} more steps</p>"] if hidden > 0 else []
    if told.more:
        more.append(f"<p>{escape(told.more)}</p>")
    summary = "".join(f"<tr><th align='left'>{name}</th><td>{linked(name, value)}</td></tr>" for name, value in facts(told))
    style = "<style>table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:3px 8px;text-align:left}</style>"
    return (
        f"<html><head>{style}</head><body><table>{summary}</table><br>"
        f"<table><tr>{head}</tr>{''.join(rows)}</table>{''.join(more)}</body></html>"
    )


def linked(name: str, value: str) -> str:
    shown = escape(value)
    return f'<a href="{shown}">{shown}</a>' if name == "Link" else shown


def as_document(told: Told) -> str:
    """The JSON a webhook is sent, as docs/guide/notices.md tells it."""
    failed = [step for step in told.steps if step.status in BAD_STEPS]
    document: dict[str, Any] = {
        "event": told.event, "name": told.name, "dagRunId": told.run, "status": told.status, "statusLabel": told.label,
        "reason": told.reason, "attempt": told.round, "params": told.params, "queuedAt": told.queued, "startedAt": told.started,
        "finishedAt": told.finished, "url": told.url,
        "failedSteps": [
            {"name": step.name, "status": step.status, "error": cut(step.error), "exitCode": step.exit_code}
            for step in failed[:STEPS_SHOWN]
        ],
    }  # fmt: skip
    if told.step:
        document["step"] = told.step
    return msgspec.json.encode(document).decode()
