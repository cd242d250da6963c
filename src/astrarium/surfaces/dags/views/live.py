"""What happens, told as it happens: events of the log as the frames of a stream, and the text of logs as it is written.

The cursor of an event is its position in the workspace's log; where one event is told in several frames, all but the last have
`<position>.<how many of them>`. The cursor of a log is `<attempt>.<try>.<byte offset>`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from ....errors import Invalid, Problem
from ....kernel.engine import Engine
from ....kernel.types import Event, Tombstone
from ....runs import message as m
from ....runs.routing.port import Abort, Skip
from ....web.stream import frame
from .. import wire
from . import query
from .journal import shown_moment
from .query import SURFACE
from .status import (
    ABORTED,
    NODE_LABELS,
    NODE_OUTCOMES,
    NOT_STARTED,
    QUEUED,
    RUN_LABELS,
    RUN_OUTCOMES,
    RUNNING,
    SKIPPED,
    WAITING,
    node_status,
)

NAMED_KEPT = 10_000
"""Runs whose names are kept for the streams."""
Told = tuple[str, dict[str, Any]]
"""Type of the event, and the fields of `LiveEvent` it fills beside those all have."""
_encode = msgspec.json.Encoder().encode


class Named(NamedTuple):
    """What the streams tell of a run with each of its events."""

    surface: str
    graph: str
    run: wire.live.LiveRun


class Wanted(NamedTuple):
    """What a stream is narrowed to; empty = everything. A run is wanted by its own id or by that of its root; a type by its
    whole name or by the part before the dot."""

    name: str = ""
    dag_run_id: str = ""
    types: frozenset[str] = frozenset()

    def has_run(self, run: wire.live.LiveRun) -> bool:
        named = not self.name or run.name == self.name
        return named and (not self.dag_run_id or self.dag_run_id in (run.dag_run_id, run.root_dag_run_id))

    def has_type(self, type_: str) -> bool:
        return not self.types or type_ in self.types or type_.partition(".")[0] in self.types


class LiveViews:
    """Tells events of one engine. Names of runs are kept, as they never change."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._named: OrderedDict[str, Named | None] = OrderedDict()

    async def frames(self, events: Sequence[Event], wanted: Wanted, begun: tuple[int, int] = (0, 0)) -> bytes:
        """The events as frames. `begun`: of the event at this position, so many frames were sent already."""
        made = bytearray()
        for event in events:
            named = await self._name(event)
            if named is None or named.surface != SURFACE or not wanted.has_run(named.run):
                if type(event.body) is Tombstone and not (wanted.name or wanted.dag_run_id) and wanted.has_type("log.pruned"):
                    told = wire.live.Pruned("log.pruned", shown_moment(event.at), event.body.count)
                    made += frame(_encode(told), event="log", id=str(event.position))
                continue
            shown = [one for one in await self._tell(event, named) if wanted.has_type(one.type)]
            skip = begun[1] if event.position == begun[0] else 0
            for number, one in enumerate(shown, 1):
                cursor = str(event.position) if number == len(shown) else f"{event.position}.{number}"
                if number > skip:
                    made += frame(_encode(one), event=one.type.partition(".")[0], id=cursor)
        return bytes(made)

    async def _tell(self, event: Event, named: Named) -> list[wire.live.LiveEvent]:
        tell = TELL.get(type(event.body))
        if tell is None:
            return []
        names: Sequence[str] = ()
        if hasattr(event.body, "no") or bool(getattr(event.body, "moves", ())):
            names = await self._nodes(named.graph)
        time, made = shown_moment(event.at), []
        for type_, fields in tell(event.body, names):
            status = fields.pop("status")
            labels = RUN_LABELS if type_.startswith("run.") else NODE_LABELS
            made.append(wire.live.LiveEvent(type_, time, status, labels[status], named.run, **fields))
        return made

    async def _nodes(self, graph: str) -> Sequence[str]:
        definition = (await self._engine.things.fetch([graph]))[graph]
        return [node.name for node in definition.nodes]

    async def _name(self, event: Event) -> Named | None:
        """Whose event it is; None for what is no run, and for a run that was swept away."""
        machine, _, run = event.stream.partition(":")
        if machine != "run":
            return None
        start = start_of(event.body)
        if start is not None:
            return await self._keep(run, start.surface, start.graph, start.name, start.alias, start.root)
        return await self._find(run)

    async def _find(self, run: str) -> Named | None:
        if run in self._named:
            return self._named[run]
        row = await query.run_of(self._engine.store, run)
        if row is None:
            return None
        return await self._keep(run, row.surface, row.graph, row.name, row.alias, row.root)

    async def _keep(self, run: str, surface: str, graph: str, name: str, alias: str, root: str) -> Named:
        top = await self._find(root) if root and root != run else None
        above = top.run if top is not None else wire.live.LiveRun(name, alias, name, alias)
        made = self._named[run] = Named(surface, graph, wire.live.LiveRun(name, alias, above.name, above.dag_run_id))
        if len(self._named) > NAMED_KEPT:
            self._named.popitem(last=False)
        return made


def start_of(body: Any) -> m.StartRun | None:
    if type(body) is m.RunCreated:
        return body.start
    return body.fork.start if type(body) is m.RunForked else None


