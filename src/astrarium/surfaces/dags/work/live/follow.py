"""Following runs and their logs: what happens is told from the log of events, what is written from the files themselves.

Nothing is asked for again and again: a commit wakes those who follow the run, a write those who follow the file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import msgspec

from .....errors import Gone
from .....kernel.engine import Engine
from .....kernel.types import Event
from .....runs import message as m
from .....spec.graph import Graph
from .....store.log import FollowedFiles
from .....web.stream import frame
from ....feed import Feed
from ... import wire
from ...views import query
from ...views.journal import told
from ...views.live import LiveViews, Wanted
from ...views.log import RunFiles
from ...views.query import RunRow
from ...views.run import number as run_number
from ...views.status import RUN_LABELS
from .text import END, Output, Place, StepText

_encode = msgspec.json.Encoder().encode
Pieces = AsyncGenerator[bytes, None]


class Live:
    """What one engine lets others follow. `feed` is its log; `cap_bytes`: most kept of a try's output (0 = no cap)."""

    def __init__(self, engine: Engine, feed: Feed, files: RunFiles, cap_bytes: int) -> None:
        self.feed = feed
        self.views = LiveViews(engine)
        self._engine = engine
        self._files = files
        self._cap_bytes = cap_bytes
        self._followed = FollowedFiles()

    def close(self) -> None:
        self._followed.close()

    # -- events -------------------------------------------------------------------------------------------------------

    async def all_events(self, workspace: str, wanted: Wanted, begun: tuple[int, int]) -> Pieces:
        """Everything that happens to runs of a workspace, from a cursor on, for ever."""
        after = begun[0] - 1 if begun[1] else begun[0]
        async for events in self.feed.follow(workspace, "", after, lambda event: event.stream.startswith("run:")):
            made = await self.views.frames(events, wanted, begun)
            if made:
                yield made
            elif events:
                yield f"id: {events[-1].position}\n\n".encode()  # the cursor moves on though nothing is told

    async def run_events(self, row: RunRow, wanted: Wanted, begun: tuple[int, int], on: bool) -> Pieces:
        """What happens to one run and its steps; `on` = also after its end, when it may be retried."""
        after = begun[0] - 1 if begun[1] else begun[0]
        async for events in self._of_run(row, after, on):
            made = await self.views.frames(events, wanted, begun)
            if made:
                yield made
        yield await self._end_of_run(row)

    async def run_text(self, row: RunRow, graph: Graph, after: int) -> Pieces:
        """The run's own log: its events as lines."""
        names = [node.name for node in graph.nodes]
        async for events in self._of_run(row, after, False):
            for event in events:
                text = "".join(f"{line}\n" for line in told(event, names))
                yield frame(_encode(wire.live.LogText(text)), event="log", id=str(event.position))
        yield await self._end_of_run(row)

    async def _of_run(self, row: RunRow, after: int, on: bool) -> AsyncGenerator[Sequence[Event], None]:
        """A run's events until it has ended and all of them are told. `row` was read before."""
        stream, over = f"run:{row.id}", row.status == "ended"
        async for events in self.feed.follow(row.workspace, stream, after, lambda event: event.stream == stream):
            for event in events:
                if type(event.body) in (m.RunEnded, m.RunReopened):
                    over = type(event.body) is m.RunEnded
            if events:
                yield events
            elif over and not on:
                return

    async def _end_of_run(self, row: RunRow) -> bytes:
        shown = run_number(await query.run_of(self._engine.store, row.id) or row)
        return frame(_encode(wire.live.StreamEnd(shown, RUN_LABELS[shown])), event=END)

    async def check_kept(self, row: RunRow, after: int) -> bool:
        """Whether a run has events after a position, or will have. Raises `Gone` when some of them are no longer kept."""
        sql = "SELECT min(seq), min(position), max(position) FROM events WHERE stream = ?"
        first, oldest, newest = (await self._engine.store.read(sql, (f"run:{row.id}",)))[0]
        if first is None or (first > 1 and after < oldest):
            told = f"the events of run {row.alias!r} of {row.name} are no longer kept"
            raise Gone(told, hint="its details and logs may still be there: GET /api/v2/dag-runs/{name}/{dagRunId}")
        return bool(newest > after or row.status != "ended")

    # -- output of steps ----------------------------------------------------------------------------------------------

    async def step_text(self, output: Output, place: Place | None) -> Pieces | None:
        """What a step writes, from a place on, until the step has ended; None when there is nothing after the place and never will be."""
        text = StepText(self._engine.store, self._files, self._followed, self._cap_bytes, output, place or Place())
        return text.pieces(self.feed) if place is None or await text.has_more() else None
