"""Server-Sent Events: frames, ends, clients who leave, are slow, or are too many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.requests import Request

from astrarium.errors import Invalid, Unavailable
from astrarium.web.stream import HEARTBEAT, RETRY, EventStream, Streams, cursor_of, frame, parse_flag


class Client:
    """The other end of an answer: what it was sent, whether it takes more, when it leaves."""

    def __init__(self, takes: int = 1000) -> None:
        self.takes = takes
        self.got: list[bytes] = []
        self.complete = False
        self.left = asyncio.Event()
        self.told = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            return
        if len(self.got) >= self.takes:
            await asyncio.Event().wait()
        if message["body"]:
            self.got.append(message["body"])
        self.complete = not message.get("more_body", False)
        self.told.set()

    async def until(self, number: int) -> None:
        async with asyncio.timeout(10):
            while len(self.got) < number:
                self.told.clear()
                await self.told.wait()


class Source:
    """Gives its pieces, then goes on for ever, or ends."""

    def __init__(self, *pieces: bytes, endless: bool = False) -> None:
        self.closed = False
        self.given = 0
        self._pieces = pieces
        self._endless = endless

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self._pieces:
                self.given += 1
                yield piece
            if self._endless:
                await asyncio.Event().wait()
        finally:
            self.closed = True


def start(
    source: Source, client: Client, streams: Streams | None = None, method: str = "GET", **more: float
) -> asyncio.Task[None]:
    answer = EventStream(source.pieces(), streams or Streams(), **more)

    async def run() -> None:
        await answer({"type": "http", "method": method}, client.receive, client.send)

    return asyncio.create_task(run())


def test_a_frame() -> None:
    assert frame(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert frame(b"1", event="log", id="3.1") == b"id: 3.1\nevent: log\ndata: 1\n\n"


async def test_a_source_that_ends_completes_the_answer() -> None:
    source, client, streams = Source(b"a", b"b"), Client(), Streams()
    await start(source, client, streams)
    assert client.got == [RETRY, b"a", b"b"]
    assert client.complete and source.closed and streams.open == 0


async def test_a_client_who_leaves_ends_the_source() -> None:
    source, client, streams = Source(b"a", endless=True), Client(), Streams()
    task = start(source, client, streams)
    await client.until(2)
    assert streams.open == 1
    client.left.set()
    await task
    assert source.closed and not client.complete and streams.open == 0


async def test_closing_ends_all_streams_in_good_order_and_takes_no_more() -> None:
    streams, clients = Streams(), [Client(), Client()]
    tasks = [start(Source(b"a", endless=True), client, streams) for client in clients]
    for client in clients:
        await client.until(2)
    streams.close()
    await asyncio.gather(*tasks)
    assert all(client.complete for client in clients)
    with pytest.raises(Unavailable, match="stopping"):
        streams.enter()


async def test_a_slow_client_is_cut_off_and_nothing_piles_up_for_it() -> None:
    source, client, streams = Source(*[b"x"] * 1000), Client(takes=3), Streams()
    await start(source, client, streams, slow_s=0.01)
    assert source.given == 3 and source.closed
    assert not client.complete and streams.open == 0


async def test_silence_is_filled_with_comments() -> None:
    source, client = Source(endless=True), Client()
    task = start(source, client, heartbeat_s=0.005)
    await client.until(4)
    assert client.got[1:4] == [HEARTBEAT] * 3
    assert all(line.startswith(b":") for line in HEARTBEAT.split())
    client.left.set()
    await task


async def test_a_heartbeat_loses_no_piece() -> None:
    class Late(Source):
        async def pieces(self) -> AsyncGenerator[bytes, None]:
            for number in range(3):
                await client.until(2 + 3 * number)
                yield b"piece %d" % number

    client = Client()
    await start(Late(), client, heartbeat_s=0.002)
    assert [piece for piece in client.got if piece.startswith(b"piece")] == [b"piece 0", b"piece 1", b"piece 2"]


async def test_too_many_streams_are_refused() -> None:
    streams, client = Streams(most=1), Client()
    task = start(Source(endless=True), client, streams)
    await client.until(1)
    with pytest.raises(Unavailable, match="1 streams"):
        await start(Source(endless=True), Client(), streams)
    client.left.set()
    await task
    assert streams.open == 0


async def test_head_gets_headers_only() -> None:
    source, client = Source(b"a", endless=True), Client()
    await start(source, client, method="HEAD")
    assert client.got == [] and client.complete


async def test_a_source_that_breaks_ends_the_stream_loudly() -> None:
    class Broken(Source):
        async def pieces(self) -> AsyncGenerator[bytes, None]:
            yield b"a"
            raise Unavailable("the log cannot be read")

    streams, client = Streams(), Client()
    with pytest.raises(Unavailable):
        await start(Broken(), client, streams)
    assert streams.open == 0 and not client.complete


def asked(query: bytes, *headers: tuple[bytes, bytes]) -> Request:
    return Request({"type": "http", "query_string": query, "headers": list(headers)})


def test_a_reconnecting_browsers_header_is_newer_than_its_address() -> None:
    assert cursor_of(asked(b"after=3")) == "3"
    assert cursor_of(asked(b"after=3", (b"last-event-id", b"7"))) == "7"
    assert cursor_of(asked(b"")) == ""


def test_flags() -> None:
    for text, wanted in ((b"true", True), (b"1", True), (b"", False), (b"false", False), (b"0", False)):
        assert parse_flag(asked(b"f=" + text), "f") is wanted
    with pytest.raises(Invalid, match="true or false"):
        parse_flag(asked(b"f=maybe"), "f")
