from __future__ import annotations

import os
import resource
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from astrarium.errors import Bug, Unavailable
from astrarium.kernel.ports import KERNEL_TABLES, THINGS, Batch, NewEvent
from astrarium.store.sqlite import SQLITE_MIGRATIONS, SqliteStore, open_reader


def batch_of(stream: str, start: int, thing_bytes: int = 0) -> Batch:
    batch = Batch()
    batch.heads[stream] = start
    batch.moved[stream] = start + 1
    batch.events = [NewEvent("ws", stream, start + 1, 1, "Happened", 1, "user:a", b"{}")]
    if thing_bytes:
        batch.put(THINGS, (f"{start}", "graph", 1, os.urandom(thing_bytes)))
    return batch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "astrarium.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, tables=KERNEL_TABLES, verify=True)
    await store.open()
    await store.enlist("w1", "host", 1, "boot", 30.0)
    yield store
    await store.close()


async def test_the_folder_is_private_and_the_log_is_folded_in_at_the_end(path: Path, store: SqliteStore) -> None:
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await store.write(batch_of("run:1", 0), "w1")
    await store.close()
    assert [name.name for name in path.parent.iterdir() if name.name.endswith(("-wal", "-shm"))] == []


async def test_commits_are_synced_by_default(store: SqliteStore, tmp_path: Path) -> None:
    assert store._writer.db
    assert store._writer.db.execute("PRAGMA synchronous").fetchone() == (2,)
    quick = SqliteStore(tmp_path / "quick.db", tables=(), synchronous="normal", inline=True)
    await quick.open()
    assert quick._writer.db
    assert quick._writer.db.execute("PRAGMA synchronous").fetchone() == (1,)
    await quick.close()


@pytest.mark.parametrize(("inline_below_s", "inline"), [(0.0, False), (1000.0, True)])
async def test_the_loop_commits_itself_where_the_disk_is_quick(tmp_path: Path, inline_below_s: float, inline: bool) -> None:
    made = SqliteStore(tmp_path / "a.db", tables=KERNEL_TABLES, inline_below_s=inline_below_s)
    await made.open()
    await made.enlist("w", "h", 1, "b", 60.0)
    threads, write = set(), made._writer.write

    def noting(batch: Batch, worker: str) -> None:
        threads.add(threading.get_ident())
        write(batch, worker)

    made._writer.write = noting  # type: ignore[method-assign]
    before = made._writer.commit_s
    for start in range(20):
        await made.write(batch_of("s", start), "w")
    assert (threads == {threading.get_ident()}) is inline
    assert made._writer.commit_s != before, "what the disk takes is measured"
    await made.close()


async def test_in_memory() -> None:
    store = SqliteStore(Path(":memory:"), tables=KERNEL_TABLES, inline=True)
    await store.open()
    await store.enlist("w1", "host", 1, "boot", 30.0)
    await store.write(batch_of("run:1", 0), "w1")
    assert await store.read("SELECT position FROM events") == [(1,)]
    await store.close()
    assert not Path(":memory:").exists()
    with pytest.raises(ValueError, match="inline"):
        SqliteStore(Path(":memory:"), tables=())


async def test_a_second_writer_is_refused_by_name(path: Path, store: SqliteStore) -> None:
    second = SqliteStore(path, tables=KERNEL_TABLES)
    with pytest.raises(Unavailable, match=rf"{path} is being written by process {os.getpid()} on \S+") as raised:
        await second.open()
    assert raised.value.code == "second_writer"
    await store.close()
    await second.open()
    await second.close()


