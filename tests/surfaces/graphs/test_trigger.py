"""Triggers: what their file may say, and when a cron fires next."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st

from astrarium.errors import Invalid
from astrarium.kernel.types import Facts, Job, JobDone, Scope
from astrarium.surfaces.graphs.machines.cron import CronMachine, CronPlan, CronState, FireCron, SetCron, is_missed
from astrarium.surfaces.graphs.trigger import Triggers, Webhook, read_triggers
from astrarium.surfaces.graphs.work.fire import is_signed
from tests.contracts.machine import Life, MachineContract

HERE = Scope("personal", "local")
MINUTE_US = 60_000_000
DAY_US = 86_400_000_000


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


def told(state: CronState, command: Any, now: int) -> list[Any]:
    machine = CronMachine()
    effects: list[Any] = []
    for event in machine.decide(state, command, Facts(now)):
        machine.evolve(state, event, now)
        effects += machine.react(state, event, now)
    return effects


def test_a_cron_fires_at_its_times_and_once_for_all_that_passed() -> None:
    machine, plan = CronMachine(), CronPlan("graph:g", "0 3 * * *", "Europe/Paris")
    state = machine.new("graphcron:nightly", HERE)
    now = us("2026-03-01T12:00")
    (job,) = told(state, SetCron(plan), now)
    assert isinstance(job, Job) and job.not_before == us("2026-03-02T02:00") == state.next
    assert told(state, SetCron(plan), now) == [], "as it was"
    assert told(state, FireCron(now), now) == [], "not the time that is due"
    late = us("2026-03-05T09:00")
    (again,) = told(state, FireCron(state.next, "run-1"), late)
    assert again.not_before == us("2026-03-06T02:00"), "counted from now: what lies between is not made up for"
    summer = us("2026-03-28T12:00")
    told(state, FireCron(state.next), summer)
    assert state.next == us("2026-03-29T01:00"), "three o'clock in Paris is an hour earlier from then on"
    assert machine.load("graphcron:nightly", HERE, machine.dump(state), {}) == state
    assert told(state, SetCron(None), summer) == [JobDone("graphcron:nightly/fire")]


def test_what_counts_as_missed() -> None:
    keep, skip = CronPlan("g", "* * * * *"), CronPlan("g", "* * * * *", missed="skip")
    for late, wanted in ((0, (False, False)), (2 * MINUTE_US, (False, True)), (DAY_US + MINUTE_US, (True, True))):
        assert (is_missed(keep, 0, late), is_missed(skip, 0, late)) == wanted


def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    assert read_triggers(tmp_path / "none.yaml", {}) == Triggers()


@pytest.mark.parametrize(("text", "complaint"), [
    ("webhook: [{id: a, path: hooks, graph_id: g, current_secret_env: S}]", "must begin with a slash"),
    ("webhook: [{id: a, path: /h, graph_id: g, current_secret_env: NONE}]", "the variable NONE is not set"),
    ("webhook: [{id: a, path: /h, graph_id: g, current_secret_env: S, odd: 1}]", "odd"),
    ("cron: [{id: a, expr: '* *', graph_id: g}]", "five fields"),
    ("cron: [{id: a, expr: '* * * * *', tz: Mars/Base, graph_id: g}]", "no time zone"),
    ("cron: [{id: a, expr: '* * * * *', graph_id: g}, {id: a, expr: '* * * * *', graph_id: g}]", "two triggers are called `a`"),
    ("cron: {", "cannot be read"),
])  # fmt: skip
def test_what_is_wrong_is_told(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "triggers.yaml"
    file.write_text(text)
    with pytest.raises(Invalid, match=complaint):
        read_triggers(file, {"S": "secret"})


def test_a_signature_is_good_by_either_secret() -> None:
    hook = Webhook("a", "/h", "g", "S", current_secret="new", previous_secret="old")
    assert not is_signed(hook, "0" * 64, "1", b"{}") and not is_signed(hook, "ü", "1", b"{}")
    for secret in ("new", "old"):
        assert is_signed(hook, hmac.new(secret.encode(), b"1.{}", hashlib.sha256).hexdigest(), "1", b"{}")


PLANS = st.sampled_from([CronPlan("graph:a", "* * * * *"), CronPlan("graph:b", "0 3 * * *", "Europe/Paris", {"n": 1}, "skip")])


class TestContract(MachineContract):
    machine: ClassVar[CronMachine] = CronMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, "graphcron:nightly", {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        due = st.just(FireCron(life.state.next, "run-1"))
        return data.draw(st.one_of(st.builds(SetCron, st.none() | PLANS), due, st.builds(FireCron, st.integers(0, 2**60))))
