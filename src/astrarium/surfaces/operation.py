"""Operations as a table: method, path, name, what is read and answered. One row is the route and its entry in the OpenAPI
document at once, so neither can be without the other.

Endpoints are plain Starlette ones; bodies and answers are msgspec Structs, from which the schemas are made.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from ..errors import Invalid, Problem

Endpoint = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")

JSON = "application/json"
_PATH_PARAM = re.compile(r"\{(\w+)(?::\w+)?\}")
_encode = msgspec.json.Encoder().encode


class Query(msgspec.Struct, frozen=True):
    """A query parameter; `kind` is its JSON type."""

    name: str
    meaning: str
    kind: str = "string"
    choices: tuple[str, ...] = ()


class Operation(msgspec.Struct, frozen=True):
    """One route. `id` is stable: generated clients name their methods after it. `body` and `answer` are msgspec types
    (None = no body); `needs` is the capability the caller must have (empty = open to everybody); `failures` are the
    statuses of refusals a client should expect beside the usual ones."""

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


def mount(app: FastAPI, prefix: str, operations: Iterable[Operation]) -> None:
    """Add the routes, in the order of the table. Two rows for one method and path are a defect: ValueError."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for operation in operations:
        methods = by_path.setdefault(prefix + operation.path, {})
        if operation.method in methods:
            raise ValueError(f"{operation.method} {prefix}{operation.path} is registered twice")
        methods[operation.method] = operation.act
    for path, methods in by_path.items():
        app.router.add_route(path, _by_method(methods), methods=sorted(methods), include_in_schema=False)


def _by_method(methods: Mapping[str, Endpoint]) -> Endpoint:
    async def act(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await methods[method](request)

    return act


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
    """Add operations and the schemas they use to an OpenAPI 3.1 document. `error` is the type of every refusal."""
    types = [kind for operation in operations for kind in (operation.body, operation.answer) if kind is not None]
    references, schemas = msgspec.json.schema_components([error, *types], ref_template="#/components/schemas/{name}")
    known = dict(zip(map(id, [error, *types]), references, strict=True))
    document.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
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
    }
    if operation.body is not None:
        schema = {"schema": known[id(operation.body)]}
        told["requestBody"] = {"required": operation.body_required, "content": {JSON: schema}}
    return told
