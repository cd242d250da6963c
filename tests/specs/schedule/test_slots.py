"""Schedules followed by a whole server with its clock turned by hand: what is started, stopped, skipped, and when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from watchfiles import Change

from astrarium.errors import Invalid, Unavailable
from astrarium.kernel.clock import HandClock
from astrarium.runs.message import AnswerAsk
from astrarium.surfaces.dags.machines.slot import SlotDeferred, SlotFired, SlotSkipped, SuspendSchedule
from tests.specs.schedule.room import MINUTE, SECOND, House, open_house

DAY = 24 * 60 * MINUTE
NOON = 1_700_000_000_000_000 // DAY * DAY + DAY // 2
FAST = 'schedule: "* * * * *"\nsteps: ["true"]\n'
SLOW = 'schedule: "* * * * *"\n{}\nmaxCleanUpTimeSec: 1\nsteps: [sleep 60]\n'


def shown(minutes: int) -> str:
    return f"2023-11-14T{12 + minutes // 60:02}:{minutes % 60:02}:00Z"


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOON)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.all])])
async def house(tmp_path: Path, clock: HandClock, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    url = request.getfixturevalue("postgres_database") if request.param == "postgres" else ""
    (tmp_path / "dags").mkdir()
    async with open_house(tmp_path, clock, database_url=url) as house:
        yield house


async def test_each_slot_starts_a_run(house: House) -> None:
    house.write("a.yaml", FAST)
    row = await house.is_("a", status="on")
    assert row["next_at"] == NOON + MINUTE
    for minute in (1, 2, 3):
        await house.turn_to("a", NOON + minute * MINUTE)
        runs = await house.statuses("a", *["succeeded"] * minute)
        assert runs[-1]["slot"] == shown(minute)
        assert (runs[-1]["trigger"], runs[-1]["created_at"]) == ("schedule", NOON + minute * MINUTE)

    async def owed() -> bool:
        rows = await house.engine.store.read("SELECT not_before FROM jobs WHERE stream = 'schedule:a'")
        return rows == [(NOON + 4 * MINUTE,)]

    await house.until(owed)


async def test_a_slot_is_skipped_while_a_run_is_active(house: House) -> None:
    house.write("a.yaml", SLOW.format(""))
    await house.is_("a", status="on")
    await house.turn_to("a", NOON + MINUTE)
    await house.statuses("a", "running")
    row = await house.turn_to("a", NOON + 2 * MINUTE)
    assert (row["last_decision"], row["last_why"]) == ("skipped", "a run is active")
    await house.stop((await house.runs("a"))[0]["id"])
    await house.statuses("a", "cancelled")
    await house.turn_to("a", NOON + 3 * MINUTE)
    await house.statuses("a", "cancelled", "running")


async def test_all_start_beside_each_other(house: House) -> None:
    house.write("a.yaml", SLOW.format("overlapPolicy: all"))
    await house.is_("a", status="on")
    for minute in (1, 2):
        await house.turn_to("a", NOON + minute * MINUTE)
    await house.statuses("a", "running", "running")


async def test_queued_ones_wait_their_turn(house: House) -> None:
    house.write("a.yaml", SLOW.format("overlap_policy: queue"))
    await house.is_("a", status="on")
    for minute in (1, 2, 3):
        await house.turn_to("a", NOON + minute * MINUTE)
    runs = await house.statuses("a", "running", "queued", "queued")
    await house.stop(runs[0]["id"])
    await house.statuses("a", "cancelled", "running", "queued")


async def test_the_newer_one_takes_over(house: House) -> None:
    house.write("a.yaml", SLOW.format("overlapPolicy: cancel"))
    await house.is_("a", status="on")
    for minute in (1, 2, 3):
        await house.turn_to("a", NOON + minute * MINUTE)
        runs = await house.statuses("a", *["cancelled"] * (minute - 1), "running")
        assert runs[-1]["slot"] == shown(minute)
    assert {row["reason"] for row in runs[:-1]} == {"scheduled"}
    kinds = [type(event) for event in await house.events("a") if isinstance(event, (SlotFired, SlotDeferred))]
    assert kinds == [SlotFired, SlotDeferred, SlotFired, SlotDeferred, SlotFired]


async def test_stop_and_start_of_one_file(house: House) -> None:
    house.write("a.yaml", "schedule:\n  start: ['1 12 * * *', '5 12 * * *']\n  stop: '3,4 12 * * *'\nsteps: [sleep 60]\n")
    await house.is_("a", status="on")
    await house.turn_to("a", NOON + MINUTE)
    await house.statuses("a", "running")
    row = await house.turn_to("a", NOON + 3 * MINUTE)
    assert (row["last_act"], row["last_decision"], row["next_start"]) == ("stop", "fired", NOON + 5 * MINUTE)
    await house.statuses("a", "cancelled")
    row = await house.turn_to("a", NOON + 4 * MINUTE)
    assert (row["last_act"], row["last_why"]) == ("stop", "nothing is running")


async def test_a_stop_reaches_a_run_that_comes_back_to_its_queue(house: House) -> None:
    steps = "steps:\n  - {name: sign, type: hitl}\n  - sleep 60\n"
    schedule = "schedule:\n  start: ['1 12 * * *', '2 12 * * *']\n  stop: '3 12 * * *'\noverlapPolicy: queue\n"
    house.write("a.yaml", schedule + steps)
    await house.is_("a", status="on")
    await house.turn_to("a", NOON + MINUTE)
    await house.statuses("a", "waiting")
    await house.turn_to("a", NOON + 2 * MINUTE)
    runs = await house.statuses("a", "waiting", "waiting")
    for run, after in zip(runs, (("running", "waiting"), ("running", "queued")), strict=True):
        await house.answer(run["id"], AnswerAsk(0, "anna"))
        await house.statuses("a", *after)
    await house.turn_to("a", NOON + 3 * MINUTE)
    await house.statuses("a", "cancelled", "cancelled")


async def test_a_restart_repeats_the_run_after_its_wait(house: House, clock: HandClock) -> None:
    text = "schedule: {start: '1 12 * * *', restart: '2 12 * * *'}\nrestartWaitSec: 30\nparams: X=1\nsteps: [sleep 60]\n"
    house.write("a.yaml", text)
    await house.is_("a", status="on")
    await house.turn_to("a", NOON + MINUTE)
    first = (await house.statuses("a", "running"))[0]
    await house.turn_to("a", NOON + 2 * MINUTE)
    await house.statuses("a", "cancelled")

    async def waits() -> bool:
        rows = await house.engine.store.read("SELECT not_before FROM jobs WHERE kind = 'schedule_after'")
        return rows == [(NOON + 2 * MINUTE + 30 * SECOND,)]

    await house.until(waits)
    clock.turn(30)
    runs = await house.statuses("a", "cancelled", "running")
    assert (runs[1]["rerun_of"], runs[1]["params"], runs[1]["slot"]) == (first["id"], first["params"], shown(2))


async def test_a_restart_without_a_run_starts_one(house: House) -> None:
    house.write("a.yaml", "schedule: {restart: '* * * * *'}\nrestartWaitSec: 30\nsteps: ['true']\n")
    await house.is_("a", status="on")
    await house.turn_to("a", NOON + MINUTE)
    await house.statuses("a", "succeeded")


async def test_skip_if_successful(house: House) -> None:
    house.write("a.yaml", "skipIfSuccessful: true\nschedule: '*/5 * * * *'\nsteps: [test ! -e stop]\n")
    await house.is_("a", status="on")
    await house.turn_to("a", NOON + 5 * MINUTE)
    await house.statuses("a", "succeeded")
    row = await house.turn_to("a", NOON + 10 * MINUTE)
    assert (row["last_decision"], row["last_why"][:15]) == ("skipped", "a run succeeded")
    await house.turn_to("a", NOON + 15 * MINUTE)
    await house.statuses("a", "succeeded", "succeeded")


async def test_suspended_and_followed_again(house: House, clock: HandClock) -> None:
    house.write("a.yaml", FAST)
    house.write("b.yaml", FAST)
    for name in "ab":
        await house.is_(name, status="on")
    await house.tell("a", SuspendSchedule(True))
    await house.turn_to("b", NOON + 3 * MINUTE)
    assert await house.runs("a") == []
    await house.tell("a", SuspendSchedule(False))
    await house.turn_to("a", NOON + 4 * MINUTE)
    await house.statuses("a", "succeeded")


async def test_a_graph_this_server_cannot_execute(house: House) -> None:
    house.write("a.yaml", FAST)
    await house.is_("a", status="on")
    house.room.clockwork.steps = {}
    row = await house.turn_to("a", NOON + MINUTE)
    assert (row["last_decision"], row["last_why"]) == ("skipped", "step type 'shell' is not installed")
    assert [type(event) for event in await house.events("a")][-1] is SlotSkipped


@pytest.mark.parametrize("error", [RuntimeError("odd"), Invalid("odd")])
async def test_a_slot_that_breaks_does_not_end_the_schedule(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    house.write("a.yaml", FAST)
    await house.is_("a", status="on")

    async def breaks(*_: Any) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(house.room.clockwork, "_look", breaks)
        row = await house.turn_to("a", NOON + MINUTE)
    assert (row["last_decision"], row["last_why"][-3:]) == ("skipped", "odd")
    await house.turn_to("a", NOON + 2 * MINUTE)
    await house.statuses("a", "succeeded")


async def test_a_store_that_cannot_be_read_for_a_moment(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.write("a.yaml", FAST)
    await house.is_("a", status="on")
    read, failures = house.engine.store.read, 3

    async def fails(sql: str, args: Any = ()) -> Any:
        nonlocal failures
        if "created_at >=" in sql and failures:
            failures -= 1
            raise Unavailable("the disk is away")
        return await read(sql, args)

    monkeypatch.setattr(house.engine.store, "read", fails)
    await house.turn_to("a", NOON + MINUTE)
    assert [row["slot"] for row in await house.statuses("a", "succeeded")] == [shown(1)]
    assert not failures


# -- files that change -------------------------------------------------------------------------------------------------


async def test_files_come_change_break_and_go(house: House) -> None:
    house.write("good.yaml", FAST)
    house.write("sub/deep/a.yaml", FAST)
    await house.is_("good", status="on")
    await house.is_("a", status="on")
    house.write("sub/deep/a.yaml", "schedule: '* * * *'\nsteps: [echo a]\n")
    row = await house.is_("a", status="broken")
    assert "a.yaml:1:11" in row["trouble"]
    await house.turn_to("good", NOON + MINUTE)
    assert await house.runs("a") == [], "a broken file does not fire"
    house.write("sub/deep/a.yaml", FAST)
    await house.is_("a", status="on")
    await house.turn_to("a", NOON + 2 * MINUTE)
    await house.statuses("a", "succeeded")
    (house.dags / "sub/deep/a.yaml").rename(house.dags / "moved.yaml")
    await house.is_("a", status="gone", next_at=0)
    await house.is_("moved", status="on")
    (house.dags / "moved.yaml").unlink()
    await house.is_("moved", status="gone")
    await house.turn_to("good", NOON + 3 * MINUTE)
    assert len(await house.runs("moved")) == 0
    assert len([event for event in await house.events("a") if isinstance(event, SlotFired)]) == 1, "history stays"


@pytest.mark.parametrize("where", ["data/base.yaml", "config/dags/base.yaml", "dags/base.yaml"])
async def test_what_all_files_have_in_common_changes(tmp_path: Path, clock: HandClock, where: str) -> None:
    base = tmp_path / where
    async with open_house(tmp_path, clock, base_dag=base) as house:
        house.write("a.yaml", "steps: ['true']\n")
        house.write("own.yaml", FAST)
        await house.is_("own", status="on")
        base.parent.mkdir(parents=True, exist_ok=True)
        base.write_text("schedule: '*/10 * * * *'\n")
        await house.is_("a", status="on")
        (tmp_path / "new").write_text("schedule: []\n")
        (tmp_path / "new").replace(base)
        await house.is_("a", status="idle")
        base.write_text("schedule: '*/10 * * * *'\n")
        await house.is_("a", status="on")
        base.unlink()
        await house.is_("a", status="idle")


async def test_a_file_changed_in_the_moment_of_its_slot(house: House) -> None:
    """The watcher does not know yet: who decides the slot looks at the file itself."""
    for name in "abcd":
        house.write(f"{name}.yaml", FAST)
    for name in "abcd":
        await house.is_(name, status="on")
    await house.room.watcher.close()  # type: ignore[union-attr]
    house.write("a.yaml", "name: other\n" + FAST)
    house.write("b.yaml", "schedule: '*/5 * * * *'\nsteps: ['true']\n")
    (house.dags / "c.yaml").unlink()
    (house.dags / "d.yaml").rename(house.dags / "e.yaml")
    house.clock.turn_to(NOON + MINUTE)
    await house.statuses("other", "succeeded")
    assert (await house.is_("b", next_at=NOON + 5 * MINUTE))["last_slot"] == 0
    await house.is_("c", status="gone")
    await house.is_("d", status="gone")
    assert [await house.runs(name) for name in "abcde"] == [[]] * 5


async def test_a_file_moved_to_another_folder_keeps_its_slot(house: House) -> None:
    house.write("a.yaml", FAST)
    await house.is_("a", status="on")
    await house.room.watcher.close()  # type: ignore[union-attr]
    (house.dags / "sub").mkdir()
    (house.dags / "a.yaml").rename(house.dags / "sub/a.yaml")
    await house.turn_to("a", NOON + MINUTE)
    await house.statuses("a", "succeeded")


async def test_of_two_files_of_one_name_the_first_is_followed(house: House) -> None:
    house.write("a.yaml", FAST)
    house.write("sub/a.yaml", "schedule: '* * * *'\nsteps: ['true']\n")
    await house.is_("a", status="on", trouble="")
    await house.turn_to("a", NOON + MINUTE)
    await house.statuses("a", "succeeded")


async def test_who_follows_no_schedule_says_so(tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_house(tmp_path, clock) as house:
        room = house.room

        async def follows() -> bool:
            return room.follows_schedules()

        async def follows_not() -> bool:
            return not room.follows_schedules()

        await house.until(follows)

        async def no_watch(folder: Path) -> None:
            raise OSError("no more watches")

        assert room.watcher is not None
        monkeypatch.setattr(room.watcher, "_inside", no_watch)
        house.write("a.yaml", FAST)
        await house.is_("a", status="on")
        house.dags.rename(tmp_path / "elsewhere")
        house.dags.mkdir()
        await house.until(follows_not)
        monkeypatch.undo()
        await house.until(follows)
        room.clockwork.close()
        assert not room.follows_schedules()
    async with open_house(tmp_path, clock, places=0) as house:
        assert not house.room.follows_schedules(), "like a run without a server"


async def test_a_burst_of_files(house: House) -> None:
    for number in range(300):
        house.write(f"many/{number % 7}/f{number}.yaml", FAST)

    async def all_there() -> bool:
        return (await house.engine.store.read("SELECT count(*) FROM schedules WHERE status = 'on'"))[0][0] == 300

    await house.until(all_there)


async def test_what_is_no_news(house: House) -> None:
    """The database may lie among the DAG files; each commit of it is no reason to read them all."""
    watcher = house.room.watcher
    assert watcher is not None
    news = watcher._news(house.folder)
    for path, told in (
        ("a.yaml", True), ("sub/a.yml", True), ("sub", True), ("..data", True), ("notes.txt", False), ("data/a.yaml", False),
        ("data/astrarium.db-wal", False),
    ):  # fmt: skip
        assert news(Change.modified, str(house.folder / path)) is told, path
    assert news(Change.deleted, str(house.folder / "v1.2"))
    assert watcher._news(house.folder / "data/dags")(Change.modified, str(house.folder / "data/dags/a.yaml"))


@pytest.mark.parametrize("how", ["late", "exchanged", "link"])
async def test_the_folder_itself_comes_and_changes(tmp_path: Path, clock: HandClock, how: str) -> None:
    dags, other = tmp_path / "dags", tmp_path / "other"
    if how == "link":
        (tmp_path / "first").mkdir()
        dags.symlink_to("first")
    elif how == "exchanged":
        dags.mkdir()
    async with open_house(tmp_path, clock) as house:
        if how == "late":
            house.write("a.yaml", FAST)
            await house.is_("a", status="on")
            return
        house.write("a.yaml", FAST)
        await house.is_("a", status="on")
        other.mkdir()
        (other / "b.yaml").write_text(FAST)
        if how == "link":
            (tmp_path / "new").symlink_to("other")
            (tmp_path / "new").replace(dags)
        else:
            dags.rename(tmp_path / "old")
            other.rename(dags)
        await house.is_("b", status="on")
        await house.is_("a", status="gone")
        house.write("c.yaml", FAST)
        await house.is_("c", status="on")


# -- a server that was away --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("about", "slots"),
    [
        ("", [30]),
        ("catchupWindow: 1d", [20, 30]),
        ("catchup: latest\ncatchupWindow: 5m", [30]),
        ("catchup: all\ncatchup_window: 1d", [10, 20, 30]),
        ("catchup: all\ncatchupWindow: 1d\noverlapPolicy: all", [10, 20, 30]),
        ("catchup: all\ncatchupWindow: 15m", [20, 30]),
    ],
)
async def test_slots_missed_while_no_server_was_there(tmp_path: Path, clock: HandClock, about: str, slots: list[int]) -> None:
    async with open_house(tmp_path, clock) as house:
        house.write("a.yaml", f"schedule: '*/10 * * * *'\n{about}\nsteps: ['true']\n")
        await house.is_("a", status="on")
    clock.turn_to(NOON + 29 * MINUTE)
    async with open_house(tmp_path, clock) as house:
        await house.is_("a", next_at=NOON + 30 * MINUTE, backlog=0)
        before = await house.statuses("a", *["succeeded"] * (len(slots) - 1))
        await house.turn_to("a", NOON + 30 * MINUTE)
        runs = await house.statuses("a", *["succeeded"] * len(slots))
        assert [row["slot"] for row in runs] == [shown(minute) for minute in slots]
        assert all(row["created_at"] == NOON + 29 * MINUTE for row in before)


async def test_less_than_a_minute_late_is_on_time(tmp_path: Path, clock: HandClock) -> None:
    async with open_house(tmp_path, clock) as house:
        house.write("a.yaml", FAST)
        await house.is_("a", status="on")
    clock.turn_to(NOON + 3 * MINUTE + 59 * SECOND)
    async with open_house(tmp_path, clock) as house:
        runs = await house.statuses("a", "succeeded")
        assert runs[0]["slot"] == shown(3)


async def test_what_changed_while_no_server_was_there(tmp_path: Path, clock: HandClock) -> None:
    async with open_house(tmp_path, clock) as house:
        for name in ("a", "b", "c"):
            house.write(f"{name}.yaml", FAST)
            await house.is_(name, status="on")
        await house.tell("c", SuspendSchedule(True))
    house.write("a.yaml", "catchup: all\ncatchupWindow: 1d\nschedule: '*/5 * * * *'\nsteps: ['true']\n")
    (house.dags / "b.yaml").unlink()
    clock.turn_to(NOON + 32 * MINUTE)
    async with open_house(tmp_path, clock) as house:
        await house.is_("a", next_at=NOON + 35 * MINUTE)
        await house.is_("b", status="gone")
        assert (await house.is_("c", status="suspended"))["next_at"] == 0
        assert [await house.runs(name) for name in ("a", "b", "c")] == [[]] * 3, "a new schedule has missed nothing"


async def test_a_restart_survives_the_server(tmp_path: Path, clock: HandClock) -> None:
    text = "schedule: {start: '1 12 * * *', restart: '2 12 * * *'}\nrestartWaitSec: 50\nsteps: [sleep 60]\n"
    async with open_house(tmp_path, clock) as house:
        house.write("a.yaml", text)
        await house.is_("a", status="on")
        await house.turn_to("a", NOON + MINUTE)
        await house.statuses("a", "running")
        await house.turn_to("a", NOON + 2 * MINUTE)
        await house.statuses("a", "cancelled")
    clock.turn(60)
    async with open_house(tmp_path, clock) as house:

        async def begun() -> bool:
            clock.turn(1)
            return len(await house.runs("a")) == 2

        await house.until(begun)
        assert (await house.statuses("a", "cancelled", "running"))[1]["slot"] == shown(2)
