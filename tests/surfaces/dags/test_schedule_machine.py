"""The life of a schedule as a machine: the contract all machines keep, and the histories that matter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

from astrarium.errors import Refused
from astrarium.kernel.types import Facts, Job
from astrarium.surfaces.dags.machines import schedule as s
from astrarium.surfaces.dags.machines import slot as m
from astrarium.surfaces.dags.machines.plan import ON_TIME_S, SECOND, Found, Plan
from astrarium.surfaces.dags.views.schedule import Planned, moment
from astrarium.surfaces.dags.wire.schedule import LastSlot
from tests.contracts.machine import START, Life, MachineContract

MINUTE = 60 * SECOND
NOON = START - START % (24 * 60 * MINUTE) + 12 * 60 * MINUTE
PLANS = (
    Plan("a", "a.yaml", "UTC", ("* * * * *",)),
    Plan("a", "a.yaml", "UTC", ("* * * * *",), overlap="cancel"),
    Plan("a", "a.yaml", "Europe/Berlin", ("0 * * * *", "*/5 * * * *"), ("30 * * * *",), ("*/10 * * * *",), restart_wait_s=5),
    Plan("a", "a.yaml", "UTC", ("*/2 * * * *",), catchup="all", window_s=3600),
    Plan("a", "a.yaml", "UTC", ("*/2 * * * *",), catchup="latest", window_s=3600, overlap="queue"),
)
EMPTY = Plan("a", "a.yaml", "UTC")


class TestSchedule(MachineContract):
    machine = s.ScheduleMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, "schedule:a", {})

    def rows_of(self, state: Any) -> list[tuple[Any, tuple[Any, ...]]]:
        return [(s.SCHEDULES, s.schedule_row(state))] if state.kept.version else []

    def order(self, data: st.DataObject, life: Life) -> Any:
        draw, kept = data.draw, life.state.kept
        owed = sorted(life.state.owed().values(), key=lambda job: job.id)
        if owed and draw(st.integers(0, 3)):
            return self.carried(data, life, draw(st.sampled_from(owed)))
        return draw(
            st.sampled_from((
                m.SetSchedule(draw(st.sampled_from(PLANS))), m.SetSchedule(draw(st.sampled_from((*PLANS, EMPTY, None)))),
                m.SetSchedule(trouble="broken"), m.SetSchedule(gone=True), m.SuspendSchedule(draw(st.booleans())), m.MissSlots(),
                m.DecideSlot(kept.next.at, "start", kept.version - draw(st.integers(0, 1)), Found()), m.EndStopping(kept.next.at),
                m.DecideAfter(kept.next.at, kept.version, "r"),
            ))
        )  # fmt: skip

    def carried(self, data: st.DataObject, life: Life, job: Job) -> Any:
        """What the job of this state would report, at its time."""
        draw, kept = data.draw, life.state.kept
        life.now = max(life.now, job.not_before + draw(st.sampled_from((0, SECOND, 2 * MINUTE, 20 * MINUTE))))
        if job.kind == s.STOPPING_JOB:
            return m.EndStopping(job.body["slot"])
        if job.kind == s.AFTER_JOB:
            return m.DecideAfter(job.body["slot"], kept.version, "r9", draw(st.sampled_from(("", "broken"))))
        late = bool(job.body.get("late"))
        if not late and life.now - job.body["slot"] >= ON_TIME_S * SECOND:
            return m.MissSlots()
        found = draw(
            st.sampled_from((Found(), Found(("r1",), ("r1",)), Found(("r1",), ()), Found(newer=True), Found(problem="no")))
        )
        return m.DecideSlot(job.body["slot"], job.body["act"], kept.version, found, late, "r2")


class Told:
    """One schedule, driven by hand; its jobs are kept as the engine would."""

    def __init__(self, plan: Plan | None = PLANS[0], now: int = NOON) -> None:
        self.life = Life(s.ScheduleMachine(), "schedule:a", {})
        self.life.now = now
        self.tell(m.SetSchedule(plan))

    def tell(self, command: Any) -> list[Any]:
        events = self.life.submit(command)
        assert set(self.life.jobs) == set(self.life.state.owed()), "the jobs owed are those of the state"
        return events

    @property
    def kept(self) -> s.Kept:
        kept: s.Kept = self.life.state.kept
        return kept

    def refuses(self, command: Any) -> str:
        with pytest.raises(Refused) as caught:
            self.life.machine.decide(self.life.state, command, Facts(self.life.now))
        return caught.value.code

    def due(self, found: Found = Found(), run: str = "r", after_s: int = 0) -> Any:
        """Turn to the next slot and decide it."""
        kept = self.kept
        self.life.now = kept.next.at + after_s * SECOND
        return self.tell(m.DecideSlot(kept.next.at, kept.next.acts[0], kept.version, found, run=run))[0]


def test_a_slot_is_decided_once() -> None:
    told = Told()
    order = m.DecideSlot(told.kept.next.at, "start", told.kept.version, Found(), run="r1")
    assert told.refuses(order) == "refused"  # not due yet
    fired = told.due(run="r1")
    assert (type(fired), fired.run, fired.slot) == (m.SlotFired, "r1", NOON + MINUTE)
    assert told.refuses(order) == s.MOVED
    assert told.kept.next.at == NOON + 2 * MINUTE
    assert told.kept.last == s.Last(NOON + MINUTE, "start", "fired", "", "r1", NOON + MINUTE)


def test_a_file_that_says_the_same_changes_nothing() -> None:
    told = Told()
    assert told.tell(m.SetSchedule(PLANS[0])) == []
    assert Told(None).life.log == []
    assert Told(EMPTY).life.log == []


def test_an_edit_while_a_slot_is_due() -> None:
    told = Told()
    told.life.now = NOON + MINUTE
    told.tell(m.SetSchedule(Plan("a", "a.yaml", "UTC", ("*/5 * * * *", "1 12 * * *"))))
    assert told.kept.next.at == NOON + MINUTE, "the new text has the slot, too"
    told.tell(m.SetSchedule(Plan("a", "a.yaml", "UTC", ("*/5 * * * *",))))
    assert told.kept.next.at == NOON + 5 * MINUTE
    told.tell(m.SetSchedule(Plan("a", "a.yaml", "UTC", ("*/5 * * * *",), overlap="all")))
    assert told.kept.next.at == NOON + 5 * MINUTE


def test_a_file_that_is_being_written_loses_no_slot() -> None:
    for broken in (m.SetSchedule(trouble="line 1: …"), m.SetSchedule(gone=True)):
        told = Told()
        told.life.now = NOON + MINUTE - SECOND
        told.tell(broken)
        assert not told.life.jobs
        told.life.now += SECOND
        told.tell(m.SetSchedule(PLANS[0]))
        assert told.kept.next.at == NOON + MINUTE
        told.due()
        told.tell(broken)
        told.life.now += 10 * SECOND
        told.tell(m.SetSchedule(PLANS[0]))
        assert told.kept.next.at == NOON + 2 * MINUTE, "and none is decided twice"
        told.tell(broken)
        told.life.now += 10 * MINUTE
        told.tell(m.SetSchedule(PLANS[0]))
        assert told.kept.next.at > told.life.now, "what came due while it was broken is left out"


def test_suspended_owes_nothing_and_misses_nothing() -> None:
    told = Told(PLANS[3])
    told.tell(m.SuspendSchedule(True))
    assert (told.life.state.status, told.life.jobs, told.tell(m.SuspendSchedule(True))) == ("suspended", {}, [])
    told.life.now += 60 * MINUTE
    told.tell(m.SetSchedule(gone=True))
    told.tell(m.SetSchedule(PLANS[3]))
    assert told.life.state.status == "suspended", "also after the file was away"
    told.tell(m.SuspendSchedule(False))
    assert (told.kept.next.at, told.kept.backlog) == (NOON + 62 * MINUTE, ())


def test_suspended_without_a_schedule() -> None:
    told = Told(None)
    told.tell(m.SuspendSchedule(True))
    assert told.life.state.status == "suspended"
    told.tell(m.SuspendSchedule(False))
    assert told.life.state.status == "idle"


def test_missed_slots() -> None:
    for plan, backlog in ((PLANS[0], ()), (PLANS[3], (2, 4, 6, 8)), (PLANS[4], (8,))):
        told = Told(plan)
        told.life.now = NOON + 10 * MINUTE - SECOND
        missed = told.tell(m.MissSlots())[0]
        assert missed.backlog == tuple(NOON + minutes * MINUTE for minutes in backlog)
        assert told.tell(m.MissSlots()) == []
    told = Told(PLANS[3])
    told.life.now = NOON + 10 * MINUTE + SECOND
    told.tell(m.MissSlots())
    assert told.kept.next.at == NOON + 10 * MINUTE, "less than a minute late is on time"
    for slot in told.kept.backlog:
        assert told.refuses(m.DecideSlot(slot + 2 * MINUTE, "start", told.kept.version, Found(), True)) == s.MOVED
        assert told.tell(m.DecideSlot(slot, "start", told.kept.version, Found(("x",), ("x",)), True, "r"))[0].way == "late"
    assert told.kept.backlog == ()


def test_missed_again_before_all_was_caught_up_on() -> None:
    told = Told(PLANS[3])
    told.life.now = NOON + 5 * MINUTE
    told.tell(m.MissSlots())
    told.life.now = NOON + 9 * MINUTE
    told.tell(m.MissSlots())
    assert told.kept.backlog == tuple(NOON + minutes * MINUTE for minutes in (2, 4, 6, 8))
    told.tell(m.SetSchedule(PLANS[0]))
    assert told.kept.backlog == (), "another schedule owes nothing of the old one"


def test_a_restart_waits_for_the_end_and_then_its_time() -> None:
    told = Told(Plan("a", "a.yaml", "UTC", restart=("* * * * *",), restart_wait_s=5))
    deferred = told.due(Found(("r1",), ("r1",)))
    assert (type(deferred), deferred.stopped, deferred.wait_s) == (m.SlotDeferred, ("r1",), 5)
    slot = deferred.slot
    assert told.life.jobs[f"schedule:a@{slot}/stopping"].kind == s.STOPPING_JOB
    told.life.now += SECOND
    told.tell(m.EndStopping(slot))
    assert told.tell(m.EndStopping(slot)) == []
    after = told.life.jobs[f"schedule:a@{slot}/after"]
    assert after.not_before == slot + 6 * SECOND
    assert told.refuses(m.DecideAfter(slot, told.kept.version, "r2")) == "refused"
    told.life.now = after.not_before
    assert told.tell(m.DecideAfter(slot, told.kept.version, "r2"))[0].run == "r2"
    assert told.kept.pending is None


def test_a_slot_of_several_acts() -> None:
    told = Told(Plan("a", "a.yaml", "UTC", ("* * * * *",), ("* * * * *",)))
    assert told.kept.next.acts == ("stop", "start")
    stopped = told.due(Found(("r1",), ("r1",)))
    assert (stopped.act, stopped.stopped, told.kept.next.at, told.kept.next.acts) == ("stop", ("r1",), stopped.slot, ("start",))
    assert told.due().act == "start"
    assert told.kept.next.at == NOON + 2 * MINUTE


def test_the_last_decision_as_readers_see_it() -> None:
    told = Told()
    told.due(Found(problem="no such step"))
    row = dict(zip((column.name for column in s.SCHEDULES.columns), s.schedule_row(told.life.state), strict=True))
    shown = Planned(
        False, row["next_start"], row["last_slot"], row["last_act"], row["last_decision"], row["last_why"], row["last_run"]
    )
    assert shown.last == LastSlot(moment(NOON + MINUTE), "start", "skipped", "no such step")
    assert Planned().last is None
