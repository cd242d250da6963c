"""Which old runs go, what goes with them, and what never does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrarium.errors import NotFound, Refused
from astrarium.kernel.audit import act
from astrarium.kernel.clock import HandClock
from astrarium.kernel.ports import Batch
from astrarium.kernel.types import ENGINE, Command
from astrarium.runs.fork import fork_run
from astrarium.runs.message import ReopenRun, StartRun, StopRun
from astrarium.runs.row import RUNS
from astrarium.spec.graph import Graph, Node, encode_graph, graph_hash
from astrarium.spec.ids import uuid7
from astrarium.store.log import run_folder
from astrarium.surfaces.dags.machines.sweeper import EVERY_S, StartSweeping, sweeper_of
from astrarium.surfaces.dags.work import retention as module
from astrarium.surfaces.dags.work.retention import Keep
from tests.specs.dags.desk import SCOPE, Desk, open_desk

DAY_S = 86_400
SHELL = "steps: [{name: one, command: echo hello}]"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as made:
        yield made


def hand(desk: Desk) -> HandClock:
    """The desk's time stands still from now on, unless it is turned."""
    clock = HandClock(desk.engine.clock.now())
    desk.engine.clock = clock
    return clock


async def run_each_day(desk: Desk, clock: HandClock, days: int, text: str = SHELL, **more: Any) -> list[str]:
    """One ended run a day, the newest today."""
    made = []
    for _ in range(days):
        clock.turn(DAY_S)
        made.append(await desk.start(text, **more))
        await desk.ended(made[-1])
    return made


async def there(desk: Desk, table: str = "runs", column: str = "id") -> set[str]:
    return {row[0] for row in await desk.worker.store.read(f"SELECT DISTINCT {column} FROM {table}")}


async def tidied(desk: Desk) -> None:
    """Until nothing is owed any more."""

    async def nothing() -> bool:
        return not (await desk.left())["jobs"]

    await desk.until(nothing)


def folder(desk: Desk, run: str, created_at: int) -> Path:
    return run_folder(desk.worker.settings.data_dir / "logs", run, created_at)


async def test_runs_older_than_the_days_go_with_all_that_is_theirs(desk: Desk) -> None:
    clock = hand(desk)
    runs = await run_each_day(desk, clock, 4)
    folders = {run: folder(desk, run, (await desk.row(run)).created_at) for run in runs}
    assert all((path / "one.1.out").exists() for path in folders.values())
    done = await desk.retention.clean(SCOPE, "case", Keep(2))
    await tidied(desk)
    assert done.runs == 2
    assert await there(desk) == set(runs[2:])
    assert await there(desk, "steps", "run") == set(runs[2:])
    assert [path.exists() for path in folders.values()] == [False, False, True, True]
    assert not folders[runs[0]].parent.exists(), "a day without runs has no folder"
    assert [type(body).__name__ for body in await desk.events(runs[0])] == ["Tombstone"]
    acts = await desk.worker.store.read("SELECT detail FROM audit WHERE act = 'runs.removed'")
    assert len(acts) == 1 and '"count":2' in acts[0][0].replace(" ", "")


async def test_a_removed_run_is_not_found_and_cannot_be_retried(desk: Desk) -> None:
    clock = hand(desk)
    runs = await run_each_day(desk, clock, 2, "steps: [{name: one, command: 'false'}]")
    await desk.retention.clean(SCOPE, "case", Keep(0))
    head = await desk.engine.tail.head(SCOPE.workspace)
    with pytest.raises(NotFound, match=runs[0]):
        await desk.order(runs[0], ReopenRun())
    with pytest.raises(NotFound):
        await desk.engine.state(f"run:{runs[0]}", SCOPE)
    assert await desk.engine.tail.head(SCOPE.workspace) == head


async def test_a_retry_decided_while_its_run_is_being_removed_is_refused(desk: Desk) -> None:
    clock = hand(desk)
    runs = await run_each_day(desk, clock, 2)
    write, began, go_on = desk.worker.store.write, asyncio.Event(), asyncio.Event()

    async def slow(batch: Batch, worker: str) -> None:
        if batch.prune:
            began.set()
            await go_on.wait()
        await write(batch, worker)

    desk.worker.store.write = slow  # type: ignore[method-assign]
    cleaning = asyncio.create_task(desk.retention.clean(SCOPE, "case", Keep(0)))
    await began.wait()
    retry = asyncio.create_task(desk.order(runs[0], ReopenRun()))
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(NotFound):
        await retry
    assert (await cleaning).runs == 1


