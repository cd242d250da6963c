"""A filter as SQL: which table the search walks along, and what it asks of each row on the way.

A condition on a parameter, a name, a status … has an index, and the search is driven by one of them: first its matches are counted in
the index alone, which says how rare they are. Rare ones are all looked at; of common ones, the newest are met soon on a walk along the
order that is asked for. Values of clients are arguments, never text of a statement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from .filter import ASSET, CORE_KEYS, TIME_KEYS, Condition
from .value import MOST_TEXT_CHARS

SORTS = {
    "created_at": ("t.created_at", "t.task_id"),
    "task_name": ("t.name", "t.created_at", "t.task_id"),
    "task_namespace": ("t.namespace", "t.created_at", "t.task_id"),
}
"""What tasks are sorted by, with what tells equal ones apart."""
_COLUMNS = {
    "task_name": "t.name",
    "task_namespace": "t.namespace",
    "task_id": "t.task_id",
    "version": "t.version",
    "status": "s.status",
    "build_id": "s.last_build",
    "created_at": "t.created_at",
    "started_at": "s.started_at",
    "completed_at": "s.completed_at",
}
_OF_BUILDS = "s.last_build IN (SELECT id FROM builds WHERE environment = ? AND {condition})"
_OF_VALUES = "t.task_id IN (SELECT v.task_id FROM task_values v WHERE {conditions})"
LIVE = "EXISTS (SELECT 1 FROM task_assets a WHERE a.environment = v.environment AND a.task_id = v.task_id AND a.body = v.source)"
"""The asset has not been replaced since."""
_JOINS = {
    "t": "t.environment = {first}.environment AND t.task_id = {first}.task_id",
    "s": "s.environment = {first}.environment AND s.task_id = {first}.task_id",
}
_TABLES = {"t": "tasks t", "s": "task_states s", "v": "task_values v"}


class Part(NamedTuple):
    """A condition as SQL. `on` is the table it asks; `drives` tells how well its index finds the matches: 2 = in the order of time,
    1 = in some order, 0 = not at all."""

    sql: str
    args: tuple[Any, ...]
    on: str
    drives: int = 0


class Selection(NamedTuple):
    """The start of a statement: `FROM … WHERE …` with its arguments; `first` is the table that is walked along."""

    sql: str
    args: tuple[Any, ...]
    first: str


def parts_of(environment: str, conditions: Sequence[Condition], text: str) -> list[Part]:
    """The conditions and the free text (a part of the name or namespace) as SQL."""
    parts = [_part(environment, one) for one in conditions]
    if text:
        like = _like(text)
        parts.append(Part("(lower(t.name) LIKE ? ESCAPE '\\' OR lower(t.namespace) LIKE ? ESCAPE '\\')", (like, like), "t"))
    return parts


def driver_of(parts: Sequence[Part]) -> Part | None:
    """The condition whose index finds the matches best."""
    best = max(parts, key=lambda part: part.drives, default=None)
    return best if best is not None and best.drives else None


def select(environment: str, parts: Sequence[Part], driver: Part | None) -> Selection:
    """All of the environment's tasks that fit, walked along the driver's table, or along all tasks."""
    first = driver.on if driver is not None else "t"
    others = [_inside(environment, part) for part in parts if part is not driver]
    more = dict.fromkeys(part.on for part in others if part.on != first)
    tables = [_TABLES[first], *(_TABLES[name] for name in more)]
    wheres, args = [f"{first}.environment = ?"], [environment]
    if driver is not None:
        wheres.append(driver.sql)
        args += driver.args
    wheres += [_JOINS[name].format(first=first) for name in more]
    for part in others:
        wheres.append(part.sql)
        args += part.args
    return Selection(f"FROM {' CROSS JOIN '.join(tables)} WHERE {' AND '.join(wheres)}", tuple(args), first)


def with_tasks(selection: Selection) -> Selection:
    """The same, with the tasks' own columns at hand for sorting."""
    if selection.first == "t" or "tasks t" in selection.sql:
        return selection
    tables, _, wheres = selection.sql.partition(" WHERE ")
    joined = _JOINS["t"].format(first=selection.first)
    return Selection(f"{tables} CROSS JOIN {_TABLES['t']} WHERE {wheres} AND {joined}", selection.args, selection.first)


def _part(environment: str, one: Condition) -> Part:
    if one.key in CORE_KEYS:
        return _core(environment, one)
    sql, args, exact = _value(one)
    live = f" AND {LIVE}" if one.key.startswith(ASSET) else ""
    return Part(f"v.key = ? AND {sql}{live}", (one.key, *args), "v", 2 if exact else 1)


def _inside(environment: str, part: Part) -> Part:
    """A condition on values that does not drive: its matches are gathered once and then looked up."""
    if part.on != "v":
        return part
    return Part(_OF_VALUES.format(conditions=f"v.environment = ? AND {part.sql}"), (environment, *part.args), "t")


def _value(one: Condition) -> tuple[str, tuple[Any, ...], bool]:
    """What is asked of a value of a parameter or asset; whether its matches lie in the order of time."""
    if not math.isnan(one.number):
        return f"v.number {one.operator} ?", (one.number,), False
    if one.operator == "~":
        return "lower(v.text) LIKE ? ESCAPE '\\'", (_like(one.value),), False
    cut = one.value[:MOST_TEXT_CHARS]
    return ("v.text = ?", (cut,), True) if one.operator == "=" else ("v.text <> ?", (cut,), False)


def _core(environment: str, one: Condition) -> Part:
    if one.key == "build_name":
        sql, args = _text("name", one)
        return Part(_OF_BUILDS.format(condition=sql), (environment, *args), "s")
    column = _COLUMNS[one.key]
    on = column[0]
    if one.key in TIME_KEYS:
        never = "" if one.key == "created_at" else f"{column} > 0 AND "
        return Part(f"{never}{column} {_sql(one.operator)} ?", (one.at,), on)
    sql, args = _text(column, one)
    drives = {"task_name": 2, "task_namespace": 2, "task_id": 2, "status": 1, "build_id": 1}.get(one.key, 0)
    return Part(sql, args, on, drives if one.operator == "=" else 0)


def _text(column: str, one: Condition) -> tuple[str, tuple[Any, ...]]:
    if one.operator == "~":
        return f"lower({column}) LIKE ? ESCAPE '\\'", (_like(one.value),)
    return f"{column} {_sql(one.operator)} ?", (one.value,)


def _sql(operator: str) -> str:
    return "<>" if operator == "!=" else operator


def _like(text: str) -> str:
    for special in ("\\", "%", "_"):
        text = text.replace(special, f"\\{special}")
    return f"%{text.lower()}%"

