"""Sockets and their twin, the event stream: an engine's log, a real server, and a real client of each."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from astrarium.errors import Invalid, NotFound, Unauthenticated, Unavailable
from astrarium.kernel.audit import AuditLog
from astrarium.kernel.engine import Engine
from astrarium.kernel.machine import Registry
from astrarium.kernel.record.entry import DropEntry, EntryDropped, EntryMachine, EntryPut, PutEntry
from astrarium.kernel.types import Actor, Command, Event, Scope
from astrarium.server import QuietServer, QuietSocket
from astrarium.store.sqlite import SqliteStore
from astrarium.surfaces.feed import Feed
from astrarium.surfaces.operation import Operation, Socket, mount, mount_sockets
from astrarium.web import app as web
from astrarium.web.caller import Caller
from astrarium.web.problems import Shapes
from astrarium.web.stream import MEDIA, EventStream, Frame, Frames, Streams, as_pieces
from astrarium.web.stream import socket as toolkit
from astrarium.web.stream.socket import MOST_MESSAGE_BYTES, MOST_MESSAGES_S, Manner
from tests.kernel.book import open_engine

pytestmark = pytest.mark.net
HERE = Scope("ws", "env")
WAIT_S = 15.0
ANNA = Caller(Actor("user", "anna"), HERE, capabilities=frozenset(("read",)))
BEN = Caller(Actor("user", "ben"), HERE)


async def translate(events: Sequence[Event]) -> list[Frame]:
    """Each put is one frame, each end two, a touch none."""
    made: list[Frame] = []
    for event in events:
        told: list[dict[str, Any]] = (
            [{"n": event.body.body["n"]}] if isinstance(event.body, EntryPut) else [{"end": 1}, {"end": 2}]
        )
        if isinstance(event.body, EntryPut) and "fill" in event.body.body:
            told[0]["fill"] = event.body.body["fill"]
        made += [Frame(json.dumps({**one, "at": event.position}).encode(), "told", str(event.position)) for one in told]
    return made


class World:
    """A server of this loop: `/s/{id}` tells what happens to an entry, as socket and as stream; `server` and `url` lead there."""

    def __init__(self, engine: Engine, streams: Streams) -> None:
        self.engine = engine
        self.streams = streams
        self.feed = Feed(engine)
        self.app = web.create_app(version="1", shapes=Shapes(), body_max_bytes=1000, hosts=[])
        self.app.state.streams, self.app.state.authenticate, self.app.state.take_ticket = (
            streams,
            self.authenticate,
            self.take_ticket,
        )
        self.tickets = {"ticket-1": ANNA}
        self.open = False
        self.broken: Exception | None = None
        row = Socket("/s/{id}", "streamS", "", self.frames, "read", manner=Manner("run finished"))
        mount_sockets(self.app, "", [row])
        mount(self.app, "", [Operation("GET", "/s/{id}", "followS", "", self.twin, needs="read", media=MEDIA)])
        self.url = ""
        self.server: QuietServer | None = None

    async def authenticate(self, credential: str) -> Caller:
        known = {"anna": ANNA, "ben": BEN} | ({"": ANNA} if self.open else {})
        if credential not in known:
            raise Unauthenticated("nobody")
        return known[credential]

    async def take_ticket(self, ticket: str) -> Caller:
        if ticket not in self.tickets:
            raise Unauthenticated("no such ticket")
        return self.tickets.pop(ticket)

    async def frames(self, asked: WebSocket | Request) -> Frames:
        id_ = asked.path_params["id"]
        if id_.startswith("missing"):
            raise NotFound(f"run '{id_}' not found")
        after = asked.headers.get("last-event-id", "") or asked.query_params.get("after", "0")
        if not after.isdigit():
            raise Invalid(f"malformed last_event_id: '{after}'")
        state = await self.engine.state(f"entry:note/{id_}", HERE)
        over = state is not None and state.entry.dropped_at > 0
        stream = f"entry:note/{id_}"
        frames = self.feed.frames("ws", stream, int(after), lambda event: event.stream == stream, translate, ends, over)
        return frames if self.broken is None else self.breaking(self.broken)

    async def breaking(self, error: Exception) -> AsyncGenerator[Sequence[Frame], None]:
        yield [Frame(b'{"n": 0}')]
        raise error

    async def twin(self, request: Request) -> Response:
        return EventStream(as_pieces(await self.frames(request)), self.streams)  # type: ignore[return-value]

    async def put(self, n: int, fill: int = 0, id_: str = "1") -> None:
        body: dict[str, Any] = {"n": n} | ({"fill": "x" * fill} if fill else {})
        await self.engine.submit(Command(f"entry:note/{id_}", PutEntry("", body, "me"), HERE))

    async def end(self, id_: str = "1") -> None:
        await self.engine.submit(Command(f"entry:note/{id_}", DropEntry("me"), HERE))

    def connect(self, path: str = "/s/1", credential: str = "anna", **settings: Any) -> connect:
        headers = {"x-api-key": credential} if credential else {}
        headers |= settings.pop("headers", {})
        settings = {"open_timeout": WAIT_S, "close_timeout": WAIT_S, "max_queue": None, "proxy": None} | settings
        return connect(self.url + path, additional_headers=headers, **settings)


def ends(event: Event) -> bool | None:
    return isinstance(event.body, EntryDropped) or None


@asynccontextmanager
async def opened(engine: Engine, streams: Streams, buffer: int = 0, ping_s: float = 20.0) -> AsyncIterator[World]:
    world = World(engine, streams)
    listener = socket.create_server(("127.0.0.1", 0))
    if buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    config = uvicorn.Config(
        world.app, lifespan="off", log_config=None, access_log=False, ws=QuietSocket, ws_max_size=MOST_MESSAGE_BYTES,
        ws_per_message_deflate=False, timeout_graceful_shutdown=2, ws_ping_interval=ping_s, ws_ping_timeout=ping_s,
    )  # fmt: skip
    world.server = server = QuietServer(config, streams, lambda: asyncio.sleep(0))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    world.url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield world
    finally:
        server.should_exit = server.force_exit = True
        await asyncio.wait_for(serving, WAIT_S)
        await world.feed.aclose()
        listener.close()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    registry = Registry()
    registry.add_machine(EntryMachine())
    registry.add_machine(AuditLog())
    async with open_engine(SqliteStore(tmp_path / "a.db", tables=registry.tables, synchronous="normal"), registry) as engine:
        yield engine


@pytest.fixture
async def world(engine: Engine) -> AsyncIterator[World]:
    async with opened(engine, Streams()) as world:
        yield world


async def read(client: ClientConnection, number: int) -> list[dict[str, Any]]:
    return [json.loads(await asyncio.wait_for(client.recv(), WAIT_S)) for _ in range(number)]


async def closed(client: ClientConnection) -> tuple[int, str]:
    """How the server closed the socket, after whatever it still told."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            await asyncio.wait_for(client.recv(), WAIT_S)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.01)