async def test_a_run_reopened_first_stays(desk: Desk) -> None:
    clock = hand(desk)
    runs = await run_each_day(desk, clock, 2, "steps: [{name: one, command: 'test ! -e hold || sleep 60; false'}]")
    found = await desk.retention.doomed(SCOPE.workspace, "case", Keep(0), (-1, ""), 10)
    assert [run.id for run in found] == [runs[0]]
    (desk.folder / "hold").touch()
    await desk.order(runs[0], ReopenRun())
    assert await desk.retention.remove(SCOPE, found) == []
    assert await desk.retention.doomed(SCOPE.workspace, "case", Keep(0), (-1, ""), 10) == []
    assert runs[0] in await there(desk)


async def test_the_last_run_stays_and_so_do_the_newest_by_number(desk: Desk) -> None:
    clock = hand(desk)
    runs = await run_each_day(desk, clock, 5)
    clock.turn(400 * DAY_S)
    assert (await desk.retention.clean(SCOPE, "case", Keep(-1, 3))).runs == 2
    assert await there(desk) == set(runs[2:])
    assert (await desk.retention.clean(SCOPE, "case", Keep(-1))).runs == 0
    assert (await desk.retention.clean(SCOPE, "case", Keep(0))).runs == 2
    assert await there(desk) == {runs[4]}


async def test_a_dry_cleaning_only_tells(desk: Desk) -> None:
    clock = hand(desk)
    runs = await run_each_day(desk, clock, 3)
    told = await desk.retention.clean(SCOPE, "case", Keep(0), dry=True, most=10)
    assert (told.runs, told.aliases, told.more) == (2, runs[:2], False)
    assert (await desk.retention.clean(SCOPE, "case", Keep(0), dry=True, most=1)).more
    assert await there(desk) == set(runs)


async def test_settings_speak_where_the_dag_says_nothing(tmp_path: Path) -> None:
    async with open_desk(tmp_path, keep_days=2, keep_runs=0) as desk:
        clock = hand(desk)
        plain = await run_each_day(desk, clock, 4, name="plain")
        kept = await run_each_day(desk, clock, 4, "histRetentionDays: -1\n" + SHELL, name="kept")
        counted = await run_each_day(desk, clock, 4, "hist_retention_runs: 3\n" + SHELL, name="counted")
        await tidied(desk)
        assert await desk.retention.sweep(SCOPE) == 3
        assert await there(desk) == {plain[3], *kept, *counted[1:]}


async def test_with_zero_days_earlier_runs_go_when_the_next_one_ends(desk: Desk) -> None:
    runs = []
    for _ in range(3):
        runs.append(await desk.start("histRetentionDays: 0\n" + SHELL))
        await desk.ended(runs[-1])
    await tidied(desk)
    assert await there(desk) == {runs[2]}


async def test_the_number_of_a_dag_holds_as_soon_as_a_run_ends(desk: Desk) -> None:
    runs = []
    for _ in range(4):
        runs.append(await desk.start("histRetentionRuns: 2\n" + SHELL))
        await desk.ended(runs[-1])
    await tidied(desk)
    assert await there(desk) == set(runs[2:])


async def test_runs_below_go_along_and_an_active_one_keeps_its_top(desk: Desk) -> None:
    text = """
steps:
  - name: many
    call: child
    parallel: [a, b, c]
---
name: child
params: [X]
steps: [{name: say, command: "test ! -e hold || sleep 60"}]
"""
    clock = hand(desk)
    runs = await run_each_day(desk, clock, 2, text)
    first = await desk.children(runs[0])
    (desk.folder / "hold").touch()
    await desk.order(first[0].id, ReopenRun(step=0))
    assert (await desk.retention.clean(SCOPE, "case", Keep(0))).runs == 0
    (desk.folder / "hold").unlink()
    await desk.order(first[0].id, StopRun(grace_s=0.0))
    await desk.ended(first[0].id)
    await tidied(desk)
    folders = [folder(desk, child.id, child.created_at) for child in first]
    assert any(path.exists() for path in folders)
    assert (await desk.retention.clean(SCOPE, "case", Keep(0))).runs == 1
    await tidied(desk)
    assert await there(desk) == {runs[1], *(child.id for child in await desk.children(runs[1]))}
    assert not any(path.exists() for path in folders)


