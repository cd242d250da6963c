"""Request bodies that come compressed (`Content-Encoding: gzip`), as clients of the build registry send large ones.

They are unpacked piece by piece as they are read, up to a limit: a small body can say a lot.
"""

from __future__ import annotations

import asyncio
import zlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import Invalid, Problem, TooMuch

MOST = 64 * 1024 * 1024
"""Bytes a body may have once it is unpacked."""
PIECE = 256 * 1024
GZIP = 31
"""What zlib calls the format."""
ENCODING = b"content-encoding"
GONE = (ENCODING, b"content-length")
"""Headers that are not true any more of what the application reads."""


class Inflate:
    """ASGI middleware. What is not compressed passes untouched; other encodings are left to the application."""

    def __init__(self, app: ASGIApp, most: int = MOST) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_gzip(scope):
            await self.app(scope, receive, send)
            return
        plain = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in GONE]}
        try:
            await self.app(plain, Unpacked(receive, self.most).receive, send)
        finally:
            if "endpoint" in plain:
                scope["endpoint"] = plain["endpoint"]  # an error after a route was found is another than one before


class Unpacked:
    """The messages of one request, unpacked."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._unpack = zlib.decompressobj(GZIP)
        self._rest = b""
        self._more = True
        self._read = self._made = 0

    async def receive(self) -> Message:
        """Raises `TooMuch` above the limit, `Invalid` for what is no gzip."""
        if not self._rest:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._rest, self._more = message.get("body", b""), message.get("more_body", False)
            self._read += len(self._rest)
        else:
            await asyncio.sleep(0)  # others have their turn between the pieces of a large body
        try:
            piece = self._unpack.decompress(self._rest, PIECE)
        except zlib.error as error:
            raise _wrong(str(error)) from None
        self._rest = self._unpack.unconsumed_tail
        if self._unpack.eof and self._unpack.unused_data:
            raise _wrong("there is something after its end")
        self._made += len(piece)
        if self._made > self._most:
            raise TooMuch(f"the request body is larger than {self._most:,} bytes once it is unpacked", hint="send it in parts")
        ended = not self._rest and not self._more
        if ended and self._read and not self._unpack.eof:
            piece += self._last()
        return {"type": "http.request", "body": piece, "more_body": not ended}

    def _last(self) -> bytes:
        """What the unpacker still has."""
        piece = self._unpack.flush()
        if not self._unpack.eof:
            raise _wrong("it is cut short")
        return piece


def _is_gzip(scope: Scope) -> bool:
    return any(name == ENCODING and value.strip().lower() in (b"gzip", b"x-gzip") for name, value in scope["headers"])


def _wrong(why: str) -> Invalid:
    told = f"is not valid gzip: {why}"
    return Invalid(f"the request body {told}", [Problem(told)], hint="send it without Content-Encoding, or compress it anew")
