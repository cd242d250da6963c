"""Lists with filters: SQLAlchemy Core builds the statement, the store's read port runs it.

Statements are built from columns and bound values only; no text of a client ever becomes SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import Dialect

from ..errors import Invalid, Problem
from .paging import Page

_DIALECTS: dict[str, Dialect] = {
    "sqlite": SQLiteDialect(paramstyle="qmark"),
    # The plain dialect, no driver's: drivers' ones cast every argument (`?::INTEGER`), too narrow for our times.
    "postgresql": PGDialect(paramstyle="qmark"),  # type: ignore[no-untyped-call]
}


class Reader(Protocol):
    """The store's read port: `?` placeholders in both dialects."""

    dialect: str

    async def read(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]: ...


def compile_select(statement: Select[Any], dialect: str) -> tuple[str, list[Any]]:
    """The statement as SQL with `?` placeholders, and its arguments in order. `dialect`: sqlite or postgresql."""
    known = _DIALECTS["postgresql" if dialect.startswith("postgres") else dialect]
    compiled = statement.compile(dialect=known, compile_kwargs={"render_postcompile": True})
    values: Mapping[str, Any] = compiled.params
    names: Sequence[str] = compiled.positiontup or ()
    return str(compiled), [values[name] for name in names]


async def fetch(reader: Reader, statement: Select[Any]) -> list[tuple[Any, ...]]:
    """All rows of the statement."""
    sql, args = compile_select(statement, reader.dialect)
    return await reader.read(sql, args)


async def fetch_page(reader: Reader, statement: Select[Any], page: Page) -> tuple[list[tuple[Any, ...]], int]:
    """The rows of one page, and how many rows there are in all."""
    counted = select(func.count()).select_from(statement.order_by(None).subquery())
    total = int((await fetch(reader, counted))[0][0])
    if page.offset >= total:
        return [], total
    return await fetch(reader, statement.limit(page.size).offset(page.offset)), total


def contains(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Case-insensitive "has `text` in it"; `%` and `_` in the text mean themselves."""
    return column.icontains(text, autoescape=True)


def sort_by(columns: Mapping[str, ColumnElement[Any]], name: str, order: str = "asc") -> ColumnElement[Any]:
    """The ordering a client asked for by `sort` and `order`. Raises `Invalid` for a name or order that is not offered."""
    problems = []
    if name not in columns:
        near = get_close_matches(name, columns, 1)
        offered = ", ".join(columns)
        hint = f"did you mean {near[0]!r}?" if near else f"one of {offered}"
        problems.append(Problem(f"sort must be one of {offered}, not {name[:40]!r}", path="sort", hint=hint))
    if order not in ("asc", "desc"):
        problems.append(Problem(f"order must be asc or desc, not {order[:40]!r}", path="order"))
    if problems:
        raise Invalid("; ".join(problem.message for problem in problems), problems)
    return columns[name].asc() if order == "asc" else columns[name].desc()