async def test_what_was_and_what_comes(world: World) -> None:
    await world.put(1)
    async with world.connect() as client:
        assert [one["n"] for one in await read(client, 1)] == [1]
        await world.put(2)
        await world.put(3)
        assert [one["n"] for one in await read(client, 2)] == [2, 3]
        await world.end()
        assert [one["end"] for one in await read(client, 2)] == [1, 2]
        assert await closed(client) == (1000, "run finished")
    async with world.connect() as late:
        assert len(await read(late, 5)) == 5
        assert await closed(late) == (1000, "run finished")


@pytest.mark.parametrize("steps", [(1,), (3, 1, 7), (40, 2)])
async def test_no_gap_and_no_double(world: World, steps: tuple[int, ...]) -> None:
    """A client that comes back again and again by its cursor, while events go on."""

    async def go_on() -> None:
        for n in range(120):
            await world.put(n)
        await world.end()

    writing = asyncio.create_task(go_on())
    got: list[dict[str, Any]] = []
    turn = 0
    while not any("end" in one for one in got):
        async with world.connect(f"/s/1?after={got[-1]['at'] if got else 0}") as client:
            for _ in range(steps[turn % len(steps)]):
                got += await read(client, 1)
                if "end" in got[-1]:
                    break
        turn += 1
    await writing
    assert [one["n"] for one in got if "n" in one] == list(range(120))


async def test_the_twin_tells_the_same(world: World) -> None:
    for n in range(3):
        await world.put(n)
    await world.end()
    async with world.connect() as client:
        told = await read(client, 5)
    async with httpx2.AsyncClient(trust_env=False) as http:
        url = world.url.replace("ws:", "http:") + "/s/1"
        answered = await http.get(url, headers={"x-api-key": "anna"})
        rest = await http.get(url, headers={"x-api-key": "anna", "last-event-id": "2"})
    frames = [block.split("\n") for block in answered.text.split("\n\n") if "data: " in block]
    assert [json.loads(lines[-1].removeprefix("data: ")) for lines in frames] == told
    assert [lines[:-1] for lines in frames] == [[f"id: {one['at']}", "event: told"] for one in told]
    assert rest.text.count("data: ") == 3


