"""The server: every surface on one port, over one worker.

`create_app` is public: `uvicorn.run(create_app(settings))` serves all that `astrarium server` does, without `server.json`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
import uvicorn
import uvloop
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from . import __version__
from .config import Settings, is_loopback, parse_networks, split_origins
from .errors import Unavailable
from .kernel.machine import Registry
from .store.blob.artifact import open_artifacts
from .surfaces.builds import problem as build_problem
from .surfaces.builds import room as builds_room
from .surfaces.builds.routes import table as build_table
from .surfaces.dags import problem
from .surfaces.dags.room import CLOCK_PLACE, CLOCK_PLACES, Room
from .surfaces.dags.routes import table
from .surfaces.dags.work.count import Meter
from .surfaces.dags.work.live.follow import Live
from .surfaces.dags.work.sample import sampling
from .surfaces.feed import Feed
from .surfaces.gate import Gate
from .surfaces.graphs import problem as graph_problem
from .surfaces.graphs.room import Graphs
from .surfaces.graphs.routes import table as graph_table
from .surfaces.repeat.work import Repeats
from .surfaces.tenancy import problem as workspace_problem
from .surfaces.tenancy.access.tally import shared_limits
from .surfaces.tenancy.audit import route as audit_route
from .surfaces.tenancy.audit.allowed import AllowedLog, recording
from .surfaces.tenancy.audit.fault import Faults
from .surfaces.tenancy.identity import is_open
from .surfaces.tenancy.room import Tenancy
from .surfaces.tenancy.routes import table as workspace_table
from .web import app as web
from .web.limit import PREMIUM, STANDARD, Limits, Tier
from .web.problems import Shapes
from .web.remote import Remote
from .web.stream import Streams
from .web.stream.socket import MOST_MESSAGE_BYTES, PING_S
from .worker import Worker, load_steps

SERVER_FILE = "server.json"
GZIP_MIN_BYTES = 4096
BACKLOG = 2048
ALLOWED_UNDER = ("/v1/",)
"""Where every request let in is recorded; everywhere under the profile `cleared`."""
CLEARED = "cleared"
LIMITS_SHOWN = ("/v1/",)
"""Where answers tell the caller's limits also while nobody is refused."""
RECORDED = frozenset(("dags:write",))
"""Capabilities whose use is recorded by the gate: files have no log of their own."""
CLOSE_CONNECTIONS_S = 2
"""How long answers under way may take when the server stops."""


class ServerFile(msgspec.Struct, frozen=True):
    """`server.json` in the data folder, 0600: where the live server is, and a token only who may read that folder knows."""

    url: str
    pid: int
    token: str
    version: str = __version__


