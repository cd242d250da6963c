from __future__ import annotations

from pathlib import Path

import pytest

from astrarium.errors import Bug, Unavailable
from astrarium.kernel.ports import KERNEL_TABLES, Store
from astrarium.kernel.types import Table
from astrarium.store.migration import FOLDER, Migration, load_migrations, pending, statements
from astrarium.store.postgres import PostgresStore
from astrarium.store.sqlite import SqliteStore

KINDS = {
    "sqlite": {"text": "TEXT", "int": "INTEGER", "real": "REAL", "json": "TEXT", "bytes": "BLOB"},
    "postgres": {"text": "text", "int": "bigint", "real": "double precision", "json": "json", "bytes": "bytea"},
}


def test_both_dialects_have_the_same_migrations() -> None:
    names = [[migration.name for migration in load_migrations(FOLDER / dialect)] for dialect in KINDS]
    assert names[0] == names[1]


@pytest.mark.parametrize("name", ["0003_late.sql", "0002-dash.sql", "2_short.sql", "notes.sql"])
def test_files_out_of_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "0001_first.sql").write_text("")
    (tmp_path / name).write_text("")
    with pytest.raises(Bug, match="number 2"):
        load_migrations(tmp_path)


def test_what_is_pending() -> None:
    known = (Migration(1, "a", ""), Migration(2, "b", ""))
    assert pending({}, known, "x") == known
    assert pending({1: "0.1"}, known, "x") == known[1:]
    assert pending({1: "0.1", 2: "0.1"}, known, "x") == ()
    with pytest.raises(Unavailable, match=r"x has schema 3, written by Astrarium 0\.2; this is Astrarium \S+, .* up to 2"):
        pending({1: "0.1", 2: "0.1", 3: "0.2"}, known, "x")


def test_statements_are_taken_apart() -> None:
    sql = "-- a; comment\nCREATE TABLE a (b TEXT DEFAULT ';'); CREATE TABLE c (d); -- end;\n"
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM c; DELETE FROM a; END;\n"
    assert [part.strip() for part in statements(sql + trigger)] == [
        "-- a; comment\nCREATE TABLE a (b TEXT DEFAULT ';');",
        "CREATE TABLE c (d);",
        f"-- end;\n{trigger.strip()}",
    ]
    with pytest.raises(Bug, match="inside a statement"):
        list(statements("CREATE TABLE a (b)"))


async def described(store: Store, of: Table) -> list[tuple[str, str]]:
    """The columns of the real table: name and type."""
    if store.dialect == "sqlite":
        return [(row[1], row[2]) for row in await store.read(f"PRAGMA table_info({of.name})")]
    sql = (
        "SELECT column_name::text, data_type::text FROM information_schema.columns WHERE table_name = ? ORDER BY ordinal_position"
    )
    return [(name, kind) for name, kind in await store.read(sql, (of.name,))]


async def check(store: Store, tables: tuple[Table, ...]) -> None:
    await store.open()
    for of in tables:
        kinds = KINDS[store.dialect]
        assert await described(store, of) == [(column.name, kinds[column.kind]) for column in of.columns], of.name
        assert of.key == tuple(column.name for column in of.columns[: len(of.key)]), of.name
    await store.close()


async def test_the_kernels_tables_are_as_they_say_on_sqlite(tmp_path: Path) -> None:
    await check(SqliteStore(tmp_path / "a.db", tables=KERNEL_TABLES), KERNEL_TABLES)


@pytest.mark.postgres
async def test_the_kernels_tables_are_as_they_say_on_postgres(postgres_database: str) -> None:
    await check(PostgresStore(postgres_database, tables=KERNEL_TABLES), KERNEL_TABLES)
