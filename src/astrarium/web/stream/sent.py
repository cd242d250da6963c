"""Server-Sent Events: frames of text, and an answer that goes on until its source ends, the client leaves or the server closes.

A stream pulls: it asks its source for the next piece when the client has taken the last one, so nothing piles up for a slow
client and no writer ever waits for one. A client continues where it was by the id of the last frame it got, in `Last-Event-ID`
(browsers send it by themselves) or `?after=`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Sequence
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from ...errors import Invalid, Problem, Unavailable

log = logging.getLogger("astrarium.web")

MEDIA = "text/event-stream"
HEARTBEAT_S = 15.0
"""A comment is sent after so long without a frame, so that proxies and clients see that the stream lives."""
SLOW_S = 30.0
"""A client that takes nothing for so long is cut off; it continues by its last id."""
MOST_STREAMS = 10_000
WAITING = 100
TAKES_NOTHING_S = 5.0
RETRY = b"retry: 1000\n\n"
HEARTBEAT = b":\n\n"
HEADERS = [
    (b"content-type", f"{MEDIA}; charset=utf-8".encode()),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]

Pieces = AsyncGenerator[bytes, None]
"""Frames as bytes, several in one piece where they come together."""


class Frame(NamedTuple):
    """One thing a client is told, by an event stream or a socket: `data` is JSON. `id` is the cursor after it; a frame without data
    only moves the cursor."""

    data: bytes
    event: str = ""
    id: str = ""


Frames = AsyncGenerator[Sequence[Frame], None]


async def as_pieces(frames: Frames) -> Pieces:
    """Frames as an event stream has them; those that come together are one piece."""
    async for made in frames:
        told = b"".join(frame(one.data, event=one.event, id=one.id) if one.data else f"id: {one.id}\n\n".encode() for one in made)
        if told:
            yield told


def frame(data: bytes, *, event: str = "", id: str = "") -> bytes:
    """One frame. `data` is JSON, which has no line ends; `id` is the cursor after this frame (empty = none of its own)."""
    head = (f"id: {id}\n" if id else "") + (f"event: {event}\n" if event else "")
    return head.encode() + b"data: " + data + b"\n\n"


def cursor_of(request: Request) -> str:
    """Where the client wants to go on: the id of the last frame it got, empty = no wish. A reconnecting browser's header is newer
    than its address."""
    return request.headers.get("last-event-id", "").strip() or request.query_params.get("after", "").strip()


def parse_flag(request: Request, name: str) -> bool:
    """`true` or `false` (or 1, 0, empty) of the query. Raises `Invalid`."""
    text = request.query_params.get(name, "").strip().lower()
    if text in ("true", "1"):
        return True
    if text in ("", "false", "0"):
        return False
    problem = Problem(f"{name} must be true or false, not {text[:40]!r}", path=name)
    raise Invalid(problem.message, [problem])


class Streams:
    """The open streams and sockets of one server. `waiting`: most frames that wait for one socket's client; `slow_s`: how long it may take
    none of them while there are so many."""

    def __init__(self, most: int = MOST_STREAMS, *, waiting: int = WAITING, slow_s: float = TAKES_NOTHING_S) -> None:
        self.most = most
        self.waiting = waiting
        self.slow_s = slow_s
        self.open = 0
        self._closing: asyncio.Event = asyncio.Event()
        self._empty: asyncio.Event = asyncio.Event()

    @property
    def closing(self) -> bool:
        """Whether the server stops."""
        return self._closing.is_set()

    def check(self) -> None:
        """Raises `Unavailable` when there are too many, or the server is closing."""
        if self._closing.is_set():
            raise Unavailable("the server is stopping", hint="connect again once it is back")
        if self.open >= self.most:
            raise Unavailable(f"{self.most:,} streams are open already", hint="close some, or read the lists instead")

    def enter(self) -> None:
        """One more. Raises `Unavailable` like `check`."""
        self.check()
        self._empty.clear()
        self.open += 1

    def leave(self) -> None:
        self.open -= 1
        if not self.open:
            self._empty.set()

    def close(self) -> None:
        """End every stream in good order: clients connect again and continue."""
        self._closing.set()

    async def closed(self) -> None:
        await self._closing.wait()

    async def ended(self) -> None:
        """Wait until none is open: after `close`, until all clients were told."""
        if self.open:
            await self._empty.wait()


class EventStream:
    """The answer. Made when the request is known to be good: what `pieces` raises later can only end the stream."""

    status_code = 200

    def __init__(self, pieces: Pieces, streams: Streams, *, heartbeat_s: float = HEARTBEAT_S, slow_s: float = SLOW_S) -> None:
        self._pieces = pieces
        self._streams = streams
        self._heartbeat_s = heartbeat_s
        self._slow_s = slow_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._streams.enter()
        ends = [asyncio.create_task(_left(receive)), asyncio.create_task(self._streams.closed())]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            if scope["method"] == "HEAD" or await self._pump(send, ends):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._streams.leave()
            await _end(*ends)
            await self._pieces.aclose()

    async def _pump(self, send: Send, ends: list[asyncio.Task[None]]) -> bool:
        """Send piece after piece; whether the answer is to be completed (the client is there, and takes it)."""
        if not await self._sent(send, RETRY):
            return False
        coming: asyncio.Task[bytes | None] | None = None
        try:
            while True:
                coming = coming or asyncio.create_task(_next(self._pieces))
                await asyncio.wait({coming, *ends}, timeout=self._heartbeat_s, return_when=asyncio.FIRST_COMPLETED)
                if ends[0].done():
                    return False
                if ends[1].done():
                    return True
                piece = HEARTBEAT
                if coming.done():
                    made, coming = coming.result(), None
                    if made is None:
                        return True
                    piece = made
                if not await self._sent(send, piece):
                    return False
        finally:
            if coming is not None:
                await _end(coming)

    async def _sent(self, send: Send, piece: bytes) -> bool:
        """Whether the client took the piece in time; the connection's own small buffer is all that is kept for it."""
        try:
            await asyncio.wait_for(
                _as_coroutine(send({"type": "http.response.body", "body": piece, "more_body": True})), self._slow_s
            )
        except TimeoutError:
            log.info("a stream's client took nothing for %g s and is cut off", self._slow_s)
            return False
        return True


async def _next(pieces: Pieces) -> bytes | None:
    """The next piece; None at the end."""
    return await anext(pieces, None)


async def _left(receive: Receive) -> None:
    """Until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _as_coroutine(awaited: Awaitable[None]) -> Coroutine[Any, Any, None]:
    async def wait() -> None:
        await awaited

    return wait()