def parse_position(text: str, head: int) -> tuple[int, int] | None:
    """A cursor of events → (position, frames of it that were sent; 0 = all); None without one. Raises `Invalid`."""
    if not text:
        return None
    position, dot, part = text.partition(".")
    numbers = [number for number in (position, part) if number.isascii() and number.isdigit() and len(number) <= 18]
    if len(numbers) != 1 + bool(dot):
        problem = Problem(f"must be the id of a frame, not {text[:40]!r}", path="after")
        raise Invalid(f"the cursor {problem.message}", [problem], hint="leave it out to begin anew")
    if int(position) > head:
        problem = Problem(f"the log ends at {head}", path="after")
        raise Invalid(
            f"the cursor {text[:40]} is not of this server: {problem.message}", [problem], hint="leave it out to begin anew"
        )
    return int(position), int(part or 0)


# -- each event in words ----------------------------------------------------------------------------------------------


def _run(type_: str, status: int, **more: Any) -> Told:
    return f"run.{type_}", {"status": status, **more}


def _step(type_: str, names: Sequence[str], no: int, status: int, **more: Any) -> Told:
    return f"step.{type_}", {"status": status, "step": names[no] if no < len(names) else f"#{no}", **more}


def _moves(body: Any, names: Sequence[str]) -> Iterator[Told]:
    """Steps that end without being executed."""
    for move in body.moves:
        if type(move) is Skip:
            yield _step("ended", names, move.node, SKIPPED)
        elif type(move) is Abort:
            yield _step("ended", names, move.node, ABORTED)


def _created(body: Any, names: Sequence[str]) -> Iterator[Told]:
    start = start_of(body)
    assert start is not None
    yield _run("created", QUEUED if start.queue and not start.at_once else NOT_STARTED, reason=start.trigger)


def _began(body: m.RunBegan, names: Sequence[str]) -> Iterator[Told]:
    yield _run("started", RUNNING)
    yield from _moves(body, names)


def _prepared(body: m.RunPrepared, names: Sequence[str]) -> Iterator[Told]:
    yield _run("prepared", RUNNING, error=body.resolved.error, reason=body.resolved.unmet)
    yield from _moves(body, names)


def _stopping(body: m.RunStopping, names: Sequence[str]) -> Iterator[Told]:
    yield _run("stopping", RUNNING, reason=body.reason)
    yield from _moves(body, names)


def _ended(body: m.RunEnded, names: Sequence[str]) -> Iterator[Told]:
    yield _run("ended", RUN_OUTCOMES[body.outcome], reason=body.reason)


def _reopened(body: m.RunReopened, names: Sequence[str]) -> Iterator[Told]:
    yield _run("retried", QUEUED if body.queue and not body.at_once else RUNNING, attempt=body.round)
    yield from _moves(body, names)


def _started(body: m.StepStarted, names: Sequence[str]) -> Iterator[Told]:
    yield _step("started", names, body.no, RUNNING, try_no=body.try_no)


def _delayed(body: m.StepDelayed, names: Sequence[str]) -> Iterator[Told]:
    told = {"error": body.error, "exit_code": body.exit_code, "reason": body.why, "at": shown_moment(body.at)}
    yield _step("delayed", names, body.no, RUNNING, **told)


def _asked(body: m.StepAsked, names: Sequence[str]) -> Iterator[Told]:
    yield _step("waiting", names, body.no, WAITING, reason=body.ask.prompt)
    yield from _moves(body, names)


def _answered(body: m.AnswerGiven, names: Sequence[str]) -> Iterator[Told]:
    yield _step("answered", names, body.no, WAITING, reason=f"{'approved' if body.approve else 'rejected'} by {body.by}")


def _spawned(body: m.ChildrenSpawned, names: Sequence[str]) -> Iterator[Told]:
    yield _step("spawned", names, body.no, RUNNING)


def _child_ended(body: m.ChildEnded, names: Sequence[str]) -> Iterator[Told]:
    yield _step("child_ended", names, body.no, RUNNING, error=body.error, reason=body.outcome)


def _step_ended(body: m.StepEnded, names: Sequence[str]) -> Iterator[Told]:
    status = node_status("done", body.outcome, partial=body.partial, marked=body.marked)
    yield _step("ended", names, body.no, status, exit_code=body.exit_code, error=body.error)
    yield from _moves(body, names)


def _marked(body: m.StepMarked, names: Sequence[str]) -> Iterator[Told]:
    yield _step("marked", names, body.no, NODE_OUTCOMES[body.outcome] if body.outcome else NOT_STARTED)


def _plain(type_: str) -> Any:
    return lambda body, names: iter([_run(type_, RUNNING)])


TELL: dict[type, Any] = {
    m.RunCreated: _created,
    m.RunForked: _created,
    m.RunBegan: _began,
    m.RunPrepared: _prepared,
    m.RunPausing: _plain("pausing"),
    m.RunPaused: _plain("paused"),
    m.RunResumed: _plain("resumed"),
    m.RunWentOn: _plain("went_on"),
    m.RunStopping: _stopping,
    m.RunEnded: _ended,
    m.RunReopened: _reopened,
    m.StepStarted: _started,
    m.StepDelayed: _delayed,
    m.StepAsked: _asked,
    m.AnswerGiven: _answered,
    m.ChildrenSpawned: _spawned,
    m.ChildEnded: _child_ended,
    m.StepEnded: _step_ended,
    m.StepMarked: _marked,
}
"""Event of a run → what is told of it."""
