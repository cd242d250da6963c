from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from astrarium.errors import Unavailable
from astrarium.kernel.ports import JOBS, KERNEL_TABLES, Batch, Fenced, NewEvent, StaleHeads
from astrarium.store.postgres import PostgresStore
from astrarium.store.postgres_statement import numbered

pytestmark = pytest.mark.postgres

Start = Callable[[str], Awaitable[PostgresStore]]


@pytest.fixture
async def start(postgres_database: str) -> AsyncIterator[Start]:
    """Another server on the same database, by the name of its worker."""
    opened: list[PostgresStore] = []

    async def open_(worker: str) -> PostgresStore:
        store = PostgresStore(postgres_database, tables=KERNEL_TABLES)
        await store.open()
        opened.append(store)
        await store.enlist(worker, "host", 1, "boot", 30.0)
        return store

    yield open_
    for store in opened:
        await store.close()


def moving(stream: str, start: int, count: int = 1, workspace: str = "ws") -> Batch:
    batch = Batch()
    batch.heads[stream] = start
    batch.moved[stream] = start + count
    batch.events = [NewEvent(workspace, stream, start + n, 1, "Happened", 1, "user:a", b"{}") for n in range(1, count + 1)]
    return batch


async def lapse(store: PostgresStore, worker: str) -> None:
    """As if the worker had been silent for longer than its lease."""
    connection = await asyncpg.connect(store.url)
    await connection.execute("UPDATE workers SET lease_until = 1 WHERE id = $1", worker)
    await connection.close()


async def test_servers_start_at_the_same_time(start: Start) -> None:
    stores = await asyncio.gather(*(start(f"w{n}") for n in range(4)))
    assert await stores[0].read("SELECT count(*) FROM workers WHERE ended = 0") == [(4,)]


async def test_positions_have_no_gaps_and_stand_in_commit_order(start: Start) -> None:
    """A reader that follows the log never sees a position appear before one it has already passed."""
    one, two = await start("w1"), await start("w2")
    seen: list[int] = []
    done = asyncio.Event()

    async def follow() -> None:
        while not done.is_set() or len(seen) < 160:
            after = seen[-1] if seen else 0
            seen.extend(
                row[0]
                for row in await one.read(
                    "SELECT position FROM events WHERE workspace = 'ws' AND position > ? ORDER BY 1", (after,)
                )
            )

    async def write_on(store: PostgresStore, worker: str, stream: str) -> None:
        for n in range(10):
            batch = moving(stream, n * 3, 2)
            other = NewEvent(f"other{n % 2}", stream, n * 3 + 3, 1, "Happened", 1, "user:a", b"{}")
            batch.events.insert(1, other)
            batch.moved[stream] = n * 3 + 3
            await store.write(batch, worker)

    follower = asyncio.create_task(follow())
    writers = [write_on(store, worker, f"run:{worker}{n}") for store, worker in ((one, "w1"), (two, "w2")) for n in range(4)]
    await asyncio.gather(*writers)
    done.set()
    await follower
    assert seen == list(range(1, 161))
    for workspace in ("other0", "other1"):
        rows = await one.read("SELECT position FROM events WHERE workspace = ? ORDER BY position", (workspace,))
        assert [row[0] for row in rows] == list(range(1, 41))


async def test_two_servers_move_the_same_streams(start: Start) -> None:
    """Whoever is late learns where the streams are, and nothing is lost or written twice."""
    stores = {worker: await start(worker) for worker in ("w1", "w2", "w3")}
    streams = [f"run:{n}" for n in range(5)]

    async def move_on(store: PostgresStore, worker: str) -> int:
        known = dict.fromkeys(streams, 0)
        moved = 0
        while moved < 15:
            batch = Batch()
            for stream in streams[moved % 3 :]:
                batch.heads[stream] = known[stream]
                batch.moved[stream] = known[stream] + 1
                batch.events.append(NewEvent("ws", stream, known[stream] + 1, 1, "Happened", 1, worker, b"{}"))
            try:
                await store.write(batch, worker)
                known |= batch.moved
                moved += 1
            except StaleHeads as stale:
                known |= stale.moved
        return moved

    assert await asyncio.gather(*(move_on(store, worker) for worker, store in stores.items())) == [15, 15, 15]
    rows = await stores["w1"].read("SELECT stream, count(*), max(seq) FROM events GROUP BY stream ORDER BY stream")
    assert [(count, last) for _, count, last in rows] == [(15, 15), (30, 30), (45, 45), (45, 45), (45, 45)]
    assert await stores["w1"].read("SELECT max(position), count(*) FROM events") == [(180, 180)]


