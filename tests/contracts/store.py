"""What every store promises (`kernel.ports.Store`). A subclass gives `make`, which names a store of one database, not opened."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from astrarium.errors import Bug, Unavailable
from astrarium.kernel.ports import (
    COUNTERS,
    JOBS,
    KERNEL_TABLES,
    RECEIPTS,
    SLOTS,
    SNAPSHOTS,
    THINGS,
    Batch,
    Fenced,
    NewEvent,
    StaleHeads,
    Store,
)
from astrarium.kernel.types import Table, table
from astrarium.store.migration import FOLDER

SAMPLE = table("sample", "id", "id name count:int ratio:real doc:json data:bytes")
PAIR = table("pair", "a b", "a b:int note")
BARE = table("bare", "id", "id")
TABLES: tuple[Table, ...] = (*KERNEL_TABLES, SAMPLE, PAIR, BARE)

SAMPLE_SQL = {
    "sqlite": """
CREATE TABLE sample (id TEXT NOT NULL PRIMARY KEY, name TEXT, count INTEGER, ratio REAL, doc TEXT, data BLOB);
CREATE TABLE pair (a TEXT NOT NULL, b INTEGER NOT NULL, note TEXT, PRIMARY KEY (a, b)); -- two key columns; of two kinds
CREATE TABLE bare (id TEXT NOT NULL PRIMARY KEY);
""",
    "postgres": """
