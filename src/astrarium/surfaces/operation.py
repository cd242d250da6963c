"""Operations as a table: method, path, name, what is read and answered. One row is the route and its entry in the OpenAPI
document at once, so neither can be without the other.

Endpoints are plain Starlette ones; bodies and answers are msgspec Structs, from which the schemas are made. What an operation
`needs` is asked of its caller here, before its endpoint runs: the one gate of all surfaces.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..errors import Forbidden, Invalid, Problem
from ..web.caller import Caller, caller_of

Endpoint = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")

JSON = "application/json"
_PATH_PARAM = re.compile(r"\{(\w+)(?::\w+)?\}")
SCHEMES = {
    "apiToken": {"type": "http", "scheme": "bearer", "bearerFormat": "opaque"},
    "basicAuth": {"type": "http", "scheme": "basic"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""The ways to show who one is, as the OpenAPI document names them; a server may be set up to want none."""
_encode = msgspec.json.Encoder().encode


Place = Callable[[Request, Caller], Awaitable[Caller]]
"""The caller as they are in the workspace or environment a request is about. Raises `NotFound` where they are nobody."""

Denied = Callable[[Caller, str, str, str], Awaitable[None]]
"""(caller, capability, operation id, path): records a denial; awaited before the denial is answered."""

Acted = Callable[[Caller, str, str], Awaitable[None]]
"""(caller, operation id, path): records what was done, before it is answered."""


class Gate(msgspec.Struct, frozen=True):
    """What the gate of one application goes by. `withheld`: capability → the setting that takes it from everybody. What was done by
    operations that need one of `recorded` is told to `acted`: changes that leave no event of their own."""

    denied: Denied
    acted: Acted
    recorded: frozenset[str] = frozenset()
    withheld: Mapping[str, str] = {}


class Query(msgspec.Struct, frozen=True):
    """A query parameter; `kind` is its JSON type."""

    name: str
    meaning: str
    kind: str = "string"
    choices: tuple[str, ...] = ()


class Operation(msgspec.Struct, frozen=True):
    """One route. `id` is stable: generated clients name their methods after it. `body` and `answer` are msgspec types
    (None = no body); `needs` is the capability the caller must have (empty = open to everybody); `failures` are the
    statuses of refusals a client should expect beside the usual ones. A GET that `changes` something is not carried out for a HEAD.
    `media` is the type of an answer that is no JSON.
    `place` says who the caller is where the path leads, for capabilities that depend on it; `denial` is what is told to one who lacks
    the capability, where clients know words for it."""

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


def mount(app: FastAPI, prefix: str, operations: Iterable[Operation]) -> None:
    """Add the routes, in the order of the table. Two rows for one method and path are a defect: ValueError."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        methods = by_path.setdefault(prefix + operation.path, {})
        if operation.method in methods:
            raise ValueError(f"{operation.method} {prefix}{operation.path} is registered twice")
        methods[operation.method] = operation
    for path, methods in by_path.items():
        app.router.add_route(path, _by_method(methods), methods=sorted(methods), include_in_schema=False)


def _by_method(methods: Mapping[str, Operation]) -> Endpoint:
    async def act(request: Request) -> Response:
        operation = methods["GET" if request.method == "HEAD" else request.method]
        if request.method == "HEAD" and operation.changes:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
        if not operation.needs:
            return await operation.act(request)
        caller = await caller_of(request)
        if operation.place is not None:
            caller = request.state.caller = await operation.place(request, caller)
        await admit(request, caller, operation.needs, operation.id, operation.denial)
        answered = await operation.act(request)
        gate = gate_of(request)
        if gate is not None and operation.needs in gate.recorded and has_changed(request, answered):
            await gate.acted(caller, operation.id, request.url.path)
        return answered

    return act


def has_changed(request: Request, answered: Response) -> bool:
    """Whether an order was carried out: it was not refused, nor told in an answer of 200 that nothing was done."""
    return answered.status_code < 400 and not getattr(request.state, "unchanged", False)


def gate_of(request: Request) -> Gate | None:
    gate: Gate | None = getattr(request.app.state, "gate", None)
    return gate


async def admit(request: Request, caller: Caller, capability: str, operation: str, denial: str = "") -> None:
    """Let a caller pass who has the capability, where no setting takes it from everybody. Else the denial is recorded and `Forbidden`
    raised. An application without a gate (`app.state.gate`) withholds nothing and records nothing."""
    gate = gate_of(request)
    setting = gate.withheld.get(capability, "") if gate is not None else ""
    if caller.may(capability) and not setting:
        return
    if gate is not None:
        await gate.denied(caller, capability, operation, request.url.path)
    if setting:
        raise Forbidden(f"this server does not allow it: the setting {setting} is off")
    if denial:
        raise Forbidden(denial)
    told = f"{caller.shown} (role {caller.role or 'none'}) may not do this: it needs the capability {capability}"
    raise Forbidden(told, hint="ask an admin for a role that has it")


def answer(value: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(_encode(value), status, media_type=JSON)


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
    types = [kind for operation in operations for kind in (operation.body, operation.answer) if kind is not None]
    references, schemas = msgspec.json.schema_components([error, *types], ref_template="#/components/schemas/{name}")
    known = dict(zip(map(id, [error, *types]), references, strict=True))
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
        paths.setdefault(path, {})[operation.method.lower()] = _describe(operation, tag, known, known[id(error)])


def _describe(operation: Operation, tag: str, known: Mapping[int, Any], error: Any) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAM.sub(r"{\1}", operation.path).split("{")[1:]
        for name in [name.partition("}")[0]]
    ]
    for query in operation.query:
        schema: dict[str, Any] = {"type": query.kind}
        if query.choices:
            schema["enum"] = list(query.choices)
        parameters.append({"name": query.name, "in": "query", "description": query.meaning, "schema": schema})
    content: dict[str, Any] = {"description": "Done"}
    if operation.answer is not None:
        content["content"] = {JSON: {"schema": known[id(operation.answer)]}}
    elif operation.media:
        content["content"] = {operation.media: {"schema": {"type": "string"}}}
    refusal = {"description": "Refused", "content": {JSON: {"schema": error}}}
    responses: dict[str, Any] = {str(operation.status): content}
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
        told["requestBody"] = {"required": operation.body_required, "content": {JSON: schema}}
    return told