async def test_a_job_is_claimed_by_one_server(start: Start) -> None:
    stores = {worker: await start(worker) for worker in ("w1", "w2")}
    batch = Batch()
    for n in range(300):
        batch.put(JOBS, (f"j{n:03}", "ws", "local", "work", "run:1", 0, 0, 0, "", b"{}"))
    await stores["w1"].write(batch, "w1")
    claims = await asyncio.gather(*(store.claim(worker, 1, 11) for worker, store in stores.items() for _ in range(20)))
    assert sorted(row[0] for rows in claims for row in rows) == [f"j{n:03}" for n in range(300)]


async def test_a_silent_server_is_fenced_and_its_jobs_are_taken_over(start: Start) -> None:
    one, two = await start("w1"), await start("w2")
    batch = Batch()
    batch.put(JOBS, ("held", "ws", "local", "work", "run:1", 0, 0, 2, "w1", b"{}"))
    await one.write(batch, "w1")
    assert await two.claim_lost("w2", 9) == []
    await lapse(one, "w1")
    await two.renew("w2", 30.0)
    assert [(row[0], row[7], row[8]) for row in await two.claim_lost("w2", 9)] == [("held", 3, "w2")]
    with pytest.raises(Fenced):
        await one.write(moving("run:1", 0), "w1")
    with pytest.raises(Fenced):
        await one.renew("w1", 30.0)
    assert await one.claim("w1", 9, 9) == []
    assert await two.read("SELECT * FROM events") == []
    await two.write(moving("run:1", 0), "w2")


async def test_a_lapsed_lease_nobody_took_is_renewed(start: Start) -> None:
    one = await start("w1")
    await lapse(one, "w1")
    await one.write(moving("run:1", 0), "w1")
    await one.renew("w1", 30.0)


async def test_other_servers_are_woken_by_a_commit(start: Start) -> None:
    one, two = await start("w1"), await start("w2")
    woken = {"w1": asyncio.Event(), "w2": asyncio.Event()}
    one.on_wake(woken["w1"].set)
    two.on_wake(woken["w2"].set)
    for n in range(100):  # until both listen
        await one.write(moving("run:1", n), "w1")
        if woken["w2"].is_set():
            break
        await asyncio.sleep(0.02)
    assert woken["w2"].is_set()
    woken["w1"].clear()
    await one.write(moving("run:2", 0), "w1")
    woken["w2"].clear()
    await two.write(moving("run:3", 0), "w2")
    await asyncio.wait_for(woken["w1"].wait(), 10)


async def test_lost_connections_come_back(start: Start) -> None:
    one = await start("w1")
    await one.write(moving("run:1", 0), "w1")
    await one.read("SELECT 1")
    woken = asyncio.Event()
    one.on_wake(woken.set)
    killer = await asyncpg.connect(one.url)
    await killer.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    failed = 0
    for _ in range(10):
        try:
            await one.write(moving("run:1", 1), "w1")
            break
        except Unavailable as error:
            assert "127.0.0.1" in str(error)
            failed += 1
    assert failed < 10
    for _ in range(10):
        try:
            assert await one.read("SELECT count(*) FROM events") == [(2,)]
            break
        except Unavailable:
            pass
    await asyncio.wait_for(woken.wait(), 10)
    await killer.close()


async def test_a_write_given_up_leaves_the_connection_clean(start: Start) -> None:
    one = await start("w1")
    holder = await asyncpg.connect(one.url)
    await one.write(moving("run:1", 0), "w1")
    held = holder.transaction()
    await held.start()
    await holder.execute("SELECT * FROM heads FOR UPDATE")
    waiting = asyncio.create_task(one.write(moving("run:1", 1), "w1"))
    while not await holder.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
        await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await held.rollback()
    await holder.close()
    await asyncio.gather(*(one.write(moving(f"run:{n}", 0), "w1") for n in range(2, 6)))
    assert await one.read("SELECT max(position), count(*) FROM events") == [(5, 5)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda url: url.rpartition("/")[0] + "/nowhere", "does not exist"),
        (lambda url: "postgresql://someone@127.0.0.1:1/db", "127.0.0.1:1/db"),
        (lambda url: url.replace("astrarium@", "nobody@"), "nobody"),
    ],
)
async def test_what_cannot_be_opened(postgres_database: str, change: Callable[[str], str], says: str) -> None:
    with pytest.raises(Unavailable, match=says) as raised:
        await PostgresStore(change(postgres_database), tables=KERNEL_TABLES).open()
    assert raised.value.hint


def test_a_password_is_not_told() -> None:
    assert "secret" not in PostgresStore("postgresql://anna:secret@db.example:5433/x", tables=()).where


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT ?", "SELECT $1"),
        ("a = ? AND b = '?' AND c = \"?\" AND d = ?", "a = $1 AND b = '?' AND c = \"?\" AND d = $2"),
        ("'it''s ?' || ?", "'it''s ?' || $1"),
    ],
)
def test_placeholders(sql: str, expected: str) -> None:
    assert numbered(sql) == expected
