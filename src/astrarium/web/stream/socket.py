"""WebSockets that tell what happens: the frames of an event stream, one text message each.

A client shows who it is by a header, by a ticket in the address (`?ticket=`; good once), or by its first message,
`{"type": "authenticate", "token": …}`. Who is refused before the socket is open is answered as a request is; later the socket is closed
with a code and a reason. Frames wait for a client in a line of bounded length. A client that takes nothing while its line is full is
slow: it is given what is in the line, cut off, and continues by the cursor of the last frame it got. What clients send is not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ...errors import AstrariumError, Forbidden, NotFound, TooOften, Unauthenticated
from ..caller import SESSION_COOKIE, Authenticate, authenticate_local, caller_of, credential_of, remember, take_ticket
from .sent import Frames, Streams

log = logging.getLogger("astrarium.web")

PING_S = 20.0
"""So often a client is asked whether it is there; one that does not answer for as long again is cut off."""
MOST_MESSAGE_BYTES = 64 * 1024
MOST_MESSAGES_S = 50
"""A client that sends larger messages, or more of them in a second, is cut off."""
MOST_REASON_BYTES = 123
FIRST_MESSAGE_S = 5.0
FLUSH_S = 10.0
"""What waits for a client that is to be cut off is given to it for so long."""
DRAIN_S = 1.0
"""The same when the server stops."""


class Ending(NamedTuple):
    """A close code, and what a client is told with it."""

    code: int
    reason: str


SLOW = Ending(1011, "slow consumer")
DRAINING = Ending(1001, "server draining")
CHATTY = Ending(1008, "too many messages")
UNAUTHENTICATED = Ending(4401, "unauthenticated")


class Manner(msgspec.Struct, frozen=True):
    """How one kind of socket ends: what is said when all is told, and the code for what there is not."""

    finished: str = "finished"
    unknown: int = 1008


class FirstMessage(msgspec.Struct, tag="authenticate"):
    token: str


_first = msgspec.json.Decoder(FirstMessage)


async def serve_socket(
    websocket: WebSocket,
    admit: Callable[[], Awaitable[object]],
    act: Callable[[WebSocket], Awaitable[Frames | None]],
    manner: Manner,
) -> None:
    """Let a client in and tell it the frames of `act`, until they end, the client leaves, is too slow, or the server stops; when `act`
    gives none, it has talked to the client itself. `admit` raises what keeps a caller out, `act` what is wrong with what it asks for.
    The open streams are counted by `app.state.streams`, where the server set it."""
    streams: Streams = getattr(websocket.app.state, "streams", None) or Streams()
    entered = False
    try:
        if not await _is_known(websocket):
            streams.check()
            await websocket.accept()
            await _hear_who(websocket)
        await admit()
        streams.enter()
        entered = True
        frames = await act(websocket)
        if frames is not None:
            if not _is_open(websocket):
                await websocket.accept()
            await EventSocket(websocket, frames, streams, manner.finished).run()
    except WebSocketDisconnect:
        log.debug("%s: the client left", websocket.url.path)
    except AstrariumError as error:
        if error.status >= 500 or (not _is_open(websocket) and isinstance(error, (Unauthenticated, Forbidden, TooOften))):
            raise
        with contextlib.suppress(WebSocketDisconnect):
            if not _is_open(websocket):
                await websocket.accept()
            await _close(websocket, ending_of(error, manner))
    finally:
        if entered:
            streams.leave()


def ending_of(error: AstrariumError, manner: Manner) -> Ending:
    """How a refusal is told to a client whose socket is open."""
    if isinstance(error, Unauthenticated):
        return UNAUTHENTICATED
    if isinstance(error, Forbidden):
        return Ending(4403, error.message)
    if isinstance(error, TooOften):
        return Ending(4429, error.message)
    return Ending(manner.unknown if isinstance(error, NotFound) else 1008, error.message)


def _is_open(websocket: WebSocket) -> bool:
    return websocket.application_state is not WebSocketState.CONNECTING


async def _is_known(websocket: WebSocket) -> bool:
    """Whether the request itself shows who calls (or nobody need show it). Raises `Unauthenticated` for what shows it wrongly."""
    if await take_ticket(websocket):
        return True
    try:
        await caller_of(websocket)
    except Unauthenticated:
        if credential_of(websocket.headers) or SESSION_COOKIE in websocket.cookies:
            raise
        return False
    return True


async def _hear_who(websocket: WebSocket) -> None:
    """The caller, as the first message shows. Raises `Unauthenticated`."""
    authenticate: Authenticate = getattr(websocket.app.state, "authenticate", authenticate_local)
    try:
        async with asyncio.timeout(FIRST_MESSAGE_S):
            message = await websocket.receive()
    except TimeoutError:
        raise Unauthenticated(f"no message came within {FIRST_MESSAGE_S:g} s") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    try:
        token = _first.decode(message.get("text") or message.get("bytes") or b"").token
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise Unauthenticated("the first message is no authentication") from error
    if not token:
        raise Unauthenticated("the first message holds no token")
    await remember(websocket, authenticate(token))


class EventSocket:
    """An open socket that is told frames."""

    def __init__(self, websocket: WebSocket, frames: Frames, streams: Streams, finished: str) -> None:
        self._websocket = websocket
        self._frames = frames
        self._streams = streams
        self._finished = finished
        self._line: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._over = False

    async def run(self) -> None:
        """Raises what the frames raise."""
        fill, send = asyncio.create_task(self._fill()), asyncio.create_task(self._send())
        heard, closing = asyncio.create_task(self._heard()), asyncio.create_task(self._streams.closed())
        try:
            await asyncio.wait({fill, send, heard, closing}, return_when=asyncio.FIRST_COMPLETED)
            if send.done():
                return await send  # raises: the client left
            if heard.done() and heard.result() is None:
                return None
            ending = DRAINING if closing.done() else heard.result() if heard.done() else None
            if ending is not None:
                fill.cancel()
            self._over = True
            self._more.set()
            others = {one for one in (heard, closing) if not one.done()}
            await asyncio.wait(
                {send, *others}, timeout=DRAIN_S if closing.done() else FLUSH_S, return_when=asyncio.FIRST_COMPLETED
            )
            await _close(self._websocket, ending or await fill)
        finally:
            for task in (fill, send, heard, closing):
                task.cancel()
            await asyncio.gather(fill, send, heard, closing, return_exceptions=True)
            await self._frames.aclose()

    async def _fill(self) -> Ending:
        async for made in self._frames:
            for frame in made:
                if not frame.data:
                    continue
                if len(self._line) >= self._streams.waiting and not await self._has_room():
                    log.info("%s: a client took nothing for %g s and is cut off", self._websocket.url.path, self._streams.slow_s)
                    return SLOW
                self._line.append(frame.data)
                self._more.set()
        while self._line:
            if not await self._has_room():
                return SLOW
        return Ending(1000, self._finished)

    async def _has_room(self) -> bool:
        """Whether the client takes a frame in time."""
        self._room.clear()
        try:
            async with asyncio.timeout(self._streams.slow_s):
                await self._room.wait()
        except TimeoutError:
            return False
        return True

    async def _send(self) -> None:
        """Give what waits to the client, one after the other, as it takes them."""
        while True:
            while self._line:
                await self._websocket.send({"type": "websocket.send", "text": self._line[0].decode()})
                self._line.popleft()
                self._room.set()
            if self._over:
                return
            self._more.clear()
            await self._more.wait()

    async def _heard(self) -> Ending | None:
        """Until the client has left (None), or sends more than it may."""
        clock, since, count = asyncio.get_running_loop().time, 0.0, 0
        while True:
            message: Any = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return None
            if clock() - since >= 1.0:
                since, count = clock(), 0
            count += 1
            if count > MOST_MESSAGES_S:
                return CHATTY


async def _close(websocket: WebSocket, ending: Ending) -> None:
    reason = ending.reason.encode()[:MOST_REASON_BYTES].decode("utf-8", "ignore")
    with contextlib.suppress(TimeoutError):  # it takes not even this: the connection is let go
        async with asyncio.timeout(DRAIN_S):
            await websocket.close(ending.code, reason)
