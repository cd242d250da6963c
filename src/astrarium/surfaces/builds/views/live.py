"""A build as it goes on: its events and those of its tasks in it, in the order of the log, from a position until it ends.

What is past is read by the build's own rows, whatever else the log has; what comes is handed on by the one who reads the log for all.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec

from ....errors import Invalid, Problem
from ....kernel.engine import Engine
from ....kernel.memory import as_bytes
from ....kernel.types import Event, Scope
from ....web.stream import frame
from ...feed import Feed
from .. import wire
from ..machines.build import TOLD, BuildEnded, build_stream, type_of
from ..machines.fold import type_of as task_type
from ..machines.plan.fact import TYPES, ReportRecorded
from ..machines.report import LockAwaited
from ..machines.state import TaskState
from .text import event_id, moment

PAGE = 5000
END = "end"
_TASK = "task:"
_PAST = (
    "SELECT e.position, e.stream, e.seq, e.at, e.type, e.v, e.body, b.pk FROM build_events b"
    " JOIN events e ON e.seq = b.seq AND e.stream = CASE b.task_id WHEN '' THEN ? ELSE ? || b.task_id END"
    " WHERE b.build = ? AND e.position > ? AND e.position <= ? ORDER BY e.position LIMIT ?"
)
_encode = msgspec.json.Encoder().encode

Told = tuple[int, str, int, int, Any, str]
"""Position, stream, number in it, time, event, and the UUID of the task."""


def parse_cursor(text: str, head: int) -> int:
    """The position a client wants to go on after, 0 = from the beginning. Raises `Invalid`."""
    if not text:
        return 0
    if text.isascii() and text.isdigit() and len(text) <= 18 and int(text) <= head:
        return int(text)
    problem = Problem(f"must be the id of a frame of this stream, not {text[:40]!r}", path="query.after")
    raise Invalid(f"after {problem.message}", [problem])


class BuildLog:
    """The events of one build. `scope` is where it is, `ended` whether it had ended when it was looked at."""

    def __init__(self, engine: Engine, feed: Feed, scope: Scope, build: str, ended: bool) -> None:
        self._engine = engine
        self._feed = feed
        self._scope = scope
        self._build = build
        self._stream = build_stream(build)
        self._tasks = f"{_TASK}{scope.environment}/"
        self._ended = ended

    async def past(self, after: int, until: int, limit: int = PAGE) -> list[Told]:
        """Events between two positions, the first one left out."""
        args = (self._stream, self._tasks, self._build, after, until, limit)
        rows = await self._engine.store.read(_PAST, args)
        registry = self._engine.registry
        return [
            (position, stream, seq, at, registry.of(stream).decode(type_, v, as_bytes(body)), pk)
            for position, stream, seq, at, type_, v, body, pk in rows
        ]

    async def frames(self, after: int) -> AsyncGenerator[bytes, None]:
        """Everything after a position, until the build has ended and all of it is told."""
        head = await self._engine.tail.head(self._scope.workspace)
        while after < head:
            page = await self.past(after, head)
            if page:
                yield self._told(page)
            after = page[-1][0] if len(page) == PAGE else head
        async for events in self._feed.follow(self._scope.workspace, "", head, self._wants):
            if events:
                yield self._told([await self._live(event) for event in events])
            elif self._ended:
                break
        yield frame(_encode(wire.BuildStreamEnd(self._build)), event=END)

    def _wants(self, event: Event) -> bool:
        if event.stream == self._stream:
            return isinstance(event.body, TOLD)
        told = type(event.body) in TYPES or isinstance(event.body, ReportRecorded)
        return event.stream.startswith(self._tasks) and told and event.body.build == self._build

    async def _live(self, event: Event) -> Told:
        pk = ""
        if event.stream != self._stream:
            state: TaskState | None = await self._engine.state(event.stream, self._scope)
            pk = state.kept.id if state is not None else ""
        return (event.position, event.stream, event.seq, event.at, event.body, pk)

    def _told(self, events: Sequence[Told]) -> bytes:
        made = []
        for position, stream, seq, at, body, pk in events:
            if stream == self._stream:
                self._ended = isinstance(body, BuildEnded)
            shown = _shown(self._build, stream, seq, at, body, pk)
            made.append(frame(_encode(shown), event=shown.event_type, id=str(position)))
        return b"".join(made)


def _shown(build: str, stream: str, seq: int, at: int, body: Any, pk: str) -> wire.BuildStreamEvent:
    own = isinstance(body, TOLD)
    error = getattr(body, "error", None)
    known: dict[str, str] = {}
    if isinstance(body, LockAwaited) and body.owner:
        known["lock_owner"] = body.owner
    elif isinstance(body, BuildEnded) and body.triggered_by:
        known["triggered_by_user_id"] = body.triggered_by
    metadata = msgspec.Raw(_encode(known)) if known else None
    type_ = type_of(body) if own else task_type(body)
    task = None if own else stream.partition("/")[2]
    return wire.BuildStreamEvent(event_id(stream, seq, at), build, pk or None, type_, moment(at), error, metadata, task)