def create_app(settings: Settings) -> FastAPI:
    """The application of all surfaces. Its lifespan opens the worker (store, recovery, execution) and, at the end, drains it for
    `drain_timeout_s`; `app.state.worker` is there in between. The lifespan raises `Unavailable` when the store cannot be used."""
    shapes = Shapes()
    for surface in (problem, workspace_problem, build_problem, graph_problem):
        surface.register(shapes)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_surfaces(app, settings):
            yield

    app = web.create_app(
        version=__version__, shapes=shapes, body_max_bytes=settings.body_max_bytes, lifespan=lifespan,
        hosts=hosts_of(settings), any_name=not is_open(settings), gzip_min_bytes=GZIP_MIN_BYTES,
        origins=split_origins(settings.cors_origins), body_timeout_s=settings.body_timeout_s,
        proxies=parse_networks(settings.trusted_proxies), tls_only=settings.server_profile == CLEARED,
        uploads=[web.Upload("PUT", build_problem.UPLOAD, settings.artifact_max_bytes, "artifact_max_bytes")],
    )  # fmt: skip
    table.mount(app)
    workspace_table.mount(app)
    build_table.mount(app)
    graph_table.mount(app, cleared=settings.server_profile == CLEARED)
    audit_route.mount(app)
    framework_document = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = framework_document()
            table.describe(document)
            workspace_table.describe(document)
            build_table.describe(document)
            graph_table.describe(document)
            audit_route.describe(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def openapi_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document of all surfaces; needs neither store nor data folder."""
    return create_app(Settings()).openapi()


def hosts_of(settings: Settings) -> list[str]:
    """Names clients may call us by, beside loopback ones."""
    name = urlsplit(settings.public_url).hostname if settings.public_url else None
    return [name] if name else []


@contextlib.asynccontextmanager
async def open_surfaces(app: FastAPI, settings: Settings) -> AsyncIterator[None]:
    """The worker and what each surface needs of it, in `app.state`."""
    await asyncio.to_thread(make_data_folder, settings.data_dir)
    app.state.artifacts = artifacts = open_artifacts(settings)
    room, registry = Room(settings, load_steps()), Registry()
    graphs = Graphs(settings, room.steps, CLOCK_PLACE)
    await graphs.read(registry)
    room.register(registry)
    builds_room.register(registry)
    app.state.repeats = repeats = Repeats()
    repeats.register(registry)
    definitions, places = graphs.definitions(room.definitions), {CLOCK_PLACE: CLOCK_PLACES}
    worker = await Worker.open(settings, definitions=definitions, registry=registry, places=places)
    repeats.bind(worker.engine)
    remote = Remote(settings.remote_nodes, problem.PREFIX)
    limits = limits_of(settings)
    try:
        app.state.settings, app.state.worker, app.state.remote = settings, worker, remote
        opening = Tenancy.open(settings, worker.engine, registry, getattr(app.state, "local_token", ""))
        async with contextlib.aclosing(await opening) as tenancy:
            app.state.tenancy, app.state.authenticate = tenancy, tenancy.identity.authenticate
            app.state.take_ticket, app.state.tell_refused = tenancy.identity.take_ticket, tenancy.refusals.tell
            app.state.builds, app.state.limits = builds_room.open(worker.engine, tenancy), limits
            app.state.record_fault = Faults(worker.engine, settings, getattr(app.state, "local_token", "")).record
            allowed = AllowedLog(worker.engine)
            app.state.gate = gate_by(settings, tenancy, allowed)
            app.state.dags, app.state.retention = await room.open(worker.engine), room.retention
            app.state.streams = Streams(waiting=settings.stream_queue, slow_s=settings.stream_slow_s)
            room.retention.along = (functools.partial(artifacts.sweep, worker.engine.store), tenancy.sweep)
            app.state.meter, app.state.feed = Meter(worker.engine), Feed(worker.engine)
            await graphs.open(app, worker.engine, tenancy.identity.denied)
            app.state.live = live = Live(worker.engine, app.state.feed, app.state.dags.files, settings.log_max_bytes)
            shared, following = shared_limits(worker.engine, limits), contextlib.aclosing(app.state.feed)
            async with sampling(settings.data_dir) as app.state.samples, following, shared, recording(allowed, tenancy.refusals):
                with contextlib.closing(live):
                    yield
    finally:
        await remote.close()
        await graphs.close()
        await room.close()
        await worker.close()


def gate_by(settings: Settings, tenancy: Tenancy, allowed: AllowedLog) -> Gate:
    """What the gate of this server goes by."""
    under = ("/",) if settings.server_profile == CLEARED else ALLOWED_UNDER
    return Gate(tenancy.identity.denied, tenancy.identity.acted, RECORDED, withheld_by(settings), allowed, under)


def withheld_by(settings: Settings) -> dict[str, str]:
    """Capability → the setting that takes it from everybody (Dagu 1.30: `permissions`)."""
    withheld = {} if settings.write_dags else {"dags:write": "write_dags"}
    return withheld if settings.run_dags else withheld | {"runs:start": "run_dags", "runs:change": "run_dags"}


def limits_of(settings: Settings) -> Limits:
    """How often callers may ask. Nobody is refused where only this machine can ask; behind a proxy others can."""
    named = settings.rate_limit in ("standard", "premium") or bool(settings.rate_limit_requests or settings.rate_limit_burst)
    refuse = settings.rate_limit != "off" and (named or not is_loopback(settings.host) or bool(settings.trusted_proxies))
    tier = PREMIUM if settings.rate_limit == "premium" else STANDARD
    requests, burst = settings.rate_limit_requests or tier.requests, settings.rate_limit_burst or tier.burst
    return Limits(Tier(requests, burst, settings.rate_limit_window_s), refuse=refuse, shown=LIMITS_SHOWN)


def make_data_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(
            f"the data folder {folder} cannot be made: {error.strerror or error}", hint="choose another with --data-dir"
        ) from error


def serve(settings: Settings, ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then stop taking work, let running steps finish for `drain_timeout_s` seconds, park the
    rest, and return. A second signal cuts the wait short. `ready` is told the address once clients can reach it; by default it
    is printed.

    Raises `Unavailable`: the port is in use, the store cannot be used, or another server took this one's lease over."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, ready or _announce))


def _announce(url: str) -> None:
    print(f"Astrarium {__version__} listens on {url}", file=sys.stderr, flush=True)


async def announce_first(tenancy: Tenancy, url: str) -> None:
    """Where the first admin is made, on a server with built-in users and none yet: told once, here."""
    if tenancy.builtin and await tenancy.first.is_open():
        told = f"there is no user yet: make the first admin within an hour at {url}/api/v1/auth/setup?token={tenancy.first.link()}"
        print(told, file=sys.stderr, flush=True)


async def _serve(settings: Settings, ready: Callable[[str], None]) -> None:
    with contextlib.closing(listen(settings.host, settings.port)) as listener:
        app = create_app(settings)
        token = secrets.token_urlsafe(32)
        app.state.local_token = token
        url = settings.public_url or address_of(listener)
        async with app.router.lifespan_context(app):
            config = uvicorn.Config(
                app, lifespan="off", access_log=False, log_config=None, log_level="warning", server_header=False, http=Connection,
                ws=QuietSocket, ws_max_size=MOST_MESSAGE_BYTES, ws_ping_interval=PING_S, ws_ping_timeout=PING_S,
                ws_per_message_deflate=False, backlog=BACKLOG, timeout_graceful_shutdown=CLOSE_CONNECTIONS_S, proxy_headers=False,
            )  # fmt: skip
            worker: Worker = app.state.worker
            server = QuietServer(config, app.state.streams, worker.drain)
            with on_signals(server, worker), server_file(settings.data_dir, ServerFile(address_of(listener), os.getpid(), token)):
                ready(url)
                await announce_first(app.state.tenancy, url)
                await until_fenced(server, worker, listener)
        if worker.engine.fenced.is_set():
            told = "another server took over this one's work: its lease ended"
            raise Unavailable(told, hint="see whether this machine was overloaded or asleep, then start again")


class QuietServer(uvicorn.Server):
    """Leaves the signals to us: the framework's own way ends the process by the signal, never with code 0. Ends `streams` first when
    it stops, each in its own words: they would hold it up for as long as answers may take. While it `drain`s it still answers: what
    there is can be read, and who asks for more is told to come back."""

    def __init__(self, config: uvicorn.Config, streams: Streams, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self.streams = streams
        self.drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.streams.close()
        await self.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_CONNECTIONS_S):
                await self.streams.ended()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Connection(HttpToolsProtocol):
    """Sends the head of an answer and its body in one piece: the framework writes them one after the other (uvicorn 0.54), and each write
    is a system call here, and for the client something to wake up for."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(cast(Any, OneWrite(transport, self.loop)))

    def on_message_complete(self) -> None:
        cast(dict[str, Any], self.scope)[web.ARRIVED] = True
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self.transport = cast(OneWrite, self.transport).transport
        super().handle_websocket_upgrade()


class OneWrite:
    """A transport that holds what is written until more is written at once, else to the loop's next turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        if self._held:
            held, self._held = self._held, b""
            self.transport.writelines((held, data))
        else:
            self._held = data
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held and not self.transport.is_closing():
            self.transport.write(held)

    def close(self) -> None:
        self._flush()
        self.transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class QuietSocket(WebSocketsSansIOProtocol):
    """A refusal is an answer: the framework would call each a failure of ours in the log, where anybody could fill it (uvicorn 0.54)."""

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True


async def until_fenced(server: uvicorn.Server, worker: Worker, listener: socket.socket) -> None:
    """Serve until told to stop, or until another server has taken this one's work over."""

    async def watch() -> None:
        await worker.engine.fenced.wait()
        server.should_exit = True

    watcher = asyncio.create_task(watch(), name="astrarium-fence")
    try:
        await server.serve(sockets=[listener])
    finally:
        watcher.cancel()


@contextlib.contextmanager
def on_signals(server: uvicorn.Server, worker: Worker) -> Iterator[None]:
    """The first SIGTERM or SIGINT stops in good order; the next one ends running steps at once."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if server.should_exit:
            server.force_exit = True
            worker.shop.stop_all("server_stop", 0.0)
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    yield  # kept to the end of the process: a signal while draining must not kill it half way


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `Unavailable` in words that say how to choose another port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=BACKLOG)
    except OSError as error:
        reasons = {errno.EADDRINUSE: "is in use", errno.EACCES: "needs rights this process does not have"}
        reason = reasons.get(error.errno or 0, f"cannot be listened on: {error.strerror or error}")
        raise Unavailable(
            f"port {port} of {host} {reason}", code="port_in_use",
            hint="choose another with --port, e.g. --port 8081, or --port 0 for any free one",
        ) from error  # fmt: skip


def address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def server_file(folder: Path, told: ServerFile) -> Iterator[None]:
    """`server.json` while the server lives; one that another server wrote meanwhile is left alone."""
    path = folder / SERVER_FILE
    part = folder / f".{SERVER_FILE}.{told.pid}"
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(told) + b"\n")
    part.replace(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            if msgspec.json.decode(path.read_bytes(), type=ServerFile).pid == told.pid:
                path.unlink()

