"""Operations as a table: method, path, name, what is read and answered. One row is the route and its entry in the OpenAPI
document at once, so neither can be without the other.

Endpoints are plain Starlette ones; bodies and answers are msgspec Structs, from which the schemas are made. What an operation
`needs` is asked of its caller (`gate`) before its endpoint runs. Sockets are rows too, behind the same gate.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from ..errors import AstrariumError, Conflict, Invalid, Outdated, Problem
from ..web.app import Application
from ..web.caller import Caller, take_ticket
from ..web.problems import fault_of
from ..web.stream import MEDIA, Frames
from ..web.stream.socket import Manner, serve_socket
from .gate import Allowed, Place, decided, gate_of, pass_gate
from .repeat.work import HEADER, Repeats
from .route import index_of
from .schema import schemas_of

Endpoint = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
_ETAG = re.compile(r'"([1-9]\d{0,17})"')
_PATH_PARAM = re.compile(r"\{(\w+)(?::\w+)?\}")
SCHEMES = {
    "apiToken": {"type": "http", "scheme": "bearer", "bearerFormat": "opaque"},
    "basicAuth": {"type": "http", "scheme": "basic"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""The ways to show who one is, as the OpenAPI document names them; a server may be set up to want none."""
_encode = msgspec.json.Encoder().encode


class Query(msgspec.Struct, frozen=True):
    """A parameter of the query, or a header; `kind` is its JSON type, `more` are other words of its schema."""

    name: str
    meaning: str
    kind: str = "string"
    choices: tuple[str, ...] = ()
    more: Mapping[str, Any] = {}
    required: bool = False


KEY = Query(
    "Idempotency-Key", "Carried out once for each key, of up to 128 characters; a repeated request is given the same answer for 24 hours."
)


class Operation(msgspec.Struct, frozen=True):
    """One route. `id` is stable: generated clients name their methods after it. `body` and `answer` are msgspec types
    (None = no body); `needs` is the capability the caller must have (empty = open to everybody); `failures` are the
    statuses of refusals a client should expect beside the usual ones. A GET that `changes` something is not carried out for a HEAD.
    `media` is the type of an answer that is no JSON; `form` = the body is a form.
    `place` says who the caller is where the path leads, for capabilities that depend on it; `denial` is what is told to one who lacks
    the capability, where clients know words for it. `idempotent`: a request with an `Idempotency-Key` is carried out once, and its
    answer kept for a day; not for answers with a secret. `takes` is the type of a body that is bytes and no JSON. `refusal` is the type
    of its refusals where it is not that of its surface. `headers` are those a request may have, `others` the statuses the same answer may
    also come with, `tells` is the type of each event's data where the answer is a stream of them."""

    method: str
    path: str
    id: str
    summary: str
    act: Endpoint
    query: tuple[Query, ...] = ()
    body: Any = None
    body_required: bool = True
    answer: Any = None
    status: int = 200
    needs: str = ""
    failures: tuple[int, ...] = ()
    changes: bool = False
    media: str = ""
    place: Place | None = None
    denial: str = ""
    form: bool = False
    idempotent: bool = False
    takes: str = ""
    refusal: Any = None
    headers: tuple[Query, ...] = ()
    others: tuple[int, ...] = ()
    tells: Any = None


def mount(app: FastAPI, prefix: str, operations: Iterable[Operation]) -> None:
    """Add the routes, in the order of the table. Two rows for one method and path are a defect: ValueError."""
    known = operations_of(app)
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        methods = by_path.setdefault(prefix + operation.path, {})
        if operation.method in methods:
            raise ValueError(f"{operation.method} {prefix}{operation.path} is registered twice")
        methods[operation.method] = known[operation.method, prefix + operation.path] = operation
    index = index_of(app.router.routes)
    if isinstance(app, Application):
        app.find = index.find
    for path, methods in by_path.items():
        index.add(path, _by_method(methods), sorted(methods))


