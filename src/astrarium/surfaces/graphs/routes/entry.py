"""What all routes of `/v1` begin with: the desk, the caller, the run a path means, how bodies and bounds of lists are read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ....errors import Invalid, Problem, Unavailable
from ....web.caller import Caller, caller_of
from ....web.stream import Streams
from ...operation import Endpoint, Operation, Query
from ...operation import answer as answered
from ..desk import Desk
from ..views.query import RunRow

T = TypeVar("T", bound=msgspec.Struct)
RUN = "/runs/{run_id}"
MOST_ITEMS = 1000
ITEMS = 100
MOST_OFFSET = 10**12
IGNORED = "x-ignored-fields"
MOST_IGNORED = 20
_decode = msgspec.json.Decoder().decode


def desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.graphs
    return desk


async def enter(request: Request) -> tuple[Desk, Caller]:
    """The desk and the caller. Raises `Unauthenticated`."""
    return desk_of(request), await caller_of(request)


def check_open(request: Request) -> None:
    """What begins work is not taken any more while the server stops. Raises `Unavailable`."""
    streams: Streams = request.app.state.streams
    if streams.closing:
        raise Unavailable("the server is stopping", hint="try again once it is back")


async def entered_run(request: Request) -> tuple[Desk, Caller, RunRow]:
    """The run a path names, too. Raises `NotFound`."""
    desk, caller = await enter(request)
    return desk, caller, await desk.row(caller, request.path_params["run_id"])


async def read_fields(request: Request, kind: type[T], *, required: bool = True) -> tuple[T, str]:
    """The body as `kind`, and which of its keys mean nothing, as a header tells them. Raises `Invalid` with the place of what is wrong."""
    data = await request.body()
    if not data.strip():
        if required:
            raise Invalid("a body is required", [Problem("the request has no body; a JSON object is required", path="body")])
        return msgspec.convert({}, kind), ""
    try:
        raw = _decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        told = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Invalid(f"the body is no JSON: {told}", [Problem(f"the body is malformed JSON: {told}", path="body")]) from error
    try:
        made = msgspec.convert(raw, kind, str_keys=True)
    except msgspec.ValidationError as error:
        message, _, place = str(error).rpartition(" - at `$")
        told = message or str(error)
        raise Invalid(told, [Problem(told, path=f"body.{place.rstrip('`').lstrip('.')}" if message else "body")]) from error
    strange = [name for name in raw if name not in kind.__struct_encode_fields__] if isinstance(raw, dict) else []
    return made, ", ".join(name.encode("ascii", "replace").decode()[:60] for name in strange[:MOST_IGNORED] if name.isprintable())


def answer(value: Any, status: int = 200, ignored: str = "", **headers: str) -> Response:
    made = answered(value, status)
    if ignored:
        made.headers[IGNORED] = ignored
    for name, text in headers.items():
        made.headers[name.replace("_", "-")] = text
    return made


def parse_count(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number of the query. Raises `Invalid`."""
    text = request.query_params.get(name, "").strip()
    if not text:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 13 and least <= int(text) <= most:
        return int(text)
    problem = Problem(f"must be a whole number from {least} to {most}, not {text[:40]!r}", path=f"query.{name}")
    raise Invalid(f"{name} {problem.message}", [problem])


def parse_time(request: Request, name: str) -> int | None:
    """A moment of the query in microseconds UTC; one without an offset is UTC. Raises `Invalid`."""
    text = request.query_params.get(name, "").strip()
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace(" ", "+") if " " in text and "T" in text else text)
        found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        return round(found.timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        problem = Problem(f"must be a date and time (ISO 8601), not {text[:60]!r}", path=f"query.{name}")
        raise Invalid(f"{name} {problem.message}", [problem]) from None


def row(
    method: str, path: str, id_: str, summary: str, act: Endpoint, *, needs: str, query: tuple[Query, ...] = (), **more: Any
) -> Operation:
    """One operation of `/v1`. Who lacks the capability is told in Stargraph's words."""
    failures = {401, 403, 422, 429, 500, *more.pop("failures", (404,) if "{" in path else ()), *((413,) if "body" in more else ())}
    return Operation(
        method, path, id_, summary, act, query=query, needs=needs, denial=f"capability '{needs}' not granted",
        failures=tuple(sorted(failures)), **more,
    )  # fmt: skip