async def test_a_killed_writers_lock_is_free(path: Path) -> None:
    program = (
        "import asyncio, os, sys; from pathlib import Path; from astrarium.store.sqlite import SqliteStore\n"
        "asyncio.run(SqliteStore(Path(sys.argv[1]), tables=(), inline=True).open())\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "open\n"
        store = SqliteStore(path, tables=())
        with pytest.raises(Unavailable, match=f"process {other.pid} on"):
            await store.open()
        other.kill()
    await store.open()
    await store.close()


async def test_readers_need_no_lock(path: Path, store: SqliteStore) -> None:
    await store.write(batch_of("run:1", 0), "w1")
    reader = await open_reader(path)
    assert await reader.read("SELECT stream FROM events") == [("run:1",)]
    await store.write(batch_of("run:2", 0), "w1")
    assert await reader.read("SELECT count(*) FROM events") == [(2,)]
    with pytest.raises((Bug, Unavailable)):
        await reader.read("DELETE FROM events")
    await reader.close()


async def test_a_reader_of_nothing(path: Path) -> None:
    with pytest.raises(Unavailable, match="there is no database"):
        await open_reader(path)
    assert not path.exists()


async def test_a_reader_refuses_another_schema(path: Path, store: SqliteStore, tmp_path: Path) -> None:
    await store.close()
    newer = tmp_path / "newer"
    newer.mkdir()
    for number, source in enumerate([*sorted(SQLITE_MIGRATIONS.glob("*.sql")), None], 1):
        (newer / f"{number:04}_x.sql").write_text(source.read_text() if source else "CREATE TABLE more (id TEXT);")
    with pytest.raises(Unavailable, match="older schema"):
        await open_reader(path, migrations=newer)
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO schema_version VALUES (999, 'future', 1, '99.0')")
    db.close()
    with pytest.raises(Unavailable, match=r"schema 999, written by Astrarium 99\.0"):
        await open_reader(path)


async def test_a_copy_is_made_before_an_upgrade(path: Path, store: SqliteStore, tmp_path: Path) -> None:
    await store.write(batch_of("run:1", 0), "w1")
    await store.close()
    assert list(path.parent.glob("*.before-*")) == []
    newer = tmp_path / "newer"
    newer.mkdir()
    sources = sorted(SQLITE_MIGRATIONS.glob("*.sql"))
    for source in sources:
        (newer / source.name).write_text(source.read_text())
    (newer / f"{len(sources) + 1:04}_more.sql").write_text("DELETE FROM events;")
    upgraded = SqliteStore(path, tables=KERNEL_TABLES, migrations=newer)
    await upgraded.open()
    assert await upgraded.read("SELECT * FROM events") == []
    await upgraded.close()
    copy = sqlite3.connect(path.with_name(f"astrarium.db.before-{len(sources) + 1}"))
    assert copy.execute("SELECT count(*) FROM events").fetchone() == (1,)
    copy.close()


async def test_somebody_elses_file_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is a text, not a database" * 100)
    with pytest.raises(Unavailable, match="not a database"):
        await SqliteStore(path, tables=()).open()
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (id TEXT)")
    db.close()
    with pytest.raises(Unavailable, match="not Astrarium's"):
        await SqliteStore(path, tables=()).open()


@pytest.fixture
def file_limit() -> Iterator[None]:
    """Whatever the test does to the limit on the size of files is undone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("file_limit")
async def test_a_disk_that_takes_no_more(path: Path, store: SqliteStore) -> None:
    await store.write(batch_of("run:1", 0), "w1")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    with pytest.raises(Unavailable, match=r"writing .*astrarium\.db failed"):
        await store.write(batch_of("run:1", 1, 1_000_000), "w1")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    batch = batch_of("run:1", 1, 1_000_000)
    await store.write(batch, "w1")
    assert batch.events[0].position == 2
    assert await store.read("SELECT count(*) FROM events") == [(2,)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB of its own (root only)."""
    point = tmp_path / "disk"
    point.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", point], check=False, capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("may not mount a file system")
    yield point
    subprocess.run(["umount", point], check=True)


async def test_a_full_disk(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "astrarium.db", tables=KERNEL_TABLES)
    await store.open()
    await store.enlist("w1", "host", 1, "boot", 30.0)
    await store.write(batch_of("run:1", 0), "w1")
    ballast = small_disk / "ballast"
    with open(ballast, "wb") as file, pytest.raises(OSError):
        while True:
            file.write(bytes(65536))
            file.flush()
    with pytest.raises(Unavailable, match="the disk is full") as raised:
        await store.write(batch_of("run:1", 1, 100_000), "w1")
    assert raised.value.code == "disk_full"
    assert "free some space" in raised.value.hint
    assert await store.read("SELECT count(*) FROM events") == [(1,)]
    ballast.unlink()
    await store.write(batch_of("run:1", 1, 100_000), "w1")
    assert await store.read("SELECT position FROM events ORDER BY 1") == [(1,), (2,)]
    await store.close()


async def test_a_read_only_folder(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(Unavailable, match="Read-only file system") as raised:
        await SqliteStore(small_disk / "astrarium.db", tables=()).open()
    assert "--data-dir" in raised.value.hint
    with pytest.raises(Unavailable, match="cannot be made: Read-only file system"):
        await SqliteStore(small_disk / "deep" / "astrarium.db", tables=()).open()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o500)
    with pytest.raises(Unavailable, match="Permission denied"):
        await SqliteStore(folder / "astrarium.db", tables=()).open()


async def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(Unavailable, match="cannot be made"):
        await SqliteStore(tmp_path / "data" / "astrarium.db", tables=()).open()


async def test_the_clock_of_leases_is_handed_in(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", tables=KERNEL_TABLES, inline=True, now=lambda: 5_000_000)
    await store.open()
    await store.enlist("w1", "host", 1, "boot", 2.5)
    assert await store.read("SELECT started_at, lease_until FROM workers") == [(5_000_000, 7_500_000)]
    await store.close()


async def test_the_space_of_removed_rows_goes_back_to_the_disk(path: Path, store: SqliteStore) -> None:
    for start in range(20):
        await store.write(batch_of("run:1", start, 200_000), "w1")
    gone = Batch()
    for start in range(20):
        gone.drop(THINGS, f"{start}")
    await store.write(gone, "w1")
    turns = 1
    while await store.compact():
        turns += 1
    assert turns > 1, "in short turns"
    assert not await store.compact()
    await store.close()
    assert path.stat().st_size < 500_000


async def test_a_file_of_an_older_version_is_left_as_it_is(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    sqlite3.connect(path).executescript("PRAGMA auto_vacuum = NONE; CREATE TABLE t (x); DROP TABLE t").connection.close()
    store = SqliteStore(path, tables=KERNEL_TABLES)
    await store.open()
    await store.enlist("w1", "host", 1, "boot", 30.0)
    await store.write(batch_of("run:1", 0, 100_000), "w1")
    gone = Batch()
    gone.drop(THINGS, "0")
    await store.write(gone, "w1")
    assert not await store.compact()
    await store.close()
