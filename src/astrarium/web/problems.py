"""From an error to an answer: each surface says how its errors look, and owns its path prefixes even where no route is found.

An error made before a route (404, 405, 413) takes the shape of the prefix's owner; without an owner it is
`{"detail": "Not Found"}`. An unexpected exception is a 500 with an `error_id`; the traceback goes where
`app.state.record_fault` keeps it under that id, else to the log, and never to the client.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from ..errors import AstrariumError, Invalid, Problem, TooOften, TooSlow, Unauthenticated

log = logging.getLogger("astrarium.web")

CODES = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 413: "too_much", 503: "unavailable"}
"""Codes of errors the web layer itself makes; the others are named after their status, `method_not_allowed`."""


class Fault(msgspec.Struct, frozen=True):
    """What went wrong with one request, before any surface has put it into its own words.

    `routed` is false when no route was found: the path or method is unknown, which is not the same as a missing resource."""

    status: int
    code: str
    message: str
    hint: str = ""
    problems: tuple[Problem, ...] = ()
    details: Mapping[str, Any] = {}
    error_id: str = ""
    routed: bool = True
    headers: Mapping[str, str] = {}


AGAIN_S = "5"
"""When a client may ask again, after what cannot be answered now; seconds."""
KEEP_S = 5.0
"""An answer waits no longer for its traceback to be kept."""

RecordFault = Callable[[Scope, str, BaseException], Awaitable[None]]
"""(ASGI scope of the request, error_id, error): keeps what went wrong."""

Shaper = Callable[[Fault], tuple[int, Any]]
"""Gives the status and the JSON body by which a surface answers a fault."""


def plain_shape(fault: Fault) -> tuple[int, Any]:
    """The shape where no surface owns the path."""
    body: dict[str, Any] = {"detail": fault.message if fault.routed or fault.status != 404 else "Not Found"}
    if fault.error_id:
        body["error_id"] = fault.error_id
    return fault.status, body


class Shapes:
    """Which surface's error shape answers under which path prefix; the longest prefix wins, and only whole segments count."""

    def __init__(self) -> None:
        self._owners: list[tuple[str, Shaper]] = []

    def register(self, prefix: str, shaper: Shaper) -> None:
        """Give `prefix` ("/api/v2/dags") to a surface. Two owners of one prefix are a defect: ValueError."""
        prefix = prefix.rstrip("/")
        if not prefix.startswith("/"):
            raise ValueError(f"a prefix begins with a slash and is not the root: {prefix!r}")
        if any(prefix == taken for taken, _ in self._owners):
            raise ValueError(f"{prefix} has an owner already")
        self._owners.append((prefix, shaper))
        self._owners.sort(key=lambda owner: -len(owner[0]))

    def shaper(self, path: str) -> Shaper:
        """Who answers for `path`."""
        for prefix, shaper in self._owners:
            if path == prefix or path.startswith(prefix + "/"):
                return shaper
        return plain_shape

    def respond(self, path: str, fault: Fault) -> Response:
        """The answer to a fault under `path`."""
        status, body = self.shaper(path)(fault)
        return Response(orjson.dumps(body, default=str), status, dict(fault.headers), "application/json")


def fault_of(error: Exception) -> Fault:
    """Translate any exception a request can end with."""
    if isinstance(error, AstrariumError) and error.status < 500:
        problems = error.problems if isinstance(error, Invalid) else ()
        return Fault(error.status, error.code, error.message, error.hint, problems, error.details, headers=_headers_of(error))
    if isinstance(error, AstrariumError) and error.status != 500:
        headers = {"retry-after": AGAIN_S} if error.status == 503 else {}
        return Fault(error.status, error.code, error.message, error.hint, details=error.details, headers=headers)
    if isinstance(error, HTTPException):
        return _of_http(error)
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, msgspec.ValidationError | msgspec.DecodeError | orjson.JSONDecodeError):
        problem = Problem(str(error), path=_place(error))
        return Fault(400, "bad_request", f"the request body is wrong: {error}", problems=(problem,))
    error_id = uuid.uuid4().hex
    told = f"an internal error happened; the server keeps it under {error_id}"
    return Fault(500, "internal_error", told, error_id=error_id)


