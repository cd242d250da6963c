"""The application around all surfaces: request ids, security headers, the body limit, who may address us, errors in shape.

All of it is plain ASGI, so the hot routes pay little for it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import Forbidden, TooMuch, TooSlow
from ..spec.ids import uuid7
from .inflate import Inflate
from .problems import Problems, Shapes
from .proxy import Network, Proxied

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]
Endpoint = Callable[[Request], Awaitable[Response]]

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
HOST_HINT = "set public_url to the address clients use"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
EXPOSED = (
    "X-Request-ID", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After", "ETag", "Idempotent-Replay",
    "X-Ignored-Fields",
)  # fmt: skip
"""What pages of other origins may use and read."""
ARRIVED = "astrarium.arrived"
"""In the scope of a request that has arrived as a whole, where the connection tells."""
RATE_HEADERS = (b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset")
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)


def create_app(
    *,
    version: str,
    shapes: Shapes,
    body_max_bytes: int,
    lifespan: Lifespan | None = None,
    hosts: Collection[str] | None = None,
    any_name: bool = False,
    gzip_min_bytes: int = 0,
    origins: Collection[str] = (),
    body_timeout_s: float = 0,
    proxies: Collection[Network] = (),
    tls_only: bool = False,
    uploads: Collection[Upload] = (),
) -> FastAPI:
    """An empty application; surfaces add their routes to it.

    `hosts`: the names a client may call us by, beside loopback ones (None = any name and any origin). `any_name`: by any other name
    too, as long as a page that calls us came from that name; for servers that want a credential. `gzip_min_bytes`: answers from this
    size on are compressed for clients that ask for it (0 = never). `origins`: other origins whose pages may call us (`*` = all).
    `body_timeout_s`: how long a request body may take to arrive (0 = for ever). `proxies`: who is believed what they say of a request;
    `tls_only`: without TLS nobody is answered. `uploads`: requests whose bodies have limits of their own.
    """
    app = Application(
        title="Astrarium", version=version, lifespan=lifespan, openapi_url="/openapi.json", docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.gzip_min_bytes = gzip_min_bytes
    app.add_middleware(Inflate)
    if body_timeout_s:
        app.add_middleware(BodyTime, most_s=body_timeout_s)
    app.add_middleware(BodyLimit, most=body_max_bytes, uploads=uploads)
    if hosts is not None:
        app.add_middleware(Addressed, hosts=hosts, any_name=any_name, origins=origins)
    if proxies or tls_only:
        app.add_middleware(Proxied, trusted=proxies, tls_only=tls_only)
    app.add_middleware(Problems, shapes=shapes)
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=METHODS, allow_headers=["*"], expose_headers=EXPOSED
        )
    app.add_middleware(Marks)
    return app


class Application(FastAPI):
    """The framework's application with our layers in place of its own: every error goes through to `Problems` as it is, and nothing is
    measured on the way. An endpoint that `find` knows is called at once; everything else (sockets, the document, what does not exist)
    is looked for among the routes."""

    gzip_min_bytes = 0
    find: Callable[[Scope], Endpoint | None] | None = None

    def build_middleware_stack(self) -> ASGIApp:
        made: ASGIApp = Endpoints(self)
        for layer in reversed(self.user_middleware):
            made = layer.cls(made, *layer.args, **layer.kwargs)
        return made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        await self.middleware_stack(scope, receive, send)


class Endpoints:
    """Calls the endpoint of a request, and compresses its answer when that is long and the client asks for it."""

    def __init__(self, app: Application) -> None:
        self.find = app.find
        self.gzip_min_bytes = app.gzip_min_bytes
        self.routes = self._compressed(AsyncExitStackMiddleware(app.router))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self.find(scope) if self.find is not None and scope["type"] == "http" else None
        if endpoint is None:
            await self.routes(scope, receive, send)
            return
        answered: ASGIApp = await endpoint(Request(scope, receive, send))
        short = type(answered) is Response and len(answered.body) < self.gzip_min_bytes
        await (answered if short else self._compressed(answered))(scope, receive, send)

    def _compressed(self, app: ASGIApp) -> ASGIApp:
        return GZipMiddleware(app, minimum_size=self.gzip_min_bytes) if self.gzip_min_bytes else app


class Marks:
    """Gives every request an id (the client's own `X-Request-ID` when it is harmless) and every answer the security headers.
    Routes find the id as `request.state.request_id`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = header(scope, b"x-request-id")
        request_id = given if given and REQUEST_ID.fullmatch(given) else uuid7().replace("-", "").encode()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id.decode()

        async def mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                present = [name.lower() for name, _ in headers]
                headers.append((b"x-request-id", request_id))
                headers += [pair for pair in SECURITY_HEADERS if pair[0] not in present]
                if "rate" in state:
                    headers += [(name, b"%d" % number) for name, number in zip(RATE_HEADERS, state["rate"], strict=True)]
                message["headers"] = headers
            await send(message)

        await self.app(scope, receive, mark)


class Upload(NamedTuple):
    """Requests whose bodies are handed on piece by piece, and so may be larger; the `setting` says how large."""

    method: str
    path: re.Pattern[str]
    max_bytes: int
    setting: str


class BodyLimit:
    """Refuses a request body above `most` bytes: by its declared length before a byte is read, else while it is read."""

    def __init__(self, app: ASGIApp, most: int, uploads: Collection[Upload] = ()) -> None:
        self.app = app
        self.most = most
        self.uploads = {upload.method: [one for one in uploads if one.method == upload.method] for upload in uploads}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = header(scope, b"content-length")
        most, setting = self.most, "body_max_bytes"
        for upload in self.uploads.get(scope["method"], ()):
            if upload.path.fullmatch(scope["path"]):
                most, setting = upload.max_bytes, upload.setting
        if declared.isdigit() and int(declared) > most:
            raise _too_much(most, setting)
        if declared.isdigit():  # the server holds the client to the length it declared
            await self.app(scope, receive, send)
            return
        read = 0

        async def count() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise _too_much(most, setting)
            return message

        await self.app(scope, count, send)


def _too_much(most: int, setting: str) -> TooMuch:
    return TooMuch(f"the request body is larger than {most:,} bytes", hint=f"the setting {setting} allows more", code="too_much")


class BodyTime:
    """Gives up on a request body that has not arrived `most_s` seconds after its request: a slow client would hold its connection and
    what was read so far for as long as it likes. What follows a complete body (a stream's end) is waited for without end."""

    def __init__(self, app: ASGIApp, most_s: float) -> None:
        self.app = app
        self.most_s = most_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        here = scope["type"] != "http" or ARRIVED in scope
        if here or not (header(scope, b"content-length").strip(b"0") or header(scope, b"transfer-encoding")):
            await self.app(scope, receive, send)
            return
        end = asyncio.get_running_loop().time() + self.most_s
        complete = False

        async def in_time() -> Message:
            nonlocal complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                raise TooSlow(
                    f"the request body took longer than {self.most_s:g} s", hint="the setting body_timeout_s allows more"
                ) from None
            complete = not message.get("more_body", False)
            return message

        await self.app(scope, in_time, send)


class Addressed:
    """Keeps strangers' web pages away from a server without sign-in: a browser on this machine would carry their requests to a
    loopback port. Refused: names that are neither loopback nor ours (DNS rebinding) and foreign origins (cross-site posts). With
    `any_name` every name is ours, since a stranger's page has no credential; only origins other than the name called are foreign."""

    def __init__(self, app: ASGIApp, hosts: Collection[str], any_name: bool = False, origins: Collection[str] = ()) -> None:
        self.app = app
        self.origins = frozenset(origins)
        self.any_name = any_name
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            host = header(scope, b"host").decode("latin-1")
            origin = header(scope, b"origin").decode("latin-1")
            if host and not self.any_name and not self._ours("//" + host):
                raise Forbidden(f"this server does not answer to the name {host!r}", hint=HOST_HINT)
            if origin and not self._ours(origin) and not self._invited(origin, host):
                raise Forbidden(f"requests from pages of {origin!r} are refused", hint=HOST_HINT)
        await self.app(scope, receive, send)

    def _invited(self, origin: str, host: str) -> bool:
        if origin in self.origins or "*" in self.origins:
            return True
        return self.any_name and _name(origin) == _name("//" + host) != ""

    def _ours(self, address: str) -> bool:
        name = _name(address)
        return name in self.hosts or _is_here(name)


@lru_cache(maxsize=256)
def _is_here(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=256)
def _name(address: str) -> str:
    """The host name in an address; empty when it has none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def header(scope: Scope, name: bytes) -> bytes:
    """The first header `name` (lower case) of a request, or empty."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""
