"""The lives of builds, tasks and locks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

from astrarium.errors import Held, NotFound, Refused, TooMuch
from astrarium.kernel.record.artifact import Artifact
from astrarium.kernel.types import Facts, Scope, SlotAsk, SlotFree, SlotView
from astrarium.surfaces.builds.machines.build import BuildMachine, EndBuild, StartBuild, build_row
from astrarium.surfaces.builds.machines.file import DropFile, PutFile
from astrarium.surfaces.builds.machines.lock import AcquireLock, LockMachine, ReleaseLock, RenewLock, lock_row
from astrarium.surfaces.builds.machines.report import (
    AddUpstreams,
    AwaitLock,
    CancelTask,
    CompleteTask,
    FailTask,
    NewAsset,
    PutAssets,
    RegisterTask,
    ResumeTask,
    SkipTask,
    StartTask,
    SuspendTask,
    TaskReferenced,
    TaskRegistered,
)
from astrarium.surfaces.builds.machines.row import (
    BUILD_EVENTS,
    BUILD_TASK_STATES,
    BUILD_TASKS,
    BUILDS,
    LOCKS,
    TASK_ASSETS,
    TASK_EDGES,
    TASK_STATES,
    TASKS,
)
from astrarium.surfaces.builds.machines.task import TaskMachine, TaskState, state_row
from tests.contracts.machine import Life, MachineContract

SECOND = 1_000_000
BUILD = st.sampled_from(("b1", "b2"))
EXECUTION = st.sampled_from(("", "", "x1", "x2"))
TEXT = st.one_of(st.none(), st.text(max_size=5))
ASSETS = st.lists(
    st.builds(
        NewAsset, st.uuids().map(str), st.sampled_from(("json", "markdown")), st.sampled_from("ab"), st.just("hash"), st.just(2)
    ),
    max_size=3,
).map(tuple)
FILES = st.sampled_from("ab").flatmap(
    lambda name: st.builds(
        Artifact,
        st.just(name),
        st.uuids().map(str),
        st.just(name),
        st.just("text/plain"),
        st.just(2),
        st.sampled_from("xy"),
        st.just("b"),
    )
)
REPORTS = st.one_of(
    *(st.builds(kind, BUILD, EXECUTION) for kind in (CompleteTask, SuspendTask, ResumeTask, CancelTask, SkipTask)),
    st.builds(StartTask, BUILD, EXECUTION, st.just("p"), st.just(1_700_000_060_000_000)),
    st.builds(FailTask, BUILD, EXECUTION, TEXT),
    st.builds(AwaitLock, BUILD, st.just(""), st.sampled_from(("", "o"))),
)
REGISTER = st.builds(
    RegisterTask, BUILD, st.uuids().map(str), st.just("n"), st.just("h"), st.just("ns"), TEXT, TEXT, st.just(("u1", "u2"))
)
TASK_ORDERS = st.one_of(
    REPORTS,
    REPORTS,
    REGISTER,
    st.builds(AddUpstreams, BUILD, st.lists(st.sampled_from(("u1", "u3", "u4"))).map(tuple), st.booleans()),
    st.builds(PutAssets, BUILD, ASSETS),
    st.builds(PutFile, BUILD, FILES),
    st.builds(DropFile, st.sampled_from("ab")),
)


class TestTask(MachineContract):
    machine = TaskMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, "task:local/t1", {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        return data.draw(REGISTER if not life.log and data.draw(st.booleans()) else TASK_ORDERS)

    def rows_of(self, state: TaskState) -> list[Any]:
        return [(TASK_STATES, state_row(state))] if state.kept.number else []


class TestBuild(MachineContract):
    machine = BuildMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, "build:b1", {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        outcomes = st.sampled_from(("completed", "failed", "cancelled", "exit_early"))
        return data.draw(
            st.one_of(
                st.builds(StartBuild, st.just("calm-owl-10"), TEXT, TEXT, st.just(("r",)), st.just("")),
                st.builds(EndBuild, outcomes, TEXT, st.sampled_from(("", "u")), st.booleans()),
            )
        )

    def rows_of(self, state: Any) -> list[Any]:
        return [(BUILDS, build_row(state))] if state.kept.number else []


class TestLock(MachineContract):
    machine = LockMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, "lock:local/l1", {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        owner, ttl = st.sampled_from(("o1", "o2")), st.integers(1, 5000)
        return data.draw(
            st.one_of(
                st.builds(AcquireLock, owner, ttl, st.integers(0, 2), st.booleans()),
                st.builds(RenewLock, owner, ttl),
                st.builds(ReleaseLock, owner),
            )
        )

    def rows_of(self, state: Any) -> list[Any]:
        return [(LOCKS, lock_row(state))] if state.kept.version else []


# -- tasks ---------------------------------------------------------------------------------------------------------------


def task(*orders: Any) -> Life:
    life = Life(TaskMachine(), "task:local/t1", {})
    life.submit(RegisterTask("b1", "pk", "numbers", "hash", upstreams=("u1",)))
    for order in orders:
        life.now += SECOND
        life.submit(order)
    return life


@pytest.mark.parametrize(
    "orders, status",
    [
        ((), "pending"),
        ((StartTask("b1"),), "running"),
        ((StartTask("b1"), SuspendTask("b1")), "running"),
        ((ResumeTask("b1"),), "running"),
        ((SkipTask("b1"),), "pending"),
        ((StartTask("b1"), FailTask("b1", error="boom")), "failed"),
        ((StartTask("b1"), FailTask("b1"), StartTask("b1")), "running"),
        ((CancelTask("b1"),), "cancelled"),
        ((StartTask("b1"), CompleteTask("b1")), "completed"),
        ((CompleteTask("b1"), FailTask("b1")), "completed"),
        ((CompleteTask("b1"), CancelTask("b1"), StartTask("b2")), "completed"),
        ((AwaitLock("b1"), StartTask("b1")), "running"),
    ],
)
def test_the_status_over_all_builds(orders: tuple[Any, ...], status: str) -> None:
    assert task(*orders).state.kept.status == status


def test_the_first_registration_says_what_a_task_is() -> None:
    life = task()
    given = life.submit(RegisterTask("b2", "other", "letters", "other", upstreams=("u9",)))
    assert given == [TaskReferenced("b2")] and type(life.log[0][1]) is TaskRegistered
    assert [row[3:6] for row in life.rows[TASKS].values()] == [("pk", "", "numbers")]
    assert list(life.rows[TASK_EDGES]) == [("local", "t1", "u1")]
    assert set(life.rows[BUILD_TASKS]) == {("b1", "t1"), ("b2", "t1")}


def test_a_report_of_an_unknown_task_is_not_found() -> None:
    life = Life(TaskMachine(), "task:local/none", {})
    with pytest.raises(NotFound, match="Task not found"):
        life.machine.decide(life.state, StartTask("b1"), Facts(life.now))


def test_a_report_told_again_changes_nothing() -> None:
    life = task(StartTask("b1"))
    assert life.submit(StartTask("b1")) == []
    assert len(life.submit(StartTask("b2"))) == 1
    life.submit(FailTask("b2", error="a"))
    assert life.submit(FailTask("b2", error="a")) == [] and len(life.submit(FailTask("b2", error="b"))) == 1


def test_each_build_has_its_own_status_of_a_task() -> None:
    life = task(StartTask("b1"), CompleteTask("b1"), StartTask("b2"), SuspendTask("b2"))
    assert {key: row[2] for key, row in life.rows[BUILD_TASK_STATES].items()} == {
        ("b1", "t1"): "completed",
        ("b2", "t1"): "suspended",
    }
    told = [row[6] for row in sorted(life.rows[BUILD_EVENTS].values())]
    assert told == ["task_pending", "task_started", "task_completed", "task_started", "task_suspended"]


def test_times_and_errors_stay_with_the_task() -> None:
    life = task(StartTask("b1"), FailTask("b1", error="boom"), StartTask("b1"), CompleteTask("b1"))
    start = life.log[0][0]
    kept = life.state.kept
    assert (kept.started_at, kept.completed_at, kept.error) == (start + SECOND, start + 4 * SECOND, "boom")


def test_waiting_for_a_lock_is_told_while_nothing_else_is() -> None:
    life = task(AwaitLock("b1", owner="o"))
    assert life.state.kept.waiting
    life.submit(StartTask("b1"))
    assert not life.state.kept.waiting


def test_an_asset_keeps_its_id_when_it_is_replaced() -> None:
    life = task(PutAssets("b1", (NewAsset("a1", "json", "m", "h1", 2),)))
    life.submit(PutAssets("b1", (NewAsset("a2", "json", "m", "h2", 3), NewAsset("a3", "json", "n", "h3", 4))))
    rows = life.rows[TASK_ASSETS]
    assert [(row[5], row[7]) for row in rows.values()] == [("a1", "h2"), ("a3", "h3")]
    assert life.rows[TASK_STATES][("local", "t1")][9] == 2


def test_only_the_execution_that_holds_the_claim_may_report() -> None:
    life = task()
    claim = StartTask("b1", "x1", "p1", life.now + 60 * SECOND)
    life.submit(claim)
    assert life.submit(claim) == []
    for order, code in (
        (StartTask("b2", "x2", "p2", life.now + 60 * SECOND), "task_already_running"),
        (CompleteTask("b2", "x2"), "execution_not_current"),
    ):
        with pytest.raises(Refused) as refused:
            life.machine.decide(life.state, order, Facts(life.now))
        assert refused.value.code == code
    life.now += 61 * SECOND  # the claim is over, and still its own until another takes it
    assert len(life.submit(SuspendTask("b1", "x1"))) == 1
    assert life.state.kept.status == "suspended" and not life.state.kept.execution


def test_a_lapsed_claim_is_taken_over() -> None:
    life = task(StartTask("b1", "x1", "p1", 1))
    life.submit(StartTask("b2", "x2", "p2", life.now + 60 * SECOND))
    assert life.state.kept.execution == "x2"


# -- builds --------------------------------------------------------------------------------------------------------------


def test_the_last_end_of_a_build_counts_unless_it_is_to_stay() -> None:
    life = Life(BuildMachine(), "build:b1", {})
    life.submit(StartBuild("calm-owl-10"))
    for outcome in ("completed", "failed", "cancelled", "exit_early", "completed"):
        life.submit(EndBuild(outcome))
        assert life.state.kept.status == outcome
        assert life.submit(EndBuild(outcome)) == []
    with pytest.raises(Refused) as refused:
        life.machine.decide(life.state, EndBuild("failed", sticky=True), Facts(life.now))
    assert refused.value.details == {"build_status": "completed"}


# -- locks ---------------------------------------------------------------------------------------------------------------


def lock_refusal(life: Life, order: Any, slots: dict[str, SlotView], streams: dict[str, Any] | None = None) -> Exception:
    with pytest.raises((Refused, Held, TooMuch)) as refused:
        life.machine.decide(life.state, order, Facts(life.now, streams or {}, slots))
    return refused.value


def test_a_lock_is_a_lease() -> None:
    life = Life(LockMachine(), "lock:local/l1", {})
    life.submit(AcquireLock("o1", 5))
    life.submit(AcquireLock("o1", 5))
    assert life.state.kept.version == 2
    free = {"locks:local": SlotView()}
    assert lock_refusal(life, AcquireLock("o2", 5), free).code == "held_by_other"  # type: ignore[attr-defined]
    assert lock_refusal(life, RenewLock("o2", 5), free).code == "not_owned"  # type: ignore[attr-defined]
    life.now += 6 * SECOND
    life.submit(RenewLock("o1", 5))  # nobody took it meanwhile
    assert life.state.kept.until == life.now + 5 * SECOND
    life.now += 6 * SECOND
    life.submit(AcquireLock("o2", 5))
    assert (life.state.kept.owner, life.state.kept.version) == ("o2", 4)
    assert lock_refusal(life, ReleaseLock("o1"), free).code == "not_owned"  # type: ignore[attr-defined]
    life.submit(ReleaseLock("o2"))
    life.submit(AcquireLock("o3", 5))
    assert life.state.kept.version == 5, "a fence never falls"


def test_what_is_asked_of_a_lock_first() -> None:
    life = Life(LockMachine(), "lock:local/t1", {})
    done = task(CompleteTask("b1")).state
    full = {"locks:local": SlotView(("lock:local/other",))}
    order = AcquireLock("o1", 5, most=1)
    assert lock_refusal(life, order, full, {"task:local/t1": done}).code == "already_completed"  # type: ignore[attr-defined]
    assert lock_refusal(life, order, full).code == "concurrency_limit_reached"  # type: ignore[attr-defined]
    life.submit(order)
    life.machine.decide(life.state, order, Facts(life.now, {}, full))  # its own place is no other


def test_a_hold_ends_with_its_lease() -> None:
    life = Life(LockMachine(), "lock:local/l1", {})
    (acquired,) = life.submit(AcquireLock("o1", 5, most=3))
    assert list(life.machine.react(life.state, acquired, life.now)) == [
        SlotFree("locks:local"),
        SlotAsk("locks:local", 3, until=life.now + 5 * SECOND),
    ]


def test_a_build_keeps_its_environment_whoever_reads_it_first() -> None:
    machine = BuildMachine()
    life = Life(machine, "build:b1", {})
    life.submit(StartBuild("calm-owl-10"))
    other = machine.new("build:b1", Scope("ws", "elsewhere"))
    for at, event in life.log:
        machine.evolve(other, event, at)
    assert build_row(other) == build_row(life.state)
