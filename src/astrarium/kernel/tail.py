"""Reading on: live and replay are the same read of the log after a position."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable

from .machine import Registry
from .ports import NewEvent, Store
from .types import Event

PAGE = 500
EVENT_COLUMNS = "position, workspace, stream, seq, at, type, v, actor, body"


class Tail:
    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._wake = asyncio.Event()
        self._kept: dict[str, list[deque[NewEvent]]] = {}

    def keep(self, events: Iterable[NewEvent]) -> None:
        """These were just committed, and nobody else commits: who follows need not read them from the store."""
        if self._kept:
            for event in events:
                for kept in self._kept.get(event.workspace, ()):
                    kept.append(event)

    def wake(self) -> None:
        """Something was committed: whoever waits reads again. A nudge without data."""
        wake, self._wake = self._wake, asyncio.Event()
        wake.set()

    async def read(self, workspace: str, after: int = 0, limit: int = PAGE) -> list[Event]:
        """Events of a workspace after a position, oldest first."""
        sql = f"SELECT {EVENT_COLUMNS} FROM events WHERE workspace = ? AND position > ? ORDER BY position LIMIT ?"
        return [self._event(row) for row in await self._store.read(sql, (workspace, after, limit))]

    async def read_stream(self, stream: str, after_seq: int = 0, limit: int = PAGE) -> list[Event]:
        """Events of one life after a sequence number, oldest first."""
        sql = f"SELECT {EVENT_COLUMNS} FROM events WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?"
        return [self._event(row) for row in await self._store.read(sql, (stream, after_seq, limit))]

    async def follow(self, workspace: str, after: int = 0) -> AsyncIterator[Event]:
        """Every event of a workspace after a position, for ever: each once, in order, without gaps."""
        kept: deque[NewEvent] = deque(maxlen=PAGE)
        self._kept.setdefault(workspace, []).append(kept)
        alone = not self._store.shared  # then all that comes is kept
        full = True  # there may be more to read than was
        try:
            while True:
                wake, page = self._wake, []
                if kept and kept[0].position <= after + 1:  # positions have no gaps: what is kept is all there is
                    page = [self._event(told(event)) for event in kept if event.position > after]
                    kept.clear()
                elif kept or full or not alone:
                    page = await self.read(workspace, after)
                    full = len(page) == PAGE
                for event in page:
                    after = event.position
                    yield event
                if not full and not kept:
                    await wake.wait()
        finally:
            lines = [line for line in self._kept.pop(workspace) if line is not kept]
            if lines:
                self._kept[workspace] = lines

    async def head(self, workspace: str) -> int:
        """The position of the newest event."""
        rows = await self._store.read("SELECT position FROM log_heads WHERE workspace = ?", (workspace,))
        return int(rows[0][0]) if rows else 0

    async def changed(self) -> None:
        """Wait until something was committed after this call."""
        await self._wake.wait()

    def _event(self, row: tuple[object, ...]) -> Event:
        position, workspace, stream, seq, at, type_name, v, actor, body = row
        data = body.encode() if isinstance(body, str) else bytes(body)  # type: ignore[call-overload]
        decoded = self._registry.of(str(stream)).decode(str(type_name), int(v), data)  # type: ignore[call-overload]
        return Event(position, workspace, stream, seq, at, actor, decoded, v)  # type: ignore[arg-type]


def told(event: NewEvent) -> tuple[object, ...]:
    """As the store would tell it."""
    return event.position, event.workspace, event.stream, event.seq, event.at, event.type, event.v, event.actor, event.body