class Socket(msgspec.Struct, frozen=True):
    """One WebSocket route. `act` gives the frames a caller is told who may, or None when it accepted the socket and talked to its client
    itself; what it raises closes the socket with a code and a reason. `manner` says how it ends. The other fields are an `Operation`'s."""

    path: str
    id: str
    summary: str
    act: Callable[[WebSocket], Awaitable[Frames | None]]
    needs: str
    place: Place | None = None
    denial: str = ""
    manner: Manner = Manner()


def mount_sockets(app: FastAPI, prefix: str, sockets: Iterable[Socket]) -> None:
    """Add WebSocket routes. Who may not open one is answered 401 or 403 in its stead, where that is known before it is open."""
    known = sockets_of(app)
    for socket in sockets:
        known[prefix + socket.path] = socket
        app.router.add_websocket_route(prefix + socket.path, _entrance(socket), name=socket.id)


def sockets_of(app: FastAPI) -> dict[str, Socket]:
    """Every socket of an application, by path."""
    if not hasattr(app.state, "sockets"):
        app.state.sockets = {}
    known: dict[str, Socket] = app.state.sockets
    return known


def _entrance(socket: Socket) -> Callable[[WebSocket], Awaitable[None]]:
    async def enter(connection: WebSocket) -> None:
        async def admit() -> None:
            caller, listener = await pass_gate(connection, socket.needs, socket.id, socket.place, socket.denial)
            if listener is not None:
                listener.note(decided(connection, caller, socket.needs, socket.id, 101))

        await serve_socket(connection, admit, socket.act, socket.manner)

    return enter


def operations_of(app: FastAPI) -> dict[tuple[str, str], Operation]:
    """Every operation of an application, by method and path."""
    if not hasattr(app.state, "operations"):
        app.state.operations = {}
    known: dict[tuple[str, str], Operation] = app.state.operations
    return known


def _by_method(methods: Mapping[str, Operation]) -> Endpoint:
    async def act(request: Request) -> Response:
        operation = methods["GET" if request.method == "HEAD" else request.method]
        if request.method == "HEAD" and operation.changes:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
        if not operation.needs:
            return await operation.act(request)
        if operation.media == MEDIA:
            await take_ticket(request)
        caller, listener = await pass_gate(request, operation.needs, operation.id, operation.place, operation.denial)
        if listener is not None:
            return await _overheard(request, operation, caller, listener)
        return await _carry_out(request, operation, caller)

    return act


async def _carry_out(request: Request, operation: Operation, caller: Caller) -> Response:
    if operation.idempotent and HEADER in request.headers:
        repeats: Repeats = request.app.state.repeats
        return await repeats.once(request, caller, lambda: _act(request, operation, caller))
    return await _act(request, operation, caller)


async def _act(request: Request, operation: Operation, caller: Caller) -> Response:
    answered = await operation.act(request)
    gate = gate_of(request)
    if gate is not None and operation.needs in gate.recorded and has_changed(request, answered):
        await gate.acted(caller, operation.id, request.url.path)
    return answered


async def _overheard(request: Request, operation: Operation, caller: Caller, listener: Allowed) -> Response:
    """Carry an operation out, and tell how it was answered."""
    status = 500
    try:
        answered = await _carry_out(request, operation, caller)
        status = answered.status_code
        return answered
    except (AstrariumError, HTTPException, msgspec.MsgspecError) as error:
        status = fault_of(error).status
        raise
    finally:
        listener.note(decided(request, caller, operation.needs, operation.id, status))


def has_changed(request: Request, answered: Response) -> bool:
    """Whether an order was carried out: it was not refused, nor told in an answer of 200 that nothing was done."""
    return answered.status_code < 400 and not getattr(request.state, "unchanged", False)


def answer(value: Any, status: int = 200, version: int = 0) -> Response:
    """A JSON answer. `version`: of the entry that is shown, as its `ETag`."""
    headers = {"etag": f'"{version}"'} if version else None
    return Response(_encode(value), status, headers, JSON)


