"""Search over the tasks of an environment, and what a search may be completed to."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ....errors import Invalid, Problem
from ....web.paging import parse_limit
from ...operation import Query, answer
from ..field import NAME_MAX, check_id
from ..search import wire
from ..search.filter import parse_filter
from ..search.query import Search, parse_cursor, search_tasks
from ..search.select import SORTS
from ..search.suggest import suggest_columns, suggest_keys, suggest_values
from .entry import PAGING, READ, enter, page_of, row, text_of

SEARCH = "/tasks/search"
SIZE, LIMIT, LIMIT_MAX = 50, 20, 1000
FILTER = Query("filter", "Conditions `key:[operator:]value`, separated by commas; operators are = != > < >= <= ~.")
TEXT = Query("q", "A part of the name or namespace, whatever the case.")
SORT = Query("sort", "`created_at`, `task_name` or `task_namespace`, with `:asc` or `:desc` (created_at:desc).")
CURSOR = Query("cursor", "The next_cursor of the page before; page is then ignored.")
ASSETS = Query("include_assets", "Names of assets whose contents are told too, separated by commas.")
PREFIX = Query("prefix", "Only what begins with it.")
MOST = Query("limit", f"How many, 1 to {LIMIT_MAX} ({LIMIT}).", "integer")
KEY = Query("key", "The key whose values are wanted.")


async def get_found(request: Request) -> Response:
    desk, caller = await enter(request)
    sort, _, order = (text_of(request, SORT.name) or "").partition(":")
    sort, order = (sort, order) if sort in SORTS else ("created_at", "desc")
    cursor = text_of(request, CURSOR.name)
    asked = Search(
        parse_filter(text_of(request, FILTER.name) or ""), text_of(request, TEXT.name) or "", sort, order != "asc",
        page_of(request, SIZE), parse_cursor(cursor, sort) if cursor else (),
        tuple(name for name in (text_of(request, ASSETS.name) or "").split(",") if name),
    )  # fmt: skip
    return answer(await search_tasks(desk.store, caller.scope, asked))


async def get_keys(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await suggest_keys(desk.store, caller.scope, text_of(request, PREFIX.name) or "", _limit(request)))


async def get_values(request: Request) -> Response:
    desk, caller = await enter(request)
    key = text_of(request, KEY.name)
    if key is None:
        raise Invalid("key: Field required", [Problem("Field required", path="query.key")])
    check_id(key, "query.key", NAME_MAX)
    return answer(await suggest_values(desk.store, caller.scope, key, text_of(request, PREFIX.name) or "", _limit(request)))


async def get_columns(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await suggest_columns(desk.store, caller.scope))


def _limit(request: Request) -> int:
    return parse_limit(request.query_params, default=LIMIT, most=LIMIT_MAX)


OPERATIONS = (
    row("GET", SEARCH, "searchTasks", "Search tasks by what they are, how they are and what they were given", get_found, READ, 422,
        query=(FILTER, TEXT, SORT, *PAGING, CURSOR, ASSETS), answer=wire.FoundTasks),
    row("GET", SEARCH + "/keys", "suggestSearchKeys", "Keys a filter may use", get_keys, READ, 422, query=(PREFIX, MOST),
        answer=wire.SearchKeys),
    row("GET", SEARCH + "/values", "suggestSearchValues", "Values of a key, the most frequent ones first", get_values, READ, 422,
        query=(KEY, PREFIX, MOST), answer=wire.SearchValues),
    row("GET", SEARCH + "/columns", "suggestSearchColumns", "Columns a table of tasks may show", get_columns, READ,
        answer=wire.SearchColumns),
)  # fmt: skip
