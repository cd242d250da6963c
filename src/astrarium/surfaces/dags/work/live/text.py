"""The output of a step as it is written: its tries one after the other, byte for byte, from any place on."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple

import msgspec

from .....errors import Invalid, Problem
from .....kernel.ports import Store
from .....kernel.types import Event
from .....runs import message as m
from .....spec.graph import Graph
from .....store.log import LOOK_S, Followed, FollowedFiles, read_from
from .....web.stream import frame
from ....feed import Feed, Follower
from ... import wire
from ...views import query
from ...views.log import RunFiles, redirection, stream_of, targets_of
from ...views.query import RunRow, StepRow
from ...views.status import NODE_LABELS, NOT_STARTED, node_status

PIECE_BYTES = 64 * 1024
END = "end"
"""The name of the last frame of a stream."""
_encode = msgspec.json.Encoder().encode
Pieces = AsyncGenerator[bytes, None]


class Place(NamedTuple):
    """Where somebody is in a step's output: the attempt (round) of the run, the try, the bytes of it they have."""

    attempt: int = 0
    try_no: int = 0
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}.{self.try_no}.{self.offset}"


def parse_place(text: str) -> Place | None:
    """A cursor of a log, `<attempt>.<try>.<byte offset>`; a bare number is an offset into the first try. Raises `Invalid`."""
    if not text:
        return None
    parts = text.split(".")
    if len(parts) in (1, 3) and all(part.isascii() and part.isdigit() and len(part) <= 18 for part in parts):
        return Place(*map(int, parts)) if len(parts) == 3 else Place(1, 1, int(text))
    problem = Problem(f"must be the id of a frame or a byte offset, not {text[:40]!r}", path="after")
    raise Invalid(f"the cursor {problem.message}", [problem], hint="leave it out to begin anew")


class Output(NamedTuple):
    """Which output is followed: stdout or stderr of one step of a run."""

    row: RunRow
    graph: Graph
    no: int
    stream: str

    @property
    def kept_as(self) -> str:
        """The stream in whose files it is."""
        return stream_of(self.graph, self.graph.nodes[self.no], self.stream)

    @property
    def redirected(self) -> bool:
        """The step sends it to a file it names itself. Its tries leave links there: what they lead to is told as if each file were a
        try, mostly all of them are one."""
        return bool(redirection(self.graph.nodes[self.no], self.kept_as))


