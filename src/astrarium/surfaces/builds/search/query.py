"""One page of a search: which tasks fit, how many they are in all, and what is told of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ....kernel.ports import Store
from ....kernel.types import Scope
from ....web.paging import Page, read_cursor, write_cursor
from ...tenancy.workspace.body import shown_id
from ..views.task import count_tasks
from ..views.text import moment, moment_or_none
from . import wire
from .filter import Filter
from .select import SORTS, Part, Selection, driver_of, parts_of, select, with_tasks

COLUMNS = ("task_name", "task_namespace", "status", "build_name", "created_at")
"""What every found task has (Stardag)."""
_TOLD = (
    "SELECT t.task_id, t.namespace, t.name, d.data, t.version, t.output_uri, t.created_at, s.last_build, b.name, s.status, s.started_at,"
    " s.completed_at, s.error, s.assets FROM tasks t JOIN task_states s ON s.environment = t.environment AND s.task_id = t.task_id"
    " JOIN things d ON d.hash = t.body LEFT JOIN builds b ON b.id = s.last_build WHERE t.environment = ? AND t.task_id IN ({ids})"
)
_ASSETS = (
    "SELECT a.task_id, a.name, d.data FROM task_assets a JOIN things d ON d.hash = a.body"
    " WHERE a.environment = ? AND a.task_id IN ({ids}) AND a.name IN ({names}) ORDER BY a.created_at"
)


class Search(NamedTuple):
    """What is asked. `sort` is a name of `SORTS`; `after` the sort values of the last task of the page before; `assets` names assets whose
    contents are told too."""

    filter: Filter
    text: str = ""
    sort: str = "created_at"
    descending: bool = True
    page: Page = Page()
    after: tuple[Any, ...] = ()
    assets: tuple[str, ...] = ()


async def search_tasks(store: Store, scope: Scope, asked: Search) -> wire.FoundTasks:
    """The page that is asked for, with the true total."""
    environment = scope.environment
    parts = parts_of(environment, asked.filter.conditions, asked.text)
    driver = driver_of(parts)
    driven = select(environment, parts, driver)
    every = await count_tasks(store, scope)
    total = int((await store.read(f"SELECT count(*) {driven.sql}", driven.args))[0][0]) if parts else every
    keys: list[tuple[Any, ...]] = []
    if asked.after or asked.page.offset < total:
        along = driven if _is_direct(driver, asked, total, every) else select(environment, parts, None)
        keys = await _keys(store, along, asked)
    ids = [key[-1] for key in keys]
    tasks = await _tell(store, scope, ids, asked.assets)
    more = len(keys) == asked.page.size and (asked.after or asked.page.offset + len(keys) < total)
    following = write_cursor(asked.sort, *keys[-1]) if keys and more else None
    ignored = list(asked.filter.ignored)
    return wire.FoundTasks(tasks, total, asked.page.number, asked.page.size, list(COLUMNS), following, ignored)


def _is_direct(driver: Part | None, asked: Search, total: int, every: int) -> bool:
    """Whether to gather all matches of the driver and sort them, rather than walk along the order until the page is full. On the walk,
    one task in `every / total` fits; values cannot be asked for there without gathering them."""
    if driver is None or driver.on == "v" or (driver.drives == 2 and asked.sort == "created_at"):
        return True
    wanted = asked.page.size + (0 if asked.after else asked.page.offset)
    return total < wanted * every / max(total, 1)


async def _keys(store: Store, along: Selection, asked: Search) -> list[tuple[Any, ...]]:
    """The sort values of the page's tasks, their ids last."""
    columns = SORTS[asked.sort]
    if along.first == "v" and asked.sort == "created_at":
        columns = ("v.created_at", "v.task_id")
    else:
        along = with_tasks(along)
    where, args = "", [*along.args]
    if asked.after:
        marks = ", ".join("?" * len(columns))
        where = f" AND ({', '.join(columns)}) {'<' if asked.descending else '>'} ({marks})"
        args += asked.after
    order = ", ".join(f"{column} {'DESC' if asked.descending else 'ASC'}" for column in columns)
    sql = f"SELECT {', '.join(columns)} {along.sql}{where} ORDER BY {order} LIMIT ? OFFSET ?"
    return await store.read(sql, (*args, asked.page.size, 0 if asked.after else asked.page.offset))


async def _tell(store: Store, scope: Scope, ids: Sequence[str], assets: Sequence[str]) -> list[wire.FoundTask]:
    if not ids:
        return []
    rows = await store.read(_TOLD.format(ids=_marks(ids)), (scope.environment, *ids))
    contents: dict[str, dict[str, msgspec.Raw]] = {}
    if assets:
        sql = _ASSETS.format(ids=_marks(ids), names=_marks(assets))
        for task_id, name, data in await store.read(sql, (scope.environment, *ids, *assets)):
            contents.setdefault(task_id, {})[name] = msgspec.Raw(data)
    environment = shown_id(scope.environment)
    told = {row[0]: _found(environment, row, contents.get(row[0], {})) for row in rows}
    return [told[id_] for id_ in ids if id_ in told]


def _found(environment: str, row: tuple[Any, ...], contents: dict[str, msgspec.Raw]) -> wire.FoundTask:
    task_id, namespace, name, data, version, uri, created, build, build_name, status, started, completed, error, assets = row
    return wire.FoundTask(
        task_id, environment, namespace, name, msgspec.Raw(data), version, uri, moment(created), build or None, build_name, status,
        moment_or_none(started), moment_or_none(completed), error, assets, contents,
    )  # fmt: skip


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def parse_cursor(text: str, sort: str) -> tuple[Any, ...]:
    """The sort values a cursor of a search holds. Raises `Invalid`."""
    return read_cursor(text, sort, *(int if column == "t.created_at" else str for column in SORTS[sort]))
