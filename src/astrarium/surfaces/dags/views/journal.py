"""The run's own log: its events told as lines of text. There is no file of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from ....kernel.engine import Engine
from ....kernel.types import Event
from ....runs import message as m
from ....runs.routing.port import Abort, Skip
from ....spec.graph import Graph
from .. import wire
from .log import Window, select
from .query import RunRow

EVENT_PAGE = 2000
Tell = Callable[[Any, Sequence[str]], list[str]]
"""(event body, names of the nodes) → texts."""


async def run_log(engine: Engine, row: RunRow, graph: Graph, window: Window) -> wire.run.Log:
    """What happened in the run, in the order it happened."""
    names = [node.name for node in graph.nodes]
    lines: list[str] = []
    after = 0
    while True:
        page = await engine.tail.read_stream(f"run:{row.id}", after, EVENT_PAGE)
        for event in page:
            lines.extend(told(event, names))
        if len(page) < EVENT_PAGE:
            return select(lines, window)
        after = page[-1].seq


def told(event: Event, names: Sequence[str]) -> Iterator[str]:
    """An event as lines `<time> <text>`; line ends within become blanks."""
    tell = TOLD.get(type(event.body))
    texts = tell(event.body, names) if tell is not None else [type(event.body).__name__]
    for text in texts:
        yield f"{shown_moment(event.at)} {' '.join(text.split())}"


def shown_moment(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _name(names: Sequence[str], no: int) -> str:
    return names[no] if no < len(names) else f"#{no}"


def _because(text: str) -> str:
    return f": {text}" if text else ""


def _moves(moves: Sequence[Any], names: Sequence[str]) -> list[str]:
    words = {Skip: "skipped", Abort: "aborted"}
    return [f"step {_name(names, move.node)} {words[type(move)]}" for move in moves if type(move) in words]


def _created(body: m.RunCreated, names: Sequence[str]) -> list[str]:
    start = body.start
    params = f" with {start.params}" if start.params else ""
    return [f"run {start.alias} of {start.name} created ({start.trigger}){params}"]


def _forked(body: m.RunForked, names: Sequence[str]) -> list[str]:
    return [f"run {body.fork.start.alias} of {body.fork.start.name} forked from {body.fork.source}"]


def _imported(body: m.RunImported, names: Sequence[str]) -> list[str]:
    past = body.run
    return [f"run {past.start.alias} of {past.start.name} taken over: it {past.outcome} elsewhere"]


def _renamed(body: m.RunRenamed, names: Sequence[str]) -> list[str]:
    return [f"DAG {body.before} renamed to {body.name}"]


def _began(body: m.RunBegan, names: Sequence[str]) -> list[str]:
    return ["run began", *_moves(body.moves, names)]


def _prepared(body: m.RunPrepared, names: Sequence[str]) -> list[str]:
    found = body.resolved
    if found.error:
        return [f"parameters and environment could not be resolved: {found.error}"]
    if found.unmet:
        return [f"precondition not met: {found.unmet}"]
    return ["parameters and environment resolved", *_moves(body.moves, names)]


def _started(body: m.StepStarted, names: Sequence[str]) -> list[str]:
    again = f", try {body.try_no}" if body.try_no > 1 else ""
    return [f"step {_name(names, body.no)} started{again}"]


def _delayed(body: m.StepDelayed, names: Sequence[str]) -> list[str]:
    why = {"retry": "failed and will be tried again", "repeat": "will be repeated", "lost": "was lost and runs again"}[body.why]
    return [f"step {_name(names, body.no)} {why} at {shown_moment(body.at)}{_because(body.error)}"]


def _asked(body: m.StepAsked, names: Sequence[str]) -> list[str]:
    return [f"step {_name(names, body.no)} waits for a person{_because(body.ask.prompt)}", *_moves(body.moves, names)]


def _answered(body: m.AnswerGiven, names: Sequence[str]) -> list[str]:
    verdict = "approved" if body.approve else "rejected"
    return [f"step {_name(names, body.no)} {verdict} by {body.by}{_because(body.reason)}"]


def _spawned(body: m.ChildrenSpawned, names: Sequence[str]) -> list[str]:
    which = body.children[0].name if body.children else ""
    return [f"step {_name(names, body.no)} runs {len(body.children)} child runs of {which}"]


def _child_ended(body: m.ChildEnded, names: Sequence[str]) -> list[str]:
    return [f"step {_name(names, body.no)}: child run {body.index + 1} {body.outcome}{_because(body.error)}"]


def _step_ended(body: m.StepEnded, names: Sequence[str]) -> list[str]:
    code = f" (exit code {body.exit_code})" if body.exit_code else ""
    tolerated = ", tolerated" if body.tolerated else ""
    return [f"step {_name(names, body.no)} {body.outcome}{code}{tolerated}{_because(body.error)}", *_moves(body.moves, names)]


def _dropped(body: m.StepDropped, names: Sequence[str]) -> list[str]:
    return [f"nothing waits for step {_name(names, body.no)} any more"]


def _expired(body: m.FanExpired, names: Sequence[str]) -> list[str]:
    return ["branches took longer than they may", *_moves(body.moves, names)]


def _stopping(body: m.RunStopping, names: Sequence[str]) -> list[str]:
    return [f"run is being stopped: {body.reason}", *_moves(body.moves, names)]


def _ended(body: m.RunEnded, names: Sequence[str]) -> list[str]:
    return [f"run {body.outcome}{_because(body.reason)}"]


def _reopened(body: m.RunReopened, names: Sequence[str]) -> list[str]:
    return [f"run retried, round {body.round}: {len(body.reset)} steps run again", *_moves(body.moves, names)]


def _marked(body: m.StepMarked, names: Sequence[str]) -> list[str]:
    return [f"step {_name(names, body.no)} was marked {body.outcome or 'not started'} by hand"]


def _plain(text: str) -> Tell:
    return lambda body, names: [text]


TOLD: dict[type, Tell] = {
    m.RunCreated: _created,
    m.RunForked: _forked,
    m.RunImported: _imported,
    m.RunRenamed: _renamed,
    m.RunBegan: _began,
    m.RunPrepared: _prepared,
    m.StepStarted: _started,
    m.StepDelayed: _delayed,
    m.StepAsked: _asked,
    m.AnswerGiven: _answered,
    m.ChildrenSpawned: _spawned,
    m.ChildEnded: _child_ended,
    m.StepEnded: _step_ended,
    m.StepDropped: _dropped,
    m.FanExpired: _expired,
    m.RunPausing: _plain("run pauses once its steps have ended"),
    m.RunPaused: _plain("run paused"),
    m.RunResumed: _plain("run resumed"),
    m.RunStoodAside: _plain("run left its place in the queue to others"),
    m.RunWentOn: _plain("run has a place in its queue again"),
    m.RunStopping: _stopping,
    m.RunEnded: _ended,
    m.RunReopened: _reopened,
    m.StepMarked: _marked,
}