class StepText:
    """One client's reading. `place` is where it is; `cap_bytes` the most that is kept of a try's output (0 = no cap)."""

    def __init__(
        self, store: Store, files: RunFiles, followed: FollowedFiles, cap_bytes: int, output: Output, place: Place
    ) -> None:
        self.place = place
        self._store = store
        self._files = files
        self._followed_files = followed
        self._cap_bytes = 0 if output.redirected else cap_bytes
        self._output = output
        self._row = output.row
        self._step: StepRow | None = None
        self._tries = 0
        self._over = False
        self._path: Path | None = None
        self._followed: Followed | None = None
        self._hold = contextlib.ExitStack()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    async def has_more(self) -> bool:
        """Whether there is something after the place, or may yet be."""
        asked = self.place
        await self._look()
        if not self._over or self.place != asked or self.place.try_no < self._tries:
            return True
        path = await self._file()
        return bool(path is not None and path.is_file() and path.stat().st_size > asked.offset)

    async def pieces(self, feed: Feed) -> Pieces:
        """Frames until the step has ended and all it wrote is told."""
        stream, no = f"run:{self._row.id}", self._output.no

        def wants(event: Event) -> bool:
            return event.stream == stream and concerns(event, no)

        with self._hold, feed.follower(self._row.workspace, wants) as follower:
            first = True
            while True:
                follower.woken.clear()
                if follower.failed is not None:
                    raise follower.failed
                if first or self._told(follower):
                    first = False
                    await self._look()
                async for piece in self._all_there_is(follower.woken):
                    yield piece
                if self._over:
                    yield self._end()
                    return
                if not follower.woken.is_set():
                    await self._wait(follower.woken)

    def _told(self, follower: Follower) -> bool:
        told = follower.behind or bool(follower.line)
        follower.behind = False
        follower.line.clear()
        return told

    async def _look(self) -> None:
        """How the step stands: read before its files, so that what it wrote before its end is not missed."""
        self._row = await query.run_of(self._store, self._row.id) or self._row
        self._step = step = (await query.step_rows(self._store, self._row.id)).get(self._output.no)
        self._over = self._row.status == "ended" or (step is not None and step.status == "done")
        if step is not None and step.tries:
            self._tries = max(1, len(targets_of(self._files_of(step)))) if self._output.redirected else step.tries
            if self.place.attempt != step.round or self.place.try_no > self._tries:
                self._leave()
                self.place = Place(step.round)

    async def _all_there_is(self, woken: asyncio.Event) -> Pieces:
        if self.place.try_no:
            async for piece in self._rest(woken):
                yield piece
        while self.place.try_no < self._tries:
            self._leave()
            self.place = Place(self.place.attempt, self.place.try_no + 1)
            begins = wire.live.LogTry(self._output.graph.nodes[self._output.no].name, self._output.stream, *self.place[:2])
            yield frame(_encode(begins), event="try", id=str(self.place))
            async for piece in self._rest(woken):
                yield piece

    async def _rest(self, woken: asyncio.Event) -> Pieces:
        """What the present try has written beyond the place."""
        if self._path is None:
            self._follow(self._link(), woken)  # armed before the look: what appears after it is told
            self._path = await self._file()
        if self._path is None:
            return
        self._follow(self._path, woken)
        closed, read = self._closed, self.place.offset + len(self._decoder.getstate()[0])
        while room := self._room(read, closed):
            data, read = await asyncio.to_thread(read_from, self._path, read, room)
            if not data:
                break
            text = self._decoder.decode(data)
            if text:
                yield self._piece(text, read - len(self._decoder.getstate()[0]))
        if closed and (text := self._decoder.decode(b"", True)):
            yield self._piece(text, read)

    def _follow(self, path: Path | None, woken: asyncio.Event) -> None:
        """See to it that a change of this file, and of no other, wakes us, while somebody may write to it."""
        if self._followed is not None and self._followed.path != path:
            self._hold.close()
            self._followed = None
        if self._followed is None and path is not None and not self._closed:
            self._followed = self._hold.enter_context(self._followed_files.follow(path, woken))
        if self._followed is not None:
            self._followed.arm()

    @property
    def _closed(self) -> bool:
        """Nobody writes to the present try's file any more."""
        between = self._step is not None and self._step.status == "delayed" and not self._output.redirected
        return self._over or self.place.try_no < self._tries or between

    def _room(self, read: int, closed: bool) -> int:
        """How much may be read: what is beyond the cap while somebody writes is about to be cut off again."""
        return PIECE_BYTES if closed or not self._cap_bytes else max(0, min(PIECE_BYTES, self._cap_bytes - read))

    def _piece(self, text: str, offset: int) -> bytes:
        self.place = Place(self.place.attempt, self.place.try_no, offset)
        return frame(_encode(wire.live.LogText(text)), event="log", id=str(self.place))

    def _files_of(self, step: StepRow) -> list[Path]:
        return self._files.try_files(self._row, step, self._output.kept_as)

    def _link(self) -> Path | None:
        """The link the newest try of a redirected step leaves."""
        return self._files_of(self._step)[-1] if self._output.redirected and self._step is not None and self._step.tries else None

    async def _file(self) -> Path | None:
        """The file of the present try; None while the try has not said where it is."""
        if self._step is None:
            return None
        files = self._files_of(self._step)
        if self._output.redirected:
            files = await asyncio.to_thread(targets_of, files)
        return files[self.place.try_no - 1] if 0 < self.place.try_no <= len(files) else None

    def _leave(self) -> None:
        """The present try is told."""
        self._hold.close()
        self._path = self._followed = None
        self._decoder.reset()

    async def _wait(self, woken: asyncio.Event) -> None:
        """Until something was written, or happened to the step."""
        blind = self._followed is not None and self._followed.blind
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(woken.wait(), LOOK_S if blind else None)

    def _end(self) -> bytes:
        step, shown = self._step, NOT_STARTED
        if step is not None:
            policy = self._output.graph.nodes[self._output.no].tolerate
            marked = bool(step.tolerated and policy is not None and policy.mark_success)
            shown = node_status(step.status, step.outcome, partial=bool(step.partial), marked=marked)
        return frame(_encode(wire.live.StreamEnd(shown, NODE_LABELS[shown])), event=END)


def concerns(event: Event, no: int) -> bool:
    """Whether an event may change what is known of a step."""
    body = event.body
    if type(body) in (m.RunEnded, m.RunReopened) or getattr(body, "no", None) == no:
        return True
    return any(getattr(move, "no", None) == no for move in getattr(body, "moves", ()))