async def test_a_run_whose_fork_shows_its_logs_stays(desk: Desk) -> None:
    clock = hand(desk)
    source = (await run_each_day(desk, clock, 1, "steps: [{name: one, command: echo hi}, {name: two, command: 'false'}]"))[0]
    clock.turn(DAY_S)
    fork = await fork_run(desk.engine, source, SCOPE, step="two")
    await desk.ended(fork)
    newest = (await run_each_day(desk, clock, 1, SHELL))[0]
    assert (await desk.retention.clean(SCOPE, "case", Keep(0))).runs == 1, "the fork goes first"
    assert (await desk.retention.clean(SCOPE, "case", Keep(0))).runs == 1
    assert await there(desk) == {newest}


async def test_a_chosen_id_is_free_again(desk: Desk) -> None:
    clock = hand(desk)
    run = await desk.start(SHELL, alias="nightly", chosen=True)
    await desk.ended(run)
    await run_each_day(desk, clock, 1)
    with pytest.raises(Refused):
        await desk.start(SHELL, alias="nightly", chosen=True)
    await desk.retention.clean(SCOPE, "case", Keep(0))
    await desk.ended(await desk.start(SHELL, alias="nightly", chosen=True))
    rows = await desk.worker.store.read("SELECT count(*) FROM slots WHERE holder = ?", (f"run:{run}",))
    assert rows == [(0,)]


async def test_files_outside_and_behind_links_are_never_touched(desk: Desk, tmp_path: Path) -> None:
    clock = hand(desk)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "precious").write_text("1")
    text = f"steps: [{{name: one, command: echo hello, stdout: {mine}/out.txt}}]"
    runs = await run_each_day(desk, clock, 3, text)
    rows = [await desk.row(run) for run in runs]
    one, two = (folder(desk, row.id, row.created_at) for row in rows[:2])
    one.mkdir(parents=True, exist_ok=True)
    (one / "link").symlink_to(mine)
    for path in two.iterdir() if two.exists() else ():
        path.unlink()
    if two.exists():
        two.rmdir()
    two.symlink_to(mine)
    await desk.retention.clean(SCOPE, "case", Keep(0))
    await tidied(desk)
    assert not one.exists()
    assert sorted(os.listdir(mine)) == ["out.txt", "precious"]
    assert (mine / "out.txt").read_text() == "hello\n" * 3


async def test_a_day_that_is_a_link_is_left_alone(desk: Desk, tmp_path: Path) -> None:
    clock = hand(desk)
    runs = await run_each_day(desk, clock, 2)
    row = await desk.row(runs[0])
    place = folder(desk, row.id, row.created_at)
    elsewhere = tmp_path / "elsewhere"
    place.parent.rename(elsewhere)
    place.parent.symlink_to(elsewhere)
    await desk.retention.clean(SCOPE, "case", Keep(0))
    await tidied(desk)
    assert (elsewhere / place.name / "one.1.out").exists()


