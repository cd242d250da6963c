"""What a filter may be completed to: the keys there are, the values of one, and the columns a table of tasks may show."""

from __future__ import annotations

from typing import Any

from ....kernel.ports import Store
from ....kernel.types import Scope
from ..machines.kept import STATUSES
from . import wire
from .filter import ASSET, CORE_KEYS, PARAM, TIME_KEYS
from .select import LIVE

CORE_COLUMNS = (
    "task_id", "task_name", "task_namespace", "status", "build_id", "build_name", "created_at", "started_at", "completed_at",
)  # fmt: skip
MOST_COLUMNS = 50
_KEYS = "SELECT key, kind, tasks FROM search_keys WHERE environment = ? AND key >= ? AND key < ? ORDER BY tasks DESC, key LIMIT ?"
_VALUES = (
    "SELECT v.text, count(*) FROM task_values v WHERE v.environment = ? AND v.key = ? AND v.text >= ? AND v.text < ?{live}"
    " GROUP BY v.text ORDER BY count(*) DESC, v.text LIMIT ?"
)
_OF_TASKS = "SELECT {column}, count(*) FROM {table} WHERE {condition} GROUP BY {column} ORDER BY count(*) DESC, {column} LIMIT ?"
_OF_BUILDS = (
    "SELECT {shown}, sum(s.tasks) FROM (SELECT last_build, count(*) AS tasks FROM task_states WHERE environment = ? GROUP BY last_build) s"
    " JOIN builds b ON b.id = s.last_build WHERE {shown} >= ? AND {shown} < ? GROUP BY {shown} ORDER BY sum(s.tasks) DESC, {shown} LIMIT ?"
)
_COUNTED = {
    "task_name": ("name", "tasks"),
    "task_namespace": ("namespace", "tasks"),
    "task_id": ("task_id", "tasks"),
    "status": ("status", "task_states"),
}


async def suggest_keys(store: Store, scope: Scope, prefix: str, limit: int) -> wire.SearchKeys:
    """Keys that begin with `prefix`: columns first, then parameters and assets, the most frequent ones first."""
    core = [key for key in CORE_KEYS if key.startswith(prefix)]
    told = [wire.SearchKey(key, "datetime" if key in TIME_KEYS else "string", 0) for key in core]
    rows: list[tuple[Any, ...]] = []
    for kind in (PARAM, ASSET):
        if len(told) + len(rows) < limit and (kind.startswith(prefix) or prefix.startswith(kind)):
            begin = max(prefix, kind, key=len)
            rows += await store.read(_KEYS, (scope.environment, *_range(begin), limit))
    return wire.SearchKeys([*told, *(wire.SearchKey(*row) for row in rows)][:limit])


async def suggest_values(store: Store, scope: Scope, key: str, prefix: str, limit: int) -> wire.SearchValues:
    """Values of a key that begin with `prefix`, the most frequent ones first, with how many tasks have each. A key nobody has, and one
    of a time, has none."""
    if key in ("build_id", "build_name"):
        sql = _OF_BUILDS.format(shown="b.id" if key == "build_id" else "b.name")
        rows = await store.read(sql, (scope.environment, *_range(prefix), limit))
    elif key in _COUNTED:
        column, table = _COUNTED[key]
        condition = f"environment = ? AND {column} >= ? AND {column} < ?"
        sql = _OF_TASKS.format(column=column, table=table, condition=condition)
        rows = await store.read(sql, (scope.environment, *_range(prefix), limit))
    else:
        sql = _VALUES.format(live=f" AND {LIVE}" if key.startswith(ASSET) else "")
        rows = await store.read(sql, (scope.environment, key, *_range(prefix), limit))
    told = [wire.SearchValue(text, int(count)) for text, count in rows]
    if key == "status":  # all there are, as clients offer them (Stardag)
        known = {one.value for one in told}
        told += [wire.SearchValue(status, 0) for status in STATUSES if status.startswith(prefix) and status not in known]
    return wire.SearchValues(told[:limit])


async def suggest_columns(store: Store, scope: Scope) -> wire.SearchColumns:
    """What a table of tasks may show: the most frequent parameters and assets by name."""
    found = []
    for kind in (PARAM, ASSET):
        rows = await store.read(_KEYS, (scope.environment, *_range(kind), MOST_COLUMNS))
        found.append(sorted(row[0] for row in rows))
    return wire.SearchColumns(list(CORE_COLUMNS), *found)


def _range(prefix: str) -> tuple[str, str]:
    """From and up to which text lies what begins with `prefix`."""
    return prefix, prefix + "\U0010ffff"
