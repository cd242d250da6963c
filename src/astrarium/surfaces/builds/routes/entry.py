"""What the routes of this surface begin with: who calls, in which environment, and rows of the table."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from ....errors import Invalid, Problem
from ....web.caller import Caller, caller_of
from ....web.paging import LAST_PAGE, Page, parse_page
from ...operation import Endpoint, Operation, Query
from ...tenancy.workspace.sdk import PARAMETER, sdk_environment
from ..desk import Desk
from ..field import ID_MAX, check_id

T = TypeVar("T")
_USUAL = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

BUILD = "/builds/{build_id}"
BUILD_TASK = BUILD + "/tasks/{task_id}"
TASK = "/tasks/{task_id}"
LOCK = "/locks/{lock_name}"
READ, WRITE = "builds:read", "builds:write"
ENVIRONMENT = Query(PARAMETER, "Which environment is meant; an API key has its own.")
PAGING = (Query("page", "Page, from 1.", "integer"), Query("page_size", "Items on a page, 1 to 100 (20).", "integer"))
PART = (
    Query("page", "Page, from 1.", "integer"),
    Query("page_size", "Items on a page, 1 to 10000; without it all there are.", "integer"),
)
PAGE_SIZE, PAGE_MAX, PART_MAX = 20, 100, 10_000


def desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.builds
    return desk


async def enter(request: Request) -> tuple[Desk, Caller]:
    """The desk, and the caller as they are in their environment."""
    return desk_of(request), await caller_of(request)


def build_id(request: Request) -> str:
    """The build of the path. Raises `Invalid`."""
    return parse_uuid(request.path_params["build_id"], "path.build_id")


def task_id(request: Request) -> str:
    """The task of the path. Raises `Invalid`."""
    return check_id(request.path_params["task_id"], "path.task_id", ID_MAX)


def parse_uuid(text: str, path: str) -> str:
    """A UUID in its usual writing. Raises `Invalid`."""
    if _USUAL.fullmatch(text):
        return text
    try:
        return str(uuid.UUID(text))
    except ValueError:
        told = "Input should be a valid UUID"
        raise Invalid(f"{path}: {told}", [Problem(told, path=path)]) from None


def text_of(request: Request, name: str) -> str | None:
    """A text of the query; None when it is not there. What is told of an error is kept however long it is."""
    return request.query_params.get(name)


def status_of(request: Request, known: Collection[str]) -> str:
    """The status a list is narrowed to, empty when none is named. Raises `Invalid`."""
    given = text_of(request, "status") or ""
    if given and given not in known:
        problem = Problem(f"must be one of {', '.join(known)}, not {given[:40]!r}", path="query.status")
        raise Invalid(f"status {problem.message}", [problem])
    return given


def page_of(request: Request, size: int = PAGE_SIZE, most: int = PAGE_MAX) -> Page:
    """Raises `Invalid`."""
    try:
        return parse_page(request.query_params, size=size, most=most, names=("page", "page_size"))
    except Invalid as error:
        problems = [msgspec.structs.replace(problem, path=f"query.{problem.path}") for problem in error.problems]
        raise Invalid(error.message, problems) from None


def part_of(request: Request) -> Page:
    """A page where one is asked for, else everything. Raises `Invalid`."""
    asked = request.query_params.get("page_size", "")
    return page_of(request, PART_MAX, PART_MAX) if asked else Page(1, LAST_PAGE)


def row(method: str, path: str, id_: str, summary: str, act: Endpoint, needs: str, *failures: int, **more: Any) -> Operation:
    """One operation on what belongs to an environment."""
    refusals = {400, 401, 403, 404, *((422,) if "{" in path or "body" in more else ()), *failures}
    query = (*more.pop("query", ()), ENVIRONMENT)
    return Operation(
        method, path, id_, summary, act, needs=needs, failures=tuple(sorted(refusals)), place=sdk_environment, query=query, **more
    )