async def test_thousands_go_in_bounded_transactions(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph("many", nodes=(Node("one", "noop"),))
    key, data, clock = graph_hash(encode_graph(graph)), encode_graph(graph), hand(desk)
    count = 5000
    for start in range(0, count, 500):
        orders = (StartRun(key, "many", "dags", str(number)) for number in range(start, start + 500))
        await asyncio.gather(*(desk.order(uuid7(), order, things=[("graph", data)]) for order in orders))
    clock.turn(40 * DAY_S)
    write, sizes = desk.worker.store.write, []

    async def watched(batch: Batch, worker: str) -> None:
        sizes.append((len(batch.gone.get(RUNS, ())), len(batch.prune)))
        await write(batch, worker)

    monkeypatch.setattr(desk.worker.store, "write", watched)
    assert await desk.retention.sweep(SCOPE) == count - 1
    await tidied(desk)
    assert max(runs for runs, _ in sizes) <= module.BATCH_RUNS
    assert max(streams for _, streams in sizes) <= module.BATCH_RUNS
    assert len(await there(desk)) == 1
    assert await desk.worker.store.read("SELECT count(*) FROM snapshots WHERE stream LIKE 'run:%'") == [(0,)]


async def test_large_runs_share_no_transaction(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_EVENTS", 10)
    clock = hand(desk)
    await run_each_day(desk, clock, 4, "steps: [" + ", ".join(f"{{name: s{n}, command: 'true'}}" for n in range(4)) + "]")
    write, sizes = desk.worker.store.write, []

    async def watched(batch: Batch, worker: str) -> None:
        sizes.append(len(batch.prune))
        await write(batch, worker)

    monkeypatch.setattr(desk.worker.store, "write", watched)
    assert (await desk.retention.clean(SCOPE, "case", Keep(0))).runs == 3
    assert max(sizes) == 1


async def test_the_sweep_is_due_every_hour(desk: Desk) -> None:
    clock = hand(desk)
    runs = await run_each_day(desk, clock, 2)
    stream = sweeper_of(SCOPE.workspace)
    await desk.retention.start(SCOPE)
    await desk.retention.start(SCOPE)

    async def ended(times: int) -> bool:
        state = await desk.engine.state(stream, SCOPE)
        return state is not None and state.due == clock.now() + EVERY_S * 1_000_000

    await desk.until(lambda: ended(1))
    assert await there(desk) == set(runs)
    clock.turn(40 * DAY_S)
    await desk.until(lambda: ended(2))
    assert await there(desk) == {runs[1]}
    events = [type(body) for body in await _events(desk, stream)]
    assert [event.__name__ for event in events].count("SweepingStarted") == 1
    assert (await desk.engine.submit(Command(stream, StartSweeping(), SCOPE))).events == ()


@pytest.mark.parametrize("url", ["", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_a_sweep_takes_the_receipts_of_what_is_gone_and_what_a_server_adds(
    tmp_path: Path, url: str, request: pytest.FixtureRequest
) -> None:
    database = request.getfixturevalue("postgres_database") if url else ""
    async with open_desk(tmp_path, database_url=database) as desk:
        clock = hand(desk)
        source = (await run_each_day(desk, clock, 1))[0]

        async def use(mark: str) -> str:
            told = act(SCOPE, ENGINE, "ticket.used", mark)
            await desk.engine.submit(msgspec.structs.replace(told, key=f"ticket/{mark}"))
            fork = await fork_run(desk.engine, source, SCOPE, key=f"fork/{mark}")
            await desk.ended(fork)
            return fork

        swept: list[int] = []

        async def along() -> int:
            swept.append(1)
            return 0

        desk.retention.along = (along,)
        old = await use("old")
        clock.turn(20 * DAY_S)
        young = await use("young")
        clock.turn(11 * DAY_S)
        assert await desk.retention.sweep(SCOPE) == 1
        await tidied(desk)
        assert await there(desk) == {source, young} and old not in await there(desk)
        assert await there(desk, "receipts", "key") == {"ticket/young", "fork/young"}
        assert swept == [1]


async def _events(desk: Desk, stream: str) -> list[Any]:
    return [event.body for event in await desk.engine.tail.read_stream(stream, limit=1000)]


@pytest.mark.postgres
async def test_the_same_on_postgres(tmp_path: Path, postgres_database: str) -> None:
    async with open_desk(tmp_path, database_url=postgres_database) as desk:
        runs = []
        for alias in ("a", "b", "c"):
            runs.append(await desk.start(SHELL, alias=alias, chosen=True))
            await desk.ended(runs[-1])
        await tidied(desk)
        assert (await desk.retention.clean(SCOPE, "case", Keep(0))).runs == 2
        await tidied(desk)
        assert await there(desk) == {runs[2]}
        with pytest.raises(NotFound):
            await desk.order(runs[0], ReopenRun())
        await desk.ended(await desk.start(SHELL, alias="a", chosen=True))
