"""What the routes of plans begin with, and what their queries say."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from .....errors import Invalid, Problem
from .....web.caller import Caller, caller_of
from ....operation import Endpoint, Operation, Query
from ....tenancy.routes.entry import flag
from ...routes.entry import READ, WRITE, desk_of, parse_uuid, status_of, task_id, text_of
from ...routes.entry import row as row_of
from ..desk import Plans
from ..outlook import Outlook
from ..wake import Wakes

__all__ = [
    "READ", "WRITE", "enter", "flag", "outlook_of", "row", "status_of", "task_id", "text_of", "uuid_of", "wakes_of", "whole",
]  # fmt: skip

BUILD = "/builds/{build_id}"
PLAN = "/plans/{plan_id}"
MEMBER = PLAN + "/members/{task_id}"
TASK = "/tasks/{task_id}"
LIMIT = Query("limit", "How many at most.", "integer")
CURSOR = Query("cursor", "The next_cursor of the page before.")
INCLUDE_ENDED = Query("include_ended", "Also those that ended.", "boolean")
MOST = 500


async def enter(request: Request) -> tuple[Plans, Caller]:
    """The desk, and the caller as they are in their environment."""
    return desk_of(request).plans, await caller_of(request)


def outlook_of(request: Request) -> Outlook:
    return Outlook(desk_of(request).plans)


def wakes_of(request: Request) -> Wakes:
    return Wakes(desk_of(request).plans)


def uuid_of(request: Request, name: str) -> str:
    """A UUID of the path. Raises `Invalid`."""
    return parse_uuid(request.path_params[name], f"path.{name}")


def whole(request: Request, name: str, default: int, most: int, least: int = 1) -> int:
    """A number of the query. Raises `Invalid`."""
    given = request.query_params.get(name, "")
    if not given:
        return default
    if not (given.isascii() and given.isdigit() and len(given) <= 10 and least <= int(given) <= most):
        problem = Problem(f"must be a whole number of {least} to {most}", path=f"query.{name}")
        raise Invalid(f"{name} {problem.message}", [problem])
    return int(given)


def row(method: str, path: str, id_: str, summary: str, act: Endpoint, needs: str, *failures: int, **more: Any) -> Operation:
    """One operation on what plans drive."""
    return row_of(method, path, id_, summary, act, needs, 422, *failures, **more)