@contextlib.contextmanager
def expecting(request: Request) -> Iterator[int | None]:
    """The version that the entry to be changed must have (`If-Match`, as an `ETag` told it), None for any; -1 fits none. That it has
    another is `Outdated` then."""
    given = request.headers.get("if-match", "*").strip()
    found = _ETAG.fullmatch(given)
    try:
        yield None if given == "*" else int(found[1]) if found else -1
    except Conflict as error:
        if given == "*":
            raise
        hint = "read it again, and send its ETag as If-Match"
        raise Outdated(f"it was changed since: {error.message}", hint=hint) from error


async def read_body(request: Request, kind: type[T], *, required: bool = True) -> T:
    """The request's JSON body as `kind`; without a body and when none is `required`, the defaults. Wrong JSON and wrong
    types raise msgspec's errors, which `web.problems` turns into a 400."""
    data = await request.body()
    if not data.strip():
        if required:
            raise Invalid("the request has no body", [Problem("a JSON object is required")], hint="send a JSON object")
        data = b"{}"
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError:
        problem = Problem("is nested too deeply")
        raise Invalid(f"the request body {problem.message}", [problem], hint="flatten it") from None


# -- the document ------------------------------------------------------------------------------------------------------


def describe(document: dict[str, Any], prefix: str, tag: str, operations: Sequence[Operation], error: Any) -> None:
    """Add operations and the schemas they use to an OpenAPI 3.1 document. `error` is the type of every refusal. Two schemas of one
    name are a defect: ValueError."""
    asked = [one.body for one in operations if one.body is not None]
    answered = [kind for one in operations for kind in (one.answer, one.refusal, one.tells) if kind is not None]
    known, schemas = schemas_of(asked, [error, *answered])
    components = document.setdefault("components", {})
    there = components.setdefault("schemas", {})
    twice = [name for name, schema in schemas.items() if there.get(name, schema) != schema]
    if twice:
        raise ValueError(f"another surface has a schema {twice[0]!r} too")
    there.update(schemas)
    components["securitySchemes"] = SCHEMES
    paths = document.setdefault("paths", {})
    for operation in operations:
        path = _PATH_PARAM.sub(r"{\1}", prefix + operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _describe(operation, tag, known, known[id(operation.refusal or error)])


def _describe(operation: Operation, tag: str, known: Mapping[int, Any], error: Any) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAM.sub(r"{\1}", operation.path).split("{")[1:]
        for name in [name.partition("}")[0]]
    ]
    headers = (*operation.headers, KEY) if operation.idempotent else operation.headers
    for where, wanted in (("query", operation.query), ("header", headers)):
        for one in wanted:
            choices = {"enum": list(one.choices)} if one.choices else {}
            schema = {"type": one.kind, **choices, **one.more}
            needed = {"required": True} if one.required else {}
            parameters.append({"name": one.name, "in": where, "description": one.meaning, **needed, "schema": schema})
    content: dict[str, Any] = {"description": "Done"}
    if operation.answer is not None:
        content["content"] = {JSON: {"schema": known[id(operation.answer)]}}
    elif operation.media:
        binary = {} if operation.media.startswith("text/") else {"format": "binary"}
        content["content"] = {operation.media: {"schema": {"type": "string", **binary}}}
    if operation.tells is not None:
        content["description"] = f"Events; the data of each is a `{operation.tells.__name__}`"
    refusal = {"description": "Refused", "content": {JSON: {"schema": error}}}
    responses: dict[str, Any] = {str(status): content for status in (operation.status, *operation.others)}
    responses |= {str(status): refusal for status in operation.failures}
    responses["default"] = refusal
    told: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [tag],
        "parameters": parameters,
        "responses": responses,
        "security": [{name: []} for name in SCHEMES] if operation.needs else [],
    }
    if operation.body is not None:
        schema = {"schema": known[id(operation.body)]}
        told["requestBody"] = {"required": operation.body_required, "content": {FORM if operation.form else JSON: schema}}
    if operation.takes:
        told["requestBody"] = {"required": True, "content": {operation.takes: {"schema": {"type": "string", "format": "binary"}}}}
    return told