class Reluctant:
    """A client that takes nothing until it is told to."""

    def __init__(self, world: World) -> None:
        host, port = world.url.removeprefix("ws://").split(":")
        self._own = socket.socket()
        self._own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._own.connect((host, int(port)))
        self.connecting = world.connect(sock=self._own, max_queue=1, close_timeout=0.1)


async def test_a_slow_client_is_cut_off_and_continues(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "astrarium.web")
    async with opened(engine, Streams(waiting=5, slow_s=0.2), buffer=8192) as world:
        number, fill = 60, 40_000
        async with Reluctant(world).connecting as slow, world.connect() as quick:
            reading = asyncio.create_task(read(quick, number))
            for n in range(number):
                await world.put(n, fill)
            assert [one["n"] for one in await reading] == list(range(number)), "others are told all the same"
            await until(lambda: "took nothing for 0.2 s" in caplog.text)
            got: list[dict[str, Any]] = []
            with pytest.raises(ConnectionClosed) as caught:
                while True:
                    got.append(json.loads(await asyncio.wait_for(slow.recv(), WAIT_S)))
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1011, "slow consumer")
            assert 5 <= len(got) < number, "what waited for it was given to it"
            assert [one["n"] for one in got] == list(range(len(got)))
        async with world.connect(f"/s/1?after={got[-1]['at']}") as again:
            assert [one["n"] for one in await read(again, number - len(got))] == list(range(len(got), number))


async def test_a_long_past_makes_nobody_slow(engine: Engine) -> None:
    """More frames at once than may wait for a client: it takes them as they come."""
    async with opened(engine, Streams(waiting=2, slow_s=5.0)) as world:
        for n in range(300):
            await world.put(n)
        await world.end()
        async with world.connect() as client:
            assert [one.get("n") for one in await read(client, 300)] == list(range(300))
            assert await closed(client) == (1000, "run finished")


async def test_the_server_stops(world: World) -> None:
    await world.put(1)
    async with world.connect() as client, world.connect("/s/2") as idle:
        await read(client, 1)
        await until(lambda: world.streams.open == 2)
        assert world.server is not None
        world.server.should_exit = True
        assert await closed(client) == (1001, "server draining")
        assert await closed(idle) == (1001, "server draining")
    await until(lambda: world.streams.open == 0)
    with pytest.raises(Unavailable):
        world.streams.enter()


async def test_a_client_that_leaves_is_forgotten(world: World) -> None:
    async with world.connect():
        await until(lambda: world.streams.open == 1)
    await until(lambda: world.streams.open == 0)
    assert world.feed._followers == {}