def _headers_of(error: AstrariumError) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {"www-authenticate": error.challenge}
    if isinstance(error, TooOften):
        return {"retry-after": str(error.retry_after_s)}
    return {"connection": "close"} if isinstance(error, TooSlow) else {}


def _place(error: Exception) -> str:
    """msgspec ends its messages with "- at `$.field`"."""
    _, found, place = str(error).rpartition(" - at `$")
    return place.rstrip("`").lstrip(".") if found else ""


def _of_http(error: HTTPException) -> Fault:
    if isinstance(error.__cause__, AstrariumError):  # the framework wraps what reading the body raised
        return fault_of(error.__cause__)
    phrase = HTTPStatus(error.status_code).phrase
    code = CODES.get(error.status_code) or phrase.lower().replace(" ", "_").replace("-", "_")
    return Fault(error.status_code, code, str(error.detail or phrase), headers=dict(error.headers or {}))


def _of_validation(error: RequestValidationError) -> Fault:
    problems = []
    for one in error.errors():
        where = [str(part) for part in one.get("loc", ())]
        problems.append(Problem(str(one.get("msg", "wrong")), path=".".join(where[1:] or where)))
    said = "; ".join(f"{problem.path}: {problem.message}" if problem.path else problem.message for problem in problems)
    return Fault(400, "bad_request", f"the request is wrong: {said}", problems=tuple(problems))


CLOSING = {401: 4401, 403: 4403, 503: 1013}
"""Status of an error → the code an open socket is closed with; else 1008 for the client's errors, 1011 for ours."""
REASON_MAX_BYTES = 120
"""A close frame holds no more."""
DENIAL = "websocket.http.response"


class Problems:
    """ASGI middleware that turns whatever a request raises into an answer of the right shape.

    An exception after the answer has begun can only be logged; the connection is then cut, so that the client sees it broken. A socket
    that is not open yet is answered as a request is; an open one is closed with a code and a reason."""

    def __init__(self, app: ASGIApp, shapes: Shapes) -> None:
        self.app = app
        self.shapes = shapes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except ClientDisconnect:
            log.debug("%s %s: the client left before its request was complete", scope["method"], scope["path"])
        except Exception as error:
            fault = fault_of(error)
            if fault.status == 404 and "endpoint" not in scope:
                fault = msgspec.structs.replace(fault, routed=False)
            if fault.error_id or begun:
                await self._keep(scope, fault, error)
            if begun:
                raise
            await self.shapes.respond(scope["path"], fault)(scope, receive, watch)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = "websocket.connect"

        async def watch(message: Message) -> None:
            nonlocal state
            state = message["type"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except WebSocketDisconnect:
            log.debug("WebSocket %s: the client left", scope["path"])
        except Exception as error:
            fault = fault_of(error)
            if fault.error_id:
                await self._keep(scope, fault, error)
            if state == "websocket.connect" and DENIAL in scope.get("extensions", {}):
                await self.shapes.respond(scope["path"], fault)(scope, receive, send)
            elif state in ("websocket.connect", "websocket.accept", "websocket.send"):
                code = CLOSING.get(fault.status, 1011 if fault.status >= 500 else 1008)
                reason = fault.message.encode()[:REASON_MAX_BYTES].decode(errors="ignore")
                await send({"type": "websocket.close", "code": code, "reason": reason})

    async def _keep(self, scope: Scope, fault: Fault, error: Exception) -> None:
        """Have the traceback kept, and say in the log where; in the log itself only when nobody else can keep it."""
        record: RecordFault | None = getattr(getattr(scope.get("app"), "state", None), "record_fault", None)
        told = (scope.get("method", "WebSocket"), scope["path"], scope.get("state", {}).get("request_id", "-"), fault.error_id or "-")
        if record is not None and fault.error_id:
            try:
                async with asyncio.timeout(KEEP_S):
                    await record(scope, fault.error_id, error)
                log.error("%s %s failed, request %s, error_id %s: %s; the audit log has it", *told, type(error).__name__)
                return
            except Exception as other:
                log.error("the audit log could not take error_id %s: %r", fault.error_id, other)
        log.error("%s %s failed, request %s, error_id %s", *told, exc_info=error)
