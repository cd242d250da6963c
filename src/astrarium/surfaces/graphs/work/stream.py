"""Following a run: its log told as frames, from where a client left off, without gap or double.

A cursor is `<event_id>,<offset>,<seq>`, `<run_id>:<step>:<seq within the step>`, or a bare event id (Stargraph 0.8: contract 10.3). The
log is always read from the run's beginning, so every reader counts its frames alike.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec

from ....errors import Invalid, Problem
from ....kernel.engine import Engine
from ....kernel.types import Event
from ....runs import message as m
from ....runs.state import RunState
from ....store.log import FollowedFiles
from ....web.stream import Frame, Frames
from ...feed import Feed
from ..views.frame import Narration
from ..views.query import RunRow, not_found
from .chunk import Chunks, Places

ENDS_TRY = (m.StepEnded, m.StepDelayed, m.StepDropped, m.StepAsked, m.ChildrenSpawned)
KEPT = 1000
"""Runs whose number of frames is kept."""
_CHUNK = re.compile(r"\.c(-?\d{1,18})$")
_encode = msgspec.json.Encoder().encode


class Cursor(msgspec.Struct, frozen=True):
    """Where a client left off: what it knows of the last frame it got."""

    event_id: str = ""
    seq: int = -1
    step: int = -1
    within: int = -1
    chunk: bool = False

    @property
    def given(self) -> bool:
        return bool(self.event_id) or self.seq >= 0 or self.step >= 0


def parse_cursor(text: str, alias: str) -> Cursor:
    """Raises `Invalid` in the words of the contract."""
    text = text.strip()
    if not text:
        return Cursor()
    if "," in text:
        event_id, _, rest = text.partition(",")
        offset, _, seq = rest.partition(",")
        if _whole(offset) and _whole(seq.strip().removeprefix("-")):
            return _after(event_id.strip(), int(seq))
        raise malformed(text)
    if ":" in text:
        run, _, rest = text.rpartition(":")
        run, _, step = run.rpartition(":")
        if not (_whole(step) and _whole(rest)):
            raise malformed(text)
        if run != alias:
            raise refused(f"last_event_id run_id mismatch: cursor='{run[:80]}' path='{alias[:80]}'")
        return Cursor(step=int(step), within=int(rest))
    if "." not in text:
        raise malformed(text)
    return _after(text, -1)


def _after(event_id: str, seq: int) -> Cursor:
    """A chunk says by its id which frame it came after."""
    found = _CHUNK.search(event_id.partition("~")[0])
    return Cursor(event_id, int(found[1]), chunk=True) if found else Cursor(event_id, seq)


def _whole(text: str) -> bool:
    text = text.strip()
    return text.isascii() and text.isdigit() and len(text) < 19


def malformed(text: str) -> Invalid:
    return refused(f"malformed last_event_id: '{text[:80]}'")


def refused(told: str) -> Invalid:
    return Invalid(told, [Problem(told, path="header.Last-Event-Id")])


class GraphStreams:
    """What one engine lets others follow."""

    def __init__(self, engine: Engine, feed: Feed, logs: Path) -> None:
        self._engine = engine
        self._feed = feed
        self.logs = logs
        self._files = FollowedFiles()
        self._counted: OrderedDict[str, tuple[int, int, Narration | None]] = OrderedDict()

    def close(self) -> None:
        self._files.close()

    async def _source(self, row: RunRow) -> RunState:
        await self._engine.refresh(f"run:{row.id}")
        source: RunState | None = await self._engine.state(f"run:{row.id}", row.scope)
        if source is None:
            raise not_found(row.alias)
        return source

    async def last_seq(self, row: RunRow) -> int:
        """Of the newest frame; -1 = none yet. Counted on from where the last question left it; of a run that has ended only the number is
        kept."""
        stream = f"run:{row.id}"
        seq, last, narration = self._counted.pop(stream, (0, -1, None))
        page = await self._engine.tail.read_stream(stream, seq)
        if page and narration is None:
            narration = Narration(row.alias, await self._source(row))
            page = page if not seq else await self._engine.tail.read_stream(stream)
        while page and narration is not None:
            for event in page:
                narration.tell(event)
            seq, last = page[-1].seq, narration.seq
            page = await self._engine.tail.read_stream(stream, seq)
        self._counted[stream] = (seq, last, None if row.status == "ended" else narration)
        if len(self._counted) > KEPT:
            self._counted.popitem(last=False)
        return last

    async def frames(self, row: RunRow, cursor: Cursor, live: bool) -> Frames:
        """The frames after a cursor until the run has ended and all is told; `live`: only of what happens from now on. Raises `Invalid`
        for a cursor that is not one of this run."""
        source = await self._source(row)
        skip = await self._before(row, cursor, source) if cursor.given else -1
        if live and not cursor.given:
            skip = await self.last_seq(row)
        narration = Narration(row.alias, source)
        chunks = Chunks(self.logs, self._files, narration, Places.parse(cursor.event_id))
        return self._follow(row, narration, chunks, skip, source.status == "ended")

    async def _follow(self, row: RunRow, narration: Narration, chunks: Chunks, skip: int, over: bool) -> Frames:
        """The log's frames, and between them the chunks as they are written."""
        stream = f"run:{row.id}"
        events = self._feed.follow(row.workspace, stream, 0, lambda event: event.stream == stream)
        coming: asyncio.Task[list[Event]] | None = None
        changed = asyncio.create_task(chunks.changed.wait())
        try:
            while True:
                coming = coming or asyncio.create_task(_next(events))
                await asyncio.wait({coming, changed}, timeout=chunks.wait_s, return_when=asyncio.FIRST_COMPLETED)
                made: list[dict[str, Any]] = []
                if coming.done():
                    page, coming = coming.result(), None
                    for event in page:
                        made += tell(narration, chunks, event, skip)
                        said = ends(event)
                        over = over if said is None else said
                    if not page and over:
                        return
                made += chunks.read() if narration.seq >= skip else []  # the client has what lies before
                if changed.done():
                    changed = asyncio.create_task(chunks.changed.wait())
                if made:
                    yield [framed(one) for one in made]
        finally:
            chunks.close()
            tasks = [task for task in (coming, changed) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await events.aclose()

    async def _before(self, row: RunRow, cursor: Cursor, source: RunState) -> int:
        """The number of the last frame a client got. One that lies beyond the end leaves only what is to come."""
        base = cursor.event_id.partition("~")[0]
        if cursor.chunk:
            if not base.startswith(f"{row.id}.c"):
                raise refused("cursor mismatch")
            return cursor.seq
        narration, seq, last, within = Narration(row.alias, source), 0, -1, dict[int, int]()
        while page := await self._engine.tail.read_stream(f"run:{row.id}", seq):
            seq = page[-1].seq
            for event in page:
                for one in narration.tell(event):
                    last, step = one["seq"], one["step"]
                    within[step] = within.get(step, -1) + 1
                    if cursor.seq == last and cursor.event_id and base != one["event_id"]:
                        raise refused("cursor mismatch")
                    if cursor.seq < 0 and base == one["event_id"]:
                        return last
                    if cursor.step == step and cursor.within == within[step]:
                        return last
        if cursor.seq >= 0:
            return min(cursor.seq, last)
        if cursor.event_id and cursor.step < 0:
            raise refused(f"malformed last_event_id: '{cursor.event_id[:80]}'")
        return last


def tell(narration: Narration, chunks: Chunks, event: Event, skip: int) -> list[dict[str, Any]]:
    """The frames of an event that were not told, after what the try that ends with it told before."""
    body, last = event.body, type(event.body) in ENDS_TRY
    rest = chunks.end(body.no) if last else []
    made = narration.tell(event)
    if type(body) is m.StepStarted:
        chunks.begin(body.no, event.seq)
    if made[0]["seq"] <= skip if made else narration.seq < skip:
        rest = []  # what the try told came before the event's first frame, which the client has
    mark = chunks.mark
    return [*rest, *({**one, "event_id": one["event_id"] + mark} for one in made if one["seq"] > skip)]


async def _next(events: AsyncGenerator[list[Event], None]) -> list[Event]:
    return await anext(events)


def framed(one: dict[str, Any]) -> Frame:
    """As a socket and an event stream have it; the id is the cursor after it."""
    return Frame(_encode(one), one["type"], f"{one['event_id']},{one['offset']},{one['seq']}")


def ends(event: Event) -> bool | None:
    kind = type(event.body)
    return True if kind is m.RunEnded else False if kind is m.RunReopened else None
