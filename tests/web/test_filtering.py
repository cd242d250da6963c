"""Statements compile to `?` placeholders for both dialects and mean what they say."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Integer, String, and_, column, or_, select, table

from astrarium.errors import Invalid
from astrarium.web.filtering import compile_select, contains, fetch, fetch_page, sort_by
from astrarium.web.paging import Page

RUNS = table("runs", column("id", Integer), column("name", String), column("at", Integer))


class _Rows:
    """Five rows behind the read port."""

    dialect = "sqlite"

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:")
        self.connection.execute("CREATE TABLE runs (id INTEGER, name TEXT, at INTEGER)")
        rows = [(1, "alpha", 50), (2, "Beta", 40), (3, "100%", 30), (4, "a_b", 20), (5, "aXb", 10)]
        self.connection.executemany("INSERT INTO runs VALUES (?, ?, ?)", rows)

    async def read(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, tuple(args)).fetchall()


STATEMENTS = [
    select(RUNS.c.id).where(RUNS.c.name == "?"),
    select(RUNS.c.id)
    .where(or_(contains(RUNS.c.name, "%"), RUNS.c.id.in_([1, 2, 3])))
    .order_by(RUNS.c.at.desc())
    .limit(2)
    .offset(1),
    select(RUNS.c.id).where(and_(RUNS.c.at >= 1_800_000_000_000_000, RUNS.c.id.in_([]))),
]


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "postgres"])
@pytest.mark.parametrize("statement", STATEMENTS)
def test_arguments_match_the_placeholders(statement: Any, dialect: str) -> None:
    sql, args = compile_select(statement, dialect)
    assert sql.count("?") == len(args)
    assert not re.search(r"\?::|%\(|:\w+_1", sql)


async def test_filters_mean_themselves() -> None:
    rows = _Rows()
    for text, expected in {"A": [1, 2, 4, 5], "%": [3], "_": [4], "beta": [2], "'; DROP": []}.items():
        found = await fetch(rows, select(RUNS.c.id).where(contains(RUNS.c.name, text)).order_by(RUNS.c.id))
        assert [one for (one,) in found] == expected


async def test_a_page_and_the_total() -> None:
    statement = select(RUNS.c.id).where(RUNS.c.at > 10).order_by(RUNS.c.id)
    assert await fetch_page(_Rows(), statement, Page(1, 3)) == ([(1,), (2,), (3,)], 4)
    assert await fetch_page(_Rows(), statement, Page(2, 3)) == ([(4,)], 4)
    assert await fetch_page(_Rows(), statement, Page(9, 3)) == ([], 4)


async def test_sorting_offers_only_what_it_offers() -> None:
    columns = {"name": RUNS.c.name, "startedAt": RUNS.c.at}
    found = await fetch(_Rows(), select(RUNS.c.id).order_by(sort_by(columns, "startedAt", "desc")))
    assert found[0] == (1,)
    with pytest.raises(Invalid) as caught:
        sort_by(columns, "nam", "up")
    assert [problem.path for problem in caught.value.problems] == ["sort", "order"]
    assert "did you mean 'name'?" in caught.value.problems[0].hint


@pytest.mark.postgres
async def test_postgresql_takes_the_statements(postgres_database: str) -> None:
    asyncpg = pytest.importorskip("asyncpg")
    connection = await asyncpg.connect(postgres_database)
    try:
        await connection.execute("CREATE TABLE runs (id BIGINT, name TEXT, at BIGINT)")
        await connection.execute("INSERT INTO runs VALUES (1, 'Alpha?', 1800000000000001)")
        statement = select(RUNS.c.id).where(
            contains(RUNS.c.name, "PHA"), RUNS.c.at > 1_800_000_000_000_000, RUNS.c.id.in_([1, 2])
        )
        sql, args = compile_select(statement.limit(5).offset(0), "postgresql")
        numbers = iter(range(1, 100))
        rows = await connection.fetch(re.sub(r"\?", lambda _: f"${next(numbers)}", sql), *args)
        assert [tuple(row) for row in rows] == [(1,)]
    finally:
        await connection.close()
