"""The audit log over HTTP: `/api/v1/audit`, of the caller's workspace."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ....errors import Invalid, Problem
from ....web.caller import caller_of
from ....web.paging import parse_limit
from ... import operation
from ...operation import Operation, Query, answer
from .record import AuditPage, Read, Wanted, export, parse_moment, read_page

PREFIX = "/api/v1"
NEEDS = "audit:read"
LINES = "text/plain"
"""So that browsers and generated clients take it as text."""


class AuditError(msgspec.Struct):
    """How errors look here."""

    detail: str


def _read_of(request: Request) -> Read:
    read: Read = request.app.state.worker.store.read
    return read


def _number(request: Request, name: str) -> int:
    """The number of a record; 0 when none is given. Raises `Invalid`."""
    text = request.query_params.get(name, "").strip()
    if not text:
        return 0
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return int(text)
    problem = Problem(f"{name} must be the number of a record, not {text[:40]!r}", path=name)
    raise Invalid(problem.message, [problem])


async def get_audit(request: Request) -> Response:
    caller = await caller_of(request)
    query = request.query_params
    wanted = Wanted(
        query.get("actor", ""), query.get("act", ""), query.get("subject", ""), parse_moment(query.get("since", ""), "since"),
        parse_moment(query.get("until", ""), "until"),
    )  # fmt: skip
    limit = parse_limit(query, default=50, most=request.app.state.settings.page_max)
    return answer(await read_page(_read_of(request), caller.scope.workspace, wanted, _number(request, "before"), limit))


async def export_audit(request: Request) -> Response:
    caller = await caller_of(request)
    lines = export(_read_of(request), caller.scope.workspace, _number(request, "after"))
    return StreamingResponse(lines, media_type=LINES, headers={"cache-control": "no-store"})


OPERATIONS = (
    Operation("GET", "/audit", "listAudit", "Who did what, newest first", get_audit, needs=NEEDS, answer=AuditPage,
        failures=(400, 401, 403), query=(
            Query("actor", "Only by this actor, `user:anna`, or kind of actor, `user`."),
            Query("act", "Only this act, `auth.denied`, or group of acts, `auth`."),
            Query("subject", "Only about this, `user:17`, or kind of thing, `user`."),
            Query("since", "Only from this time on, RFC 3339."), Query("until", "Only before this time, RFC 3339."),
            Query("before", "Only records with lower numbers: the `next` of the page before.", "integer"),
            Query("limit", "Most records, 50 by default.", "integer"),
        )),
    Operation("GET", "/audit/export", "exportAudit", "All records as JSON lines, oldest first", export_audit, needs=NEEDS, media=LINES,
        failures=(400, 401, 403), query=(Query("after", "Only records with higher numbers.", "integer"),)),
)  # fmt: skip


def mount(app: FastAPI) -> None:
    """Add the audit log to an application."""
    operation.mount(app, PREFIX, OPERATIONS)


def describe(document: dict[str, Any]) -> None:
    """Add the audit log to an OpenAPI document."""
    operation.describe(document, PREFIX, "tenancy", OPERATIONS, AuditError)
