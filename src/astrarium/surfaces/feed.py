"""The log, read once for all who follow it live.

While anybody follows a workspace, one task reads what is committed and hands each event to those who want it. Nobody pushes back:
each follower has a bounded line, and one who falls behind reads the log again from where it was. Without followers nothing runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence

from ..errors import Unavailable
from ..kernel.engine import Engine
from ..kernel.tail import PAGE
from ..kernel.types import Event
from ..web.stream import Frame, Frames

MOST_WAITING = 2000
"""Events kept for one follower that has not read them yet."""

Wants = Callable[[Event], bool]
Translate = Callable[[Sequence[Event]], Awaitable[Sequence[Frame]]]
"""Events, in order and each once, as clients are told them: none, one or several frames each."""
Ends = Callable[[Event], bool | None]
"""Whether a life has ended with an event (True), goes on again (False), or neither (None)."""


class Follower:
    """One who follows. `woken` is set when there is something to read."""

    def __init__(self, wants: Wants) -> None:
        self.wants = wants
        self.woken = asyncio.Event()
        self.line: deque[Event] = deque()
        self.behind = True
        """Events were left out: the log has them."""
        self.failed: Unavailable | None = None

    def give(self, event: Event) -> None:
        if len(self.line) >= MOST_WAITING:
            self.line.clear()
            self.behind = True
        if not self.behind:
            self.line.append(event)
        self.woken.set()


class Feed:
    """Of one engine; a reading task for each workspace that is followed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._followers: dict[str, set[Follower]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @contextlib.contextmanager
    def follower(self, workspace: str, wants: Wants) -> Iterator[Follower]:
        """Be told of every event committed from here on that one wants."""
        follower = Follower(wants)
        self._followers.setdefault(workspace, set()).add(follower)
        if workspace not in self._tasks:
            task = self._tasks[workspace] = asyncio.create_task(self._read(workspace), name="astrarium-feed")
            task.add_done_callback(lambda task: self._stopped(workspace, task))
        try:
            yield follower
        finally:
            left = self._followers.get(workspace, set())
            left.discard(follower)
            if not left:
                self._followers.pop(workspace, None)
                if workspace in self._tasks:
                    self._tasks.pop(workspace).cancel()

    async def follow(self, workspace: str, stream: str, after: int, wants: Wants) -> AsyncGenerator[list[Event], None]:
        """Events after a position, in order, each once: of one life (`stream`), or with an empty one of the whole workspace. An empty
        list says that all there is has been read; the next one comes when there is more. Raises `Unavailable` when the log cannot be
        read."""
        with self.follower(workspace, wants) as follower:
            while True:
                follower.woken.clear()
                if follower.failed is not None:
                    raise follower.failed
                if follower.behind:
                    follower.behind = False
                    async for page in self._read_on(workspace, stream, after):
                        after = page[-1].position
                        yield [event for event in page if wants(event)]
                events = [event for event in follower.line if event.position > after]
                follower.line.clear()
                if events:
                    after = events[-1].position
                    yield events
                if not follower.woken.is_set():
                    yield []
                    await follower.woken.wait()

    async def frames(
        self,
        workspace: str,
        stream: str,
        after: int,
        wants: Wants,
        translate: Translate,
        ends: Ends | None = None,
        over: bool = False,
    ) -> Frames:
        """What clients are told of the events after a position: the one source of event streams and sockets. With `ends` until the life
        has ended and all of it is told (`over`: it had when that was asked), else for ever. Raises `Unavailable` like `follow`."""
        async for events in self.follow(workspace, stream, after, wants):
            for event in events:
                said = ends(event) if ends is not None else None
                over = over if said is None else said
            if events:
                if made := await translate(events):
                    yield made
            elif over and ends is not None:
                return

    async def _read_on(self, workspace: str, stream: str, after: int) -> AsyncIterator[list[Event]]:
        """The log after a position, page by page, to its end."""
        tail = self._engine.tail
        seq = 0
        if stream:
            sql = "SELECT max(seq) FROM events WHERE stream = ? AND position <= ?"
            seq = int((await self._engine.store.read(sql, (stream, after)))[0][0] or 0)
        while True:
            page = await (tail.read_stream(stream, seq) if stream else tail.read(workspace, after))
            if page:
                seq, after = page[-1].seq, page[-1].position
                yield page
            if len(page) < PAGE:
                return

    async def _read(self, workspace: str) -> None:
        """Hand on what is committed."""
        head = await self._engine.tail.head(workspace)
        for follower in self._followers.get(workspace, ()):
            follower.behind = True
            follower.woken.set()
        async for event in self._engine.tail.follow(workspace, head):
            for follower in self._followers.get(workspace, ()):
                if follower.wants(event):
                    follower.give(event)

    def _stopped(self, workspace: str, task: asyncio.Task[None]) -> None:
        """When the log cannot be read, all who follow are told, and the next one begins anew."""
        if task.cancelled():
            return
        error = task.exception()
        self._tasks.pop(workspace, None)
        for follower in self._followers.pop(workspace, set()):
            follower.failed = Unavailable(f"the log cannot be read: {error}")
            follower.woken.set()

    async def aclose(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