async def test_a_client_that_is_not_there_is_let_go(engine: Engine) -> None:
    """One answers pings, as all clients do; the other's machine is gone, though its connection seems to stand."""
    async with opened(engine, Streams(), ping_s=0.1) as world:
        host, port = world.url.removeprefix("ws://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
        writer.write(f"GET /s/1 HTTP/1.1\r\nHost: {host}\r\nX-API-Key: anna\r\n{head}\r\n\r\n".encode())
        assert b" 101 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
        async with world.connect() as client:
            told = await asyncio.wait_for(reader.read(), WAIT_S)
            assert told.startswith(b"\x89") and b"keepalive" in told
            await until(lambda: world.streams.open == 1)
            await world.put(1)
            assert len(await read(client, 1)) == 1
        writer.close()


async def refused(connecting: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        async with connecting:
            pass
    return caught.value.response.status_code, (caught.value.response.body or b"").decode()


async def test_who_may_not_is_answered_before_the_socket_is_open(world: World, caplog: pytest.LogCaptureFixture) -> None:
    assert (await refused(world.connect(credential="nobody")))[0] == 401
    status, told = await refused(world.connect(credential="ben"))
    assert status == 403 and "capability read" in told
    assert (await refused(world.connect("/s/1?ticket=other", credential="")))[0] == 401
    assert (await refused(world.connect(headers={"origin": "https://evil.example"})))[0] == 403
    assert world.streams.open == 0
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


async def test_a_ticket_is_good_once(world: World) -> None:
    await world.put(1)
    async with world.connect("/s/1?ticket=ticket-1", credential="") as client:
        assert len(await read(client, 1)) == 1
    assert (await refused(world.connect("/s/1?ticket=ticket-1", credential="")))[0] == 401
    await world.end()
    world.tickets["ticket-2"] = ANNA
    async with httpx2.AsyncClient(trust_env=False) as http:
        url = world.url.replace("ws:", "http:") + "/s/1?ticket=ticket-2"
        assert [(await http.get(url)).status_code for _ in range(2)] == [200, 401], "the twin takes them too"


async def test_no_tickets_are_given(world: World) -> None:
    del world.app.state.take_ticket
    assert (await refused(world.connect("/s/1?ticket=ticket-1", credential="")))[0] == 401


async def test_the_first_message_tells_who_calls(world: World) -> None:
    await world.put(1)
    async with world.connect(credential="") as client:
        await client.send(json.dumps({"type": "authenticate", "token": "anna"}))
        assert len(await read(client, 1)) == 1
    async with world.connect(credential="") as client:
        await client.send(json.dumps({"type": "authenticate", "token": "ben"}))
        code, reason = await closed(client)
        assert code == 4403 and "capability read" in reason


@pytest.mark.parametrize(
    "message",
    ['{"type":"authenticate","token":"nobody"}', '{"type":"authenticate","token":""}', '{"type":"hello","token":"anna"}', "{}", "anna",
     '{"type":"authenticate","token":7}', b"\xff\xfe", "[" * 60_000],
)  # fmt: skip
async def test_a_first_message_that_tells_nothing(world: World, message: str | bytes) -> None:
    async with world.connect(credential="") as client:
        await client.send(message)
        assert await closed(client) == (4401, "unauthenticated")


async def test_no_first_message(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolkit, "FIRST_MESSAGE_S", 0.05)
    async with world.connect(credential="") as client:
        assert await closed(client) == (4401, "unauthenticated")


async def test_a_server_that_wants_no_credential(world: World) -> None:
    world.open = True
    await world.put(1)
    async with world.connect(credential="") as client:
        assert len(await read(client, 1)) == 1


async def test_what_is_wrong_is_told_when_it_is_open(world: World) -> None:
    async with world.connect("/s/missing") as client:
        assert await closed(client) == (1008, "run 'missing' not found")
    async with world.connect("/s/1?after=x:y") as client:
        assert await closed(client) == (1008, "malformed last_event_id: 'x:y'")
    async with world.connect("/s/missing" + "%C3%A9" * 100) as client:
        code, reason = await closed(client)
        assert code == 1008 and len(reason.encode()) in (122, 123) and reason.startswith("run 'missingé")


async def test_too_many_streams(world: World) -> None:
    world.streams.most = 0
    assert (await refused(world.connect()))[0] == 503
    assert (await refused(world.connect(credential="")))[0] == 503


@pytest.mark.parametrize(("error", "code"), [(Unavailable("the log cannot be read"), 1013), (KeyError("defect"), 1011)])
async def test_a_source_that_fails(world: World, error: Exception, code: int) -> None:
    world.broken = error
    async with world.connect() as client:
        assert len(await read(client, 1)) == 1
        assert (await closed(client))[0] == code
    await until(lambda: world.streams.open == 0)


async def test_messages_of_clients_are_not_read(world: World) -> None:
    async with world.connect() as client:
        for message in ("ping", b"\x00", "{"):
            await client.send(message)
        await world.put(1)
        assert len(await read(client, 1)) == 1
        pong = await client.ping()
        await asyncio.wait_for(pong, WAIT_S)


async def send_all(client: ClientConnection, messages: Sequence[str]) -> None:
    try:
        for message in messages:
            await client.send(message)
    except ConnectionClosed:
        return


@pytest.mark.parametrize(
    ("messages", "code"),
    [(["x"] * (MOST_MESSAGES_S * 40), 1008), (["x" * (MOST_MESSAGE_BYTES + 1)], 1009)],
    ids=["many", "large"],
)
async def test_clients_that_send_too_much(world: World, messages: list[str], code: int) -> None:
    async with world.connect() as client:
        sending: Awaitable[None] = send_all(client, messages)
        answered, _ = await asyncio.gather(closed(client), sending)
        assert answered[0] == code