CREATE TABLE sample (id text PRIMARY KEY, name text, count bigint, ratio double precision, doc json, data bytea);
CREATE TABLE pair (a text NOT NULL, b bigint NOT NULL, note text, PRIMARY KEY (a, b)); -- two key columns; of two kinds
CREATE TABLE bare (id text PRIMARY KEY);
""",
}

Make = Callable[..., Store]
Start = Callable[..., Awaitable[Store]]


def event(stream: str, seq: int, workspace: str = "ws", body: bytes = b"{}") -> NewEvent:
    return NewEvent(workspace, stream, seq, 1_700_000_000_000_000 + seq, "Happened", 1, "user:anna", body)


def moving(stream: str, start: int, count: int = 1, workspace: str = "ws") -> Batch:
    """A batch that moves a stream by `count` events."""
    batch = Batch()
    batch.heads[stream] = start
    batch.moved[stream] = start + count
    batch.events = [event(stream, start + n, workspace) for n in range(1, count + 1)]
    return batch


def job(id_: str, *, owner: str = "", not_before: int = 0, priority: int = 0) -> tuple[Any, ...]:
    return (id_, "ws", "local", "work", "run:1", not_before, priority, 0, owner, b'{"n":1}')


def jobs(*rows: tuple[Any, ...]) -> Batch:
    batch = Batch()
    for row in rows:
        batch.put(JOBS, row)
    return batch


async def positions(store: Store, workspace: str = "ws") -> list[int]:
    found = await store.read("SELECT position FROM events WHERE workspace = ? ORDER BY position", (workspace,))
    return [row[0] for row in found]


class StoreContract:
    dialect = ""

    @pytest.fixture
    def migrations(self, tmp_path: Path) -> Path:
        """The real schema and one migration more, for the tables of these tests."""
        folder = tmp_path / "migrations"
        shutil.copytree(FOLDER / self.dialect, folder)
        number = len(list(folder.glob("*.sql"))) + 1
        (folder / f"{number:04}_sample.sql").write_text(SAMPLE_SQL[self.dialect])
        return folder

    @pytest.fixture
    async def start(self, make: Make, migrations: Path) -> AsyncIterator[Start]:
        """Open a store of the test's database (again) and enlist a worker; all are closed in the end."""
        opened: list[Store] = []

        async def open_(worker: str = "w1", **settings: Any) -> Store:
            store = make(**{"tables": TABLES, "migrations": migrations, **settings})
            await store.open()
            opened.append(store)
            if worker:
                await store.enlist(worker, "host", 1, "boot", 30.0)
            return store

        yield open_
        for store in opened:
            await store.close()

    @pytest.fixture
    async def store(self, start: Start) -> Store:
        return await start()

    # -- rows ---------------------------------------------------------------------------------------------------------

    async def test_rows_that_count_add_up(self, store: Store) -> None:
        """Within a batch and over batches; what does not add stays as it was first put."""
        for since, amounts in ((10, (1, 2)), (20, (4,))):
            batch = Batch()
            for amount in amounts:
                batch.put(COUNTERS, ("ws", "runs", "b", "good", since, amount))
                batch.put(COUNTERS, ("ws", "runs", "a", "good", since, 1))
            await store.write(batch, "w1")
        assert await store.read("SELECT subject, since, amount FROM counters ORDER BY subject") == [("a", 10, 3), ("b", 10, 7)]

    @pytest.mark.parametrize(
        "row",
        [
            ("a", "plain", 1, 0.5, b'{"x": [1, 2]}', b"\x00\xff"),
            ("b", None, None, None, None, None),
            ("c", "", 0, 0.0, '""', b""),
            ("d", "née 東京 🪐 'quote' \"double\" \\ \n ?", -(2**63), -1.5e300, b'"a text"', b"'"),
            ("e", "x" * 100_000, 2**63 - 1, 1e-300, b"[" + b"1," * 50_000 + b"1]", bytes(range(256)) * 1000),
            ("f", "1763784791000001", 1_763_784_791_000_001, 3.0, b"12345678901234567890.10", b"NULL"),
            ("g", "null", 2**53 + 1, 2.5, b'{"esc":"\\u0000 \\ud800 \\n","same":1,"same":2}', b"x"),
        ],
        ids=lambda row: str(row[0]),
    )
    async def test_every_kind_of_column_comes_back_as_it_went_in(self, store: Store, row: tuple[Any, ...]) -> None:
        batch = Batch()
        batch.put(SAMPLE, row)
        await store.write(batch, "w1")
        doc = row[4].decode() if isinstance(row[4], bytes) else row[4]
        assert await store.read("SELECT * FROM sample") == [(*row[:4], doc, row[5])]
        kinds = [type(value) for value in (await store.read("SELECT name, count, ratio, doc, data FROM sample"))[0]]
        assert kinds == [type(value) for value in (row[1], row[2], row[3], doc, row[5])]

    async def test_json_null_is_a_value(self, store: Store) -> None:
        batch = Batch()
        batch.put(SAMPLE, ("a", None, None, None, b"null", None))
        await store.write(batch, "w1")
        assert await store.read("SELECT doc FROM sample") == [("null",)]

    @pytest.mark.parametrize("name", ["nul\x00inside", "\x00", "lone \ud800 surrogate", "\udfff"])
    async def test_unfit_texts_are_mended_not_refused(self, store: Store, name: str) -> None:
        batch = moving(f"run:{name}", 0, 2)
        batch.put(SAMPLE, (name, name, 1, None, None, None))
        batch.put(PAIR, (name, 1, name))
        await store.write(batch, "w1")
        assert [happened.position for happened in batch.events] == [1, 2]
        [(kept,)] = await store.read("SELECT name FROM sample WHERE id = ?", (name,))
        mended = name.replace("\ud800", "\ufffd").replace("\udfff", "\ufffd")
        assert kept in (mended, mended.replace("\x00", "\ufffd"))
        assert await store.read("SELECT count(*) FROM events WHERE stream = ?", (f"run:{name}",)) == [(2,)]
        again = Batch()
        again.drop(SAMPLE, name)
        again.drop(PAIR, (name, 1))
        await store.write(again, "w1")
        assert await store.read("SELECT id FROM sample UNION ALL SELECT a FROM pair") == []

    async def test_put_replaces_whole_rows_and_drop_deletes(self, store: Store) -> None:
        first = Batch()
        first.put(PAIR, ("a", 1, "old"))
        first.put(PAIR, ("a", 2, "kept"))
        first.put(PAIR, ("b", 1, "gone"))
        first.put(BARE, ("x",))
        await store.write(first, "w1")
        second = Batch()
        second.put(PAIR, ("a", 1, None))
        second.put(PAIR, ("c", 1, "never"))
        second.put(BARE, ("x",))
        second.drop(PAIR, ("b", 1))
        second.drop(PAIR, ("c", 1))
        second.drop(PAIR, ("not", 9))
        second.drop(BARE, "y")
        await store.write(second, "w1")
        assert await store.read("SELECT * FROM pair ORDER BY a, b") == [("a", 1, None), ("a", 2, "kept")]
        assert await store.read("SELECT * FROM bare") == [("x",)]

    async def test_a_dropped_row_may_be_put_again(self, store: Store) -> None:
        batch = Batch()
        batch.drop(PAIR, ("a", 1))
        batch.put(PAIR, ("a", 1, "back"))
        await store.write(batch, "w1")
        assert await store.read("SELECT * FROM pair") == [("a", 1, "back")]

    @pytest.mark.parametrize("count", [1, 2, 5, 63, 64, 65, 1024, 1025, 3000])
    async def test_any_number_of_rows(self, store: Store, count: int) -> None:
        batch = moving("run:1", 0, count)
        for n in range(count):
            batch.put(PAIR, ("k", n, str(n)))
            batch.put(BARE, (f"{n}",))
        await store.write(batch, "w1")
        assert await store.read("SELECT count(*), sum(b) FROM pair") == [(count, count * (count - 1) // 2)]
        assert await positions(store) == list(range(1, count + 1))
        dropping = Batch()
        for n in range(0, count, 2):
            dropping.drop(PAIR, ("k", n))
            dropping.drop(BARE, str(n))
        await store.write(dropping, "w1")
        assert await store.read("SELECT count(*) FROM pair") == [(count // 2,)]
        assert await store.read("SELECT count(*) FROM bare") == [(count // 2,)]

    async def test_a_batch_of_twenty_thousand_rows(self, store: Store) -> None:
        batch = Batch()
        for n in range(5_000):
            batch.heads[f"run:{n}"] = 0
            batch.moved[f"run:{n}"] = 1
            batch.events.append(event(f"run:{n}", 1))
            batch.put(JOBS, job(f"j{n}"))
            batch.put(PAIR, (f"run:{n}", n, None))
            batch.put(THINGS, (f"{n:064}", "graph", n, b"\x00" * 10))
        await store.write(batch, "w1")
        for name in ("events", "jobs", "pair", "things", "heads"):
            assert await store.read(f"SELECT count(*) FROM {name}") == [(5_000,)]

    async def test_the_kernels_own_tables(self, store: Store) -> None:
        batch = Batch()
        rows: dict[Table, tuple[Any, ...]] = {
            SLOTS: ("ws", "queue:a", "run:1", "held", 5, 1, 2, 3, 4),
            RECEIPTS: ("ws", "key", "print", "run:1", 4, 9),
            SNAPSHOTS: ("run:1", 4, "ws", "local", b"\x80state"),
            JOBS: job("j", owner="w1"),
        }
        for of, row in rows.items():
            batch.put(of, row)
        await store.write(batch, "w1")
        for of, row in rows.items():
            expected = tuple(value.decode() if of is JOBS and isinstance(value, bytes) else value for value in row)
            assert await store.read(f"SELECT * FROM {of.name}") == [expected]

    async def test_reads_take_placeholders_but_not_inside_quotes(self, store: Store) -> None:
        await store.write(jobs(job("a"), job("b?")), "w1")
        found = await store.read("SELECT id, '?' AS \"a?\" FROM jobs WHERE id = ? AND kind <> '?''?' LIMIT ?", ("b?", 5))
        assert found == [("b?", "?")]

    async def test_a_wrong_statement_is_a_bug(self, store: Store) -> None:
        with pytest.raises(Bug):
            await store.read("SELECT nothing FROM nowhere")
        with pytest.raises(Bug):
            await store.read("SELECT id FROM jobs WHERE id = ?", ("a", "b"))
        with pytest.raises(Bug):
            await store.write(jobs((*job("a")[:5], 2**63, *job("a")[6:])), "w1")
        assert await store.read("SELECT id FROM jobs") == []

    # -- the log ------------------------------------------------------------------------------------------------------

    async def test_events_get_positions_without_gaps(self, store: Store) -> None:
        first = moving("run:1", 0, 2)
        first.events.insert(1, event("run:2", 1, "other"))
        first.heads["run:2"], first.moved["run:2"] = 0, 1
        second = moving("run:1", 2, 3)
        await store.write(first, "w1")
        await store.write(second, "w1")
        assert [happened.position for happened in first.events] == [1, 1, 2]
        assert [happened.position for happened in second.events] == [3, 4, 5]
        assert await positions(store) == [1, 2, 3, 4, 5]
        assert await positions(store, "other") == [1]
        assert await store.read("SELECT stream, seq FROM events WHERE workspace = 'ws' ORDER BY position") == [
            ("run:1", seq) for seq in range(1, 6)
        ]

    async def test_an_event_comes_back_whole(self, store: Store) -> None:
        batch = moving("run:1", 0)
        body = '{"text":"née 🪐 \\u0000","big":1763784791000001,"none":null}'
        batch.events[0].body = body.encode()
        await store.write(batch, "w1")
        assert await store.read("SELECT workspace, position, stream, seq, at, type, v, actor, body FROM events") == [
            ("ws", 1, "run:1", 1, 1_700_000_000_000_001, "Happened", 1, "user:anna", body)
        ]

    async def test_prune_takes_the_oldest_events_of_a_stream(self, store: Store) -> None:
        await store.write(moving("run:1", 0, 5), "w1")
        await store.write(moving("run:2", 0, 2), "w1")
        batch = moving("run:1", 5)
        batch.prune = [("run:1", 5)]
        await store.write(batch, "w1")
        left = await store.read("SELECT stream, seq, position FROM events ORDER BY position")
        assert left == [("run:2", 1, 6), ("run:2", 2, 7), ("run:1", 6, 8)]

    async def test_heads_are_kept_for_streams_without_events(self, store: Store) -> None:
        batch = Batch()
        batch.heads = {"slot:a": 0, "run:1": 0}
        batch.moved = {"slot:a": 1}
        await store.write(batch, "w1")
        assert await store.read("SELECT stream, seq FROM heads WHERE seq > 0") == [("slot:a", 1)]

    async def test_stale_heads_are_all_named_and_nothing_is_written(self, store: Store) -> None:
        await store.write(moving("run:1", 0, 2), "w1")
        await store.write(moving("run:2", 0, 1), "w1")
        stale = moving("run:1", 1)
        stale.heads |= {"run:2": 0, "run:3": 4, "run:4": 0}
        stale.put(JOBS, job("never"))
        with pytest.raises(StaleHeads) as raised:
            await store.write(stale, "w1")
        assert raised.value.moved == {"run:1": 2, "run:2": 1, "run:3": 0}
        assert await store.read("SELECT * FROM jobs") == []
        assert await positions(store) == [1, 2, 3]
        await store.write(moving("run:1", 2), "w1")
        assert await positions(store) == [1, 2, 3, 4]

    async def test_a_failing_batch_leaves_nothing(self, store: Store) -> None:
        await store.write(moving("run:1", 0, 2), "w1")
        bad = moving("run:2", 0)
        bad.put(JOBS, job("j"))
        bad.drop(PAIR, ("a", 1))
        bad.events.append(event("run:1", 2))  # taken
        with pytest.raises(Bug):
            await store.write(bad, "w1")
        short = jobs(job("ok"))
        short.rows[JOBS]["short"] = ("short",)
        with pytest.raises(Bug):
            await store.write(short, "w1")
        missing = jobs(job("ok"))
        missing.put(JOBS, (None, *job("x")[1:]))
        with pytest.raises(Bug):
            await store.write(missing, "w1")
        assert await store.read("SELECT * FROM jobs") == []
        assert await store.read("SELECT seq FROM heads WHERE stream = 'run:2' AND seq > 0") == []
        await store.write(moving("run:2", 0), "w1")
        assert await positions(store) == [1, 2, 3]

    async def test_many_writers_at_once(self, store: Store) -> None:
        async def write_on(stream: str) -> None:
            for n in range(10):
                await store.write(moving(stream, n * 2, 2, "ws" if n % 2 else "other"), "w1")

        await asyncio.gather(*(write_on(f"run:{n}") for n in range(8)))
        assert await positions(store) == list(range(1, 81))
        assert await positions(store, "other") == list(range(1, 81))

    # -- jobs and workers ---------------------------------------------------------------------------------------------

    async def test_claims_go_by_priority_then_by_date(self, store: Store) -> None:
        rows = [job("late", not_before=9), job("soon", not_before=5), job("first", priority=3, not_before=8)]
        await store.write(jobs(*rows, job("future", not_before=11), job("taken", owner="w1")), "w1")
        claimed = await store.claim("w1", 10, 2)
        assert [row[0] for row in claimed] == ["first", "soon"]
        assert claimed[1] == (*job("soon", owner="w1", not_before=5)[:9], '{"n":1}')
        assert [row[0] for row in await store.claim("w1", 10, 9)] == ["late"]
        assert await store.claim("w1", 10, 9) == []
        assert [row[0] for row in await store.claim("w1", 11, 9)] == ["future"]

    async def test_a_job_is_claimed_once(self, store: Store) -> None:
        await store.write(jobs(*(job(f"j{n:03}") for n in range(200))), "w1")
        claims = await asyncio.gather(*(store.claim("w1", 1, 7) for _ in range(40)))
        claimed = [row[0] for rows in claims for row in rows]
        assert sorted(claimed) == [f"j{n:03}" for n in range(200)]

    async def test_released_jobs_may_be_claimed_again(self, store: Store) -> None:
        await store.write(jobs(job("a", owner="w1"), job("b", owner="w1"), job("c", owner="w2")), "w1")
        await store.release(["a", "c", "unknown"], "w1")
        assert [row[0] for row in await store.claim("w1", 1, 9)] == ["a"]

    async def test_jobs_of_ended_workers_are_taken_over(self, store: Store) -> None:
        await store.write(jobs(job("mine", owner="w1"), job("lost", owner="w0"), job("free")), "w1")
        assert [row[:1] + row[7:9] for row in await store.claim_lost("w1", 9)] == [("lost", 1, "w1")]
        assert await store.claim_lost("w1", 9) == []

    async def test_a_retired_worker_writes_no_more(self, store: Store) -> None:
        await store.write(jobs(job("left", owner="w1")), "w1")
        await store.retire("w1")
        with pytest.raises(Fenced):
            await store.write(moving("run:1", 0), "w1")
        with pytest.raises(Fenced):
            await store.renew("w1", 30)
        assert await positions(store) == []
        await store.enlist("w2", "host", 1, "boot", 30.0)
        await store.renew("w2", 30)
        await store.write(moving("run:1", 0), "w2")
        assert [row[0] for row in await store.claim_lost("w2", 9)] == ["left"]

    async def test_an_unknown_worker_writes_nothing(self, store: Store) -> None:
        with pytest.raises(Fenced):
            await store.write(moving("run:1", 0), "stranger")

    # -- opening again ------------------------------------------------------------------------------------------------

    async def test_everything_is_there_after_reopening(self, start: Start) -> None:
        store = await start()
        await store.write(moving("run:1", 0, 3), "w1")
        await store.close()
        again = await start("w2")
        batch = moving("run:1", 3)
        await again.write(batch, "w2")
        assert batch.events[0].position == 4
        assert await positions(again) == [1, 2, 3, 4]

    async def test_an_older_database_is_migrated_in_place(self, start: Start, migrations: Path) -> None:
        store = await start()
        batch = moving("run:1", 0)
        batch.put(BARE, ("kept",))
        await store.write(batch, "w1")
        await store.close()
        number = len(list(migrations.glob("*.sql"))) + 1
        (migrations / f"{number:04}_more.sql").write_text(
            "ALTER TABLE bare ADD COLUMN note TEXT;\nCREATE TABLE more (id TEXT);\n"
        )
        again = await start("w2", tables=(*TABLES, table("more", "id", "id")))
        assert await again.read("SELECT id, note FROM bare") == [("kept", None)]
        assert await again.read("SELECT count(*) FROM schema_version") == [(number,)]
        await again.close()
        await start("w3")

    async def test_a_failing_migration_changes_nothing(self, start: Start, migrations: Path) -> None:
        store = await start()
        await store.close()
        number = len(list(migrations.glob("*.sql"))) + 1
        broken = migrations / f"{number:04}_broken.sql"
        broken.write_text("CREATE TABLE half (id TEXT);\nCREATE TABLE nonsense (;\n")
        with pytest.raises(Bug):
            await start("w2")
        broken.unlink()
        again = await start("w3")
        with pytest.raises(Bug):
            await again.read("SELECT * FROM half")

    async def test_a_newer_database_is_refused(self, start: Start, migrations: Path) -> None:
        store = await start()
        await store.close()
        newest = sorted(migrations.glob("*.sql"))[-1]
        newest.unlink()
        with pytest.raises(Unavailable, match=r"schema \d+.*Astrarium .*up to \d+") as raised:
            await start("w2", tables=KERNEL_TABLES)
        assert raised.value.code == "newer_schema"

    async def test_a_table_without_migration_is_a_bug(self, start: Start) -> None:
        with pytest.raises(Bug, match="forgotten"):
            await start(tables=(table("forgotten", "id", "id"),))

    async def test_a_closed_store_is_unavailable(self, store: Store) -> None:
        await store.close()
        with pytest.raises(Unavailable):
            await store.write(moving("run:1", 0), "w1")
        with pytest.raises(Unavailable):
            await store.read("SELECT 1")
        await store.close()
